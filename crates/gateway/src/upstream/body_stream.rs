//! The body of a provider's response as it arrives: with an idle timeout, and without secrets.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use crate::redaction::Redactor;
use crate::upstream::deadline_timer::DeadlineTimer;
use crate::upstream::transport_error::{TransportError, error_chain};

/// The idle timeout of a body: before its first byte and between two reads. Providers send comments
/// while a request is queued.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// Chunks of a body as they arrive, redacted.
pub(crate) struct BodyStream {
    incoming: Incoming,
    last_received: Instant,
    /// The idle timeout in force: another one before the first byte than after it.
    time_limit: Duration,
    read_timeout: Duration,
    idle_timer: DeadlineTimer,
    redactor: Redactor,
    /// The result of the body, while the bytes that the redactor held back are sent.
    end: Option<Option<TransportError>>,
}

impl BodyStream {
    /// A body whose first byte is due within `first_byte_timeout` of `since`.
    pub(super) fn new(
        incoming: Incoming,
        since: Instant,
        first_byte_timeout: Duration,
        read_timeout: Duration,
    ) -> Self {
        Self {
            incoming,
            last_received: since,
            time_limit: first_byte_timeout,
            read_timeout,
            idle_timer: DeadlineTimer::default(),
            redactor: Redactor::new(),
            end: None,
        }
    }

    /// The same body without redaction, for a response that is itself a credential: a token service
    /// may return the token that it returned before, which is a registered secret.
    pub(super) fn without_redaction(self) -> Self {
        Self { redactor: Redactor::default(), ..self }
    }

    /// The next chunk before redaction.
    fn poll_raw(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.last_received = Instant::now();
                    self.time_limit = self.read_timeout;
                    // Trailers are ignored.
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(TransportError::Interrupted(error_chain(&error)))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let deadline = self.last_received + self.time_limit;
                    std::task::ready!(self.idle_timer.poll_until(deadline, context));
                    return Poll::Ready(Some(Err(TransportError::Timeout)));
                }
            }
        }
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(end) = &mut self.end {
                return Poll::Ready(end.take().map(Err));
            }
            let redacted = match std::task::ready!(self.poll_raw(context)) {
                Some(Ok(bytes)) => self.redactor.redact(bytes),
                Some(Err(failure)) => {
                    self.end = Some(Some(failure));
                    self.redactor.finish()
                }
                None => {
                    self.end = Some(None);
                    self.redactor.finish()
                }
            };
            if !redacted.is_empty() {
                return Poll::Ready(Some(Ok(redacted)));
            }
        }
    }
}
