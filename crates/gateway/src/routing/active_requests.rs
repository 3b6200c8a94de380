//! The number of requests that a target is answering.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A target gets no further requests for its prompt cache when it has this many requests more than
/// twice those of the least busy target.
const LOAD_SLACK: i64 = 4;

/// The requests of this gateway that a target is answering. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActiveRequests(Arc<AtomicI64>);

impl ActiveRequests {
    pub(crate) fn count(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn start(&self) -> ActiveRequestGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        ActiveRequestGuard(self.clone())
    }
}

/// A request that a target is answering.
#[derive(Debug)]
pub(crate) struct ActiveRequestGuard(ActiveRequests);

impl Drop for ActiveRequestGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a target with `running` requests may get one more for its prompt cache while the least
/// busy target has `least`.
pub(crate) fn has_capacity_for_affinity(running: i64, least: i64) -> bool {
    running <= least.saturating_mul(2).saturating_add(LOAD_SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_target_gets_no_more_requests_for_its_cache() {
        assert!(
            has_capacity_for_affinity(4, 0)
                && !has_capacity_for_affinity(5, 0)
                && has_capacity_for_affinity(24, 10)
                && !has_capacity_for_affinity(25, 10)
        );
        let active = ActiveRequests::default();
        let guard = active.start();
        assert_eq!(active.count(), 1);
        drop(guard);
        assert_eq!(active.count(), 0);
    }
}
