//! `POST /responses`, and the routes of stored responses, which do not exist here.

use std::sync::Arc;

use ::chat::{Error, ErrorKind, MemoryGuard};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use gateway::MemoryReservation;
use wire::surface::responses::{self, ResponseRenderer};

use crate::api::authed_request::{AuthedRequest, authenticate, read_request};
use crate::api::chat::envelope;
use crate::app::AppState;
use crate::body;
use crate::error_response::{error_response, error_response_with_id};
use crate::request_log::RequestLog;
use crate::respond;

pub(crate) async fn create(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    answer(&app, log.clone(), request).await.unwrap_or_else(|error| error_response_with_id(error, &log))
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
    let read = |tree, reservation: &mut MemoryReservation| {
        reservation.grow(responses::echoed_bytes(&tree))?;
        responses::request_from_json(tree)
    };
    let (request, reservation) =
        body::parse_json(&caller.memory, bytes, read, responses::ResponsesRequest::memory_bytes).await?;
    let responses::ResponsesRequest { mut chat, stream, echo } = request;
    chat.memory_guard = MemoryGuard::new(reservation);
    chat.beta = parts.uri.path().starts_with("/beta/");

    let model = chat.model.clone();
    let mut answer = app.gateway.answer(&caller, chat).await?;
    log.set_model(answer.model());
    let notes = std::mem::take(&mut answer.notes);
    let envelope = envelope(app, &answer, model, false);
    let renderer = Box::new(ResponseRenderer::new(envelope, echo));
    let mut response = respond::send(app, vec![answer], renderer, stream, log).await?;
    respond::set_compat_note(&mut response, &notes);
    Ok(response)
}
