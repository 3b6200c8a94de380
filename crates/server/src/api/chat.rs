//! `POST /chat/completions` under every prefix.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use chat::{Chat, Error, MemoryGuard};
use futures_util::future::try_join_all;
use gateway::{Caller, MemoryReservation, MeteredStream, RawRequest};
use http::request::Parts;
use wire::passthrough::ApiEndpoint;
use wire::surface::chat_completions::{self, ChatChunkRenderer, ChatCompletionRequest, Envelope};

use crate::api::authed_request::{AuthedRequest, read_request};
use crate::app::AppState;
use crate::body;
use crate::error_response::error_response_with_id;
use crate::passthrough::{self, Surface};
use crate::request_log::RequestLog;
use crate::respond;

pub(crate) async fn create(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    answer(&app, log.clone(), request).await.unwrap_or_else(|error| error_response_with_id(error, &log))
}

/// The order of these lines is the documented order of checks.
async fn answer(app: &AppState, log: RequestLog, request: Request) -> Result<Response, Error> {
    let AuthedRequest { caller, parts, bytes } = read_request(app, &log, request).await?;
    if let Some(passthrough) =
        app.gateway.passthrough(&caller, RawRequest::new(ApiEndpoint::ChatCompletions, &bytes)).await?
    {
        drop(bytes);
        return passthrough::send(app, passthrough, Surface::OpenAi, log).await;
    }
    let read = |tree, _: &mut _| chat_completions::request_from_json(tree);
    let (request, reservation) =
        body::parse_json(&caller.memory, bytes, read, ChatCompletionRequest::memory_bytes).await?;
    let (stream, include_usage) = (request.stream, request.include_usage);
    let (answers, envelope) = start_answers(app, &caller, &parts, request.into_chats(), stream, reservation).await?;
    let renderer = Box::new(ChatChunkRenderer::new(envelope, include_usage));
    respond::send(app, answers, renderer, stream, log).await
}

/// Starts an answer for each choice of a request, whose body `reservation` holds, streamed or
/// whole. Returns them with the fields that every part of their response repeats.
///
/// # Errors
/// As [`gateway::Gateway::answer`], of any choice.
pub(crate) async fn start_answers(
    app: &AppState,
    caller: &Caller,
    parts: &Parts,
    mut chats: Vec<Chat>,
    stream: bool,
    reservation: MemoryReservation,
) -> Result<(Vec<MeteredStream>, Envelope), Error> {
    let memory_guard = MemoryGuard::new(reservation);
    let beta = parts.uri.path().starts_with("/beta/");
    for chat in &mut chats {
        (chat.beta, chat.takes_whole, chat.memory_guard) = (beta, !stream, memory_guard.clone());
    }
    let model = chats[0].model.clone();
    let logprobs = chats[0].logprobs == Some(true);
    let answers = try_join_all(chats.into_iter().map(|chat| app.gateway.answer(caller, chat))).await?;
    let envelope = envelope(app, &answers[0], model, logprobs);
    Ok((answers, envelope))
}

/// The fields that every part of an answer to `model` repeats.
pub(crate) fn envelope(app: &AppState, answer: &MeteredStream, model: String, logprobs: bool) -> Envelope {
    Envelope {
        id: uuid::Uuid::new_v4().to_string(),
        created: current_unix_time(),
        model,
        system_fingerprint: app.config.system_fingerprint.clone(),
        thinking: answer.thinking,
        logprobs,
    }
}

/// The current time in seconds since 1970.
pub(crate) fn current_unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
