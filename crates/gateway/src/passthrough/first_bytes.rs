//! The beginning of an answer that passes: one target is asked, and what it sends is judged before
//! anything goes on, so that another can be asked in its place.

use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use http::header::{HeaderMap, HeaderValue};
use wire::passthrough::ApiEndpoint;
use wire::passthrough::response_validation::{self, BodyFormat};
use wire::passthrough::usage_scanner;
use wire::provider_limits::ProviderLimitExceeded;

use crate::memory::inflight_budget::RequestMemory;
use crate::memory::reserved_buffer::ReservedBuffer;
use crate::offload::offload;
use crate::passthrough::request::BodyKind;
use crate::routing::target::{Backend, Target};
use crate::upstream::error::{check_content_type, content_type, redact_error, transport_error, upstream_error};
use crate::upstream::http_client::BodyStream;
use crate::upstream::remote_provider::answer_memory_error;

/// The body_kind of an answer to a request of this kind.
pub(crate) fn expected_body_kind(endpoint: ApiEndpoint, stream: bool) -> BodyKind {
    match endpoint {
        ApiEndpoint::Speech => BodyKind::Audio,
        _ if stream => BodyKind::Sse,
        ApiEndpoint::Transcriptions | ApiEndpoint::Translations => BodyKind::Text,
        _ => BodyKind::Json,
    }
}

pub(crate) struct UpstreamReply {
    pub(crate) content_type: HeaderValue,
    pub(crate) first_bytes: Bytes,
    pub(crate) rest: RemainingBody,
}

/// The rest of an answer after its first bytes.
pub(crate) enum RemainingBody {
    Stream(BodyStream),
    /// Nothing: the answer is whole,
    Complete,
    /// or was broken off after its beginning.
    Interrupted(Error),
}

/// One target that is asked.
pub(crate) struct PassthroughAttempt<'a> {
    pub(crate) target: Target,
    pub(crate) endpoint: ApiEndpoint,
    pub(crate) stream: bool,
    pub(crate) body_kind: BodyKind,
    pub(crate) memory: &'a RequestMemory,
}

impl PassthroughAttempt<'_> {
    /// Asks, and waits until it is sure that what comes is an answer: of a stream its first event,
    /// of one object all of it.
    pub(crate) async fn send_and_peek(self, body: Bytes, headers: &HeaderMap) -> Result<UpstreamReply, Error> {
        let Self { target, endpoint, stream, body_kind, memory } = self;
        let Backend::Remote(upstream) = &target.backend else {
            return Err(Error::internal("only providers elsewhere relay"));
        };
        let response = upstream.forward(endpoint, &target.upstream_model, stream, headers, body).await?;
        let (name, wire_form) = (upstream.name(), wire_form(body_kind));
        check_content_type(name, wire_form, &response)?;
        let wrong_dialect = || upstream_error(name, "sent what is no answer of its dialect");
        let (mut content_type, mut pieces) = (content_type(&response), response.body);
        let (first, rest) = match body_kind {
            BodyKind::Sse => {
                let first = read_first_event(name, endpoint, &mut pieces, memory).await?;
                (first, RemainingBody::Stream(pieces))
            }
            BodyKind::Audio => {
                let first = next_chunk(name, &mut pieces)
                    .await?
                    .filter(|first| response_validation::body_start_matches(wire_form, first));
                (first.ok_or_else(wrong_dialect)?, RemainingBody::Stream(pieces))
            }
            BodyKind::Json | BodyKind::Text => {
                let (whole, interruption) = read_whole_body(name, endpoint, pieces, memory).await?;
                if let Some(broken) = interruption {
                    return Ok(UpstreamReply {
                        content_type,
                        first_bytes: whole,
                        rest: RemainingBody::Interrupted(broken),
                    });
                }
                let (kind, bytes) = (content_type.to_str().unwrap_or_default().to_owned(), whole.clone());
                let fits = offload(memory, whole.len(), move || {
                    Ok(response_validation::validate_body(endpoint, &kind, &bytes))
                })
                .await?;
                let provider_error = |message: String| redact_error(Error::new(ErrorKind::Upstream(502), message));
                fits.map_err(|words| words.map_or_else(wrong_dialect, provider_error))?;
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

fn wire_form(body_kind: BodyKind) -> BodyFormat {
    match body_kind {
        BodyKind::Sse => BodyFormat::EventStream,
        BodyKind::Json => BodyFormat::Json,
        BodyKind::Text => BodyFormat::Text,
        BodyKind::Audio => BodyFormat::Binary,
    }
}

/// The next bytes; `None` when there are none any more.
async fn next_chunk(provider: &str, pieces: &mut BodyStream) -> Result<Option<Bytes>, Error> {
    pieces.next().await.transpose().map_err(|error| transport_error(provider, &error))
}

/// The bytes of a stream up to its first event, or some more. Comments alone are no answer: whoever
/// sends them for ever is not waited for longer than who sends nothing.
async fn read_first_event(
    provider: &str,
    endpoint: ApiEndpoint,
    pieces: &mut BodyStream,
    memory: &RequestMemory,
) -> Result<Bytes, Error> {
    let (mut scanner, mut hold) = (usage_scanner::SseScanner::new(endpoint, false), memory.empty_reservation());
    let (mut first, mut checked_bytes) = (Vec::new(), 0);
    loop {
        let Some(more) = next_chunk(provider, pieces).await? else {
            let what = if first.is_empty() { "sent nothing" } else { "sent what is no answer of its dialect" };
            return Err(upstream_error(provider, what));
        };
        scanner.feed(&more);
        if let Some(exceeded) = scanner.exceeded {
            return Err(exceeded.to_error(provider));
        }
        // Mostly the first piece has it.
        let is_whole = first.is_empty()
            && response_validation::validate_stream_start(endpoint, &more) == response_validation::StreamStart::Valid;
        if !is_whole {
            hold.resize(first.len() + more.len()).map_err(|error| answer_memory_error(error, provider))?;
            first.extend_from_slice(&more);
        }
        // What is known to be open is judged again when it has an event, or is twice as long.
        let ended_line = scanner.has_started() && more.contains(&b'\n');
        if !is_whole && (ended_line || first.len() >= 2 * checked_bytes) {
            checked_bytes = first.len();
            match response_validation::validate_stream_start(endpoint, &first) {
                response_validation::StreamStart::Incomplete => continue,
                response_validation::StreamStart::Invalid => {
                    return Err(upstream_error(provider, "sent what is no answer of its dialect"));
                }
                response_validation::StreamStart::Valid => {}
            }
        } else if !is_whole {
            continue;
        }
        return match scanner.stats.error_message {
            Some(failure) => Err(redact_error(Error::new(ErrorKind::Upstream(502), failure))),
            None if is_whole => Ok(more),
            None => Ok(hold.attach_to(first)),
        };
    }
}

/// All of an answer; with the failure that broke it off after its beginning.
async fn read_whole_body(
    provider: &str,
    endpoint: ApiEndpoint,
    mut pieces: BodyStream,
    memory: &RequestMemory,
) -> Result<(Bytes, Option<Error>), Error> {
    // Most come in one piece.
    let Some(mut whole) = next_chunk(provider, &mut pieces).await? else {
        return Err(upstream_error(provider, "sent nothing"));
    };
    let mut more = ReservedBuffer::new(memory);
    loop {
        let bytes = match next_chunk(provider, &mut pieces).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(broken) => return Ok((whole, Some(broken))),
        };
        let most = endpoint.max_body_bytes();
        if whole.len() + more.bytes().len() + bytes.len() > most {
            return Ok((whole, Some(ProviderLimitExceeded::Bytes(most).to_error(provider))));
        }
        let pushed = more.push(&std::mem::take(&mut whole), most).and_then(|()| more.push(&bytes, most));
        if let Err(error) = pushed {
            return Ok((whole, Some(answer_memory_error(error, provider))));
        }
    }
    if whole.is_empty() {
        whole = more.finish()?;
    }
    Ok((whole, None))
}
