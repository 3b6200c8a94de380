//! `GET /models` and `GET /models/{id}`.

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

pub(crate) async fn list(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    // Only Anthropic's clients send the version of their API.
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

/// The id may contain slashes, plain or percent-encoded.
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

/// The model with this id, in any case.
///
/// # Errors
/// As [`models`]; `NotFound` if the caller has no such model.
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

/// The models that the caller may use.
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
