//! `POST /completions`: text and fill-in-the-middle completions.

use std::sync::Arc;

use ::chat::{Error, MemoryGuard};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::future::try_join_all;
use gateway::RawRequest;
use wire::passthrough::ApiEndpoint;
use wire::surface::completions::{self, CompletionRenderer};

use crate::api::authed_request::{AuthedRequest, read_request};
use crate::api::chat::envelope;
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
        app.gateway.passthrough(&caller, RawRequest::new(ApiEndpoint::Completions, &bytes)).await?
    {
        drop(bytes);
        return passthrough::send(app, passthrough, Surface::OpenAi, log).await;
    }
    let read = |tree, _: &mut _| completions::request_from_json(tree);
    let (request, reservation) =
        body::parse_json(&caller.memory, bytes, read, completions::CompletionRequest::memory_bytes).await?;
    let completions::CompletionRequest { mut chats, stream, include_usage, echo } = request;
    let beta = parts.uri.path().starts_with("/beta/");
    let memory_guard = MemoryGuard::new(reservation);
    for chat in &mut chats {
        (chat.beta, chat.memory_guard) = (beta, memory_guard.clone());
    }

    let model = chats[0].model.clone();
    let logprobs = chats[0].logprobs == Some(true);
    let mut answers = try_join_all(chats.into_iter().map(|chat| app.gateway.answer(&caller, chat))).await?;
    log.set_model(answers[0].model());
    let notes = std::mem::take(&mut answers[0].notes);
    let envelope = envelope(app, &answers[0], model, logprobs);
    let renderer = Box::new(CompletionRenderer::new(envelope, include_usage, answers.len(), echo));
    let mut response = respond::send(app, answers, renderer, stream, log).await?;
    respond::set_compat_note(&mut response, &notes);
    Ok(response)
}
