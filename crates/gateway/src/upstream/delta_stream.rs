//! The answer of a remote provider as it arrives: parses its events into deltas.

use std::collections::VecDeque;
use std::sync::Arc;

use chat::{BoxDeltaStream, Delta, Error, TokenLogprob};
use futures_util::{StreamExt, stream};
use wire::provider_limits::{MAX_EMPTY_EVENTS, MAX_RESPONSE_BYTES, ProviderLimitExceeded, check_event_values};
use wire::sse::{SseFrame, SseParser};
use wire::upstream::{EventReader, SignedReasoning};

use crate::memory::inflight_budget::{MemoryReservation, RequestMemory};
use crate::offload::offload;
use crate::upstream::body_stream::BodyStream;
use crate::upstream::error::{answer_memory_error, redact_error, transport_error};
use crate::upstream::signature_cache::SignatureCache;

/// The number of bytes up to which a partial event is not charged to the memory of its request. A
/// larger event is charged in full.
const FREE_EVENT_BYTES: usize = 64 << 10;
/// The estimate of bytes of a log-probability or a tool call in addition to its text.
const ITEM_OVERHEAD_BYTES: usize = 64;

/// An answer as it arrives. Dropping the stream cancels the request at the provider.
pub(crate) struct DeltaStream {
    provider: Arc<str>,
    body: BodyStream,
    parser: SseParser,
    /// `None` while it parses an event, and after it failed.
    reader: Option<Box<dyn EventReader>>,
    signatures: Arc<SignatureCache>,
    pending: VecDeque<Delta>,
    memory: RequestMemory,
    /// The memory of a partial event.
    event_reservation: MemoryReservation,
    /// The [`delta_bytes`] of the answer so far.
    answer_bytes: usize,
    /// The number of events since the last one with a delta.
    empty_events: u64,
    ended: bool,
}

impl DeltaStream {
    pub(crate) fn new(
        provider: Arc<str>,
        body: BodyStream,
        reader: Box<dyn EventReader>,
        signatures: Arc<SignatureCache>,
        memory: RequestMemory,
    ) -> Self {
        Self {
            provider,
            body,
            parser: SseParser::default(),
            reader: Some(reader),
            signatures,
            pending: VecDeque::new(),
            event_reservation: memory.empty_reservation(),
            memory,
            answer_bytes: 0,
            empty_events: 0,
            ended: false,
        }
    }

    pub(crate) fn into_deltas(self) -> BoxDeltaStream {
        Box::pin(stream::unfold(self, |mut stream| async move { Some((stream.next().await?, stream)) }))
    }

    async fn next(&mut self) -> Option<Result<Delta, Error>> {
        loop {
            if let Some(delta) = self.pending.pop_front() {
                return Some(Ok(delta));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.receive().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    /// Receives one chunk, and parses the events that it completes. After the last chunk, ends the
    /// answer.
    async fn receive(&mut self) -> Result<(), Error> {
        let mut frames = Vec::new();
        match self.body.next().await {
            Some(Ok(bytes)) => self.parser.feed(&bytes, &mut frames).map_err(|exceeded| self.limit_error(exceeded))?,
            Some(Err(error)) => return Err(transport_error(&self.provider, &error)),
            None => {
                self.ended = true;
                let mut deltas = Vec::new();
                self.reader.as_mut().map_or(Ok(()), |reader| reader.finish(&mut deltas)).map_err(redact_error)?;
                return self.push_deltas(deltas);
            }
        }
        let charged = Some(self.parser.buffered_bytes()).filter(|bytes| *bytes > FREE_EVENT_BYTES).unwrap_or(0);
        self.event_reservation.resize(charged).map_err(|error| answer_memory_error(error, &self.provider))?;
        let events = frames.into_iter().filter_map(|frame| match frame {
            SseFrame::Event { data, .. } => Some(data),
            SseFrame::Comment(_) => None,
        });
        for data in events {
            let (deltas, signed) = self.parse_event(data).await?;
            signed.into_iter().for_each(|signed| self.signatures.insert(signed));
            self.empty_events = if deltas.is_empty() { self.empty_events + 1 } else { 0 };
            if self.empty_events > MAX_EMPTY_EVENTS {
                return Err(self.limit_error(ProviderLimitExceeded::EmptyEvents));
            }
            self.push_deltas(deltas)?;
        }
        Ok(())
    }

    /// Parses one event, on a blocking thread if it is large.
    async fn parse_event(&mut self, data: String) -> Result<(Vec<Delta>, Vec<SignedReasoning>), Error> {
        check_event_values(data.as_bytes()).map_err(|exceeded| self.limit_error(exceeded))?;
        let Some(mut reader) = self.reader.take() else { return Err(Error::internal("the event reader is missing")) };
        let parsed = offload(&self.memory, data.len(), move || {
            let mut deltas = Vec::new();
            reader.read_event(&data, &mut deltas)?;
            let signed = reader.take_signed();
            Ok((reader, deltas, signed))
        });
        let (reader, deltas, signed) = parsed.await.map_err(redact_error)?;
        self.reader = Some(reader);
        Ok((deltas, signed))
    }

    fn push_deltas(&mut self, deltas: Vec<Delta>) -> Result<(), Error> {
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

/// An estimate of the bytes that a delta adds to the collected answer.
fn delta_bytes(delta: &Delta) -> usize {
    let logprob = |token: &TokenLogprob| {
        let top: usize = token.top.iter().map(|top| top.token.len() + ITEM_OVERHEAD_BYTES).sum();
        token.token.len() + ITEM_OVERHEAD_BYTES + top
    };
    match delta {
        Delta::Reasoning { text, logprobs } | Delta::Text { text, logprobs } => {
            text.len() + logprobs.iter().map(logprob).sum::<usize>()
        }
        Delta::ToolCall { id, name, .. } => id.len() + name.len() + ITEM_OVERHEAD_BYTES,
        Delta::Arguments { text, .. } => text.len(),
        Delta::Start(_) | Delta::Finish(_) | Delta::Usage(_) => 0,
    }
}
