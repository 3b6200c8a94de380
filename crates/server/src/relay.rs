//! Sends an answer on as its provider sends it, with signs of life while nothing comes, and an error event where it breaks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chat::{Error, ErrorKind, Usage};
use futures_util::{StreamExt, stream};
use gateway::{BodyKind, DeadlineTimer, PassthroughRequest, PassthroughResponse};
use http::{HeaderValue, header};
use tokio::time::{Duration, Instant, timeout_at};

use crate::line::Line;
use crate::pace::{Stop, stop};
use crate::server::App;

/// How a surface says what only this server can say of an answer that passes.
#[derive(Clone, Copy)]
pub(crate) enum Tongue {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What a provider has begun to answer.
enum Begun {
    Events(Box<PassthroughResponse>),
    Whole { content_type: HeaderValue, bytes: Bytes, usage: Option<Usage>, provider: Arc<str> },
}

type Beginning = Pin<Box<dyn Future<Output = Result<Begun, Error>> + Send>>;

/// Answers with what passes.
///
/// # Errors
/// Whatever goes wrong before the first sign of life is due.
pub(crate) async fn send(app: &App, relay: PassthroughRequest, tongue: Tongue, line: Line) -> Result<Response, Error> {
    line.model(relay.model());
    let (shape, times) = (relay.body_kind(), &app.config.keep_alive);
    let events = shape == BodyKind::Sse;
    let (first, every) = match shape {
        BodyKind::Sse => (times.stream_first, times.stream_every),
        BodyKind::Json => (times.plain_first, times.plain_every),
        // Nothing may stand before it.
        BodyKind::Text | BodyKind::Audio => (app.config.total_timeout, app.config.total_timeout),
    };
    let mut beginning: Beginning = Box::pin(begin(relay));
    let begun = match timeout_at(Instant::now() + first, &mut beginning).await {
        Ok(begun) => Some(begun?),
        Err(_) => None,
    };
    let (content_type, state) = match begun {
        None if !matches!(shape, BodyKind::Sse | BodyKind::Json) => return Err(ended("The answer took too long")),
        Some(Begun::Whole { content_type, bytes, usage, provider }) => {
            tell(&line, &provider, usage);
            return Ok(response(Body::from(bytes), content_type, false));
        }
        Some(Begun::Events(relayed)) => {
            line.provider(relayed.provider());
            line.first_chunk();
            (relayed.content_type.clone(), State::Events(relayed))
        }
        None => {
            let content_type = if events { "text/event-stream; charset=utf-8" } else { "application/json" };
            (HeaderValue::from_static(content_type), State::Late(beginning))
        }
    };
    let passing = Passing {
        // Its first sign of life is due.
        due: matches!(state, State::Late(_)),
        state,
        tongue,
        events,
        line,
        alarm: DeadlineTimer::default(),
        stop: stop(app.stopping.clone()),
        every,
        begin_by: Instant::now() + app.config.queue_timeout,
        end_by: Instant::now() + app.config.total_timeout,
        between: shape != BodyKind::Audio,
    };
    let body = stream::unfold(passing, |mut passing| async move { Some((passing.next().await?, passing)) });
    Ok(response(Body::from_stream(body), content_type, events))
}

async fn begin(relay: PassthroughRequest) -> Result<Begun, Error> {
    let shape = relay.body_kind();
    let relayed = relay.send().await?;
    if matches!(shape, BodyKind::Sse | BodyKind::Audio) {
        return Ok(Begun::Events(Box::new(relayed)));
    }
    let (content_type, provider) = (relayed.content_type.clone(), relayed.provider().clone());
    let (bytes, usage) = relayed.read_to_end().await?;
    Ok(Begun::Whole { content_type, bytes, usage, provider })
}

/// A body of this type; events are not to be held back on their way.
pub(crate) fn response(body: Body, content_type: HeaderValue, events: bool) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // Those that every response gets follow.
    headers.reserve(12);
    headers.insert(header::CONTENT_TYPE, content_type);
    if events {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    response
}

fn tell(line: &Line, provider: &Arc<str>, usage: Option<Usage>) {
    line.provider(provider);
    if let Some(usage) = usage {
        line.usage(usage);
    }
}

enum State {
    /// The client has had a sign of life before there was an answer.
    Late(Beginning),
    Events(Box<PassthroughResponse>),
    Over,
}

struct Passing {
    state: State,
    tongue: Tongue,
    events: bool,
    line: Line,
    alarm: DeadlineTimer,
    stop: Stop,
    every: Duration,
    /// The deadline for the first bytes.
    begin_by: Instant,
    end_by: Instant,
    /// What was sent last ended an event, so that a sign of life may stand here.
    between: bool,
    due: bool,
}

impl Passing {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if std::mem::take(&mut self.due) {
            return Some(Ok(self.sign_of_life()));
        }
        loop {
            // Between events a sign of life may stand.
            let end_by = match self.state {
                State::Late(_) => self.begin_by.min(self.end_by),
                _ => self.end_by,
            };
            let silence = self.between.then(|| Instant::now() + self.every).filter(|silence| *silence < end_by);
            let step = tokio::select! {
                biased;
                step = step(&mut self.state) => step,
                () = &mut self.stop => Step::Broken(ended("The server is shutting down, please send the request again")),
                () = self.alarm.wait_until(silence.unwrap_or(end_by)) => match silence {
                    Some(_) => return Some(Ok(self.sign_of_life())),
                    None => Step::Broken(ended("The answer took too long")),
                },
            };
            match step {
                Step::Begun(relayed) => {
                    self.line.first_chunk();
                    self.state = State::Events(relayed);
                }
                Step::Whole(bytes, usage, provider) => {
                    self.state = State::Over;
                    tell(&self.line, &provider, usage);
                    return Some(Ok(bytes));
                }
                Step::Bytes(bytes) => {
                    self.between = self.events && (bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n"));
                    return Some(Ok(bytes));
                }
                Step::Broken(error) => {
                    self.state = State::Over;
                    self.line.failed(&error);
                    return Some(if self.events { Ok(self.last_words(&error)) } else { Err(io::Error::other(error)) });
                }
                Step::Ended => {
                    if let State::Events(relayed) = std::mem::replace(&mut self.state, State::Over) {
                        tell(&self.line, relayed.provider(), relayed.usage());
                    }
                    return None;
                }
            }
        }
    }

    fn sign_of_life(&self) -> Bytes {
        Bytes::from_static(match self.tongue {
            _ if !self.events => b"\n",
            Tongue::OpenAi => b": keep-alive\n\n",
            Tongue::Anthropic => b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
            // Its SDK takes every line for data.
            Tongue::Gemini => b"\r\n",
        })
    }

    /// An error event before anything that looks like an end. An event that was cut is ended first.
    fn last_words(&self, error: &Error) -> Bytes {
        let mut text = String::from(if self.between { "" } else { "\n\n" });
        match self.tongue {
            Tongue::OpenAi => {
                wire::sse::write_event(&wire::surface::error::error_body(error), &mut text);
                wire::sse::write_event("[DONE]", &mut text);
            }
            Tongue::Anthropic => {
                text.push_str("event: error\n");
                wire::sse::write_event(&wire::surface::anthropic::error_response(error, self.line.id()).1, &mut text);
            }
            Tongue::Gemini => wire::sse::write_event(&wire::surface::gemini::error_response(error).1, &mut text),
        }
        text.into()
    }
}

enum Step {
    Begun(Box<PassthroughResponse>),
    Whole(Bytes, Option<Usage>, Arc<str>),
    Bytes(Bytes),
    Broken(Error),
    Ended,
}

async fn step(state: &mut State) -> Step {
    match state {
        State::Over => Step::Ended,
        State::Late(beginning) => match beginning.await {
            Ok(Begun::Events(relayed)) => Step::Begun(relayed),
            Ok(Begun::Whole { bytes, usage, provider, .. }) => Step::Whole(bytes, usage, provider),
            Err(error) => Step::Broken(error),
        },
        State::Events(relayed) => match relayed.next().await {
            Some(Ok(bytes)) => Step::Bytes(bytes),
            Some(Err(error)) => Step::Broken(error),
            None => Step::Ended,
        },
    }
}

fn ended(message: &str) -> Error {
    Error::new(ErrorKind::Overloaded, message)
}
