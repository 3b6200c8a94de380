//! A circuit breaker for each target: requests avoid a provider that has failed lately.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// The time that the breaker stays open after the first failure; each further one doubles it.
const BASE_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The time after which an unfinished probe is forgotten. The request that acquired it may end
/// before it reaches the target.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);

/// The circuit breaker of one provider and model. Failures open it for a while. After that it is
/// half-open: one request at a time may probe the target, until one succeeds and closes it.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker {
    /// Failures since the last success.
    consecutive_failures: AtomicU32,
    /// Microseconds since 1970.
    open_until: AtomicI64,
    probe_until: AtomicI64,
    /// Time to the first token, in microseconds, averaged over about the last ten answers; 0 while
    /// it is unknown.
    average_latency_us: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl CircuitBreaker {
    /// Whether the target may be tried before healthy ones. If it is half-open, `true` is returned
    /// to one request alone, which then holds the probe.
    pub(crate) fn try_acquire(&self) -> bool {
        if self.consecutive_failures.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let now = store::now_micros();
        let probe = self.probe_until.load(Ordering::Relaxed);
        let may_probe = now >= probe && now >= self.open_until.load(Ordering::Relaxed);
        let until = saturating_add_micros(now, PROBE_TIMEOUT);
        may_probe && self.probe_until.compare_exchange(probe, until, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Records the time to the first token of an answer.
    pub(crate) fn record_latency(&self, latency: Duration) {
        let now = latency.as_micros().min(u128::from(u64::MAX / 16)) as u64;
        let before = self.average_latency_us.load(Ordering::Relaxed);
        let average = if before == 0 { now } else { (9 * before + now) / 10 };
        // Of two concurrent updates, one may be lost.
        self.average_latency_us.store(average.max(1), Ordering::Relaxed);
    }

    /// The average time to the first token, in microseconds; 0 while it is unknown.
    pub(crate) fn average_latency_us(&self) -> u64 {
        self.average_latency_us.load(Ordering::Relaxed)
    }

    /// Whether the target has not failed since its last success.
    pub(crate) fn is_closed(&self) -> bool {
        self.consecutive_failures.load(Ordering::Relaxed) == 0
    }

    /// Closes the breaker.
    pub(crate) fn record_success(&self) {
        self.consecutive_failures.store(0, Ordering::Relaxed);
        self.release_probe();
    }

    /// The reason of the last failure; `None` before the first failure.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().clone()
    }

    /// The time until which the target is avoided, in microseconds since 1970; `None` when it may
    /// be tried.
    pub(crate) fn retry_at(&self) -> Option<i64> {
        let open_until = self.open_until.load(Ordering::Relaxed);
        (!self.is_closed() && open_until > store::now_micros()).then_some(open_until)
    }

    /// Opens the breaker, for `retry_after` if the provider sent it. `reason` has no secrets.
    pub(crate) fn record_failure(&self, retry_after: Option<Duration>, reason: String) {
        *self.last_failure.lock() = Some(reason);
        let before = self.consecutive_failures.fetch_add(1, Ordering::Relaxed);
        let backoff = retry_after.unwrap_or_else(|| BASE_BACKOFF.saturating_mul(1 << before.min(10)).min(MAX_BACKOFF));
        self.open_until.store(saturating_add_micros(store::now_micros(), backoff), Ordering::Relaxed);
        self.release_probe();
    }

    /// Releases the probe of a request whose result says nothing about the target.
    pub(crate) fn release_probe(&self) {
        self.probe_until.store(0, Ordering::Relaxed);
    }
}

fn saturating_add_micros(time: i64, delay: Duration) -> i64 {
    time.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_one_request_probes() {
        let breaker = CircuitBreaker::default();
        assert!(breaker.try_acquire() && breaker.try_acquire());
        breaker.record_failure(Some(Duration::from_millis(20)), "slow down".into());
        assert!(!breaker.try_acquire());
        std::thread::sleep(Duration::from_millis(25));
        assert!(breaker.try_acquire() && !breaker.try_acquire(), "one probe at a time");
        // An unfinished probe is forgotten after a minute.
        breaker.probe_until.store(store::now_micros() - 1, Ordering::Relaxed);
        assert!(breaker.try_acquire() && !breaker.try_acquire());
        breaker.release_probe();
        assert!(breaker.try_acquire());
        breaker.record_success();
        assert!(breaker.try_acquire() && breaker.try_acquire());
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let breaker = CircuitBreaker::default();
        for _ in 0..40 {
            breaker.record_failure(None, "broken".into());
        }
        let pause = breaker.open_until.load(Ordering::Relaxed) - store::now_micros();
        assert!((59_000_000..=60_000_000).contains(&pause), "{pause}");
    }
}
