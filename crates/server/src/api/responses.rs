//! `POST /responses`, and what is said of stored ones: nothing is stored.

use std::sync::Arc;

use ::chat::{Error, ErrorKind, MemoryGuard};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use gateway::MemoryReservation;
use wire::surface::responses::{self, ResponseRenderer};

use crate::api::chat::envelope;
use crate::api::{Taken, enter, take};
use crate::line::Line;
use crate::server::App;
use crate::{body, reply};

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Response {
    answer(&app, line.clone(), request).await.unwrap_or_else(|error| reply::failure(error, &line))
}

pub(crate) async fn stored(
    State(app): State<Arc<App>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Response {
    let none = || Error::new(ErrorKind::NotFound, "No such response: this server stores none");
    reply::refusal(&enter(&app, &line, &request.into_parts().0).err().unwrap_or_else(none))
}

/// The order of these lines is the documented order of checks.
async fn answer(app: &App, line: Line, request: Request) -> Result<Response, Error> {
    let Taken { caller, parts, bytes } = take(app, &line, request).await?;
    let read = |tree, hold: &mut MemoryReservation| {
        hold.grow(responses::echoed_bytes(&tree))?;
        responses::request_from_json(tree)
    };
    let (request, hold) =
        body::understood(&caller.memory, bytes, read, responses::ResponsesRequest::memory_bytes).await?;
    let responses::ResponsesRequest { mut chat, stream, echo: asked } = request;
    chat.memory_guard = MemoryGuard::new(hold);
    chat.beta = parts.uri.path().starts_with("/beta/");

    let model = chat.model.clone();
    let mut answer = app.gateway.answer(&caller, chat).await?;
    line.model(answer.model());
    let notes = std::mem::take(&mut answer.notes);
    let envelope = envelope(app, &answer, model, false);
    let render = Box::new(ResponseRenderer::new(envelope, asked));
    let mut response = reply::send(app, vec![answer], render, stream, line).await?;
    reply::note(&mut response, &notes);
    Ok(response)
}
