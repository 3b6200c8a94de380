//! The delay that a provider's headers ask for before the next request.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use wire::upstream::parse_delay;

/// The longest delay that is taken.
const MAX_DELAY: Duration = Duration::from_secs(86_400);
/// OpenAI's and Groq's headers of limits: what is left, and the time until the limit is full again.
const LIMITS: [(&str, &str); 2] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
];

/// The delay in the headers of a response at `now`: `retry-after-ms`, `retry-after` in seconds or
/// as a date, or the reset of a limit that is used up.
pub(super) fn parse_retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let milliseconds = || text("retry-after-ms").and_then(seconds).map(|delay| delay / 1000);
    let standard = || {
        let text = text(RETRY_AFTER.as_str())?;
        // A date in the past is now.
        let until = |date: SystemTime| date.duration_since(now).unwrap_or_default();
        seconds(text).or_else(|| httpdate::parse_http_date(text).ok().map(until))
    };
    let resets = || {
        let used_up = LIMITS.iter().filter(|(remaining, _)| text(remaining) == Some("0"));
        used_up.filter_map(|(_, reset)| parse_delay(text(reset)?)).max()
    };
    milliseconds().or_else(standard).or_else(resets).filter(|delay| *delay <= MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn delays_are_read_in_every_spelling() {
        let now = UNIX_EPOCH + Duration::from_secs(1_764_547_200);
        let delay = |pairs: &[(&'static str, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            parse_retry_after(&pairs.collect(), now).map(|delay| delay.as_millis())
        };
        assert_eq!(delay(&[("retry-after", "17")]), Some(17_000));
        assert_eq!(delay(&[("retry-after", "0.5")]), Some(500));
        assert_eq!(delay(&[("retry-after", "1"), ("retry-after-ms", "250")]), Some(250));
        assert_eq!(delay(&[("retry-after", "Mon, 01 Dec 2025 00:01:30 GMT")]), Some(90_000));
        assert_eq!(delay(&[("retry-after", "Sun, 30 Nov 2025 00:01:30 GMT")]), Some(0));
        let groq = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1m7.5s")];
        assert_eq!(delay(&groq), Some(67_500));
        let unused = [("x-ratelimit-remaining-requests", "9"), ("x-ratelimit-reset-requests", "6m0s")];
        assert_eq!(delay(&unused), None);
        for other in ["soon", "-1", "1e9", ""] {
            assert_eq!(delay(&[("retry-after", other)]), None, "{other}");
        }
    }
}
