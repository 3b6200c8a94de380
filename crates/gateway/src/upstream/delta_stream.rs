//! The answer of a remote provider as it arrives: parses its events into deltas.

use std::collections::VecDeque;
use std::sync::Arc;

use chat::{BoxDeltaStream, Delta, Error, TokenLogprob};
use futures_util::{StreamExt, stream};
use wire::event_stream::FrameParser;
use wire::progress::{AnswerProgress, is_whole_event};
use wire::provider_limits::{MAX_EMPTY_EVENTS, MAX_RESPONSE_BYTES, ProviderLimitExceeded, check_event_values};
use wire::sse::SseFrame;
use wire::upstream::EventReader;

use crate::memory::inflight_budget::{MemoryReservation, RequestMemory};
use crate::offload::offload;
use crate::upstream::body_stream::BodyStream;
use crate::upstream::error::{answer_memory_error, redact_error, transport_error};
use crate::upstream::shared_progress::SharedProgress;
use crate::upstream::signature_cache::SignatureCache;
use crate::upstream::unexpected_body::UnexpectedBody;

/// The number of bytes up to which a partial event is not charged to the memory of its request. A
/// larger event is charged in full.
const FREE_EVENT_BYTES: usize = 64 << 10;
/// The estimate of bytes of a log-probability or a tool call in addition to its text.
const ITEM_OVERHEAD_BYTES: usize = 64;

/// An answer as it arrives. Dropping the stream cancels the request at the provider.
pub(crate) struct DeltaStream {
    provider: Arc<str>,
    body: BodyStream,
    parser: FrameParser,
    /// `None` while it parses an event.
    reader: Option<Box<dyn EventReader>>,
    progress: AnswerProgress,
    /// The progress for the meter, once the answer has begun.
    shared_progress: Option<SharedProgress>,
    signatures: Arc<SignatureCache>,
    pending: VecDeque<Delta>,
    /// The failure that follows the pending deltas.
    failure: Option<Error>,
    memory: RequestMemory,
    /// The memory of a partial event.
    event_reservation: MemoryReservation,
    /// The [`delta_bytes`] of the answer so far.
    answer_bytes: usize,
    /// The number of events since the last one with content.
    empty_events: u64,
    /// The beginning of a body without events.
    unexpected_body: UnexpectedBody,
    ended: bool,
}

impl DeltaStream {
    pub(crate) fn new(
        provider: Arc<str>,
        body: BodyStream,
        parser: FrameParser,
        reader: Box<dyn EventReader>,
        signatures: Arc<SignatureCache>,
        memory: RequestMemory,
    ) -> Self {
        Self {
            provider,
            body,
            parser,
            progress: reader.progress().clone(),
            reader: Some(reader),
            shared_progress: None,
            signatures,
            pending: VecDeque::new(),
            failure: None,
            event_reservation: memory.empty_reservation(),
            memory,
            answer_bytes: 0,
            empty_events: 0,
            unexpected_body: UnexpectedBody::default(),
            ended: false,
        }
    }

    /// Waits until the answer has begun, or has ended without content. From then on, `progress` has
    /// its progress.
    ///
    /// # Errors
    /// The failure of an answer that has not begun.
    pub(crate) async fn begin(mut self, progress: SharedProgress) -> Result<BoxDeltaStream, Error> {
        while !self.progress.has_started() {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.progress.has_ended() {
                self.progress.end()?;
                break;
            }
            self.receive().await;
        }
        progress.store(&self.progress);
        self.shared_progress = Some(progress);
        Ok(Box::pin(stream::unfold(self, |mut stream| async move { Some((stream.next().await?, stream)) })))
    }

    async fn next(&mut self) -> Option<Result<Delta, Error>> {
        loop {
            if let Some(delta) = self.pending.pop_front() {
                return Some(Ok(delta));
            }
            if let Some(failure) = self.failure.take() {
                return Some(Err(failure));
            }
            if self.ended {
                return None;
            }
            self.receive().await;
        }
    }

    /// Receives one chunk, and parses the events that it completes. After the last chunk, ends the
    /// answer. A failure ends it, too.
    async fn receive(&mut self) {
        let received = match self.body.next().await {
            Some(Ok(bytes)) => self.read_bytes(&bytes).await,
            Some(Err(error)) => Err(transport_error(&self.provider, &error)),
            None => self.finish().await,
        };
        if let Err(error) = received {
            self.failure = Some(error);
            self.ended = true;
        }
        if let Some(shared) = &self.shared_progress {
            shared.store(&self.progress);
        }
    }

    async fn read_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut frames = Vec::new();
        self.parser.feed(bytes, &mut frames).map_err(|exceeded| self.limit_error(exceeded))?;
        self.unexpected_body.add(bytes, !frames.is_empty());
        let charged = Some(self.parser.buffered_bytes()).filter(|bytes| *bytes > FREE_EVENT_BYTES).unwrap_or(0);
        self.event_reservation.resize(charged).map_err(|error| answer_memory_error(error, &self.provider))?;
        for frame in frames {
            if let SseFrame::Event { data, .. } = frame {
                self.read_event(data).await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.ended = true;
        if let Some(data) = self.parser.finish().filter(|data| is_whole_event(data.as_bytes())) {
            self.read_event(data).await?;
        }
        let Some(reader) = &mut self.reader else { return Err(reader_is_missing()) };
        let mut deltas = Vec::new();
        let finished = reader.finish(&mut deltas);
        self.progress = reader.progress().clone();
        finished.map_err(|error| redact_error(self.unexpected_body.error().unwrap_or(error)))?;
        self.push_deltas(deltas)
    }

    /// Parses one event, on a blocking thread if it is large.
    async fn read_event(&mut self, data: String) -> Result<(), Error> {
        check_event_values(data.as_bytes()).map_err(|exceeded| self.limit_error(exceeded))?;
        let Some(mut reader) = self.reader.take() else { return Err(reader_is_missing()) };
        let pieces = self.progress.pieces;
        let parsed = offload(&self.memory, data.len(), move || {
            let mut deltas = Vec::new();
            let read = reader.read_event(&data, &mut deltas);
            Ok((reader, deltas, read))
        });
        let (reader, deltas, read) = parsed.await?;
        self.progress = reader.progress().clone();
        self.reader = Some(reader);
        read.map_err(redact_error)?;
        self.empty_events = if self.progress.pieces > pieces { 0 } else { self.empty_events + 1 };
        if self.empty_events > MAX_EMPTY_EVENTS {
            return Err(self.limit_error(ProviderLimitExceeded::EmptyEvents));
        }
        self.push_deltas(deltas)
    }

    fn push_deltas(&mut self, mut deltas: Vec<Delta>) -> Result<(), Error> {
        self.signatures.keep(&mut deltas);
        self.answer_bytes += deltas.iter().map(delta_bytes).sum::<usize>();
        if self.answer_bytes > MAX_RESPONSE_BYTES {
            return Err(self.limit_error(ProviderLimitExceeded::Response));
        }
        self.pending.extend(deltas);
        Ok(())
    }

    fn limit_error(&self, exceeded: ProviderLimitExceeded) -> Error {
        exceeded.to_error(&self.provider)
    }
}

fn reader_is_missing() -> Error {
    Error::internal("the event reader is missing")
}

/// An estimate of the bytes that a delta adds to the collected answer.
fn delta_bytes(delta: &Delta) -> usize {
    let logprob = |token: &TokenLogprob| {
        let top: usize = token.top.iter().map(|top| top.token.len() + ITEM_OVERHEAD_BYTES).sum();
        token.token.len() + ITEM_OVERHEAD_BYTES + top
    };
    match delta {
        Delta::Prompt { text, logprobs } | Delta::Reasoning { text, logprobs } | Delta::Text { text, logprobs } => {
            text.len() + logprobs.iter().map(logprob).sum::<usize>()
        }
        Delta::ToolCall { id, name, .. } => id.len() + name.len() + ITEM_OVERHEAD_BYTES,
        Delta::Arguments { text, .. } => text.len(),
        Delta::Citation(citation) => citation.memory_bytes(),
        Delta::Media(media) => media.url.len(),
        Delta::Signature(signed) => signed.memory_bytes(),
        Delta::Start(_) | Delta::Dropped(_) | Delta::Finish(_) | Delta::Usage(_) => 0,
    }
}
