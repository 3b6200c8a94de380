//! Whether a provider has been answering for one model lately.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// After the first failure in a row, and doubled with each further one.
const COOL: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// How long one request may try it. It may never come to that: admission or another provider may end it before.
const PROBE: Duration = Duration::from_secs(60);

/// Of one provider and model. After failures it cools down; then one request at a time may try it (half-open), until one
/// succeeds.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// In a row.
    failures: AtomicU32,
    /// Microseconds since 1970.
    cool_until: AtomicI64,
    probe_until: AtomicI64,
    /// Until the first word, in microseconds, averaged over about the last ten; 0 while nothing is known.
    latency: AtomicU64,
}

impl Health {
    /// Whether to try it before others that work. A yes after failures is given to one request alone.
    pub(crate) fn usable(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let (now, probe) = (store::now(), self.probe_until.load(Ordering::Relaxed));
        let free = now >= probe && now >= self.cool_until.load(Ordering::Relaxed);
        let until = after(now, PROBE);
        free && self.probe_until.compare_exchange(probe, until, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Its first word took so long.
    pub(crate) fn took(&self, time: Duration) {
        let now = time.as_micros().min(u128::from(u64::MAX / 16)) as u64;
        let before = self.latency.load(Ordering::Relaxed);
        let average = if before == 0 { now } else { (9 * before + now) / 10 };
        // Of two that end at once, one is forgotten.
        self.latency.store(average.max(1), Ordering::Relaxed);
    }

    /// How long its first word takes, in microseconds; 0 while nothing is known.
    pub(crate) fn latency(&self) -> u64 {
        self.latency.load(Ordering::Relaxed)
    }

    /// It has not failed since it last answered.
    pub(crate) fn works(&self) -> bool {
        self.failures.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn worked(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.unknown();
    }

    /// `retry_after` is what the provider asked for.
    pub(crate) fn failed(&self, retry_after: Option<Duration>) {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = retry_after.unwrap_or_else(|| COOL.saturating_mul(1 << before.min(10)).min(LONGEST));
        self.cool_until.store(after(store::now(), pause), Ordering::Relaxed);
        self.unknown();
    }

    /// The request that tried it ended without telling anything of it.
    pub(crate) fn unknown(&self) {
        self.probe_until.store(0, Ordering::Relaxed);
    }
}

fn after(time: i64, pause: Duration) -> i64 {
    time.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_one_request_tries_again() {
        let health = Health::default();
        assert!(health.usable() && health.usable());
        health.failed(Some(Duration::from_millis(20)));
        assert!(!health.usable());
        std::thread::sleep(Duration::from_millis(25));
        assert!(health.usable() && !health.usable(), "one probe at a time");
        // A probe that never reported back is forgotten after a minute.
        health.probe_until.store(store::now() - 1, Ordering::Relaxed);
        assert!(health.usable() && !health.usable());
        health.unknown();
        assert!(health.usable());
        health.worked();
        assert!(health.usable() && health.usable());
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let health = Health::default();
        for _ in 0..40 {
            health.failed(None);
        }
        let pause = health.cool_until.load(Ordering::Relaxed) - store::now();
        assert!((59_000_000..=60_000_000).contains(&pause), "{pause}");
    }
}
