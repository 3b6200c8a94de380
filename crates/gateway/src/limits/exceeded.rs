//! The limit that a request exceeds, and the error that its caller receives.

use std::time::Duration;

use chat::{Error, ErrorKind};

/// The limit that a request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    Budget(BudgetOwner),
    /// A rate limit, and the time until the request would fit.
    Rate(RateKind, Duration),
    Concurrency,
}

/// The owner of a budget: a key, or the project of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BudgetOwner {
    Key,
    Project,
}

/// The unit of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateKind {
    Requests,
    Tokens,
}

impl From<LimitExceeded> for Error {
    fn from(exceeded: LimitExceeded) -> Self {
        let wait = match exceeded {
            LimitExceeded::Budget(_) => return Self::new(ErrorKind::InsufficientBalance, "Insufficient Balance"),
            LimitExceeded::Rate(_, wait) => wait,
            LimitExceeded::Concurrency => Duration::from_secs(1),
        };
        let mut error = Self::new(ErrorKind::RateLimited, "Rate limit reached");
        error.retry_after = Some(wait);
        error
    }
}
