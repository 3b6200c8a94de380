//! The access log: one line for every request, and its span, written when its response has ended.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use chat::{Error, Usage};
use gateway::{Caller, RequestId};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::body::{Frame, SizeHint};
use parking_lot::{Mutex, MutexGuard};

use crate::operator::Operator;
use crate::ratelimit_headers;
use crate::request_outcome::RequestOutcome;
use crate::request_span::RequestSpan;

/// The log entry of a request. Clones share it; it is written when the last one is dropped.
#[derive(Clone)]
pub(crate) struct RequestLog(Arc<RequestContext>);

/// The request, its span, and its outcome so far.
struct RequestContext {
    /// The request id, which the client receives too.
    id: Arc<RequestId>,
    client_addr: SocketAddr,
    method: Method,
    path: String,
    started: Instant,
    span: Option<RequestSpan>,
    outcome: Mutex<RequestOutcome>,
}

impl RequestLog {
    /// Starts the entry of a request. Long paths are shortened.
    pub(crate) fn start(
        id: Arc<RequestId>,
        client_addr: SocketAddr,
        method: &Method,
        path: &str,
        span: Option<RequestSpan>,
    ) -> Self {
        let path = path[..path.floor_char_boundary(128)].to_owned();
        Self(Arc::new(RequestContext {
            id,
            client_addr,
            method: method.clone(),
            path,
            started: Instant::now(),
            span,
            outcome: Mutex::default(),
        }))
    }

    /// The request id.
    pub(crate) fn id(&self) -> &str {
        self.0.id.as_str()
    }

    /// The request id, for usage records.
    pub(crate) fn request_id(&self) -> Arc<RequestId> {
        self.0.id.clone()
    }

    /// The caller of a model; `None` for other requests.
    pub(crate) fn caller(&self) -> Option<Caller> {
        self.outcome().caller.clone()
    }

    pub(crate) fn method(&self) -> &Method {
        &self.0.method
    }

    pub(crate) fn client_addr(&self) -> SocketAddr {
        self.0.client_addr
    }

    /// The `traceparent` of its span, for requests to providers.
    pub(crate) fn traceparent(&self) -> Option<String> {
        self.0.span.as_ref().map(RequestSpan::traceparent)
    }

    pub(crate) fn set_status(&self, status: StatusCode) {
        self.outcome().status = Some(status);
    }

    pub(crate) fn set_caller(&self, caller: &Caller) {
        let mut outcome = self.outcome();
        outcome.key.clone_from(&caller.key_name);
        outcome.caller = Some(caller.clone());
    }

    pub(crate) fn set_operator(&self, operator: &Operator) {
        self.outcome().key = Some(operator.name.clone());
    }

    pub(crate) fn set_model(&self, model: &Arc<str>) {
        self.outcome().model = Some(model.clone());
    }

    /// Sets the provider, once failover cannot choose another.
    pub(crate) fn set_provider(&self, provider: &Arc<str>) {
        self.outcome().provider = Some(provider.clone());
    }

    /// Records the time of the first content of a stream.
    pub(crate) fn record_first_chunk(&self) {
        self.outcome().time_to_first_chunk = Some(self.0.started.elapsed());
    }

    pub(crate) fn set_usage(&self, usage: Usage) {
        self.outcome().usage = Some(usage);
    }

    /// Adds the headers about the limits of the caller, and about the provider if
    /// `expose_provider`.
    pub(crate) fn add_response_headers(&self, expose_provider: bool, headers: &mut HeaderMap) {
        let outcome = self.outcome();
        if let Some(api_key) = outcome.caller.as_ref().and_then(|caller| caller.api_key.as_ref()) {
            ratelimit_headers::write(api_key, headers);
        }
        // A name that is not a valid header value is left out.
        let provider = outcome.provider.as_ref().filter(|_| expose_provider);
        if let Some(Ok(provider)) = provider.map(|provider| HeaderValue::try_from(&**provider)) {
            headers.insert("x-gateway-provider", provider);
        }
    }

    /// Records that the response broke after its headers were sent.
    pub(crate) fn record_failure(&self, error: &Error) {
        self.outcome().failed = true;
        tracing::warn!(id = self.id(), error = error.message, "response failed after its headers were sent");
    }

    /// Keeps the entry open until `body` is sent or dropped.
    pub(crate) fn log_when_sent(self, body: Body) -> Body {
        Body::new(LoggedBody { body, _log: self })
    }

    fn outcome(&self) -> MutexGuard<'_, RequestOutcome> {
        self.0.outcome.lock()
    }
}

/// The name of a method, shortened: clients may send any name. Names are ASCII.
pub(crate) fn method_name(method: &Method) -> &str {
    const MAX_LEN: usize = 32;
    let name = method.as_str();
    name.get(..MAX_LEN).unwrap_or(name)
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        let outcome = std::mem::take(self.outcome.get_mut());
        tracing::info!(
            id = self.id.as_str(),
            method = method_name(&self.method),
            path = self.path,
            status = outcome.status.map(|status| status.as_u16()),
            failed = outcome.failed.then_some(true),
            key = outcome.key.as_deref(),
            model = outcome.model.as_deref(),
            provider = outcome.provider.as_deref(),
            prompt_tokens = outcome.usage.map(|usage| usage.prompt_tokens),
            completion_tokens = outcome.usage.map(|usage| usage.completion_tokens),
            ms = self.started.elapsed().as_millis() as u64,
            "request"
        );
        if let Some(span) = self.span.take() {
            span.end(method_name(&self.method), &self.path, self.id.as_str(), self.client_addr, &outcome);
        }
    }
}

/// A response body that keeps its log entry open.
struct LoggedBody {
    body: Body,
    _log: RequestLog,
}

impl HttpBody for LoggedBody {
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
