//! Limits how many requests are sent a second time to a provider that failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A budget of retries, as a share of all requests: a provider that fails under load must not get
/// twice the load.
#[derive(Debug)]
pub(crate) struct RetryBudget(AtomicI64);

impl RetryBudget {
    const RETRY_COST: i64 = 10;
    const CAPACITY: i64 = 100 * Self::RETRY_COST;

    /// A budget of a tenth of the requests, and at most a hundred at once.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Self::CAPACITY)))
    }

    pub(super) fn record_request(&self) {
        if self.0.load(Ordering::Relaxed) < Self::CAPACITY {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn try_spend_retry(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(Self::RETRY_COST).filter(|left| *left >= 0)
            })
            .is_ok()
    }
}
