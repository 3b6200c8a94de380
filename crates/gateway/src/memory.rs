//! The memory that requests may hold: one budget for the server, a share for each caller.

pub(crate) mod inflight_budget;
pub(crate) mod reserved_buffer;
