//! What passes to providers that have it, and is not answered here: embeddings, images, audio (API document 2.2, 2.5, 2.6).

use std::sync::Arc;

use ::chat::Error;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use gateway::{RawRequest, run_in_place};
use http::{HeaderMap, header};
use wire::passthrough::ApiEndpoint;
use wire::passthrough::json_fields::JsonFields;
use wire::passthrough::multipart_fields::MultipartFields;

use crate::api::{Taken, take_as};
use crate::body::Kind;
use crate::line::Line;
use crate::relay::Tongue;
use crate::server::App;
use crate::{relay, reply};

/// The route of one of them.
pub(crate) fn route(passage: ApiEndpoint, kind: Kind) -> MethodRouter<Arc<App>> {
    post(move |State(app): State<Arc<App>>, Extension(line): Extension<Line>, request: Request| async move {
        answer(&app, line.clone(), request, passage, kind).await.unwrap_or_else(|error| reply::failure(error, &line))
    })
}

async fn answer(app: &App, line: Line, request: Request, passage: ApiEndpoint, kind: Kind) -> Result<Response, Error> {
    let Taken { caller, parts, bytes } = take_as(app, &line, request, kind).await?;
    let asked = RawRequest { headers: form_type(kind, &parts.headers), ..RawRequest::new(passage, &bytes) };
    match app.gateway.passthrough(&caller, asked).await? {
        Some(relay) => relay::send(app, relay, Tongue::OpenAi, line).await,
        None => Err(run_in_place(bytes.len(), || refusal(app, passage, kind, &parts.headers, &bytes))),
    }
}

/// The header that says where the parts of a form end; it goes on with it.
pub(crate) fn form_type(kind: Kind, headers: &HeaderMap) -> HeaderMap {
    let form = headers.get(header::CONTENT_TYPE).filter(|_| kind == Kind::Form);
    form.map(|kind| (header::CONTENT_TYPE, kind.clone())).into_iter().collect()
}

/// Why nobody can be asked for it.
fn refusal(app: &App, passage: ApiEndpoint, kind: Kind, headers: &HeaderMap, bytes: &Bytes) -> Error {
    let (model, missing) = match kind {
        Kind::Json => {
            let missing = "Failed to deserialize the JSON body into the target type: missing field `model`";
            (JsonFields::scan(bytes).map(|fields| fields.text("model")), missing)
        }
        Kind::Form => {
            let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
            let form = MultipartFields::scan(&String::from_utf8_lossy(kind), bytes);
            (
                form.map(|form| form.text("model")),
                "Failed to parse the request body as multipart/form-data: missing field `model`",
            )
        }
    };
    match (model, passage.media_name()) {
        (Err(error), _) => error,
        (Ok(None), _) => Error::invalid(missing),
        (Ok(Some(model)), Some(medium)) if app.gateway.has_model(&model) => {
            Error::invalid(format!("Model '{model:.64}' does not support {medium}"))
        }
        (Ok(Some(_)), _) => Error::invalid("Model Not Exist"),
    }
}
