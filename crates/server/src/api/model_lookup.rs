//! The models that a caller may use, for the endpoints of every API.

use ::chat::{Error, ErrorKind};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use wire::surface::chat_completions::ModelObject;

use crate::api::authed_request::authenticate;
use crate::app::AppState;
use crate::request_log::RequestLog;

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
    error.code = Some(chat::MODEL_NOT_FOUND);
    error.param = Some("model".into());
    error
}
