//! Answers that a provider sends as a whole.

use bytes::Bytes;
use chat::{Delta, Error};
use futures_util::StreamExt;
use wire::progress::AnswerProgress;
use wire::provider_limits::{ProviderLimitExceeded, check_event_values};
use wire::upstream::EventReader;

use crate::billing::usage_estimate::estimate_tokens;
use crate::memory::inflight_budget::RequestMemory;
use crate::memory::reserved_buffer::ReservedBuffer;
use crate::offload::offload;
use crate::upstream::body_stream::BodyStream;
use crate::upstream::error::{answer_memory_error, redact_error, transport_error, upstream_error};

/// Reads a body of at most `max_bytes`. One that breaks off is a failure: the caller has received
/// nothing of it.
///
/// # Errors
/// `Upstream` or `Timeout` when the provider breaks off, sends nothing or too much; `Overloaded`
/// without memory for the body.
pub(crate) async fn read_whole_body(
    provider: &str,
    max_bytes: usize,
    mut chunks: BodyStream,
    memory: &RequestMemory,
) -> Result<Bytes, Error> {
    // Usually the body is one chunk.
    let mut whole = Bytes::new();
    let mut more = ReservedBuffer::new(memory);
    while let Some(bytes) = chunks.next().await.transpose().map_err(|error| transport_error(provider, &error))? {
        if whole.len() + more.bytes().len() + bytes.len() > max_bytes {
            return Err(ProviderLimitExceeded::Bytes(max_bytes).to_error(provider));
        }
        if whole.is_empty() && more.bytes().is_empty() {
            whole = bytes;
            continue;
        }
        let pushed = more.push(&std::mem::take(&mut whole), max_bytes).and_then(|()| more.push(&bytes, max_bytes));
        pushed.map_err(|error| answer_memory_error(error, provider))?;
    }
    if whole.is_empty() {
        whole = more.finish()?;
    }
    if whole.is_empty() { Err(upstream_error(provider, "sent nothing")) } else { Ok(whole) }
}

/// The progress of a whole answer: without a report of usage, its pieces are the estimated tokens.
pub(crate) fn count_pieces(mut progress: AnswerProgress, body: &[u8]) -> AnswerProgress {
    if progress.has_started() {
        progress.pieces = estimate_tokens(body).max(1);
    }
    progress
}

/// A whole answer in the internal form.
pub(crate) struct WholeAnswer {
    pub(crate) deltas: Vec<Delta>,
    pub(crate) progress: AnswerProgress,
}

/// Parses a whole answer, on a blocking thread if it is large.
///
/// # Errors
/// The failure that it reports, and `Upstream` for one that is not of its dialect or has too many
/// values.
pub(crate) async fn parse_whole_answer(
    provider: &str,
    body: Bytes,
    mut reader: Box<dyn EventReader>,
    memory: &RequestMemory,
) -> Result<WholeAnswer, Error> {
    check_event_values(&body).map_err(|exceeded| exceeded.to_error(provider))?;
    let parsed = offload(memory, body.len(), move || {
        let mut deltas = Vec::new();
        reader.read_body(&String::from_utf8_lossy(&body), &mut deltas)?;
        reader.finish(&mut deltas)?;
        let progress = count_pieces(reader.progress().clone(), &body);
        Ok(WholeAnswer { deltas, progress })
    });
    parsed.await.map_err(redact_error)
}
