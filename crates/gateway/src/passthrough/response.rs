//! The response of a request that is passed through: its bytes are forwarded and scanned for usage.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use chat::{Error, Usage};
use futures_core::Stream;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::header::HeaderValue;
use wire::passthrough::usage_scanner::SseScanner;

use crate::billing::request_meter::RequestMeter;
use crate::memory::inflight_budget::{MemoryReservation, RequestMemory};
use crate::offload::offload;
use crate::passthrough::first_bytes::{RemainingBody, UpstreamReply};
use crate::routing::active_requests::ActiveRequestGuard;
use crate::routing::failover::record_stream_failure;
use crate::routing::selected_target::SelectedTarget;
use crate::upstream::body_stream::BodyStream;
use crate::upstream::error::{answer_memory_error, redact_error, transport_error};

/// A partial event is charged to its request when it has more bytes than this, and a line is
/// scanned off thread when it has more than that.
const UNCHARGED_EVENT_BYTES: usize = 64 << 10;
const OFFLOAD_LINE_BYTES: usize = 256 << 10;

/// A scan off thread: the scanner, the bytes it has scanned, and their replacement.
type OffloadedScan = BoxFuture<'static, Result<(Box<SseScanner>, Bytes, Option<Vec<u8>>), Error>>;

/// An answer as its provider sends it. Dropping it cancels the request. In any case it is
/// metered once.
pub struct PassthroughResponse {
    /// The first bytes, which are scanned.
    first_bytes: Option<Bytes>,
    /// Further bytes; `None` for a whole answer.
    chunks: Option<BodyStream>,
    scanner: Box<SseScanner>,
    /// The failure that follows the bytes before it.
    failure: Option<Error>,
    meter: RequestMeter,
    memory: RequestMemory,
    /// The memory of a partial event.
    event_memory: MemoryReservation,
    /// The scan of a long line, while it runs.
    offloaded_scan: Option<OffloadedScan>,
    selected: SelectedTarget,
    ended: bool,
    _active: ActiveRequestGuard,
    /// `text/event-stream`, or the provider's content type.
    pub content_type: HeaderValue,
}

impl PassthroughResponse {
    /// The response whose first bytes are `reply`.
    pub(super) fn new(
        reply: UpstreamReply,
        mut meter: RequestMeter,
        memory: RequestMemory,
        selected: SelectedTarget,
        active: ActiveRequestGuard,
    ) -> Self {
        let UpstreamReply { content_type, first_bytes, rest } = reply;
        let (chunks, scanner) = match rest {
            RemainingBody::Stream(chunks, scanner) => {
                meter.observe(scanner.progress());
                (Some(chunks), scanner)
            }
            RemainingBody::Complete(progress) => {
                meter.observe(&progress);
                (None, Box::default())
            }
        };
        Self {
            first_bytes: Some(first_bytes),
            chunks,
            failure: failure_to_report(&scanner),
            scanner,
            meter,
            event_memory: memory.empty_reservation(),
            memory,
            offloaded_scan: None,
            selected,
            ended: false,
            _active: active,
            content_type,
        }
    }

    /// Returns the whole body of an answer that is not a stream of events, and its usage.
    pub fn into_whole(mut self) -> (Bytes, Option<Usage>) {
        (self.first_bytes.take().unwrap_or_default(), self.meter.usage())
    }

    /// The provider that answers.
    pub fn provider(&self) -> &Arc<str> {
        self.selected.provider()
    }

    /// The usage, once the provider has reported it.
    pub fn usage(&self) -> Option<Usage> {
        self.meter.usage()
    }

    /// Scans a chunk, and returns the bytes to forward; `None` while it is scanned off thread.
    ///
    /// # Errors
    /// `Upstream` when the provider has exceeded a limit.
    fn scan_bytes(&mut self, bytes: Bytes) -> Option<Result<Bytes, Error>> {
        let line_bytes = self.scanner.buffered_bytes() + bytes.len();
        if line_bytes <= OFFLOAD_LINE_BYTES || memchr::memchr(b'\n', &bytes).is_none() {
            let replacement = self.scanner.feed(&bytes);
            return Some(self.scanned(bytes, replacement));
        }
        let mut scanner = std::mem::take(&mut self.scanner);
        let memory = self.memory.clone();
        self.offloaded_scan = Some(Box::pin(async move {
            let scan = move || {
                let replacement = scanner.feed(&bytes);
                Ok((scanner, bytes, replacement))
            };
            offload(&memory, line_bytes, scan).await
        }));
        None
    }

    /// Meters a scanned chunk, and returns the bytes to forward.
    fn scanned(&mut self, bytes: Bytes, replacement: Option<Vec<u8>>) -> Result<Bytes, Error> {
        self.meter.observe(self.scanner.progress());
        if let Some(exceeded) = self.scanner.exceeded {
            return Err(exceeded.to_error(self.provider()));
        }
        let charged = Some(self.scanner.buffered_bytes()).filter(|bytes| *bytes > UNCHARGED_EVENT_BYTES).unwrap_or(0);
        self.event_memory.resize(charged).map_err(|error| answer_memory_error(error, self.selected.provider()))?;
        self.failure = failure_to_report(&self.scanner);
        Ok(replacement.map_or(bytes, Bytes::from))
    }

    /// Returns the bytes that the scanner held back.
    fn finish_scan(&mut self) -> Bytes {
        let (rest, ended) = self.scanner.finish();
        self.meter.observe(self.scanner.progress());
        // The caller has received a failure that an event reports.
        self.failure = ended.err().filter(|_| self.scanner.progress().failure.is_none());
        rest.into()
    }
}

/// The failure that ends a stream and that none of its events reports: the caller cannot read an
/// event that the scanner could not.
fn failure_to_report(scanner: &SseScanner) -> Option<Error> {
    scanner.progress().failure.clone().filter(|_| !scanner.progress().is_failure_reported()).map(redact_error)
}

/// The bytes of the events.
impl Stream for PassthroughResponse {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let item = if let Some(offloaded_scan) = &mut self.offloaded_scan {
                let scan_result = std::task::ready!(offloaded_scan.as_mut().poll(context));
                self.offloaded_scan = None;
                scan_result.and_then(|(scanner, bytes, replacement)| {
                    self.scanner = scanner;
                    self.scanned(bytes, replacement)
                })
            } else if let Some(first) = self.first_bytes.take() {
                Ok(first)
            } else if let Some(failure) = self.failure.take() {
                Err(failure)
            } else {
                let next = match &mut self.chunks {
                    Some(chunks) => std::task::ready!(chunks.poll_next_unpin(context)),
                    None => None,
                };
                match next {
                    Some(Ok(bytes)) => match self.scan_bytes(bytes) {
                        Some(item) => item,
                        None => continue,
                    },
                    Some(Err(error)) => Err(transport_error(self.provider(), &error)),
                    None => {
                        self.chunks = None;
                        let rest = self.finish_scan();
                        self.ended = self.failure.is_none();
                        Ok(rest)
                    }
                }
            };
            if let Err(error) = &item {
                self.ended = true;
                record_stream_failure(&self.selected.current().breaker, error);
            }
            match self.meter.record_error(item) {
                Ok(bytes) if bytes.is_empty() => {}
                other => return Poll::Ready(Some(other)),
            }
        }
    }
}
