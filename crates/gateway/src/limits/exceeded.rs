//! The limit that a request exceeds.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::budget::Budget;

/// The limit that a request exceeds.
#[derive(Clone, Debug)]
pub(crate) enum LimitExceeded {
    Budget(Arc<Budget>),
    /// A rate limit, and the time until the request would fit.
    Rate(RateKind, Duration),
    Concurrency,
}

/// The unit of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateKind {
    Requests,
    Tokens,
}
