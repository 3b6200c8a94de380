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

use crate::api::chat::envelope;
use crate::api::{Taken, take};
use crate::line::Line;
use crate::relay::Tongue;
use crate::server::App;
use crate::{body, relay, reply};

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Response {
    answer(&app, line.clone(), request).await.unwrap_or_else(|error| reply::failure(error, &line))
}

/// The order of these lines is the documented order of checks.
async fn answer(app: &App, line: Line, request: Request) -> Result<Response, Error> {
    let Taken { caller, parts, bytes } = take(app, &line, request).await?;
    if let Some(relay) = app.gateway.passthrough(&caller, RawRequest::new(ApiEndpoint::Completions, &bytes)).await? {
        drop(bytes);
        return relay::send(app, relay, Tongue::OpenAi, line).await;
    }
    let read = |tree, _: &mut _| completions::request_from_json(tree);
    let (request, hold) =
        body::understood(&caller.memory, bytes, read, completions::CompletionRequest::memory_bytes).await?;
    let completions::CompletionRequest { mut chats, stream, include_usage, echo } = request;
    let (beta, held) = (parts.uri.path().starts_with("/beta/"), MemoryGuard::new(hold));
    for chat in &mut chats {
        (chat.beta, chat.memory_guard) = (beta, held.clone());
    }

    let (model, logprobs) = (chats[0].model.clone(), chats[0].logprobs == Some(true));
    let mut answers = try_join_all(chats.into_iter().map(|chat| app.gateway.answer(&caller, chat))).await?;
    line.model(answers[0].model());
    let notes = std::mem::take(&mut answers[0].notes);
    let envelope = envelope(app, &answers[0], model, logprobs);
    let render = Box::new(CompletionRenderer::new(envelope, include_usage, answers.len(), echo));
    let mut response = reply::send(app, answers, render, stream, line).await?;
    reply::note(&mut response, &notes);
    Ok(response)
}
