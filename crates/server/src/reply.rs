//! Sends an answer, as events or whole, with signs of life while it is waited for. The status is decided by the first
//! thing there is to send: until then a failure is a plain refusal.

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chat::{Error, ErrorKind, Reply};
use futures_util::{StreamExt, stream};
use gateway::{MemoryReservation, MeteredStream, offload};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use wire::surface::Renderer;

use crate::exchange::json;
use crate::line::Line;
use crate::pace::{Pace, Rhythm, Step};
use crate::server::App;

/// Answers in the shape of one surface, with events if `stream`. Every answer is a choice.
///
/// # Errors
/// Whatever goes wrong before the first sign of life is due.
pub(crate) async fn send(
    app: &App,
    answers: Vec<MeteredStream>,
    render: Box<dyn Renderer>,
    stream: bool,
    line: Line,
) -> Result<Response, Error> {
    let (times, hold) = (&app.config.keep_alive, answers[0].memory().empty_reservation());
    if stream {
        let rhythm = Rhythm { first: times.stream_first, every: times.stream_every, deltas_count: true };
        streamed(Pace::new(app, answers, rhythm, line), render, hold).await
    } else {
        let rhythm = Rhythm { first: times.plain_first, every: times.plain_every, deltas_count: false };
        whole(Pace::new(app, answers, rhythm, line), render, hold).await
    }
}

/// Answers with events.
///
/// # Errors
/// Whatever goes wrong before the first event or comment is due.
async fn streamed(pace: Pace, render: Box<dyn Renderer>, hold: MemoryReservation) -> Result<Response, Error> {
    let content_type = render.content_type();
    let mut events = Events { pace, render, hold, ended: false };
    let first = match events.next().await {
        Some(first) => first?,
        None => return Err(Error::internal("the answer ended before it began")),
    };
    let rest = stream::unfold(events, |mut events| async move {
        let text = match events.next().await? {
            Ok(text) => text,
            Err(error) => events.last_words(&error),
        };
        Some((text, events))
    });
    let body = stream::iter([first]).chain(rest).map(Ok::<_, io::Error>);
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Events {
    pace: Pace,
    render: Box<dyn Renderer>,
    /// The memory that the renderer holds.
    hold: MemoryReservation,
    ended: bool,
}

impl Events {
    /// What is to be sent next; after a failure or the end, nothing.
    async fn next(&mut self) -> Option<Result<String, Error>> {
        while !self.ended {
            let mut out = String::new();
            match self.pace.next().await {
                Step::Delta(choice, delta) => {
                    self.render.set_choice(choice);
                    if self.render.buffers(&delta)
                        && let Err(error) = self.hold.grow(delta.memory_bytes())
                    {
                        self.ended = true;
                        return Some(Err(no_memory(error)));
                    }
                    self.render.push(&delta, &mut out);
                }
                Step::KeepAlive => self.render.keep_alive(&mut out),
                Step::Failed(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Step::Ended => {
                    self.ended = true;
                    self.render.finish(&mut out);
                }
            }
            if !out.is_empty() {
                return Some(Ok(out));
            }
        }
        None
    }

    fn last_words(&mut self, error: &Error) -> String {
        self.pace.line().failed(error);
        let mut out = String::new();
        self.render.fail(error, &mut out);
        out
    }
}

/// Answers with one object.
///
/// # Errors
/// Whatever goes wrong before the first sign of life is due. After it the body is cut off without its end, so that
/// clients see a broken connection and try again, and no error object under status 200.
async fn whole(pace: Pace, render: Box<dyn Renderer>, hold: MemoryReservation) -> Result<Response, Error> {
    let replies = vec![Reply::default(); pace.choices()];
    let mut whole = Whole { pace, answer: Some((render, replies)), hold };
    let first = whole.next().await?;
    if whole.answer.is_none() {
        let mut response = json(String::new());
        *response.body_mut() = Body::from(first);
        return Ok(response);
    }
    let rest = stream::unfold(whole, |mut whole| async move {
        whole.answer.as_ref()?;
        let text = whole.next().await.map_err(|error| {
            whole.answer = None;
            whole.pace.line().failed(&error);
            io::Error::other(error)
        });
        Some((text, whole))
    });
    let mut response = json(String::new());
    *response.body_mut() = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
    Ok(response)
}

struct Whole {
    pace: Pace,
    /// The renderer, and a reply for each choice; `None` after the end.
    answer: Option<(Box<dyn Renderer>, Vec<Reply>)>,
    /// The memory that the replies hold.
    hold: MemoryReservation,
}

impl Whole {
    /// An empty line, or at the end the whole object.
    async fn next(&mut self) -> Result<Bytes, Error> {
        loop {
            match self.pace.next().await {
                Step::Delta(choice, delta) => {
                    self.hold.grow(delta.memory_bytes()).map_err(no_memory)?;
                    if let Some((_, replies)) = &mut self.answer {
                        replies[choice].push(delta)?;
                    }
                }
                Step::KeepAlive => return Ok(Bytes::from_static(b"\n")),
                Step::Failed(error) => return Err(error),
                Step::Ended => {
                    let ended = || Error::internal("the answer ended twice");
                    let (render, replies) = self.answer.take().ok_or_else(ended)?;
                    return self.rendered(render, replies).await;
                }
            }
        }
    }

    /// The whole object. A large one is written aside.
    async fn rendered(&mut self, render: Box<dyn Renderer>, replies: Vec<Reply>) -> Result<Bytes, Error> {
        let mut hold = std::mem::take(&mut self.hold);
        let bytes = hold.bytes();
        let memory = hold.memory().clone();
        let write = move || {
            // The text beside the replies it is made of.
            hold.grow(bytes).map_err(no_memory)?;
            let text = render.body(&replies)?.into_bytes();
            drop(replies);
            hold.resize(text.len()).map_err(no_memory)?;
            Ok(hold.attach_to(text))
        };
        offload(&memory, bytes, write).await
    }
}

/// An answer takes more memory than there is: that is not the caller's fault.
fn no_memory(error: Error) -> Error {
    let message = "The answer is larger than the memory there is for it now, please try again later";
    Error { kind: ErrorKind::Overloaded, message: message.into(), ..error }
}

/// Answers with an error.
pub(crate) fn refusal(error: &Error) -> Response {
    refuse(error, wire::surface::error::http_status(error), wire::surface::error::error_body(error))
}

/// Answers a request that failed; what a provider elsewhere did wrong can be asked about by the request's id.
pub(crate) fn failure(error: Error, line: &Line) -> Response {
    if !matches!(error.kind, ErrorKind::Upstream(_)) {
        return refusal(&error);
    }
    let message = format!("{} (request id: {})", error.message, line.id());
    refusal(&Error { message, ..error })
}

/// Answers with an error in the shape of some surface.
pub(crate) fn refuse(error: &Error, status: u16, body: String) -> Response {
    let mut response = json(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    retry(error, response.headers_mut());
    if response.status().is_server_error() {
        tracing::warn!(status = response.status().as_u16(), error = error.message, "a request failed");
    }
    response
}

/// Whether and when official clients should try again.
fn retry(error: &Error, headers: &mut HeaderMap) {
    let patience = match error.kind {
        ErrorKind::RateLimited => Some(1),
        ErrorKind::Overloaded => Some(5),
        _ => None,
    };
    let asked = error.retry_after.map(|after| after.as_secs_f64().ceil() as u64);
    if let Some(seconds) = asked.or(patience) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.kind == ErrorKind::InsufficientBalance {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
}

/// Tells the caller what was accepted although DeepSeek's service would refuse it.
pub(crate) fn note(response: &mut Response, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    // A note that is no header value is said in the log alone.
    if let Ok(notes) = HeaderValue::try_from(notes.join("; ")) {
        response.headers_mut().insert("x-compat-note", notes);
    }
}
