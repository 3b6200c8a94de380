//! Embeddings, moderations, rerankings, images and audio, which are passed through to providers
//! (docs/api.md 2.2, 2.5, 2.6).

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
use crate::passthrough::{self, Surface};
use crate::request_log::RequestLog;

/// The route of one endpoint.
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
    let raw_request =
        RawRequest { headers: multipart_headers(body_type, &parts.headers), ..RawRequest::new(endpoint, &bytes) };
    match app.gateway.passthrough(&caller, raw_request).await? {
        Some(passthrough) => passthrough::send(app, passthrough, Surface::OpenAi, log).await,
        None => Err(run_in_place(bytes.len(), || no_provider_error(app, endpoint, body_type, &parts.headers, &bytes))),
    }
}

/// The content type of a multipart body, which contains the boundary of its parts; it is
/// forwarded with the body.
pub(crate) fn multipart_headers(body_type: BodyType, headers: &HeaderMap) -> HeaderMap {
    let content_type = headers.get(header::CONTENT_TYPE).filter(|_| body_type == BodyType::Multipart);
    content_type.map(|content_type| (header::CONTENT_TYPE, content_type.clone())).into_iter().collect()
}

/// The error for a request that no provider can serve.
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
            let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
            let form = MultipartFields::scan(&String::from_utf8_lossy(content_type), bytes);
            (
                form.map(|form| form.text("model")),
                "Failed to parse the request body as multipart/form-data: missing field `model`",
            )
        }
    };
    match (model, endpoint.media_name()) {
        (Err(error), _) => error,
        (Ok(None), _) => Error::invalid(missing),
        (Ok(Some(model)), Some(media)) if app.gateway.has_model(&model) => {
            Error::invalid(format!("Model '{model:.64}' does not support {media}"))
        }
        (Ok(Some(_)), _) => Error::unknown_model(),
    }
}
