//! `POST /chat/completions` under every prefix.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use chat::{Error, MemoryGuard};
use gateway::{MeteredStream, RawRequest};
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
        body::parse_json(&caller.memory, bytes, read, |request| request.chat.memory_bytes()).await?;
    let ChatCompletionRequest { mut chat, stream, include_usage } = request;
    chat.memory_guard = MemoryGuard::new(reservation);
    chat.beta = parts.uri.path().starts_with("/beta/");

    let model = chat.model.clone();
    let logprobs = chat.logprobs == Some(true);
    let mut answer = app.gateway.answer(&caller, chat).await?;
    log.set_model(answer.model());
    let notes = std::mem::take(&mut answer.notes);

    let envelope = envelope(app, &answer, model, logprobs);
    let renderer = Box::new(ChatChunkRenderer::new(envelope, include_usage));
    let mut response = respond::send(app, vec![answer], renderer, stream, log).await?;
    respond::set_compat_note(&mut response, &notes);
    Ok(response)
}

/// The fields that every part of an answer to `model` repeats.
pub(crate) fn envelope(app: &AppState, answer: &MeteredStream, model: String, logprobs: bool) -> Envelope {
    Envelope {
        id: uuid::Uuid::new_v4().to_string(),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        model,
        system_fingerprint: app.config.system_fingerprint.clone(),
        thinking: answer.thinking,
        logprobs,
    }
}
