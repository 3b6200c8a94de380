//! `POST /completions`: text and fill-in-the-middle completions.

use std::sync::Arc;

use ::chat::Error;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use gateway::RawRequest;
use wire::passthrough::ApiEndpoint;
use wire::surface::completions::{self, CompletionRenderer};

use crate::api::authed_request::{AuthedRequest, read_request};
use crate::api::chat::start_answers;
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
    let completions::CompletionRequest { chats, stream, include_usage, echo } = request;
    let (answers, envelope) = start_answers(app, &caller, &parts, chats, stream, reservation).await?;
    let renderer = Box::new(CompletionRenderer::new(envelope, include_usage, answers.len(), echo));
    respond::send(app, answers, renderer, stream, log).await
}
