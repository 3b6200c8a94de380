//! Passes a provider's response through to the client, with keep-alives while nothing arrives. An
//! event stream that breaks ends with an error event.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use chat::{Error, Usage};
use futures_util::{FutureExt, StreamExt, stream};
use gateway::{BodyKind, PassthroughRequest, PassthroughResponse};
use http::HeaderValue;
use tokio::time::timeout;

use crate::app::AppState;
use crate::request_log::RequestLog;
use crate::respond::{MAX_BATCH_BYTES, body_response, set_compat_note};
use crate::stream_clock::{ClockEvent, Interruption, StreamClock};

/// The API whose format is used for keep-alives and errors.
#[derive(Clone, Copy)]
pub(crate) enum Surface {
    OpenAi,
    Responses,
    Anthropic,
    Gemini,
}

/// A provider's response: its start if it is streamed, else the whole.
enum FirstResponse {
    /// An event stream or audio, whose bytes are still to come.
    Stream(Box<PassthroughResponse>),
    Complete {
        content_type: HeaderValue,
        bytes: Bytes,
        usage: Option<Usage>,
        provider: Arc<str>,
    },
}

type FirstResponseFuture = Pin<Box<dyn Future<Output = Result<FirstResponse, Error>> + Send>>;

/// Sends `request` to its provider, and returns the provider's response for the client.
///
/// If the provider has not answered when the first keep-alive is due, the status 200 is sent. A
/// later failure ends the body: see [`PassthroughBody::fail`].
///
/// # Errors
/// Any failure before the first keep-alive is due. Text and audio have no keep-alives: `Overloaded`
/// if the provider does not answer within the total time limit.
pub(crate) async fn send(
    app: &AppState,
    request: PassthroughRequest,
    surface: Surface,
    log: RequestLog,
) -> Result<Response, Error> {
    let notes = request.note_source();
    let mut response = send_without_notes(app, request, surface, log).await?;
    set_compat_note(&mut response, &notes.notes());
    Ok(response)
}

async fn send_without_notes(
    app: &AppState,
    request: PassthroughRequest,
    surface: Surface,
    log: RequestLog,
) -> Result<Response, Error> {
    log.set_model(request.model());
    let body_kind = request.body_kind();
    let times = &app.config.keep_alive;
    let (first_keep_alive, keep_alive_interval) = match body_kind {
        BodyKind::Sse => (times.stream_first, times.stream_every),
        BodyKind::Json => (times.json_first, times.json_every),
        // No keep-alive may precede these bodies.
        BodyKind::Text | BodyKind::Audio => (app.config.total_timeout, app.config.total_timeout),
    };
    let mut first_response: FirstResponseFuture = Box::pin(await_first_response(request));
    let (content_type, source) = match timeout(first_keep_alive, &mut first_response).await {
        Ok(Err(error)) => return Err(error),
        Ok(Ok(FirstResponse::Complete { content_type, bytes, usage, provider })) => {
            log_provider_usage(&log, &provider, usage);
            return Ok(body_response(Body::from(bytes), content_type, false));
        }
        Ok(Ok(FirstResponse::Stream(response))) => (response.content_type.clone(), Source::Streaming(response)),
        Err(_) => {
            let content_type = match body_kind {
                BodyKind::Sse => "text/event-stream; charset=utf-8",
                BodyKind::Json => "application/json",
                BodyKind::Text | BodyKind::Audio => return Err(Interruption::Deadline.to_error()),
            };
            (HeaderValue::from_static(content_type), Source::AwaitingProvider(first_response))
        }
    };
    let is_sse = body_kind == BodyKind::Sse;
    let mut clock = StreamClock::start(&app.config, &app.stopping, keep_alive_interval, keep_alive_interval);
    if let Source::Streaming(response) = &source {
        log.set_provider(response.provider());
        log.record_first_chunk();
        clock.record_start();
    }
    let body = PassthroughBody {
        keep_alive_due: matches!(source, Source::AwaitingProvider(_)),
        source: Some(source),
        next_part: None,
        surface,
        is_sse,
        log,
        clock,
        may_send_keep_alive: body_kind != BodyKind::Audio,
    };
    let body = stream::unfold(body, |mut body| async move { Some((body.next().await?, body)) });
    Ok(body_response(Body::from_stream(body), content_type, is_sse))
}

async fn await_first_response(request: PassthroughRequest) -> Result<FirstResponse, Error> {
    let body_kind = request.body_kind();
    let response = request.send().await?;
    if matches!(body_kind, BodyKind::Sse | BodyKind::Audio) {
        return Ok(FirstResponse::Stream(Box::new(response)));
    }
    let content_type = response.content_type.clone();
    let provider = response.provider().clone();
    let (bytes, usage) = response.into_whole();
    Ok(FirstResponse::Complete { content_type, bytes, usage, provider })
}

fn log_provider_usage(log: &RequestLog, provider: &Arc<str>, usage: Option<Usage>) {
    log.set_provider(provider);
    if let Some(usage) = usage {
        log.set_usage(usage);
    }
}

/// The source of the bytes of a body.
enum Source {
    /// The provider has not responded yet. The client receives keep-alives meanwhile.
    AwaitingProvider(FirstResponseFuture),
    Streaming(Box<PassthroughResponse>),
}

/// The next part of a response.
enum Part {
    Started(FirstResponse),
    Bytes(Bytes),
    End,
}

impl Source {
    async fn next(&mut self) -> Result<Part, Error> {
        match self {
            Self::AwaitingProvider(first_response) => first_response.await.map(Part::Started),
            Self::Streaming(response) => Ok(response.next().await.transpose()?.map_or(Part::End, Part::Bytes)),
        }
    }
}

/// The body of a response whose status is already decided, so that failures end the body.
struct PassthroughBody {
    /// `None` after the end.
    source: Option<Source>,
    /// The part after the bytes that were sent last, if it is there already.
    next_part: Option<Result<Part, Error>>,
    surface: Surface,
    is_sse: bool,
    log: RequestLog,
    clock: StreamClock,
    /// Whether a keep-alive may be sent: nothing has been sent of an event stream or of JSON, or
    /// the last bytes end an event.
    may_send_keep_alive: bool,
    /// Whether the first keep-alive is due.
    keep_alive_due: bool,
}

impl PassthroughBody {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if std::mem::take(&mut self.keep_alive_due) {
            return Some(Ok(self.keep_alive_bytes()));
        }
        loop {
            if self.may_send_keep_alive {
                self.clock.postpone_keep_alive();
            } else {
                self.clock.suspend_keep_alive();
            }
            let next = match self.next_part.take() {
                Some(part) => ClockEvent::Item(part),
                None => self.clock.race(self.source.as_mut()?.next()).await,
            };
            let part = match next {
                ClockEvent::Item(Ok(part)) => part,
                ClockEvent::Item(Err(error)) => return Some(self.fail(error)),
                ClockEvent::KeepAlive => return Some(Ok(self.keep_alive_bytes())),
                ClockEvent::Interrupted(interruption) => return Some(self.fail(interruption.to_error())),
            };
            match part {
                Part::Started(FirstResponse::Stream(response)) => {
                    self.log.record_first_chunk();
                    self.clock.record_start();
                    self.source = Some(Source::Streaming(response));
                }
                Part::Started(FirstResponse::Complete { bytes, usage, provider, .. }) => {
                    self.source = None;
                    log_provider_usage(&self.log, &provider, usage);
                    return Some(Ok(bytes));
                }
                Part::Bytes(bytes) => {
                    let bytes = self.add_ready_bytes(bytes);
                    self.may_send_keep_alive =
                        self.is_sse && (bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n"));
                    return Some(Ok(bytes));
                }
                Part::End => {
                    if let Some(Source::Streaming(response)) = self.source.take() {
                        log_provider_usage(&self.log, response.provider(), response.usage());
                    }
                    return None;
                }
            }
        }
    }

    /// Adds the bytes that are there already, so that they are sent together.
    fn add_ready_bytes(&mut self, first: Bytes) -> Bytes {
        let mut batch = BytesMut::new();
        while first.len() + batch.len() < MAX_BATCH_BYTES {
            match self.source.as_mut().and_then(|source| source.next().now_or_never()) {
                Some(Ok(Part::Bytes(more))) => {
                    if batch.is_empty() {
                        batch.extend_from_slice(&first);
                    }
                    batch.extend_from_slice(&more);
                }
                other => {
                    self.next_part = other;
                    break;
                }
            }
        }
        if batch.is_empty() { first } else { batch.freeze() }
    }

    /// Ends the body after a failure: an event stream with an error event, any other body by
    /// breaking the connection.
    fn fail(&mut self, error: Error) -> io::Result<Bytes> {
        self.source = None;
        self.log.record_failure(&error);
        if self.is_sse { Ok(self.final_error_event(&error)) } else { Err(io::Error::other(error)) }
    }

    fn keep_alive_bytes(&self) -> Bytes {
        Bytes::from_static(match self.surface {
            _ if !self.is_sse => b"\n",
            Surface::OpenAi | Surface::Responses => b": keep-alive\n\n",
            Surface::Anthropic => b"event: ping\ndata: {\"type\":\"ping\"}\n\n",
            // Gemini's SDK parses every line that is not empty as data, comments too.
            Surface::Gemini => b"\r\n",
        })
    }

    /// The error event, then the terminator of the stream if the API has one. Blank lines first
    /// close an event that was sent in part.
    fn final_error_event(&self, error: &Error) -> Bytes {
        let mut text = String::from(if self.may_send_keep_alive { "" } else { "\n\n" });
        match self.surface {
            Surface::OpenAi => {
                wire::sse::write_event(&wire::surface::error::error_body(error), &mut text);
                wire::sse::write_event("[DONE]", &mut text);
            }
            Surface::Responses => wire::surface::responses::write_error_event(error, &mut text),
            Surface::Anthropic => {
                text.push_str("event: error\n");
                wire::sse::write_event(&wire::surface::anthropic::error_response(error, self.log.id()).1, &mut text);
            }
            Surface::Gemini => wire::sse::write_event(&wire::surface::gemini::error_response(error).1, &mut text),
        }
        text.into()
    }
}
