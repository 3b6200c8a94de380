//! One line in the log for every request, written when its answer has ended, however it ended.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use chat::{Error, Usage};
use gateway::{Allowance, Caller, Holder};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::body::{Frame, SizeHint};

use crate::auth::Operator;

/// The headers that say what is left of a minute's requests and tokens (API document 0.3).
const RATES: [[&str; 3]; 2] = [
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
];

/// What is known so far of a request. Written when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Line(Arc<Inner>);

struct Inner {
    /// As the client was told, so that it can be asked about.
    id: HeaderValue,
    method: Method,
    path: String,
    started: Instant,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// `None`: the client left before it was answered.
    status: Option<StatusCode>,
    key: Option<Arc<str>>,
    holder: Option<Arc<Holder>>,
    model: Option<Arc<str>>,
    provider: Option<Arc<str>>,
    usage: Option<Usage>,
    failed: bool,
}

impl Line {
    pub(crate) fn begin(id: HeaderValue, method: &Method, path: &str) -> Self {
        let path = path.chars().take(128).collect();
        Self(Arc::new(Inner { id, method: method.clone(), path, started: Instant::now(), known: Mutex::default() }))
    }

    /// The id of the request.
    pub(crate) fn id(&self) -> &str {
        self.0.id()
    }

    pub(crate) fn status(&self, status: StatusCode) {
        self.known().status = Some(status);
    }

    pub(crate) fn caller(&self, caller: &Caller) {
        let mut known = self.known();
        known.key.clone_from(&caller.key);
        known.holder.clone_from(&caller.holder);
    }

    pub(crate) fn operator(&self, operator: &Operator) {
        self.known().key = Some(operator.name.clone());
    }

    pub(crate) fn model(&self, model: &Arc<str>) {
        self.known().model = Some(model.clone());
    }

    /// Who answers. Until then, somebody else may.
    pub(crate) fn provider(&self, provider: &Arc<str>) {
        self.known().provider = Some(provider.clone());
    }

    pub(crate) fn usage(&self, usage: Usage) {
        self.known().usage = Some(usage);
    }

    /// What the headers of the response say of its caller and its provider.
    pub(crate) fn tell(&self, expose_provider: bool, headers: &mut HeaderMap) {
        let known = self.known();
        if let Some(holder) = &known.holder {
            for (names, allowance) in RATES.iter().zip(holder.allowances()) {
                let Some(Allowance { limit, remaining, full }) = allowance else { continue };
                let [limit_name, remaining_name, reset_name] = names;
                headers.insert(*limit_name, HeaderValue::from(limit));
                headers.insert(*remaining_name, HeaderValue::from(remaining));
                headers.insert(*reset_name, HeaderValue::try_from(span(full)).expect("digits and letters"));
            }
        }
        // A name that is no header value is not told.
        let provider = known.provider.as_ref().filter(|_| expose_provider);
        if let Some(Ok(provider)) = provider.map(|provider| HeaderValue::try_from(&**provider)) {
            headers.insert("x-gateway-provider", provider);
        }
    }

    /// The answer broke after its status had been sent.
    pub(crate) fn failed(&self, error: &Error) {
        self.known().failed = true;
        tracing::warn!(id = self.0.id(), error = error.message, "an answer failed midway");
    }

    /// Keeps the line open until `body` is sent or dropped.
    pub(crate) fn until_the_end_of(self, body: Body) -> Body {
        Body::new(Logged { body, _line: self })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Plain fields are whole even when a holder panicked.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let known = std::mem::take(self.known.get_mut().unwrap_or_else(PoisonError::into_inner));
        tracing::info!(
            id = self.id(),
            method = %self.method,
            path = self.path,
            status = known.status.map(|status| status.as_u16()),
            failed = known.failed.then_some(true),
            key = known.key.as_deref(),
            model = known.model.as_deref(),
            provider = known.provider.as_deref(),
            prompt_tokens = known.usage.map(|usage| usage.prompt_tokens),
            completion_tokens = known.usage.map(|usage| usage.completion_tokens),
            ms = self.started.elapsed().as_millis() as u64,
            "request"
        );
    }
}

/// A duration as Go writes it and OpenAI's service says it: `6m0s`, `1.5s`, `20ms`. Milliseconds, rounded up.
fn span(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    let (minutes, seconds, millis) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    let fraction = format!(".{millis:03}").trim_end_matches(['0', '.']).to_owned();
    match (minutes, seconds) {
        (0, 0) if millis > 0 => format!("{millis}ms"),
        (0, _) => format!("{seconds}{fraction}s"),
        (..60, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{}h{}m{seconds}{fraction}s", minutes / 60, minutes % 60),
    }
}

struct Logged {
    body: Body,
    _line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        let millis = |millis| span(Duration::from_millis(millis));
        assert_eq!([millis(0), millis(20), millis(1000), millis(1500)], ["0s", "20ms", "1s", "1.5s"]);
        assert_eq!([millis(59_999), millis(360_000), millis(3_661_010)], ["59.999s", "6m0s", "1h1m1.01s"]);
        assert_eq!(span(Duration::from_nanos(1)), "1ms");
    }
}
