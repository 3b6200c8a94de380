//! Sends an answer on as its provider sends it, with signs of life while nothing comes, and an error event where it breaks.

use std::io;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::{StreamExt, stream};
use gateway::Relayed;
use http::{HeaderValue, header};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

use crate::line::Line;
use crate::pace::stop;
use crate::server::App;

/// How a surface says what only this server can say of a stream that passes.
#[derive(Clone, Copy)]
pub(crate) enum Tongue {
    OpenAi,
    Anthropic,
}

/// Answers with what passes.
pub(crate) fn send(app: &App, relayed: Relayed, tongue: Tongue, line: Line) -> Response {
    let content_type = HeaderValue::try_from(&relayed.content_type);
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/json"));
    let events = relayed.streams();
    let passing = Passing {
        relayed,
        tongue,
        line,
        stopping: app.stopping.clone(),
        every: app.config.keep_alive.stream_every,
        end_by: Instant::now() + app.config.total_timeout,
        between: true,
        ended: false,
    };
    let body = stream::unfold(passing, |mut passing| async move { Some((passing.next().await?, passing)) });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    if events {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    response
}

struct Passing {
    relayed: Relayed,
    tongue: Tongue,
    line: Line,
    stopping: watch::Receiver<bool>,
    every: Duration,
    end_by: Instant,
    /// What was sent last ended an event, so that a comment may stand here.
    between: bool,
    ended: bool,
}

impl Passing {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        let events = self.relayed.streams();
        let keep_alive = Instant::now() + self.every;
        let item = tokio::select! {
            biased;
            item = self.relayed.next() => item,
            () = stop(&mut self.stopping) => Some(Err(ended("The server is shutting down, please send the request again"))),
            () = sleep_until(self.end_by) => Some(Err(ended("The answer took too long"))),
            () = sleep_until(keep_alive), if events && self.between => return Some(Ok(self.tongue.sign_of_life())),
        };
        match item {
            Some(Ok(bytes)) => {
                self.between = bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n");
                Some(Ok(bytes))
            }
            Some(Err(error)) => {
                self.ended = true;
                self.line.failed(&error);
                Some(if events { Ok(self.last_words(&error)) } else { Err(io::Error::other(error)) })
            }
            None => {
                self.ended = true;
                if let Some(usage) = self.relayed.usage() {
                    self.line.usage(usage);
                }
                None
            }
        }
    }

    /// An error event before anything that looks like an end. An event that was cut is ended first.
    fn last_words(&self, error: &Error) -> Bytes {
        let mut text = String::from(if self.between { "" } else { "\n\n" });
        match self.tongue {
            Tongue::OpenAi => {
                wire::sse::event(&wire::error::body(error), &mut text);
                wire::sse::event("[DONE]", &mut text);
            }
            Tongue::Anthropic => {
                text.push_str("event: error\n");
                wire::sse::event(&wire::anthropic::error(error, self.line.id()).1, &mut text);
            }
        }
        text.into()
    }
}

impl Tongue {
    fn sign_of_life(self) -> Bytes {
        Bytes::from_static(match self {
            Self::OpenAi => b": keep-alive\n\n",
            Self::Anthropic => b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
        })
    }
}

fn ended(message: &str) -> Error {
    Error::new(ErrorKind::Overload, message)
}
