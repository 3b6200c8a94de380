//! One line in the log for every request, and its span, written when its answer has ended, however it ended.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use chat::{Error, Usage};
use gateway::{ApiKey, Caller, RateStatus};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::{Frame, SizeHint};

use crate::auth::Operator;
use crate::trace::Trace;

/// The headers that say what is left of a minute's requests and tokens (API document 0.3).
static RATES: [[HeaderName; 3]; 2] = [
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

/// What is known so far of a request. Written when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Line(Arc<Inner>);

struct Inner {
    /// As the client was told, so that it can be asked about.
    id: HeaderValue,
    /// The address of the client.
    peer: SocketAddr,
    method: Method,
    path: String,
    started: Instant,
    trace: Option<Trace>,
    known: Mutex<Known>,
}

/// What has become of it.
#[derive(Default)]
pub(crate) struct Known {
    /// `None`: the client left before it was answered.
    pub(crate) status: Option<StatusCode>,
    pub(crate) key: Option<Arc<str>>,
    holder: Option<Arc<ApiKey>>,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) provider: Option<Arc<str>>,
    pub(crate) usage: Option<Usage>,
    /// From the request to the first words of a stream.
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) failed: bool,
}

impl Line {
    pub(crate) fn begin(id: HeaderValue, peer: SocketAddr, method: &Method, path: &str, trace: Option<Trace>) -> Self {
        let path = path[..path.floor_char_boundary(128)].to_owned();
        Self(Arc::new(Inner {
            id,
            peer,
            method: method.clone(),
            path,
            started: Instant::now(),
            trace,
            known: Mutex::default(),
        }))
    }

    /// The id of the request.
    pub(crate) fn id(&self) -> &str {
        self.0.id()
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// What those are told who are asked on its behalf: the `traceparent` of its span.
    pub(crate) fn trace(&self) -> Option<String> {
        self.0.trace.as_ref().map(Trace::parent)
    }

    pub(crate) fn status(&self, status: StatusCode) {
        self.known().status = Some(status);
    }

    pub(crate) fn caller(&self, caller: &Caller) {
        let mut known = self.known();
        known.key.clone_from(&caller.key_name);
        known.holder.clone_from(&caller.api_key);
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

    /// The first words of a stream came.
    pub(crate) fn first_chunk(&self) {
        self.known().first_chunk = Some(self.0.started.elapsed());
    }

    pub(crate) fn usage(&self, usage: Usage) {
        self.known().usage = Some(usage);
    }

    /// What the headers of the response say of its caller and its provider.
    pub(crate) fn tell(&self, expose_provider: bool, headers: &mut HeaderMap) {
        let known = self.known();
        // Without limits nothing is written.
        let mut text = BytesMut::with_capacity(if known.holder.is_some() { 96 } else { 0 });
        let mut value = |value: fmt::Arguments<'_>| {
            text.write_fmt(value).expect("bytes grow");
            HeaderValue::from_maybe_shared(text.split().freeze()).expect("digits and letters")
        };
        let allowances = known.holder.as_ref().map(|holder| holder.rate_statuses()).unwrap_or_default();
        for (names, allowance) in RATES.iter().zip(allowances) {
            let Some(RateStatus { limit, remaining, reset_after: full }) = allowance else { continue };
            let values = [
                value(format_args!("{limit}")),
                value(format_args!("{remaining}")),
                value(format_args!("{}", Span(full))),
            ];
            headers.extend(names.iter().cloned().zip(values));
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

/// The name of a method, of which clients may make up any. Names are ASCII.
pub(crate) fn method(method: &Method) -> &str {
    const MOST: usize = 32;
    let name = method.as_str();
    name.get(..MOST).unwrap_or(name)
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
            method = method(&self.method),
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
        if let Some(trace) = self.trace.take() {
            trace.end(method(&self.method), &self.path, self.id(), self.peer, &known);
        }
    }
}

/// A duration as Go writes it and OpenAI's service says it: `6m0s`, `1.5s`, `20ms`. Milliseconds, rounded up.
struct Span(Duration);

impl fmt::Display for Span {
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
        let millis = |millis| Span(Duration::from_millis(millis)).to_string();
        assert_eq!([millis(0), millis(20), millis(1000), millis(1500)], ["0s", "20ms", "1s", "1.5s"]);
        assert_eq!([millis(59_999), millis(360_000), millis(3_661_010)], ["59.999s", "6m0s", "1h1m1.01s"]);
        assert_eq!(Span(Duration::from_nanos(1)).to_string(), "1ms");
    }
}
