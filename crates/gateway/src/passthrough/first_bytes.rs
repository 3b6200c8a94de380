//! The first bytes of an answer that is passed through. They are validated before anything is
//! forwarded, so that another target can be tried if they are not an answer.

use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use http::header::{HeaderMap, HeaderValue};
use wire::passthrough::ApiEndpoint;
use wire::passthrough::response_validation::{self, BodyFormat, StreamStart};
use wire::passthrough::usage_scanner;
use wire::provider_limits::ProviderLimitExceeded;

use crate::memory::inflight_budget::RequestMemory;
use crate::memory::reserved_buffer::ReservedBuffer;
use crate::offload::offload;
use crate::routing::target::{Backend, Target};
use crate::upstream::body_stream::BodyStream;
use crate::upstream::error::{
    answer_memory_error, check_content_type, content_type, redact_error, transport_error, upstream_error,
    wrong_dialect_error,
};

/// The kind of body that an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// A stream of events.
    Sse,
    /// One JSON object, before which keep-alives may send white space.
    Json,
    /// A whole body of any type.
    Text,
    /// Bytes that are forwarded as they arrive.
    Audio,
}

/// The kind of body of an answer to a request of this endpoint.
pub(crate) fn expected_body_kind(endpoint: ApiEndpoint, stream: bool) -> BodyKind {
    match endpoint {
        ApiEndpoint::Speech => BodyKind::Audio,
        _ if stream => BodyKind::Sse,
        ApiEndpoint::Transcriptions | ApiEndpoint::Translations => BodyKind::Text,
        _ => BodyKind::Json,
    }
}

/// The beginning of an answer.
pub(crate) struct UpstreamReply {
    pub(crate) content_type: HeaderValue,
    pub(crate) first_bytes: Bytes,
    pub(crate) rest: RemainingBody,
}

/// The rest of an answer after its first bytes.
pub(crate) enum RemainingBody {
    Stream(BodyStream),
    /// The answer is complete.
    Complete,
    /// The answer was broken off after its first bytes.
    Interrupted(Error),
}

/// One attempt at a target.
pub(crate) struct PassthroughAttempt<'a> {
    pub(crate) target: Target,
    pub(crate) endpoint: ApiEndpoint,
    pub(crate) stream: bool,
    pub(crate) body_kind: BodyKind,
    pub(crate) memory: &'a RequestMemory,
}

impl PassthroughAttempt<'_> {
    /// Sends the request, and waits until the response is known to be an answer: until the first
    /// event of a stream, or the end of any other text.
    ///
    /// # Errors
    /// The provider's refusal, and `Upstream` for a response that is not of its dialect.
    pub(crate) async fn send_and_peek(self, body: Bytes, headers: &HeaderMap) -> Result<UpstreamReply, Error> {
        let Self { target, endpoint, stream, body_kind, memory } = self;
        let Backend::Remote(upstream) = &target.backend else {
            return Err(Error::internal("the local engine takes no part in passthrough"));
        };
        let response = upstream.forward(endpoint, &target.upstream_model, stream, headers, body).await?;
        let name = upstream.name();
        let format = body_format(body_kind);
        check_content_type(name, format, &response)?;
        let wrong_dialect = || wrong_dialect_error(name);
        let mut content_type = content_type(&response);
        let mut chunks = response.body;
        let (first, rest) = match body_kind {
            BodyKind::Sse => {
                let first = read_first_event(name, endpoint, &mut chunks, memory).await?;
                (first, RemainingBody::Stream(chunks))
            }
            BodyKind::Audio => {
                let first = next_chunk(name, &mut chunks)
                    .await?
                    .filter(|first| response_validation::body_start_matches(format, first));
                (first.ok_or_else(wrong_dialect)?, RemainingBody::Stream(chunks))
            }
            BodyKind::Json | BodyKind::Text => {
                let (whole, interruption) = read_whole_body(name, endpoint, chunks, memory).await?;
                if let Some(error) = interruption {
                    let rest = RemainingBody::Interrupted(error);
                    return Ok(UpstreamReply { content_type, first_bytes: whole, rest });
                }
                let media_type = content_type.to_str().unwrap_or_default().to_owned();
                let bytes = whole.clone();
                let validated = offload(memory, whole.len(), move || {
                    Ok(response_validation::validate_body(endpoint, &media_type, &bytes))
                })
                .await?;
                let provider_error = |message: String| redact_error(Error::new(ErrorKind::Upstream(502), message));
                validated.map_err(|message| message.map_or_else(wrong_dialect, provider_error))?;
                (whole, RemainingBody::Complete)
            }
        };
        match body_kind {
            BodyKind::Sse if !content_type.as_bytes().starts_with(b"text/event-stream") => {
                content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
            }
            BodyKind::Json if !content_type.as_bytes().starts_with(b"application/") => {
                content_type = HeaderValue::from_static("application/json");
            }
            _ => {}
        }
        Ok(UpstreamReply { content_type, first_bytes: first, rest })
    }
}

/// The format that a response of this kind must have.
fn body_format(body_kind: BodyKind) -> BodyFormat {
    match body_kind {
        BodyKind::Sse => BodyFormat::EventStream,
        BodyKind::Json => BodyFormat::Json,
        BodyKind::Text => BodyFormat::Text,
        BodyKind::Audio => BodyFormat::Binary,
    }
}

/// The next chunk; `None` at the end of the body.
async fn next_chunk(provider: &str, chunks: &mut BodyStream) -> Result<Option<Bytes>, Error> {
    chunks.next().await.transpose().map_err(|error| transport_error(provider, &error))
}

/// Reads a stream up to its first event, or a little further. Comments are not an answer: a
/// provider that sends nothing else reaches the same time limit as a silent one.
async fn read_first_event(
    provider: &str,
    endpoint: ApiEndpoint,
    chunks: &mut BodyStream,
    memory: &RequestMemory,
) -> Result<Bytes, Error> {
    let mut scanner = usage_scanner::SseScanner::new(endpoint, false);
    let mut reservation = memory.empty_reservation();
    let mut first = Vec::new();
    let mut checked_bytes = 0;
    loop {
        let Some(more) = next_chunk(provider, chunks).await? else {
            let is_empty = first.is_empty();
            return Err(if is_empty {
                upstream_error(provider, "sent nothing")
            } else {
                wrong_dialect_error(provider)
            });
        };
        scanner.feed(&more);
        if let Some(exceeded) = scanner.exceeded {
            return Err(exceeded.to_error(provider));
        }
        // Usually the first chunk has the first event.
        let is_whole =
            first.is_empty() && response_validation::validate_stream_start(endpoint, &more) == StreamStart::Valid;
        if !is_whole {
            reservation.resize(first.len() + more.len()).map_err(|error| answer_memory_error(error, provider))?;
            first.extend_from_slice(&more);
        }
        // An incomplete start is validated again when it has an event, or has doubled.
        let ended_line = scanner.has_started() && more.contains(&b'\n');
        if !is_whole && (ended_line || first.len() >= 2 * checked_bytes) {
            checked_bytes = first.len();
            match response_validation::validate_stream_start(endpoint, &first) {
                StreamStart::Incomplete => continue,
                StreamStart::Invalid => return Err(wrong_dialect_error(provider)),
                StreamStart::Valid => {}
            }
        } else if !is_whole {
            continue;
        }
        return match scanner.stats.error_message {
            Some(message) => Err(redact_error(Error::new(ErrorKind::Upstream(502), message))),
            None if is_whole => Ok(more),
            None => Ok(reservation.attach_to(first)),
        };
    }
}

/// Reads a whole body. A failure after the first chunk is returned with the bytes before it.
async fn read_whole_body(
    provider: &str,
    endpoint: ApiEndpoint,
    mut chunks: BodyStream,
    memory: &RequestMemory,
) -> Result<(Bytes, Option<Error>), Error> {
    // Usually the body is one chunk.
    let Some(mut whole) = next_chunk(provider, &mut chunks).await? else {
        return Err(upstream_error(provider, "sent nothing"));
    };
    let mut more = ReservedBuffer::new(memory);
    loop {
        let bytes = match next_chunk(provider, &mut chunks).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(error) => return Ok((whole, Some(error))),
        };
        let max_bytes = endpoint.max_body_bytes();
        if whole.len() + more.bytes().len() + bytes.len() > max_bytes {
            return Ok((whole, Some(ProviderLimitExceeded::Bytes(max_bytes).to_error(provider))));
        }
        let pushed = more.push(&std::mem::take(&mut whole), max_bytes).and_then(|()| more.push(&bytes, max_bytes));
        if let Err(error) = pushed {
            return Ok((whole, Some(answer_memory_error(error, provider))));
        }
    }
    if whole.is_empty() {
        whole = more.finish()?;
    }
    Ok((whole, None))
}
