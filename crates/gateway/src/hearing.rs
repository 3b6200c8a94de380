//! The answer of a provider elsewhere as it arrives: its events come out as deltas.

use std::collections::VecDeque;
use std::sync::Arc;

use chat::{BoxDeltaStream, Delta, Error, TokenLogprob};
use futures_util::{StreamExt, stream};
use wire::provider_limits::{MAX_EMPTY_EVENTS, MAX_RESPONSE_BYTES, ProviderLimitExceeded, check_event_values};
use wire::sse::{SseFrame, SseParser};
use wire::upstream::{EventReader, SignedReasoning};

use crate::client::Pieces;
use crate::inflight::{Hold, RequestMemory};
use crate::signatures::Kept;
use crate::upstream::{memory_refused, unreachable, without_secrets};
use crate::work::aside;

/// Bytes of a partial event from which on it is charged to its request.
const SMALL: usize = 64 << 10;
/// Bytes of a log-probability beside its text.
const LOGPROB: usize = 64;

/// An answer as it arrives. Dropping it closes the connection, which cancels the request.
pub(crate) struct Hearing {
    provider: Arc<str>,
    bytes: Pieces,
    parser: SseParser,
    /// `None` while it reads a large event elsewhere.
    reader: Option<Box<dyn EventReader>>,
    signatures: Arc<Kept>,
    heard: VecDeque<Delta>,
    memory: RequestMemory,
    /// The memory of the event that arrives.
    hold: Hold,
    /// Bytes of the answer so far.
    answer: usize,
    /// Events since the last that brought something.
    empty: u64,
    ended: bool,
}

impl Hearing {
    pub(crate) fn of(
        provider: Arc<str>,
        pieces: Pieces,
        reader: Box<dyn EventReader>,
        signatures: Arc<Kept>,
        memory: RequestMemory,
    ) -> Self {
        Self {
            provider,
            bytes: pieces,
            parser: SseParser::default(),
            reader: Some(reader),
            signatures,
            heard: VecDeque::new(),
            hold: memory.empty(),
            memory,
            answer: 0,
            empty: 0,
            ended: false,
        }
    }

    pub(crate) fn deltas(self) -> BoxDeltaStream {
        Box::pin(stream::unfold(self, |mut hearing| async move { Some((hearing.next().await?, hearing)) }))
    }

    async fn next(&mut self) -> Option<Result<Delta, Error>> {
        loop {
            if let Some(delta) = self.heard.pop_front() {
                return Some(Ok(delta));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.hear().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }

    async fn hear(&mut self) -> Result<(), Error> {
        let mut frames = Vec::new();
        match self.bytes.next().await {
            Some(Ok(bytes)) => self.parser.feed(&bytes, &mut frames).map_err(|exceeded| self.fail(exceeded))?,
            Some(Err(error)) => return Err(unreachable(&self.provider, &error)),
            None => {
                self.ended = true;
                let mut deltas = Vec::new();
                self.reader.as_mut().map_or(Ok(()), |reader| reader.finish(&mut deltas)).map_err(without_secrets)?;
                return self.take(deltas);
            }
        }
        let held = Some(self.parser.buffered_bytes()).filter(|held| *held > SMALL).unwrap_or(0);
        self.hold.set(held).map_err(|error| memory_refused(error, &self.provider))?;
        let events = frames.into_iter().filter_map(|frame| match frame {
            SseFrame::Event { data, .. } => Some(data),
            SseFrame::Comment(_) => None,
        });
        for data in events {
            let (deltas, signed) = self.read(data).await?;
            signed.into_iter().for_each(|signed| self.signatures.keep(signed));
            self.empty = if deltas.is_empty() { self.empty + 1 } else { 0 };
            if self.empty > MAX_EMPTY_EVENTS {
                return Err(self.fail(ProviderLimitExceeded::EmptyEvents));
            }
            self.take(deltas)?;
        }
        Ok(())
    }

    /// Reads one event; aside, where it is large.
    async fn read(&mut self, data: String) -> Result<(Vec<Delta>, Vec<SignedReasoning>), Error> {
        check_event_values(data.as_bytes()).map_err(|exceeded| self.fail(exceeded))?;
        let Some(mut reader) = self.reader.take() else { return Err(Error::internal("an answer without a reader")) };
        let read = aside(&self.memory, data.len(), move || {
            let mut deltas = Vec::new();
            reader.read_event(&data, &mut deltas)?;
            let signed = reader.take_signed();
            Ok((reader, deltas, signed))
        });
        let (reader, deltas, signed) = read.await.map_err(without_secrets)?;
        self.reader = Some(reader);
        Ok((deltas, signed))
    }

    fn take(&mut self, deltas: Vec<Delta>) -> Result<(), Error> {
        self.answer += deltas.iter().map(bytes_of).sum::<usize>();
        if self.answer > MAX_RESPONSE_BYTES {
            return Err(self.fail(ProviderLimitExceeded::Response));
        }
        self.heard.extend(deltas);
        Ok(())
    }

    fn fail(&self, exceeded: ProviderLimitExceeded) -> Error {
        exceeded.to_error(&self.provider)
    }
}

/// Bytes that a collected delta holds.
fn bytes_of(delta: &Delta) -> usize {
    let logprob = |token: &TokenLogprob| {
        let top: usize = token.top.iter().map(|top| top.token.len() + LOGPROB).sum();
        token.token.len() + LOGPROB + top
    };
    match delta {
        Delta::Reasoning { text, logprobs } | Delta::Text { text, logprobs } => {
            text.len() + logprobs.iter().map(logprob).sum::<usize>()
        }
        Delta::ToolCall { id, name, .. } => id.len() + name.len() + LOGPROB,
        Delta::Arguments { text, .. } => text.len(),
        Delta::Start(_) | Delta::Finish(_) | Delta::Usage(_) => 0,
    }
}
