//! The load of an engine: running and waiting requests, and pages of the cache.

use metrics::gauge;

use crate::page_allocator::PageAllocator;
use crate::scheduler::Scheduler;

/// The load of an engine after its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests being answered.
    pub running: usize,
    /// Requests in the queue, preempted ones included.
    pub waiting: usize,
    /// Pages of the latent cache, 64 positions each.
    pub pages_total: usize,
    /// Pages held by requests.
    pub pages_used: usize,
    /// Pages held by no request, kept for prompts with the same prefix.
    pub pages_cached: usize,
}

impl Load {
    pub(crate) fn of(scheduler: &Scheduler, pages: &PageAllocator) -> Self {
        Self {
            running: scheduler.running(),
            waiting: scheduler.waiting(),
            pages_total: pages.total(),
            pages_used: pages.used(),
            pages_cached: pages.cached(),
        }
    }

    /// Sets the gauges.
    pub(crate) fn record(&self) {
        gauge!("cachalot_cache_pages").set(self.pages_total as f64);
        gauge!("cachalot_cache_pages_used").set(self.pages_used as f64);
        gauge!("cachalot_cache_pages_cached").set(self.pages_cached as f64);
        gauge!("cachalot_engine_requests_running").set(self.running as f64);
        gauge!("cachalot_engine_requests_waiting").set(self.waiting as f64);
    }
}
