//! `/v1beta/models`: Gemini's surface.

use std::sync::Arc;

use ::chat::{Error, ErrorKind, MemoryGuard};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use gateway::RawRequest;
use wire::passthrough::ApiEndpoint;
use wire::surface::gemini::{self, GenerateContentRenderer, StreamFormat};

use crate::api::messages::signer;
use crate::api::{Taken, enter, models, take_body};
use crate::exchange::json;
use crate::line::Line;
use crate::relay::Tongue;
use crate::server::App;
use crate::{body, relay, reply};

pub(crate) async fn list(State(app): State<Arc<App>>, Extension(line): Extension<Line>, request: Request) -> Response {
    match models::models(&app, &line, request) {
        Ok(models) => json(gemini::model_list(&models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>())),
        Err(error) => refusal(&error),
    }
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Extension(line): Extension<Line>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match models::find(&app, &line, id, request) {
        Ok(model) => json(gemini::model_object(&model.id).to_string()),
        Err(error) => refusal(&error),
    }
}

/// `{model}:{operator}`.
pub(crate) async fn generate(
    State(app): State<Arc<App>>,
    Extension(line): Extension<Line>,
    what: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    answer(&app, line, what, request).await.unwrap_or_else(|error| refusal(&error))
}

/// A refusal in Gemini's shape.
pub(crate) fn refusal(error: &Error) -> Response {
    let (status, body) = gemini::error_response(error);
    reply::refuse(error, status, body)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Generate,
    Stream(StreamFormat),
    Count,
}

/// The order of these lines is the documented order of checks.
async fn answer(
    app: &App,
    line: Line,
    what: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let caller = enter(app, &line, &parts)?;
    let (model, operator) = operation(what, parts.uri.query())?;
    let Taken { caller, bytes, .. } = take_body(app, caller, parts, body, body::Kind::Json).await?;
    let passes = match operator {
        Operator::Generate => Some(false),
        // An array is not looked at as it passes.
        Operator::Stream(StreamFormat::Sse) => Some(true),
        Operator::Stream(StreamFormat::JsonArray) | Operator::Count => None,
    };
    if let Some(stream) = passes {
        let asked = RawRequest {
            model_in_path: Some((&model, stream)),
            ..RawRequest::new(ApiEndpoint::GenerateContent, &bytes)
        };
        if let Some(relay) = app.gateway.passthrough(&caller, asked).await? {
            drop(bytes);
            return relay::send(app, relay, Tongue::Gemini, line).await;
        }
    }
    let id = model.clone();
    let read = move |tree, _: &mut _| gemini::request_from_json(tree, &model);
    let (request, hold) = body::understood(&caller.memory, bytes, read, |request| request.chat.memory_bytes()).await?;
    let gemini::GenerateContentRequest { mut chat, include_thoughts } = request;
    chat.memory_guard = MemoryGuard::new(hold);
    if operator == Operator::Count {
        return Ok(json(gemini::token_count_body(app.gateway.count_tokens(&caller, chat).await?)));
    }
    let mut answer = app.gateway.answer(&caller, chat).await?;
    line.model(answer.model());
    let notes = std::mem::take(&mut answer.notes);
    let (stream, form) = match operator {
        Operator::Stream(form) => (true, form),
        _ => (false, StreamFormat::Sse),
    };
    let response_id = uuid::Uuid::now_v7().simple().to_string();
    let render = Box::new(GenerateContentRenderer::new(response_id, id, include_thoughts, form, signer(app.secret)));
    let mut response = reply::send(app, vec![answer], render, stream, line).await?;
    reply::note(&mut response, &notes);
    Ok(response)
}

fn operation(what: Result<Path<String>, PathRejection>, query: Option<&str>) -> Result<(String, Operator), Error> {
    let Path(what) = what.map_err(|_| Error::invalid("The model id in the path is not valid UTF-8"))?;
    let unknown = || Error::new(ErrorKind::NotFound, format!("No such path: /v1beta/models/{what:.128}"));
    let (model, operator) = what.rsplit_once(':').ok_or_else(unknown)?;
    let events = query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    let operator = match operator {
        "generateContent" => Operator::Generate,
        "streamGenerateContent" if events => Operator::Stream(StreamFormat::Sse),
        "streamGenerateContent" => Operator::Stream(StreamFormat::JsonArray),
        "countTokens" => Operator::Count,
        _ => return Err(unknown()),
    };
    Ok((model.to_owned(), operator))
}
