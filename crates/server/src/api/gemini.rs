//! `/v1beta/models`, `/v1alpha/models` and the methods below `/v1/models`: Gemini's API.

use std::sync::Arc;

use ::chat::{Error, ErrorKind, MemoryGuard};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use gateway::RawRequest;
use wire::passthrough::ApiEndpoint;
use wire::surface::gemini::{self, GenerateContentRenderer, StreamFormat};

use crate::api::authed_request::{AuthedRequest, authenticate, read_body};
use crate::api::messages::signer;
use crate::api::model_lookup;
use crate::app::AppState;
use crate::body;
use crate::error_response::error_response_with_body;
use crate::passthrough::{self, Surface};
use crate::request_log::RequestLog;
use crate::respond::{self, json_response};

pub(crate) async fn list(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    match model_lookup::models(&app, &log, request) {
        Ok(models) => {
            json_response(gemini::model_list(&models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>()))
        }
        Err(error) => error_response(&error),
    }
}

pub(crate) async fn show(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match model_lookup::find(&app, &log, id, request) {
        Ok(model) => json_response(gemini::model_object(&model.id).to_string()),
        Err(error) => error_response(&error),
    }
}

/// `POST /v1beta/models/{model}:{method}`: generates, streams or counts tokens.
pub(crate) async fn generate(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    run_method(&app, log, path, request).await.unwrap_or_else(|error| error_response(&error))
}

/// An error in Gemini's format.
pub(crate) fn error_response(error: &Error) -> Response {
    let (status, body) = gemini::error_response(error);
    error_response_with_body(error, status, body)
}

/// The method at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GeminiMethod {
    /// `generateContent`.
    Generate,
    /// `streamGenerateContent`.
    Stream(StreamFormat),
    /// `countTokens`.
    CountTokens,
}

/// Runs the method at the end of the path. The checks are in the order of docs/api.md 0.5.
async fn run_method(
    app: &AppState,
    log: RequestLog,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let caller = authenticate(app, &log, &parts)?;
    let (model, method) = parse_method(path, parts.uri.query())?;
    let AuthedRequest { caller, bytes, .. } = read_body(app, caller, parts, body, body::BodyType::Json).await?;
    let passthrough_stream = match method {
        GeminiMethod::Generate => Some(false),
        // Usage is read from the events of a stream while they are forwarded; one
        // JSON array has none.
        GeminiMethod::Stream(StreamFormat::Sse) => Some(true),
        GeminiMethod::Stream(StreamFormat::JsonArray) | GeminiMethod::CountTokens => None,
    };
    if let Some(stream) = passthrough_stream {
        let raw_request = RawRequest {
            model_in_path: Some((&model, stream)),
            ..RawRequest::new(ApiEndpoint::GenerateContent, &bytes)
        };
        if let Some(passthrough) = app.gateway.passthrough(&caller, raw_request).await? {
            drop(bytes);
            return passthrough::send(app, passthrough, Surface::Gemini, log).await;
        }
    }
    let requested_model = model.clone();
    let read = move |json, _: &mut _| gemini::request_from_json(json, &model);
    let (request, memory_reservation) =
        body::parse_json(&caller.memory, bytes, read, |request| request.chat.memory_bytes()).await?;
    let gemini::GenerateContentRequest { mut chat, include_thoughts } = request;
    chat.memory_guard = MemoryGuard::new(memory_reservation);
    if method == GeminiMethod::CountTokens {
        let count = app.gateway.count_tokens(&caller, chat).await?;
        return Ok(respond::token_count_response(count, gemini::token_count_body));
    }
    chat.takes_whole = method == GeminiMethod::Generate;
    let answer = app.gateway.answer(&caller, chat).await?;
    let (stream, format) = match method {
        GeminiMethod::Stream(format) => (true, format),
        _ => (false, StreamFormat::Sse),
    };
    let response_id = uuid::Uuid::now_v7().simple().to_string();
    let signer = signer(app.signing_key);
    let renderer =
        Box::new(GenerateContentRenderer::new(response_id, requested_model, include_thoughts, format, signer));
    respond::send(app, vec![answer], renderer, stream, log).await
}

/// Splits `{model}:{method}`. The query decides the format of a stream.
fn parse_method(
    path: Result<Path<String>, PathRejection>,
    query: Option<&str>,
) -> Result<(String, GeminiMethod), Error> {
    let Path(model_and_method) = path.map_err(|_| Error::invalid("The model id in the path is not valid UTF-8"))?;
    let unknown = || {
        Error::new(
            ErrorKind::NotFound,
            format!("No such path: {model_and_method:.128}, which is not a method of a model"),
        )
    };
    let (model, method) = model_and_method.rsplit_once(':').ok_or_else(unknown)?;
    let wants_sse = query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    let method = match method {
        "generateContent" => GeminiMethod::Generate,
        "streamGenerateContent" if wants_sse => GeminiMethod::Stream(StreamFormat::Sse),
        "streamGenerateContent" => GeminiMethod::Stream(StreamFormat::JsonArray),
        "countTokens" => GeminiMethod::CountTokens,
        _ => return Err(unknown()),
    };
    Ok((model.to_owned(), method))
}
