//! Whether a provider has been answering for one model lately.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// After the first failure in a row, and doubled with each further one.
const BASE_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// How long one request may try it. It may never come to that: admission or another provider
/// may end it before.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);

/// Of one provider and model. After failures it cools down; then one request at a time may try it
/// (half-open), until one succeeds.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker {
    /// In a row.
    consecutive_failures: AtomicU32,
    /// Microseconds since 1970.
    open_until: AtomicI64,
    probe_until: AtomicI64,
    /// Until the first word, in microseconds, averaged over about the last ten; 0 while
    /// nothing is known.
    average_latency_us: AtomicU64,
}

impl CircuitBreaker {
    /// Whether to try it before others that work. A yes after failures is given to
    /// one request alone.
    pub(crate) fn try_acquire(&self) -> bool {
        if self.consecutive_failures.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let (now, probe) = (store::now_micros(), self.probe_until.load(Ordering::Relaxed));
        let may_probe = now >= probe && now >= self.open_until.load(Ordering::Relaxed);
        let until = saturating_add_micros(now, PROBE_TIMEOUT);
        may_probe && self.probe_until.compare_exchange(probe, until, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Its first word took so long.
    pub(crate) fn record_latency(&self, latency: Duration) {
        let now = latency.as_micros().min(u128::from(u64::MAX / 16)) as u64;
        let before = self.average_latency_us.load(Ordering::Relaxed);
        let average = if before == 0 { now } else { (9 * before + now) / 10 };
        // Of two that end at once, one is forgotten.
        self.average_latency_us.store(average.max(1), Ordering::Relaxed);
    }

    /// How long its first word takes, in microseconds; 0 while nothing is known.
    pub(crate) fn average_latency_us(&self) -> u64 {
        self.average_latency_us.load(Ordering::Relaxed)
    }

    /// It has not failed since it last answered.
    pub(crate) fn is_closed(&self) -> bool {
        self.consecutive_failures.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn record_success(&self) {
        self.consecutive_failures.store(0, Ordering::Relaxed);
        self.release_probe();
    }

    /// `retry_after` is what the provider asked for.
    pub(crate) fn record_failure(&self, retry_after: Option<Duration>) {
        let before = self.consecutive_failures.fetch_add(1, Ordering::Relaxed);
        let backoff = retry_after.unwrap_or_else(|| BASE_BACKOFF.saturating_mul(1 << before.min(10)).min(MAX_BACKOFF));
        self.open_until.store(saturating_add_micros(store::now_micros(), backoff), Ordering::Relaxed);
        self.release_probe();
    }

    /// The request that tried it ended without telling anything of it.
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
    fn after_a_pause_one_request_tries_again() {
        let breaker = CircuitBreaker::default();
        assert!(breaker.try_acquire() && breaker.try_acquire());
        breaker.record_failure(Some(Duration::from_millis(20)));
        assert!(!breaker.try_acquire());
        std::thread::sleep(Duration::from_millis(25));
        assert!(breaker.try_acquire() && !breaker.try_acquire(), "one probe at a time");
        // A probe that never reported back is forgotten after a minute.
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
            breaker.record_failure(None);
        }
        let pause = breaker.open_until.load(Ordering::Relaxed) - store::now_micros();
        assert!((59_000_000..=60_000_000).contains(&pause), "{pause}");
    }
}
