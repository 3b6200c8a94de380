//! Reads the rest of a request body that the server has responded to early, so that the client
//! receives the response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};

/// The maximum number of bytes of a body that are read and discarded.
const MAX_DRAIN_BYTES: usize = 128 << 20;
/// The time limit for reading them.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A request body whose unread rest is discarded in the background when it is dropped, up to
/// [`MAX_DRAIN_BYTES`] and [`DRAIN_TIMEOUT`]. It must be dropped within a Tokio runtime.
///
/// A connection that is closed with unread bytes is reset. The reset can overtake the response, so
/// the client of a refused request might not receive its status.
pub(crate) struct DrainOnDrop(Option<Incoming>);

impl DrainOnDrop {
    /// Wraps `body` in the body type of axum.
    pub(crate) fn wrap(body: Incoming) -> Body {
        Body::new(Self(Some(body)))
    }
}

impl HttpBody for DrainOnDrop {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        let drain = async move {
            let mut left = MAX_DRAIN_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(remaining) = left.checked_sub(length) else { break };
                left = remaining;
            }
        };
        tokio::spawn(tokio::time::timeout(DRAIN_TIMEOUT, drain));
    }
}
