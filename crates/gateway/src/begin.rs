//! The beginning of an answer that passes: one target is asked, and what it sends is judged before anything goes on, so that
//! another can be asked in its place.

use bytes::{Bytes, BytesMut};
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use http::header::{HeaderMap, HeaderValue};
use wire::Passage;
use wire::fits::{self, Form};
use wire::glance;

use crate::client::Pieces;
use crate::inflight::RequestMemory;
use crate::relay::Shape;
use crate::target::{Place, Target};
use crate::upstream::{check_type, content_type, fault, unreachable, without_secrets};
use crate::work::aside;

/// Most bytes of an answer that does not come as events.
const WHOLE_BYTES: usize = 256 << 20;

/// Bytes of a line that is judged before its end.
const LONG: usize = 64 << 10;

/// What an answer to a request of this kind is.
pub(crate) fn shape_of(passage: Passage, stream: bool) -> Shape {
    match passage {
        Passage::Speech => Shape::Sound,
        _ if stream => Shape::Events,
        Passage::Transcriptions | Passage::Translations => Shape::Text,
        _ => Shape::Json,
    }
}

pub(crate) struct Answered {
    pub(crate) content_type: HeaderValue,
    pub(crate) first: Bytes,
    pub(crate) rest: Rest,
}

/// What follows the bytes that are there.
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
    pub(crate) passage: Passage,
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
                let first = first_event(name, passage, &mut pieces).await?;
                (first, Rest::Pieces(pieces))
            }
            Shape::Sound => {
                let first = next(name, &mut pieces).await?.filter(|first| fits::bytes_fit(form, first));
                (first.ok_or_else(differs)?, Rest::Pieces(pieces))
            }
            Shape::Json | Shape::Text => {
                let (whole, broken) = whole(name, pieces, memory).await?;
                if let Some(broken) = broken {
                    return Ok(Answered { content_type, first: whole, rest: Rest::Broken(broken) });
                }
                let (kind, bytes) = (content_type.to_str().unwrap_or_default().to_owned(), whole.clone());
                let fits = aside(memory, whole.len(), move || Ok(fits::whole(passage, &kind, &bytes))).await?;
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

fn form(shape: Shape) -> Form {
    match shape {
        Shape::Events => Form::Events,
        Shape::Json => Form::Json,
        Shape::Text => Form::Text,
        Shape::Sound => Form::Binary,
    }
}

/// The next bytes; `None` when there are none any more.
async fn next(provider: &str, pieces: &mut Pieces) -> Result<Option<Bytes>, Error> {
    pieces.next().await.transpose().map_err(|error| unreachable(provider, &error))
}

/// The bytes of a stream up to its first event, or some more.
async fn first_event(provider: &str, passage: Passage, pieces: &mut Pieces) -> Result<Bytes, Error> {
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    loop {
        let Some(piece) = next(provider, pieces).await? else {
            let what = if first.is_empty() { "sent nothing" } else { "sent what is no answer of its dialect" };
            return Err(fault(provider, what));
        };
        // Mostly the first piece has it. What ends no line tells nothing new, but where it never ends.
        let tells = first.is_empty() || piece.contains(&b'\n') || more.len() < 16 || more.len() + piece.len() > LONG;
        let judged = match first.is_empty() {
            true => {
                first = piece;
                fits::begins(passage, &first)
            }
            false => {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&piece);
                if tells { fits::begins(passage, &more) } else { fits::Beginning::Open }
            }
        };
        match judged {
            fits::Beginning::Open => {}
            fits::Beginning::Differs => return Err(fault(provider, "sent what is no answer of its dialect")),
            fits::Beginning::Fits => break,
        }
    }
    if !more.is_empty() {
        first = more.freeze();
    }
    let mut events = glance::Events::new(passage, false);
    events.pass(&first);
    match events.seen.failure {
        Some(failure) => Err(without_secrets(Error::new(ErrorKind::Upstream(502), failure))),
        None => Ok(first),
    }
}

/// All of an answer; with the failure that broke it off after its beginning.
async fn whole(provider: &str, mut pieces: Pieces, memory: &RequestMemory) -> Result<(Bytes, Option<Error>), Error> {
    // Most come in one piece.
    let Some(mut whole) = next(provider, &mut pieces).await? else { return Err(fault(provider, "sent nothing")) };
    let (mut more, mut hold) = (Vec::new(), memory.empty());
    loop {
        let bytes = match next(provider, &mut pieces).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(broken) => return Ok((whole, Some(broken))),
        };
        let needed = whole.len() + more.len() + bytes.len();
        if needed > WHOLE_BYTES {
            return Ok((whole, Some(fault(provider, &format!("sent more than {WHOLE_BYTES} bytes")))));
        }
        if needed > more.capacity() {
            // Large buffers grow by less than they are.
            let capacity = needed + needed.min(1 << 20).max(needed / 4);
            if let Err(error) = hold.set(capacity) {
                return Ok((whole, Some(too_large(error, provider))));
            }
            more.reserve_exact(capacity - more.len());
        }
        more.extend_from_slice(&std::mem::take(&mut whole));
        more.extend_from_slice(&bytes);
    }
    if whole.is_empty() {
        more.shrink_to_fit();
        hold.set(more.len())?;
        whole = hold.over(more);
    }
    Ok((whole, None))
}

/// There is no memory for an answer: not the caller's fault, but the same request may need less another time.
fn too_large(error: Error, provider: &str) -> Error {
    let message = format!("The answer of the provider `{provider}` is larger than the memory there is for it now");
    Error { kind: ErrorKind::Overload, message, ..error }
}
