//! Sends an answer as an event stream or as one JSON object, with keep-alives until it arrives. The
//! first bytes decide the status: an earlier failure is a plain error response.

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chat::{Error, ErrorKind, Reply};
use futures_util::{StreamExt, stream};
use gateway::{AnswerNotes, MemoryReservation, MeteredStream, PromptTokens, offload};
use http::{HeaderValue, header};
use wire::surface::Renderer;

use crate::app::AppState;
use crate::request_log::RequestLog;
use crate::timed_deltas::{DeltaEvent, KeepAliveSchedule, TimedDeltas};

/// The number of bytes after which events are sent although more are there.
pub(crate) const MAX_BATCH_BYTES: usize = 16 << 10;
/// Maximum length of the notes in a header.
const MAX_NOTE_CHARS: usize = 4096;

/// Responds in the format of one API, with an event stream if `stream`. Each of `answers` is a
/// choice. The header `x-compat-note` has the notes of the first.
///
/// # Errors
/// Any failure before the first keep-alive is due.
pub(crate) async fn send(
    app: &AppState,
    answers: Vec<MeteredStream>,
    renderer: Box<dyn Renderer>,
    stream: bool,
    log: RequestLog,
) -> Result<Response, Error> {
    log.set_model(answers[0].model());
    // Some are known when the provider has got the request.
    let notes = answers[0].note_source();
    let times = &app.config.keep_alive;
    let reservation = answers[0].memory().empty_reservation();
    let mut response = if stream {
        let schedule =
            KeepAliveSchedule { first: times.stream_first, every: times.stream_every, reset_by_deltas: true };
        send_sse(TimedDeltas::new(app, answers, schedule, log), renderer, notes.clone(), reservation).await
    } else {
        let schedule = KeepAliveSchedule { first: times.json_first, every: times.json_every, reset_by_deltas: false };
        send_json(TimedDeltas::new(app, answers, schedule, log), renderer, notes.clone(), reservation).await
    }?;
    set_compat_note(&mut response, &notes.notes());
    Ok(response)
}

/// Responds with an event stream.
///
/// # Errors
/// Any failure before the first event or keep-alive.
async fn send_sse(
    deltas: TimedDeltas,
    renderer: Box<dyn Renderer>,
    notes: AnswerNotes,
    reservation: MemoryReservation,
) -> Result<Response, Error> {
    let content_type = renderer.content_type();
    let mut events = SseBody { deltas, renderer, notes, reservation, ended: false, failure: None };
    let first = match events.next().await {
        Some(first) => first?,
        None => return Err(Error::internal("the answer ended before it started")),
    };
    let rest = stream::unfold(events, |mut events| async move {
        let text = match events.next().await? {
            Ok(text) => text,
            Err(error) => events.final_error_event(&error),
        };
        Some((text, events))
    });
    let body = stream::iter([first]).chain(rest).map(Ok::<_, io::Error>);
    Ok(body_response(Body::from_stream(body), HeaderValue::from_static(content_type), true))
}

/// The body of an event stream.
struct SseBody {
    deltas: TimedDeltas,
    renderer: Box<dyn Renderer>,
    notes: AnswerNotes,
    /// The memory that the renderer buffers.
    reservation: MemoryReservation,
    ended: bool,
    /// The failure that follows the bytes before it.
    failure: Option<Error>,
}

impl SseBody {
    /// The next bytes to send; `None` after a failure or the end. Events that are there together
    /// are sent together, and the first one waits for no other.
    async fn next(&mut self) -> Option<Result<String, Error>> {
        let mut out = String::new();
        while !self.ended && out.is_empty() {
            let event = self.deltas.next().await;
            self.write(event, &mut out);
        }
        while !self.ended && out.len() < MAX_BATCH_BYTES {
            let Some(event) = self.deltas.next_ready() else { break };
            self.write(event, &mut out);
        }
        if !out.is_empty() {
            return Some(Ok(out));
        }
        self.failure.take().map(Err)
    }

    /// Writes an event. A failure is kept for the next call.
    fn write(&mut self, event: DeltaEvent, out: &mut String) {
        match event {
            DeltaEvent::Delta(choice, delta) => {
                self.renderer.set_choice(choice);
                if self.renderer.buffers(&delta)
                    && let Err(error) = self.reservation.grow(delta.memory_bytes())
                {
                    self.fail(answer_too_large(error));
                    return;
                }
                if let Some(name) = self.renderer.dropped(&delta) {
                    self.notes.add_missing(name);
                }
                self.renderer.push(&delta, out);
            }
            DeltaEvent::KeepAlive => self.renderer.keep_alive(out),
            DeltaEvent::Failed(error) => self.fail(error),
            DeltaEvent::Ended => {
                self.ended = true;
                // The header may have been sent before it was known.
                if let Some(note) = self.notes.missing() {
                    self.renderer.note(&note, out);
                }
                self.renderer.finish(out);
            }
        }
    }

    fn fail(&mut self, error: Error) {
        self.ended = true;
        self.failure = Some(error);
    }

    fn final_error_event(&mut self, error: &Error) -> String {
        self.deltas.log().record_failure(error);
        let mut out = String::new();
        self.renderer.fail(error, &mut out);
        out
    }
}

/// Responds with one JSON object.
///
/// # Errors
/// Any failure before the first keep-alive. A later one cuts the body off, so that clients see a
/// broken connection and retry, instead of an error object with status 200.
async fn send_json(
    deltas: TimedDeltas,
    renderer: Box<dyn Renderer>,
    notes: AnswerNotes,
    reservation: MemoryReservation,
) -> Result<Response, Error> {
    let replies = vec![Reply::default(); deltas.choice_count()];
    let mut body = JsonBody { deltas, pending: Some((renderer, replies)), notes, reservation };
    let first = body.next().await?;
    if body.pending.is_none() {
        return Ok(json_response(first));
    }
    let rest = stream::unfold(body, |mut body| async move {
        body.pending.as_ref()?;
        let text = body.next().await.map_err(|error| {
            body.pending = None;
            body.deltas.log().record_failure(&error);
            io::Error::other(error)
        });
        Some((text, body))
    });
    Ok(json_response(Body::from_stream(stream::iter([Ok(first)]).chain(rest))))
}

/// The body of a JSON response.
struct JsonBody {
    deltas: TimedDeltas,
    /// The renderer, and a reply for each choice; `None` after the end.
    pending: Option<(Box<dyn Renderer>, Vec<Reply>)>,
    notes: AnswerNotes,
    /// The memory that the replies hold.
    reservation: MemoryReservation,
}

impl JsonBody {
    /// Returns an empty line as a keep-alive, or at the end the whole object.
    async fn next(&mut self) -> Result<Bytes, Error> {
        loop {
            match self.deltas.next().await {
                DeltaEvent::Delta(choice, delta) => {
                    self.reservation.grow(delta.memory_bytes()).map_err(answer_too_large)?;
                    if let Some((renderer, replies)) = &mut self.pending {
                        if let Some(name) = renderer.dropped(&delta) {
                            self.notes.add_missing(name);
                        }
                        replies[choice].push(delta)?;
                    }
                }
                DeltaEvent::KeepAlive => return Ok(Bytes::from_static(b"\n")),
                DeltaEvent::Failed(error) => return Err(error),
                DeltaEvent::Ended => {
                    let ended = || Error::internal("the answer ended twice");
                    let (renderer, replies) = self.pending.take().ok_or_else(ended)?;
                    renderer.missing(&replies).into_iter().for_each(|name| self.notes.add_missing(name));
                    return self.render_reply(renderer, replies).await;
                }
            }
        }
    }

    /// Renders the whole object, a large one on another thread.
    async fn render_reply(&mut self, renderer: Box<dyn Renderer>, replies: Vec<Reply>) -> Result<Bytes, Error> {
        let mut reservation = std::mem::take(&mut self.reservation);
        let bytes = reservation.bytes();
        let memory = reservation.memory().clone();
        let write = move || {
            // Text and replies are in memory together.
            reservation.grow(bytes).map_err(answer_too_large)?;
            let text = renderer.body(&replies)?.into_bytes();
            drop(replies);
            reservation.resize(text.len()).map_err(answer_too_large)?;
            Ok(reservation.attach_to(text))
        };
        offload(&memory, bytes, write).await
    }
}

/// A response with this body. Headers of an event stream keep proxies from buffering it.
pub(crate) fn body_response(body: Body, content_type: HeaderValue, is_sse: bool) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // Every response receives further headers later.
    headers.reserve(12);
    headers.insert(header::CONTENT_TYPE, content_type);
    if is_sse {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    response
}

/// A JSON response.
pub(crate) fn json_response(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The response to a request for the number of tokens, with a note if it is an estimate.
pub(crate) fn token_count_response(count: PromptTokens, body: impl FnOnce(u64) -> String) -> Response {
    let mut response = json_response(body(count.tokens));
    if count.is_estimate {
        set_compat_note(&mut response, &["the number of tokens is an estimate".to_owned()]);
    }
    response
}

/// The error for an answer that exceeds the memory. It is `Overloaded`, not the caller's fault.
fn answer_too_large(error: Error) -> Error {
    let message = "The answer is larger than the memory available now, please try again later";
    Error { kind: ErrorKind::Overloaded, message: message.into(), ..error }
}

/// Adds the header with the parameters that were accepted although DeepSeek's service
/// would refuse them.
pub(crate) fn set_compat_note(response: &mut Response, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    // Notes may quote names of the request; headers are ASCII and have a length.
    let visible = |char: char| if (' '..='~').contains(&char) { char } else { '?' };
    let notes: String = notes.join("; ").chars().map(visible).take(MAX_NOTE_CHARS).collect();
    response
        .headers_mut()
        .insert("x-compat-note", HeaderValue::try_from(notes).expect("printable ASCII is a header value"));
}
