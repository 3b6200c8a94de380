//! `GET /models` and `GET /models/{id}`, and the lookup that Gemini's endpoints share.

use std::sync::Arc;

use ::chat::{Error, ErrorKind};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use wire::surface::anthropic;
use wire::surface::chat_completions::{self, ModelObject};

use crate::api::authed_request::authenticate;
use crate::api::messages;
use crate::app::AppState;
use crate::error_response::error_response;
use crate::request_log::RequestLog;
use crate::respond::json_response;

/// Responds with the caller's models: in Anthropic's format to its clients, else in OpenAI's.
pub(crate) async fn list(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
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

/// Responds with one model, in OpenAI's format. The id in the path may contain slashes, plain or
/// percent-encoded.
pub(crate) async fn show(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match find(&app, &log, id, request) {
        Ok(model) => json_response(model.to_json()),
        Err(error) => error_response(&error),
    }
}

/// The caller's model with this id, in any letter case.
///
/// # Errors
/// As [`models`]. `InvalidRequest` for an id that is not UTF-8. `NotFound` for a model that does
/// not exist, and also for one that the caller may not use.
pub(crate) fn find(
    app: &AppState,
    log: &RequestLog,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<ModelObject, Error> {
    let models = models(app, log, request)?;
    let Path(id) = id.map_err(|_| Error::invalid("The model id in the path is not valid UTF-8"))?;
    models.into_iter().find(|model| model.id.eq_ignore_ascii_case(&id)).ok_or_else(|| model_not_found(&id))
}

/// Authenticates the request, and returns the models that the caller may use.
///
/// # Errors
/// As [`authenticate`].
pub(crate) fn models(app: &AppState, log: &RequestLog, request: Request) -> Result<Vec<ModelObject>, Error> {
    let caller = authenticate(app, log, &request.into_parts().0)?;
    let models = app.gateway.models(&caller).into_iter();
    Ok(models.map(|model| ModelObject::new(model.id.as_ref(), model.owned_by.as_ref())).collect())
}

fn model_not_found(id: &str) -> Error {
    let mut error = Error::new(ErrorKind::NotFound, format!("The model '{id:.128}' does not exist"));
    error.code = Some("model_not_found");
    error.param = Some("model".into());
    error
}
