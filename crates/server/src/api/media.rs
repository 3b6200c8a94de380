//! Images and audio: they pass to providers that have them (API document 2.5, 2.6).

use std::sync::Arc;

use ::chat::Error;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use http::{HeaderMap, header};
use wire::form::Form;
use wire::glance::Passage;
use wire::splice::Fields;

use crate::api::{Taken, take_as};
use crate::body::Kind;
use crate::line::Line;
use crate::relay::Tongue;
use crate::server::App;
use crate::{relay, reply};

/// The route of one of them.
pub(crate) fn route(passage: Passage, kind: Kind) -> MethodRouter<Arc<App>> {
    post(move |State(app): State<Arc<App>>, Extension(line): Extension<Line>, request: Request| async move {
        answer(&app, line.clone(), request, passage, kind).await.unwrap_or_else(|error| reply::failure(error, &line))
    })
}

async fn answer(app: &App, line: Line, request: Request, passage: Passage, kind: Kind) -> Result<Response, Error> {
    let Taken { caller, parts, bytes } = take_as(app, &line, request, kind).await?;
    let mut headers = HeaderMap::new();
    let (model, missing) = match kind {
        Kind::Json => {
            let missing = "Failed to deserialize the JSON body into the target type: missing field `model`";
            (Fields::scan(&bytes)?.text("model"), missing)
        }
        Kind::Form => {
            let kind = parts.headers[header::CONTENT_TYPE].clone();
            let model = Form::scan(&String::from_utf8_lossy(kind.as_bytes()), &bytes)?.text("model");
            headers.insert(header::CONTENT_TYPE, kind);
            (model, "Failed to parse the request body as multipart/form-data: missing field `model`")
        }
    };
    let model = model.ok_or_else(|| Error::invalid(missing))?;
    match app.gateway.relay(&caller, passage, &bytes, headers).await? {
        Some(relay) => relay::send(app, relay, Tongue::OpenAi, line).await,
        None if app.gateway.knows(&model) => {
            let medium = passage.medium().unwrap_or("this");
            Err(Error::invalid(format!("Model '{model:.64}' does not support {medium}")))
        }
        None => Err(Error::invalid("Model Not Exist")),
    }
}
