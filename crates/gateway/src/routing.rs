//! From a model id to the provider that answers: routes, target order, health and failover.

pub(crate) mod circuit_breaker;
pub(crate) mod failover;
pub(crate) mod prefix_affinity;
pub(crate) mod router;
pub(crate) mod target;
pub(crate) mod thinking_mode;
