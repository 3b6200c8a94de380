//! Batches of requests, in OpenAI's API (docs/api.md 2.10).

use std::sync::Arc;

use ::chat::Error;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use gateway::{BatchPage, TaskReply};

use crate::api::authed_request::{AuthedRequest, authenticate, read_request};
use crate::api::files::PageQuery;
use crate::api::run_to_end::run_to_end;
use crate::app::AppState;
use crate::error_response::or_error_response;
use crate::request_log::RequestLog;
use crate::respond::{body_response, json_response};

type SharedState = State<Arc<AppState>>;

/// The length of a page where the request names none, and the most of it.
const DEFAULT_BATCHES: usize = 20;
const MAX_BATCHES: usize = 100;

/// The routes.
pub(crate) fn routes() -> Router<Arc<AppState>> {
    let mut router = Router::new();
    for prefix in ["", "/v1"] {
        router = router
            .route(&format!("{prefix}/batches"), post(create).get(list))
            .route(&format!("{prefix}/batches/{{id}}"), get(show))
            .route(&format!("{prefix}/batches/{{id}}/cancel"), post(cancel));
    }
    router
}

/// Submits a batch.
async fn create(State(app): SharedState, Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let create = async {
        let AuthedRequest { caller, bytes, .. } = read_request(&app, &log, request).await?;
        let gateway = app.gateway.clone();
        run_to_end(async move { gateway.create_batch(&caller, &bytes).await }).await
    };
    respond(create.await, &log)
}

/// Lists the caller's batches.
async fn list(State(app): SharedState, Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let list = async {
        let (parts, _) = request.into_parts();
        let caller = authenticate(&app, &log, &parts)?;
        let PageQuery { after, limit, .. } = PageQuery::parse(parts.uri.query(), DEFAULT_BATCHES, MAX_BATCHES)?;
        let batches = app.gateway.batches(&caller, BatchPage { after, limit }).await?;
        Ok(json_response(batches.to_string()))
    };
    or_error_response(list.await, &log)
}

/// Describes a batch.
async fn show(
    State(app): SharedState,
    Extension(log): Extension<RequestLog>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let show = async {
        let (parts, _) = request.into_parts();
        let caller = authenticate(&app, &log, &parts)?;
        app.gateway.batch(&caller, &id).await
    };
    respond(show.await, &log)
}

/// Cancels a batch.
async fn cancel(
    State(app): SharedState,
    Extension(log): Extension<RequestLog>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let cancel = async {
        let (parts, _) = request.into_parts();
        let caller = authenticate(&app, &log, &parts)?;
        app.gateway.cancel_batch(&caller, &id).await
    };
    respond(cancel.await, &log)
}

fn respond(reply: Result<TaskReply, Error>, log: &RequestLog) -> Response {
    or_error_response(reply.map(|reply| body_response(Body::from(reply.bytes), reply.content_type, false)), log)
}
