//! Repeated requests: after a transient failure with growing pauses, and after a rate limit when
//! the hub says so.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::Error;

/// The number of attempts and the pauses between them.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts in a row that may fail without a byte received.
    pub attempts: u32,
    /// The pause after the first failure; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause, and the longest that a hub may ask for.
    pub longest_pause: Duration,
    pub longest_rate_limit: Duration,
}

impl Default for RetryPolicy {
    /// Eight attempts within about half a minute. A rate limit of the hub applies for five minutes.
    fn default() -> Self {
        Self {
            attempts: 8,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(20),
            longest_rate_limit: Duration::from_secs(330),
        }
    }
}

impl RetryPolicy {
    /// The pause after `failures` failures in a row; `None` when the attempts are used up.
    pub(crate) fn pause(&self, failures: u32) -> Option<Duration> {
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(20));
        (failures < self.attempts).then_some(doubled.min(self.longest_pause))
    }
}

/// The failures in a row of one request.
#[derive(Debug)]
pub(crate) struct Retries {
    policy: RetryPolicy,
    failures: u32,
}

impl Retries {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Begins to count anew, because bytes have arrived.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause before the next attempt.
    ///
    /// # Errors
    /// The failure itself, if it is final or the attempts are used up.
    pub(crate) fn pause_after(&mut self, failure: Error) -> Result<Duration, Error> {
        self.failures += 1;
        let pause = self.policy.pause(self.failures);
        match (&failure, pause) {
            (Error::RateLimited { seconds, .. }, Some(pause)) => {
                let asked = Duration::from_secs(*seconds);
                if asked <= self.policy.longest_rate_limit { Ok(asked.max(pause)) } else { Err(failure) }
            }
            (_, Some(pause)) if failure.is_transient() => Ok(pause),
            _ => Err(failure),
        }
    }
}

/// The seconds until the next request is allowed, from `Retry-After`, or from the `t` of the hub's
/// `RateLimit` header.
pub(crate) fn rate_limit_seconds(headers: &HeaderMap) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let reset = || text("ratelimit")?.split(';').find_map(|field| field.trim().strip_prefix("t=")?.parse().ok());
    text(RETRY_AFTER.as_str()).and_then(|seconds| seconds.trim().parse().ok()).or_else(reset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_attempts_end() {
        let policy = RetryPolicy::default();
        let pauses: Vec<_> = (1..=8).map(|failures| policy.pause(failures)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(pauses, [ms(250), ms(500), ms(1000), ms(2000), ms(4000), ms(8000), ms(16_000), None]);
        assert_eq!(RetryPolicy { attempts: 99, ..policy }.pause(40), ms(20_000));
    }

    #[test]
    fn the_hub_says_how_long_to_wait() {
        let seconds = |name: &'static str, value: &'static str| {
            rate_limit_seconds(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]))
        };
        assert_eq!(seconds("retry-after", "17"), Some(17));
        assert_eq!(seconds("ratelimit", "\"api\";r=0;t=55"), Some(55));
        assert_eq!(seconds("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(seconds("x-other", "1"), None);
    }
}
