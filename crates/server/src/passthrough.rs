//! Sends an answer on as its provider sends it, with signs of life while nothing comes, and an
//! error event where it breaks.

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

use crate::app::AppState;
use crate::request_log::RequestLog;
use crate::timed_deltas::{ShutdownSignal, shutdown_signal};

/// How a surface says what only this server can say of an answer that passes.
#[derive(Clone, Copy)]
pub(crate) enum Surface {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What a provider has begun to answer.
enum FirstResponse {
    Stream(Box<PassthroughResponse>),
    Complete { content_type: HeaderValue, bytes: Bytes, usage: Option<Usage>, provider: Arc<str> },
}

type FirstResponseFuture = Pin<Box<dyn Future<Output = Result<FirstResponse, Error>> + Send>>;

/// Answers with what passes.
///
/// # Errors
/// Whatever goes wrong before the first sign of life is due.
pub(crate) async fn send(
    app: &AppState,
    request: PassthroughRequest,
    surface: Surface,
    log: RequestLog,
) -> Result<Response, Error> {
    log.set_model(request.model());
    let (shape, times) = (request.body_kind(), &app.config.keep_alive);
    let is_sse = shape == BodyKind::Sse;
    let (first_keep_alive, keep_alive_interval) = match shape {
        BodyKind::Sse => (times.stream_first, times.stream_every),
        BodyKind::Json => (times.json_first, times.json_every),
        // Nothing may stand before it.
        BodyKind::Text | BodyKind::Audio => (app.config.total_timeout, app.config.total_timeout),
    };
    let mut first_response: FirstResponseFuture = Box::pin(await_first_response(request));
    let response_in_time = match timeout_at(Instant::now() + first_keep_alive, &mut first_response).await {
        Ok(begun) => Some(begun?),
        Err(_) => None,
    };
    let (content_type, state) = match response_in_time {
        None if !matches!(shape, BodyKind::Sse | BodyKind::Json) => {
            return Err(overload_error("The answer took too long"));
        }
        Some(FirstResponse::Complete { content_type, bytes, usage, provider }) => {
            log_provider_usage(&log, &provider, usage);
            return Ok(body_response(Body::from(bytes), content_type, false));
        }
        Some(FirstResponse::Stream(response)) => {
            log.set_provider(response.provider());
            log.record_first_chunk();
            (response.content_type.clone(), PassthroughState::Streaming(response))
        }
        None => {
            let content_type = if is_sse { "text/event-stream; charset=utf-8" } else { "application/json" };
            (HeaderValue::from_static(content_type), PassthroughState::AwaitingProvider(first_response))
        }
    };
    let state = PassthroughBody {
        // Its first sign of life is due.
        keep_alive_due: matches!(state, PassthroughState::AwaitingProvider(_)),
        state,
        surface,
        is_sse,
        log,
        alarm: DeadlineTimer::default(),
        shutdown: shutdown_signal(app.stopping.clone()),
        keep_alive_interval,
        first_byte_deadline: Instant::now() + app.config.queue_timeout,
        total_deadline: Instant::now() + app.config.total_timeout,
        at_event_boundary: shape != BodyKind::Audio,
    };
    let body = stream::unfold(state, |mut state| async move { Some((state.next().await?, state)) });
    Ok(body_response(Body::from_stream(body), content_type, is_sse))
}

async fn await_first_response(request: PassthroughRequest) -> Result<FirstResponse, Error> {
    let shape = request.body_kind();
    let response = request.send().await?;
    if matches!(shape, BodyKind::Sse | BodyKind::Audio) {
        return Ok(FirstResponse::Stream(Box::new(response)));
    }
    let (content_type, provider) = (response.content_type.clone(), response.provider().clone());
    let (bytes, usage) = response.read_to_end().await?;
    Ok(FirstResponse::Complete { content_type, bytes, usage, provider })
}

/// A body of this type; events are not to be held back on their way.
pub(crate) fn body_response(body: Body, content_type: HeaderValue, is_sse: bool) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // Those that every response gets follow.
    headers.reserve(12);
    headers.insert(header::CONTENT_TYPE, content_type);
    if is_sse {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    response
}

fn log_provider_usage(log: &RequestLog, provider: &Arc<str>, usage: Option<Usage>) {
    log.set_provider(provider);
    if let Some(usage) = usage {
        log.set_usage(usage);
    }
}

enum PassthroughState {
    /// The client has had a sign of life before there was an answer.
    AwaitingProvider(FirstResponseFuture),
    Streaming(Box<PassthroughResponse>),
    Done,
}

struct PassthroughBody {
    state: PassthroughState,
    surface: Surface,
    is_sse: bool,
    log: RequestLog,
    alarm: DeadlineTimer,
    shutdown: ShutdownSignal,
    keep_alive_interval: Duration,
    /// The deadline for the first bytes.
    first_byte_deadline: Instant,
    total_deadline: Instant,
    /// What was sent last ended an event, so that a sign of life may stand here.
    at_event_boundary: bool,
    keep_alive_due: bool,
}

impl PassthroughBody {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if std::mem::take(&mut self.keep_alive_due) {
            return Some(Ok(self.keep_alive_bytes()));
        }
        loop {
            // Between events a sign of life may stand.
            let deadline = match self.state {
                PassthroughState::AwaitingProvider(_) => self.first_byte_deadline.min(self.total_deadline),
                _ => self.total_deadline,
            };
            let next_keep_alive = self
                .at_event_boundary
                .then(|| Instant::now() + self.keep_alive_interval)
                .filter(|silence| *silence < deadline);
            let step = tokio::select! {
                biased;
                step = next_event(&mut self.state) => step,
                () = &mut self.shutdown => PassthroughEvent::Failed(overload_error("The server is shutting down, please send the request again")),
                () = self.alarm.wait_until(next_keep_alive.unwrap_or(deadline)) => match next_keep_alive {
                    Some(_) => return Some(Ok(self.keep_alive_bytes())),
                    None => PassthroughEvent::Failed(overload_error("The answer took too long")),
                },
            };
            match step {
                PassthroughEvent::Started(response) => {
                    self.log.record_first_chunk();
                    self.state = PassthroughState::Streaming(response);
                }
                PassthroughEvent::Complete(bytes, usage, provider) => {
                    self.state = PassthroughState::Done;
                    log_provider_usage(&self.log, &provider, usage);
                    return Some(Ok(bytes));
                }
                PassthroughEvent::Bytes(bytes) => {
                    self.at_event_boundary = self.is_sse && (bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n"));
                    return Some(Ok(bytes));
                }
                PassthroughEvent::Failed(error) => {
                    self.state = PassthroughState::Done;
                    self.log.record_failure(&error);
                    return Some(if self.is_sse {
                        Ok(self.final_error_event(&error))
                    } else {
                        Err(io::Error::other(error))
                    });
                }
                PassthroughEvent::Ended => {
                    if let PassthroughState::Streaming(response) =
                        std::mem::replace(&mut self.state, PassthroughState::Done)
                    {
                        log_provider_usage(&self.log, response.provider(), response.usage());
                    }
                    return None;
                }
            }
        }
    }

    fn keep_alive_bytes(&self) -> Bytes {
        Bytes::from_static(match self.surface {
            _ if !self.is_sse => b"\n",
            Surface::OpenAi => b": keep-alive\n\n",
            Surface::Anthropic => b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
            // Its SDK takes every line for data.
            Surface::Gemini => b"\r\n",
        })
    }

    /// An error event before anything that looks like an end. An event that was cut is ended first.
    fn final_error_event(&self, error: &Error) -> Bytes {
        let mut text = String::from(if self.at_event_boundary { "" } else { "\n\n" });
        match self.surface {
            Surface::OpenAi => {
                wire::sse::write_event(&wire::surface::error::error_body(error), &mut text);
                wire::sse::write_event("[DONE]", &mut text);
            }
            Surface::Anthropic => {
                text.push_str("event: error\n");
                wire::sse::write_event(&wire::surface::anthropic::error_response(error, self.log.id()).1, &mut text);
            }
            Surface::Gemini => wire::sse::write_event(&wire::surface::gemini::error_response(error).1, &mut text),
        }
        text.into()
    }
}

enum PassthroughEvent {
    Started(Box<PassthroughResponse>),
    Complete(Bytes, Option<Usage>, Arc<str>),
    Bytes(Bytes),
    Failed(Error),
    Ended,
}

async fn next_event(state: &mut PassthroughState) -> PassthroughEvent {
    match state {
        PassthroughState::Done => PassthroughEvent::Ended,
        PassthroughState::AwaitingProvider(first_response) => match first_response.await {
            Ok(FirstResponse::Stream(response)) => PassthroughEvent::Started(response),
            Ok(FirstResponse::Complete { bytes, usage, provider, .. }) => {
                PassthroughEvent::Complete(bytes, usage, provider)
            }
            Err(error) => PassthroughEvent::Failed(error),
        },
        PassthroughState::Streaming(response) => match response.next().await {
            Some(Ok(bytes)) => PassthroughEvent::Bytes(bytes),
            Some(Err(error)) => PassthroughEvent::Failed(error),
            None => PassthroughEvent::Ended,
        },
    }
}

fn overload_error(message: &str) -> Error {
    Error::new(ErrorKind::Overloaded, message)
}
