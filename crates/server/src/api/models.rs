//! `GET /models` and `GET /models/{id}`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use wire::surface::anthropic;
use wire::surface::chat_completions;

use crate::api::gemini_request::is_gemini_client;
use crate::api::model_lookup::{find, models};
use crate::api::{gemini, messages};
use crate::app::AppState;
use crate::error_response::error_response;
use crate::request_log::RequestLog;
use crate::respond::json_response;

/// Responds with the caller's models: in Anthropic's or Gemini's format to their clients, else in
/// OpenAI's.
pub(crate) async fn list(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    if is_gemini_client(request.headers()) {
        return gemini::list(State(app), Extension(log), request).await;
    }
    // Only Anthropic's clients send this header.
    let anthropic = request.headers().contains_key("anthropic-version");
    match models(&app, &log, request) {
        Ok(models) if anthropic => {
            json_response(anthropic::model_list(&models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>()))
        }
        Ok(models) => json_response(chat_completions::model_list(&models)),
        Err(error) if anthropic => messages::error_response(&error, &log),
        Err(error) => error_response(&error),
    }
}

/// Responds with one model, in Gemini's format to its clients, else in OpenAI's. The id in the path
/// may contain slashes, plain or percent-encoded.
pub(crate) async fn show(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    if is_gemini_client(request.headers()) {
        return gemini::show(State(app), Extension(log), id, request).await;
    }
    match find(&app, &log, id, request) {
        Ok(model) => json_response(model.to_json()),
        Err(error) => error_response(&error),
    }
}
