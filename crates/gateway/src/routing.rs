//! From a model id to the provider that answers: routes, target order, health and failover.

pub(crate) mod active_requests;
pub(crate) mod alias_error;
pub(crate) mod attempt_log;
pub(crate) mod circuit_breaker;
pub(crate) mod failover;
pub(crate) mod model_info;
pub(crate) mod prefix_affinity;
pub(crate) mod random;
pub(crate) mod retry_budget;
pub(crate) mod route;
pub(crate) mod router;
pub(crate) mod selected_target;
pub(crate) mod target;
pub(crate) mod thinking_mode;
mod unknown_model;
