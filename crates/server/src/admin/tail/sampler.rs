//! The sample of requests that one reader of a tail sees when there are many.

use std::collections::HashSet;

use gateway::RequestEvent;
use tokio::time::Instant;

/// The most requests that are shown in a second.
const MAX_PER_SECOND: f64 = 50.0;
/// The most shown requests whose end is awaited. Those beyond are shown like others.
const MAX_OPEN: usize = 4096;

/// Chooses requests, and counts the events that are left out. The end of a request whose start was
/// shown is shown too.
pub(super) struct Sampler {
    /// The requests that may be shown now.
    allowance: f64,
    refilled_at: Instant,
    /// The ids of requests whose start was shown, and whose end was not.
    open: HashSet<String>,
    skipped: u64,
}

impl Sampler {
    pub(super) fn new(now: Instant) -> Self {
        Self { allowance: MAX_PER_SECOND, refilled_at: now, open: HashSet::new(), skipped: 0 }
    }

    /// Whether an event is shown.
    pub(super) fn admits(&mut self, event: &RequestEvent, now: Instant) -> bool {
        let id = &event.record().id;
        if matches!(event, RequestEvent::Ended(_)) && self.open.remove(id) {
            return true;
        }
        let refill = now.saturating_duration_since(self.refilled_at).as_secs_f64() * MAX_PER_SECOND;
        self.allowance = (self.allowance + refill).min(MAX_PER_SECOND);
        self.refilled_at = now;
        if self.allowance < 1.0 {
            self.skipped += 1;
            return false;
        }
        self.allowance -= 1.0;
        if matches!(event, RequestEvent::Started(_)) && self.open.len() < MAX_OPEN {
            self.open.insert(id.clone());
        }
        true
    }

    /// Counts events that were lost.
    pub(super) fn record_skipped(&mut self, events: u64) {
        self.skipped += events;
    }

    /// The number of events left out since the last call; `None` if there were none.
    pub(super) fn take_skipped(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.skipped)).filter(|skipped| *skipped > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use store::UsageRecord;

    use super::*;

    fn record(id: usize) -> Arc<UsageRecord> {
        Arc::new(UsageRecord { id: id.to_string(), ..UsageRecord::default() })
    }

    #[test]
    fn a_shown_start_has_its_end_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        let mut shown_starts = 0;
        // 500 requests a second for four seconds, each of which ends at once.
        for id in 0..2000 {
            let now = start + Duration::from_millis(2 * id as u64);
            let started = sampler.admits(&RequestEvent::Started(record(id)), now);
            shown_starts += usize::from(started);
            if started {
                assert!(sampler.admits(&RequestEvent::Ended(record(id)), now), "{id}");
            }
        }
        // The first 50 are at hand, and 50 more come each second.
        assert!((245..=250).contains(&shown_starts), "{shown_starts}");
        assert_eq!(sampler.take_skipped(), Some(2000 - shown_starts as u64));
        assert_eq!(sampler.take_skipped(), None);
        sampler.record_skipped(3);
        assert_eq!(sampler.take_skipped(), Some(3));
    }

    #[test]
    fn requests_that_never_end_are_forgotten() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        for id in 0..2 * MAX_OPEN {
            sampler.admits(&RequestEvent::Started(record(id)), start + Duration::from_secs(id as u64));
        }
        assert_eq!(sampler.open.len(), MAX_OPEN);
    }
}
