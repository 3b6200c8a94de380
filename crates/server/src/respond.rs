//! Sends an answer, as events or whole, with signs of life while it is waited for. The status is
//! decided by the first thing there is to send: until then a failure is a plain refusal.

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chat::{Error, ErrorKind, Reply};
use futures_util::{StreamExt, stream};
use gateway::{MemoryReservation, MeteredStream, offload};
use http::{HeaderValue, header};
use wire::surface::Renderer;

use crate::app::AppState;
use crate::request_log::RequestLog;
use crate::timed_deltas::{DeltaEvent, KeepAliveSchedule, TimedDeltas};

/// Answers in the shape of one surface, with events if `stream`. Every answer is a choice.
///
/// # Errors
/// Whatever goes wrong before the first sign of life is due.
pub(crate) async fn send(
    app: &AppState,
    answers: Vec<MeteredStream>,
    render: Box<dyn Renderer>,
    stream: bool,
    log: RequestLog,
) -> Result<Response, Error> {
    let (times, hold) = (&app.config.keep_alive, answers[0].memory().empty_reservation());
    if stream {
        let schedule =
            KeepAliveSchedule { first: times.stream_first, every: times.stream_every, reset_by_deltas: true };
        send_sse(TimedDeltas::new(app, answers, schedule, log), render, hold).await
    } else {
        let schedule = KeepAliveSchedule { first: times.json_first, every: times.json_every, reset_by_deltas: false };
        send_json(TimedDeltas::new(app, answers, schedule, log), render, hold).await
    }
}

/// Answers with events.
///
/// # Errors
/// Whatever goes wrong before the first event or comment is due.
async fn send_sse(
    deltas: TimedDeltas,
    renderer: Box<dyn Renderer>,
    hold: MemoryReservation,
) -> Result<Response, Error> {
    let content_type = renderer.content_type();
    let mut events = SseBody { deltas, renderer, hold, ended: false };
    let first = match events.next().await {
        Some(first) => first?,
        None => return Err(Error::internal("the answer ended before it began")),
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

struct SseBody {
    deltas: TimedDeltas,
    renderer: Box<dyn Renderer>,
    /// The memory that the renderer holds.
    hold: MemoryReservation,
    ended: bool,
}

impl SseBody {
    /// What is to be sent next; after a failure or the end, nothing.
    async fn next(&mut self) -> Option<Result<String, Error>> {
        while !self.ended {
            let mut out = String::new();
            match self.deltas.next().await {
                DeltaEvent::Delta(choice, delta) => {
                    self.renderer.set_choice(choice);
                    if self.renderer.buffers(&delta)
                        && let Err(error) = self.hold.grow(delta.memory_bytes())
                    {
                        self.ended = true;
                        return Some(Err(answer_too_large(error)));
                    }
                    self.renderer.push(&delta, &mut out);
                }
                DeltaEvent::KeepAlive => self.renderer.keep_alive(&mut out),
                DeltaEvent::Failed(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                DeltaEvent::Ended => {
                    self.ended = true;
                    self.renderer.finish(&mut out);
                }
            }
            if !out.is_empty() {
                return Some(Ok(out));
            }
        }
        None
    }

    fn final_error_event(&mut self, error: &Error) -> String {
        self.deltas.log().record_failure(error);
        let mut out = String::new();
        self.renderer.fail(error, &mut out);
        out
    }
}

/// Answers with one object.
///
/// # Errors
/// Whatever goes wrong before the first sign of life is due. After it the body is cut off
/// without its end, so that clients see a broken connection and try again, and no error object
/// under status 200.
async fn send_json(
    deltas: TimedDeltas,
    renderer: Box<dyn Renderer>,
    hold: MemoryReservation,
) -> Result<Response, Error> {
    let replies = vec![Reply::default(); deltas.choice_count()];
    let mut body = JsonBody { deltas, pending: Some((renderer, replies)), hold };
    let first = body.next().await?;
    if body.pending.is_none() {
        let mut response = json_response(String::new());
        *response.body_mut() = Body::from(first);
        return Ok(response);
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
    let mut response = json_response(String::new());
    *response.body_mut() = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
    Ok(response)
}

struct JsonBody {
    deltas: TimedDeltas,
    /// The renderer, and a reply for each choice; `None` after the end.
    pending: Option<(Box<dyn Renderer>, Vec<Reply>)>,
    /// The memory that the replies hold.
    hold: MemoryReservation,
}

impl JsonBody {
    /// An empty line, or at the end the whole object.
    async fn next(&mut self) -> Result<Bytes, Error> {
        loop {
            match self.deltas.next().await {
                DeltaEvent::Delta(choice, delta) => {
                    self.hold.grow(delta.memory_bytes()).map_err(answer_too_large)?;
                    if let Some((_, replies)) = &mut self.pending {
                        replies[choice].push(delta)?;
                    }
                }
                DeltaEvent::KeepAlive => return Ok(Bytes::from_static(b"\n")),
                DeltaEvent::Failed(error) => return Err(error),
                DeltaEvent::Ended => {
                    let ended = || Error::internal("the answer ended twice");
                    let (render, replies) = self.pending.take().ok_or_else(ended)?;
                    return self.render_reply(render, replies).await;
                }
            }
        }
    }

    /// The whole object. A large one is written aside.
    async fn render_reply(&mut self, renderer: Box<dyn Renderer>, replies: Vec<Reply>) -> Result<Bytes, Error> {
        let mut hold = std::mem::take(&mut self.hold);
        let bytes = hold.bytes();
        let memory = hold.memory().clone();
        let write = move || {
            // The text beside the replies it is made of.
            hold.grow(bytes).map_err(answer_too_large)?;
            let text = renderer.body(&replies)?.into_bytes();
            drop(replies);
            hold.resize(text.len()).map_err(answer_too_large)?;
            Ok(hold.attach_to(text))
        };
        offload(&memory, bytes, write).await
    }
}

/// A body of this content type. Proxies must not hold events back.
pub(crate) fn body_response(body: Body, content_type: HeaderValue, is_sse: bool) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // The headers that every response gets follow.
    headers.reserve(12);
    headers.insert(header::CONTENT_TYPE, content_type);
    if is_sse {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    response
}

/// A response of plain JSON.
pub(crate) fn json_response(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer takes more memory than there is: that is not the caller's fault.
fn answer_too_large(error: Error) -> Error {
    let message = "The answer is larger than the memory there is for it now, please try again later";
    Error { kind: ErrorKind::Overloaded, message: message.into(), ..error }
}

/// Tells the caller what was accepted although DeepSeek's service would refuse it.
pub(crate) fn set_compat_note(response: &mut Response, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    // A note that is no header value is said in the log alone.
    if let Ok(notes) = HeaderValue::try_from(notes.join("; ")) {
        response.headers_mut().insert("x-compat-note", notes);
    }
}
