//! The first bytes of an answer that is passed through. Nothing is forwarded before the answer has
//! begun, so that another target can be tried if it fails before.

use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use http::header::{HeaderMap, HeaderValue};
use wire::passthrough::response_validation::{self, BodyFormat};
use wire::passthrough::usage_scanner::{self, SseScanner};
use wire::passthrough::{ApiEndpoint, add_reasoning_content};
use wire::progress::AnswerProgress;
use wire::provider_limits::{MAX_RESPONSE_BYTES, ProviderLimitExceeded};

use crate::memory::inflight_budget::RequestMemory;
use crate::memory::reserved_buffer::ReservedBuffer;
use crate::offload::offload;
use crate::routing::target::{Backend, Target};
use crate::upstream::body_stream::BodyStream;
use crate::upstream::error::{
    answer_memory_error, check_content_type, content_type, redact_error, transport_error, wrong_dialect_error,
};
use crate::upstream::unexpected_body::UnexpectedBody;
use crate::upstream::whole_answer::{count_pieces, read_whole_body};

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
    /// The bytes to forward first.
    pub(crate) first_bytes: Bytes,
    pub(crate) rest: RemainingBody,
}

/// The rest of an answer after its first bytes.
pub(crate) enum RemainingBody {
    /// Further bytes, and the scanner of all of them, which has read the first ones.
    Stream(BodyStream, Box<SseScanner>),
    /// The answer is complete, with this progress.
    Complete(AnswerProgress),
}

/// One attempt at a target.
pub(crate) struct PassthroughAttempt<'a> {
    pub(crate) target: Target,
    pub(crate) endpoint: ApiEndpoint,
    pub(crate) stream: bool,
    pub(crate) body_kind: BodyKind,
    /// An event that has the usage alone is not forwarded.
    pub(crate) hides_usage_event: bool,
    pub(crate) memory: &'a RequestMemory,
}

impl PassthroughAttempt<'_> {
    /// Sends the request, and waits until the answer has begun: until the first content of a stream
    /// or its end, or the end of any other text.
    ///
    /// # Errors
    /// The provider's refusal, the failure of an answer that has not begun, and `Upstream` for a
    /// response that is not of its dialect.
    pub(crate) async fn send_and_peek(self, body: Bytes, headers: &HeaderMap) -> Result<UpstreamReply, Error> {
        let Self { target, endpoint, stream, body_kind, hides_usage_event, memory } = self;
        let Backend::Remote(upstream) = &target.backend else {
            return Err(Error::internal("the local engine takes no part in passthrough"));
        };
        let response = upstream.forward(endpoint, &target.upstream_model, stream, headers, body).await?;
        let name = upstream.name();
        let format = body_format(body_kind);
        check_content_type(name, format, &response)?;
        let mut content_type = content_type(&response);
        let mut chunks = response.body;
        let mut scanner = Box::new(SseScanner::new(endpoint, hides_usage_event));
        let (first_bytes, rest) = match body_kind {
            BodyKind::Sse => {
                let first = read_first_content(name, &mut scanner, &mut chunks, memory).await?;
                (first, RemainingBody::Stream(chunks, scanner))
            }
            BodyKind::Audio => {
                let first = next_chunk(name, &mut chunks)
                    .await?
                    .filter(|first| response_validation::body_start_matches(format, first));
                let first = first.ok_or_else(|| wrong_dialect_error(name))?;
                scanner.feed(&first);
                (first, RemainingBody::Stream(chunks, scanner))
            }
            BodyKind::Json | BodyKind::Text => {
                let whole = read_whole_body(name, endpoint.max_body_bytes(), chunks, memory).await?;
                let (progress, renamed) = scan_whole_body(name, endpoint, &content_type, &whole, memory).await?;
                let body = match renamed {
                    Some(renamed) => {
                        let reservation = memory.reserve(renamed.len());
                        reservation.map_err(|error| answer_memory_error(error, name))?.attach_to(renamed)
                    }
                    None => whole,
                };
                (body, RemainingBody::Complete(progress))
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
        Ok(UpstreamReply { content_type, first_bytes, rest })
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

/// Reads a stream up to its first content, or up to its end if it has none. Comments and events
/// without content are not an answer: a provider that sends nothing else reaches the same time
/// limit as a silent one. Returns the bytes to forward.
async fn read_first_content(
    provider: &str,
    scanner: &mut SseScanner,
    chunks: &mut BodyStream,
    memory: &RequestMemory,
) -> Result<Bytes, Error> {
    let mut held = ReservedBuffer::new(memory);
    let mut unexpected_body = UnexpectedBody::default();
    loop {
        let Some(bytes) = next_chunk(provider, chunks).await? else {
            let (rest, ended) = scanner.finish();
            ended.map_err(|error| redact_error(unexpected_body.error().unwrap_or(error)))?;
            push_held(provider, &mut held, &rest)?;
            return held.finish();
        };
        let replacement = scanner.feed(&bytes);
        if let Some(exceeded) = scanner.exceeded {
            return Err(exceeded.to_error(provider));
        }
        unexpected_body.add(&bytes, scanner.has_frames());
        let progress = scanner.progress();
        let is_decided = progress.has_started() || progress.has_ended() || progress.failure.is_some();
        if is_decided && !progress.has_started() {
            progress.end().map_err(redact_error)?;
        }
        let bytes = replacement.map_or(bytes, Bytes::from);
        // Usually the first chunk has the first content.
        if is_decided && held.bytes().is_empty() {
            return Ok(bytes);
        }
        push_held(provider, &mut held, &bytes)?;
        if is_decided {
            return held.finish();
        }
    }
}

fn push_held(provider: &str, held: &mut ReservedBuffer, bytes: &[u8]) -> Result<(), Error> {
    if held.bytes().len() + bytes.len() > MAX_RESPONSE_BYTES {
        return Err(ProviderLimitExceeded::Response.to_error(provider));
    }
    held.push(bytes, MAX_RESPONSE_BYTES).map_err(|error| answer_memory_error(error, provider))
}

/// The progress of a whole answer, scanned on a blocking thread if it is large, and the answer with
/// the other name of its reasoning, if it needs that.
///
/// # Errors
/// The failure that it reports, and `Upstream` for one that is not of its dialect.
async fn scan_whole_body(
    provider: &str,
    endpoint: ApiEndpoint,
    content_type: &HeaderValue,
    body: &Bytes,
    memory: &RequestMemory,
) -> Result<(AnswerProgress, Option<Vec<u8>>), Error> {
    let media_type = content_type.to_str().unwrap_or_default().to_owned();
    let (bytes, name) = (body.clone(), provider.to_owned());
    let scan = move || {
        if endpoint.media_name().is_some() || endpoint == ApiEndpoint::Embeddings {
            let validated = response_validation::validate_media(endpoint, &media_type, &bytes);
            let provider_error = |message| Error::new(ErrorKind::Upstream(502), message);
            validated.map_err(|message| message.map_or_else(|| wrong_dialect_error(&name), provider_error))?;
            return Ok((usage_scanner::scan_body(endpoint, &bytes), None));
        }
        let progress = usage_scanner::scan_body(endpoint, &bytes);
        match progress.failure {
            Some(failure) => Err(failure),
            None => {
                let is_chat = endpoint == ApiEndpoint::ChatCompletions;
                let renamed = is_chat.then(|| add_reasoning_content(&bytes)).flatten();
                Ok((count_pieces(progress, &bytes), renamed))
            }
        }
    };
    offload(memory, body.len(), scan).await.map_err(redact_error)
}
