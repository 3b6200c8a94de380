//! Limits of keys, projects and users: budgets, rate limits and concurrency, of one server or
//! shared by replicas through Redis.

pub(crate) mod budget;
pub(crate) mod exceeded;
pub(crate) mod key_limits;
pub(crate) mod owner_budgets;
pub(crate) mod rate_limit;
pub(crate) mod redis_leases;
pub(crate) mod slot;
