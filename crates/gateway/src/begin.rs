//! The beginning of an answer that passes: one target is asked, and what it sends is judged before anything goes on, so that
//! another can be asked in its place.

use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use http::header::{HeaderMap, HeaderValue};
use wire::passthrough::ApiEndpoint;
use wire::passthrough::response_validation::{self, BodyFormat};
use wire::passthrough::usage_scanner;
use wire::provider_limits::ProviderLimitExceeded;

use crate::client::Pieces;
use crate::held_buffer::HeldBuffer;
use crate::inflight::RequestMemory;
use crate::relay::Shape;
use crate::target::{Place, Target};
use crate::upstream::{check_type, content_type, fault, memory_refused, unreachable, without_secrets};
use crate::work::aside;

/// The shape of an answer to a request of this kind.
pub(crate) fn shape_of(passage: ApiEndpoint, stream: bool) -> Shape {
    match passage {
        ApiEndpoint::Speech => Shape::Sound,
        _ if stream => Shape::Events,
        ApiEndpoint::Transcriptions | ApiEndpoint::Translations => Shape::Text,
        _ => Shape::Json,
    }
}

pub(crate) struct Answered {
    pub(crate) content_type: HeaderValue,
    pub(crate) first: Bytes,
    pub(crate) rest: Rest,
}

/// The rest of an answer after its first bytes.
pub(crate) enum Rest {
    Pieces(Pieces),
    /// Nothing: the answer is whole,
    Nothing,
    /// or was broken off after its beginning.
    Broken(Error),
}

/// One target that is asked.
pub(crate) struct Asking<'a> {
    pub(crate) target: Target,
    pub(crate) passage: ApiEndpoint,
    pub(crate) stream: bool,
    pub(crate) shape: Shape,
    pub(crate) memory: &'a RequestMemory,
}

impl Asking<'_> {
    /// Asks, and waits until it is sure that what comes is an answer: of a stream its first event, of one object all of it.
    pub(crate) async fn begin(self, body: Bytes, headers: &HeaderMap) -> Result<Answered, Error> {
        let Self { target, passage, stream, shape, memory } = self;
        let Place::Remote(upstream) = &target.place else {
            return Err(Error::internal("only providers elsewhere relay"));
        };
        let response = upstream.pass(passage, &target.model, stream, headers, body).await?;
        let (name, form) = (upstream.name(), form(shape));
        check_type(name, form, &response)?;
        let differs = || fault(name, "sent what is no answer of its dialect");
        let (mut content_type, mut pieces) = (content_type(&response), response.pieces);
        let (first, rest) = match shape {
            Shape::Events => {
                let first = first_event(name, passage, &mut pieces, memory).await?;
                (first, Rest::Pieces(pieces))
            }
            Shape::Sound => {
                let first =
                    next(name, &mut pieces).await?.filter(|first| response_validation::body_start_matches(form, first));
                (first.ok_or_else(differs)?, Rest::Pieces(pieces))
            }
            Shape::Json | Shape::Text => {
                let (whole, broken) = whole(name, passage, pieces, memory).await?;
                if let Some(broken) = broken {
                    return Ok(Answered { content_type, first: whole, rest: Rest::Broken(broken) });
                }
                let (kind, bytes) = (content_type.to_str().unwrap_or_default().to_owned(), whole.clone());
                let fits =
                    aside(memory, whole.len(), move || Ok(response_validation::validate_body(passage, &kind, &bytes)))
                        .await?;
                let said = |words: String| without_secrets(Error::new(ErrorKind::Upstream(502), words));
                fits.map_err(|words| words.map_or_else(differs, said))?;
                (whole, Rest::Nothing)
            }
        };
        match shape {
            Shape::Events if !content_type.as_bytes().starts_with(b"text/event-stream") => {
                content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
            }
            Shape::Json if !content_type.as_bytes().starts_with(b"application/") => {
                content_type = HeaderValue::from_static("application/json");
            }
            _ => {}
        }
        Ok(Answered { content_type, first, rest })
    }
}

fn form(shape: Shape) -> BodyFormat {
    match shape {
        Shape::Events => BodyFormat::EventStream,
        Shape::Json => BodyFormat::Json,
        Shape::Text => BodyFormat::Text,
        Shape::Sound => BodyFormat::Binary,
    }
}

/// The next bytes; `None` when there are none any more.
async fn next(provider: &str, pieces: &mut Pieces) -> Result<Option<Bytes>, Error> {
    pieces.next().await.transpose().map_err(|error| unreachable(provider, &error))
}

/// The bytes of a stream up to its first event, or some more. Comments alone are no answer: whoever sends them for ever is not waited
/// for longer than who sends nothing.
async fn first_event(
    provider: &str,
    passage: ApiEndpoint,
    pieces: &mut Pieces,
    memory: &RequestMemory,
) -> Result<Bytes, Error> {
    let (mut events, mut hold) = (usage_scanner::SseScanner::new(passage, false), memory.empty());
    let (mut first, mut judged) = (Vec::new(), 0);
    loop {
        let Some(more) = next(provider, pieces).await? else {
            let what = if first.is_empty() { "sent nothing" } else { "sent what is no answer of its dialect" };
            return Err(fault(provider, what));
        };
        events.feed(&more);
        if let Some(exceeded) = events.exceeded {
            return Err(exceeded.to_error(provider));
        }
        // Mostly the first piece has it.
        let alone = first.is_empty()
            && response_validation::validate_stream_start(passage, &more) == response_validation::StreamStart::Valid;
        if !alone {
            hold.set(first.len() + more.len()).map_err(|error| memory_refused(error, provider))?;
            first.extend_from_slice(&more);
        }
        // What is known to be open is judged again when it has an event, or is twice as long.
        let ended_line = events.has_started() && more.contains(&b'\n');
        if !alone && (ended_line || first.len() >= 2 * judged) {
            judged = first.len();
            match response_validation::validate_stream_start(passage, &first) {
                response_validation::StreamStart::Incomplete => continue,
                response_validation::StreamStart::Invalid => {
                    return Err(fault(provider, "sent what is no answer of its dialect"));
                }
                response_validation::StreamStart::Valid => {}
            }
        } else if !alone {
            continue;
        }
        return match events.stats.error_message {
            Some(failure) => Err(without_secrets(Error::new(ErrorKind::Upstream(502), failure))),
            None if alone => Ok(more),
            None => Ok(hold.over(first)),
        };
    }
}

/// All of an answer; with the failure that broke it off after its beginning.
async fn whole(
    provider: &str,
    passage: ApiEndpoint,
    mut pieces: Pieces,
    memory: &RequestMemory,
) -> Result<(Bytes, Option<Error>), Error> {
    // Most come in one piece.
    let Some(mut whole) = next(provider, &mut pieces).await? else { return Err(fault(provider, "sent nothing")) };
    let mut more = HeldBuffer::new(memory);
    loop {
        let bytes = match next(provider, &mut pieces).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(broken) => return Ok((whole, Some(broken))),
        };
        let most = passage.max_body_bytes();
        if whole.len() + more.bytes().len() + bytes.len() > most {
            return Ok((whole, Some(ProviderLimitExceeded::Bytes(most).to_error(provider))));
        }
        let pushed = more.push(&std::mem::take(&mut whole), most).and_then(|()| more.push(&bytes, most));
        if let Err(error) = pushed {
            return Ok((whole, Some(memory_refused(error, provider))));
        }
    }
    if whole.is_empty() {
        whole = more.finish()?;
    }
    Ok((whole, None))
}
