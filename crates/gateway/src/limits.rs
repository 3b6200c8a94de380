//! Limits of keys and projects: budgets, rate limits and concurrency, alone or shared by
//! replicas through Redis.

pub(crate) mod budget;
pub(crate) mod key_limits;
pub(crate) mod rate_limit;
pub(crate) mod redis_leases;
