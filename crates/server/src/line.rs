//! One line in the log for every request, written when its answer has ended, however it ended.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use chat::{Error, Usage};
use gateway::Caller;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::{Frame, SizeHint};

use crate::auth::Operator;

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
    model: Option<Arc<str>>,
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
        self.known().key.clone_from(&caller.key);
    }

    pub(crate) fn operator(&self, operator: &Operator) {
        self.known().key = Some(operator.name.clone());
    }

    pub(crate) fn model(&self, model: &Arc<str>) {
        self.known().model = Some(model.clone());
    }

    pub(crate) fn usage(&self, usage: Usage) {
        self.known().usage = Some(usage);
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
            prompt_tokens = known.usage.map(|usage| usage.prompt_tokens),
            completion_tokens = known.usage.map(|usage| usage.completion_tokens),
            ms = self.started.elapsed().as_millis() as u64,
            "request"
        );
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
