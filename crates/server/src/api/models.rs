//! `GET /models` and `GET /models/{id}`.

use std::sync::Arc;

use ::chat::{Error, ErrorKind};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use wire::surface::anthropic;
use wire::surface::chat_completions::fields::{self, ModelObject};

use crate::api::{enter, messages};
use crate::exchange::json;
use crate::line::Line;
use crate::reply::refusal;
use crate::server::App;

pub(crate) async fn list(State(app): State<Arc<App>>, Extension(line): Extension<Line>, request: Request) -> Response {
    // Anthropic's clients name the version they speak.
    let anthropic = request.headers().contains_key("anthropic-version");
    match models(&app, &line, request) {
        Ok(models) if anthropic => {
            json(anthropic::model_list(&models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>()))
        }
        Ok(models) => json(fields::model_list(&models)),
        Err(error) if anthropic => messages::refusal(&error, &line),
        Err(error) => refusal(&error),
    }
}

/// The id may contain slashes, plain or percent-encoded.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Extension(line): Extension<Line>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match find(&app, &line, id, request) {
        Ok(model) => json(model.to_json()),
        Err(error) => refusal(&error),
    }
}

/// The model of this id, in any case.
///
/// # Errors
/// `NotFound` when the caller has no such model.
pub(crate) fn find(
    app: &App,
    line: &Line,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<ModelObject, Error> {
    let models = models(app, line, request)?;
    let Path(id) = id.map_err(|_| Error::invalid("The model id in the path is not valid UTF-8"))?;
    models.into_iter().find(|model| model.id.eq_ignore_ascii_case(&id)).ok_or_else(|| does_not_exist(&id))
}

pub(crate) fn models(app: &App, line: &Line, request: Request) -> Result<Vec<ModelObject>, Error> {
    let caller = enter(app, line, &request.into_parts().0)?;
    let listed = app.gateway.models(&caller).into_iter();
    Ok(listed.map(|model| ModelObject::new(model.id.as_ref(), model.owned_by.as_ref())).collect())
}

fn does_not_exist(id: &str) -> Error {
    let mut error = Error::new(ErrorKind::NotFound, format!("The model '{id:.128}' does not exist"));
    error.code = Some("model_not_found");
    error.param = Some("model".into());
    error
}
