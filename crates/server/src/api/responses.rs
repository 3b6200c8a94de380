//! `POST /responses`, its compaction and token count, and the routes of stored responses, which do
//! not exist here.

use std::sync::Arc;

use ::chat::{Error, ErrorKind, MemoryGuard};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use gateway::{Caller, MemoryReservation, PromptTokens, RawRequest};
use wire::passthrough::ApiEndpoint;
use wire::surface::responses::{self, CompactionRenderer, ResponseRenderer};

use crate::api::authed_request::{AuthedRequest, authenticate, read_request};
use crate::api::chat::{current_unix_time, envelope};
use crate::app::AppState;
use crate::body;
use crate::error_response::{error_response, error_response_with_id};
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

/// `POST /responses/compact`: the conversation's user messages and a summary of it.
pub(crate) async fn compact(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    answer_compaction(&app, log.clone(), request).await.unwrap_or_else(|error| error_response_with_id(error, &log))
}

/// `POST /responses/input_tokens`: the number of tokens of the prompt.
pub(crate) async fn count_input_tokens(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    match count(&app, &log, request).await {
        Ok(count) => respond::token_count_response(count, responses::token_count_body),
        Err(error) => error_response_with_id(error, &log),
    }
}

/// `GET` and `DELETE` of a response: nothing is stored.
pub(crate) async fn not_stored(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    let not_found = || Error::new(ErrorKind::NotFound, "No such response: this server stores none");
    error_response(&authenticate(&app, &log, &request.into_parts().0).err().unwrap_or_else(not_found))
}

/// The order of these lines is the documented order of checks.
async fn answer(app: &AppState, log: RequestLog, request: Request) -> Result<Response, Error> {
    let AuthedRequest { caller, parts, bytes } = read_request(app, &log, request).await?;
    let raw = RawRequest::new(ApiEndpoint::Responses, &bytes);
    if let Some(passthrough) = app.gateway.passthrough(&caller, raw).await? {
        drop(bytes);
        return passthrough::send(app, passthrough, Surface::Responses, log).await;
    }
    let responses::ResponsesRequest { mut chat, stream, echo } = parse_request(&caller, bytes).await?;
    (chat.beta, chat.takes_whole) = (parts.uri.path().starts_with("/beta/"), !stream);

    let model = chat.model.clone();
    let answer = app.gateway.answer(&caller, chat).await?;
    let envelope = envelope(app, &answer, model, false);
    let renderer = Box::new(ResponseRenderer::new(envelope, echo, current_unix_time));
    respond::send(app, vec![answer], renderer, stream, log).await
}

async fn answer_compaction(app: &AppState, log: RequestLog, request: Request) -> Result<Response, Error> {
    let AuthedRequest { caller, bytes, .. } = read_request(app, &log, request).await?;
    let read = |tree, reservation: &mut MemoryReservation| {
        reservation.grow(responses::echoed_bytes(&tree))?;
        responses::compaction_from_json(tree)
    };
    let (compaction, reservation) =
        body::parse_json(&caller.memory, bytes, read, responses::CompactionRequest::memory_bytes).await?;
    let responses::CompactionRequest { mut chat, kept } = compaction;
    (chat.takes_whole, chat.memory_guard) = (true, MemoryGuard::new(reservation));
    let model = chat.model.clone();
    let answer = app.gateway.answer(&caller, chat).await?;
    let renderer = Box::new(CompactionRenderer::new(envelope(app, &answer, model, false), kept));
    respond::send(app, vec![answer], renderer, false, log).await
}

async fn count(app: &AppState, log: &RequestLog, request: Request) -> Result<PromptTokens, Error> {
    let AuthedRequest { caller, bytes, .. } = read_request(app, log, request).await?;
    let request = parse_request(&caller, bytes).await?;
    app.gateway.count_tokens(&caller, request.chat).await
}

async fn parse_request(caller: &Caller, bytes: Bytes) -> Result<responses::ResponsesRequest, Error> {
    let read = |tree, reservation: &mut MemoryReservation| {
        reservation.grow(responses::echoed_bytes(&tree))?;
        responses::request_from_json(tree)
    };
    let (mut request, reservation) =
        body::parse_json(&caller.memory, bytes, read, responses::ResponsesRequest::memory_bytes).await?;
    request.chat.memory_guard = MemoryGuard::new(reservation);
    Ok(request)
}
