//! What passes to providers that have it, and is not answered here: embeddings, images, audio (API
//! document 2.2, 2.5, 2.6).

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

use crate::api::authed_request::{AuthedRequest, read_request_as};
use crate::app::AppState;
use crate::body::BodyType;
use crate::error_response::error_response_with_id;
use crate::passthrough;
use crate::passthrough::Surface;
use crate::request_log::RequestLog;

/// The route of one of them.
pub(crate) fn route(endpoint: ApiEndpoint, body_type: BodyType) -> MethodRouter<Arc<AppState>> {
    post(move |State(app): State<Arc<AppState>>, Extension(log): Extension<RequestLog>, request: Request| async move {
        answer(&app, log.clone(), request, endpoint, body_type)
            .await
            .unwrap_or_else(|error| error_response_with_id(error, &log))
    })
}

async fn answer(
    app: &AppState,
    log: RequestLog,
    request: Request,
    endpoint: ApiEndpoint,
    body_type: BodyType,
) -> Result<Response, Error> {
    let AuthedRequest { caller, parts, bytes } = read_request_as(app, &log, request, body_type).await?;
    let asked =
        RawRequest { headers: multipart_headers(body_type, &parts.headers), ..RawRequest::new(endpoint, &bytes) };
    match app.gateway.passthrough(&caller, asked).await? {
        Some(passthrough) => passthrough::send(app, passthrough, Surface::OpenAi, log).await,
        None => Err(run_in_place(bytes.len(), || no_provider_error(app, endpoint, body_type, &parts.headers, &bytes))),
    }
}

/// The header that says where the parts of a form end; it goes on with it.
pub(crate) fn multipart_headers(body_type: BodyType, headers: &HeaderMap) -> HeaderMap {
    let form = headers.get(header::CONTENT_TYPE).filter(|_| body_type == BodyType::Multipart);
    form.map(|kind| (header::CONTENT_TYPE, kind.clone())).into_iter().collect()
}

/// Why nobody can be asked for it.
fn no_provider_error(
    app: &AppState,
    endpoint: ApiEndpoint,
    body_type: BodyType,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Error {
    let (model, missing) = match body_type {
        BodyType::Json => {
            let missing = "Failed to deserialize the JSON body into the target type: missing field `model`";
            (JsonFields::scan(bytes).map(|fields| fields.text("model")), missing)
        }
        BodyType::Multipart => {
            let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
            let form = MultipartFields::scan(&String::from_utf8_lossy(kind), bytes);
            (
                form.map(|form| form.text("model")),
                "Failed to parse the request body as multipart/form-data: missing field `model`",
            )
        }
    };
    match (model, endpoint.media_name()) {
        (Err(error), _) => error,
        (Ok(None), _) => Error::invalid(missing),
        (Ok(Some(model)), Some(medium)) if app.gateway.has_model(&model) => {
            Error::invalid(format!("Model '{model:.64}' does not support {medium}"))
        }
        (Ok(Some(_)), _) => Error::invalid("Model Not Exist"),
    }
}
