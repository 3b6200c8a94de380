//! The `x-ratelimit-*` headers of a response.

use std::fmt::{self, Write};
use std::time::Duration;

use bytes::BytesMut;
use gateway::{ApiKey, RateStatus};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The names for requests and for tokens per minute (docs/api.md 0.3).
static RATE_LIMIT_HEADERS: [[HeaderName; 3]; 2] = [
    [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ],
    [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ],
];

/// Adds the headers for the limits that `api_key` has.
pub(crate) fn write(api_key: &ApiKey, headers: &mut HeaderMap) {
    let mut text = BytesMut::with_capacity(96);
    let mut value = |value: fmt::Arguments<'_>| {
        text.write_fmt(value).expect("bytes grow");
        HeaderValue::from_maybe_shared(text.split().freeze()).expect("digits and letters")
    };
    for (names, status) in RATE_LIMIT_HEADERS.iter().zip(api_key.rate_statuses()) {
        let Some(RateStatus { limit, remaining, reset_after }) = status else { continue };
        let values = [
            value(format_args!("{limit}")),
            value(format_args!("{remaining}")),
            value(format_args!("{}", GoDuration(reset_after))),
        ];
        headers.extend(names.iter().cloned().zip(values));
    }
}

/// A duration in Go's format, which OpenAI's service uses: `6m0s`, `1.5s`, `20ms`. Rounded up to
/// milliseconds.
struct GoDuration(Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_nanos().div_ceil(1_000_000) as u64;
        let (minutes, seconds, millis) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
        match (minutes, seconds) {
            (0, 0) if millis > 0 => return write!(f, "{millis}ms"),
            (0, _) => write!(f, "{seconds}")?,
            (..60, _) => write!(f, "{minutes}m{seconds}")?,
            _ => write!(f, "{}h{}m{seconds}", minutes / 60, minutes % 60)?,
        }
        match millis {
            0 => f.write_str("s"),
            _ if millis % 100 == 0 => write!(f, ".{}s", millis / 100),
            _ if millis % 10 == 0 => write!(f, ".{:02}s", millis / 10),
            _ => write!(f, ".{millis:03}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_format_of_go() {
        let millis = |millis| GoDuration(Duration::from_millis(millis)).to_string();
        assert_eq!([millis(0), millis(20), millis(1000), millis(1500)], ["0s", "20ms", "1s", "1.5s"]);
        assert_eq!([millis(59_999), millis(360_000), millis(3_661_010)], ["59.999s", "6m0s", "1h1m1.01s"]);
        assert_eq!(GoDuration(Duration::from_nanos(1)).to_string(), "1ms");
    }
}
