//! Batches of requests, which a provider answers within a day. A batch is a task whose price is the
//! most that it can cost: when it ends, what it did not use is refunded.

pub(crate) mod create;
pub(crate) mod list;
pub(crate) mod settlement;
