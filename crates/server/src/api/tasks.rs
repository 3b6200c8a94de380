//! Midjourney, Suno and video: tasks that are submitted, and asked for until they end (API
//! document 4.8 to 4.11).

use std::sync::Arc;

use ::chat::{Error, ErrorKind};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use gateway::{Caller, TaskReply, TaskSubmission};
use http::{HeaderMap, header};
use serde_json::{Value, json};
use wire::tasks::TaskKind;

use crate::api::authed_request::{AuthedRequest, authenticate, read_request, read_request_as};
use crate::api::media::multipart_headers;
use crate::app::AppState;
use crate::body;
use crate::error_response::error_response_with_id;
use crate::request_log::RequestLog;
use crate::respond::{body_response, json_response};

type SharedState = State<Arc<AppState>>;

/// The routes. A speed of Midjourney is part of its paths, and goes on with them.
pub(crate) fn routes() -> Router<Arc<AppState>> {
    let mut router = Router::new();
    for speed in ["mj", "mj-fast", "mj-turbo", "mj-relax"] {
        router = router
            .route(&format!("/{speed}/submit/{{action}}"), submit(TaskKind::Midjourney))
            .route(&format!("/{speed}/task/{{id}}/fetch"), status_route(TaskKind::Midjourney))
            .route(&format!("/{speed}/task/list-by-condition"), list_route(TaskKind::Midjourney))
            .route(&format!("/{speed}/image/{{id}}"), artifact_route(TaskKind::Midjourney));
    }
    for prefix in ["", "/v1"] {
        router = router
            .route(&format!("{prefix}/videos"), post(submit_video))
            .route(&format!("{prefix}/videos/{{id}}"), status_route(TaskKind::Video))
            .route(&format!("{prefix}/videos/{{id}}/content"), artifact_route(TaskKind::Video))
            .route(&format!("{prefix}/videos/{{id}}/remix"), post(remix));
    }
    router
        .route("/suno/submit/{action}", submit(TaskKind::Suno))
        .route("/suno/fetch/{id}", status_route(TaskKind::Suno))
        .route("/suno/fetch", list_route(TaskKind::Suno))
}

fn or_error_response(result: Result<Response, Error>, log: &RequestLog) -> Response {
    result.unwrap_or_else(|error| error_response_with_id(error, log))
}

/// The path below a provider's base URL, which has the version.
fn upstream_path(path: &str) -> String {
    path.strip_prefix("/v1").unwrap_or(path).trim_start_matches('/').to_owned()
}

fn task_response(told: TaskReply) -> Response {
    body_response(Body::from(told.bytes), told.content_type, false)
}

/// Submits an action, whose body is JSON.
fn submit(kind: TaskKind) -> MethodRouter<Arc<AppState>> {
    let submit = async move |app: &AppState, log: &RequestLog, action: String, request: Request| {
        let AuthedRequest { caller, parts, bytes } = read_request(app, log, request).await?;
        let path = parts.uri.path();
        let not_found = || Error::new(ErrorKind::NotFound, format!("No such path: {path:.128}"));
        let model = kind.model_of_action(&action).ok_or_else(not_found)?;
        if kind == TaskKind::Midjourney && !app.gateway.has_model(&model) {
            let none = "No Midjourney provider is configured";
            let refusal = json!({"code": 4, "description": none, "result": null, "properties": {}});
            return Ok(json_response(refusal.to_string()));
        }
        let read = move |said, _: &mut _| Ok(kind.parent_task_id(&said));
        let size = |parent: &Option<String>| parent.as_ref().map_or(0, String::len);
        let (parent, _) = body::parse_json(&caller.memory, bytes.clone(), read, size).await?;
        let (path, headers) = (upstream_path(path), HeaderMap::new());
        let (model, parent) = (Some(model.as_str()), parent.as_deref());
        let submission = TaskSubmission { kind, model, path: &path, parent, body: &bytes, headers };
        app.gateway.submit_task(&caller, submission).await.map(task_response)
    };
    post(
        move |State(app): SharedState, Extension(log): Extension<RequestLog>, Path(action), request: Request| async move {
            or_error_response(submit(&app, &log, action, request).await, &log)
        },
    )
}

async fn submit_video(State(app): SharedState, Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let submit = async {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let form = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"));
        let body_type = if form { body::BodyType::Multipart } else { body::BodyType::Json };
        let AuthedRequest { caller, parts, bytes } = read_request_as(&app, &log, request, body_type).await?;
        let (kind, headers) = (TaskKind::Video, multipart_headers(body_type, &parts.headers));
        let submission = TaskSubmission { kind, model: None, path: "videos", parent: None, body: &bytes, headers };
        app.gateway.submit_task(&caller, submission).await.map(task_response)
    };
    or_error_response(submit.await, &log)
}

async fn remix(
    State(app): SharedState,
    Extension(log): Extension<RequestLog>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let submit = async {
        let AuthedRequest { caller, parts, bytes } = read_request(&app, &log, request).await?;
        let (path, parent, headers) = (upstream_path(parts.uri.path()), Some(id.as_str()), HeaderMap::new());
        let submission =
            TaskSubmission { kind: TaskKind::Video, model: None, path: &path, parent, body: &bytes, headers };
        app.gateway.submit_task(&caller, submission).await.map(task_response)
    };
    or_error_response(submit.await, &log)
}

/// Lets in who only asks. Returns the path to be asked for, and its query.
fn authenticate_lookup(app: &AppState, log: &RequestLog, request: Request) -> Result<(Caller, String), Error> {
    let (parts, _) = request.into_parts();
    let caller = authenticate(app, log, &parts)?;
    Ok((caller, upstream_path(parts.uri.path_and_query().map_or("", |path| path.as_str()))))
}

/// Asks how a task goes.
fn status_route(kind: TaskKind) -> MethodRouter<Arc<AppState>> {
    let follow = async move |app: &AppState, log: &RequestLog, id: String, request: Request| {
        let (caller, path) = authenticate_lookup(app, log, request)?;
        app.gateway.task_status(&caller, kind, &id, &path).await.map(task_response)
    };
    get(move |State(app): SharedState, Extension(log): Extension<RequestLog>, Path(id), request: Request| async move {
        or_error_response(follow(&app, &log, id, request).await, &log)
    })
}

/// Asks for what a task has made.
fn artifact_route(kind: TaskKind) -> MethodRouter<Arc<AppState>> {
    let made = async move |app: &AppState, log: &RequestLog, id: String, request: Request| {
        let (caller, path) = authenticate_lookup(app, log, request)?;
        let made = app.gateway.task_artifact(&caller, kind, &id, &path).await?;
        Ok(body_response(Body::from_stream(made.body), made.content_type, false))
    };
    get(move |State(app): SharedState, Extension(log): Extension<RequestLog>, Path(id), request: Request| async move {
        or_error_response(made(&app, &log, id, request).await, &log)
    })
}

/// Asks how several tasks go.
fn list_route(kind: TaskKind) -> MethodRouter<Arc<AppState>> {
    let list = async move |app: &AppState, log: &RequestLog, request: Request| {
        let AuthedRequest { caller, parts, bytes } = read_request(app, log, request).await?;
        let read = |tree, _: &mut _| Ok(tree);
        let (body, _hold) = body::parse_json(&caller.memory, bytes, read, ::chat::json_bytes).await?;
        let texts = |ids: &Vec<Value>| ids.iter().map(|id| Some(id.as_str()?.to_owned())).collect::<Option<Vec<_>>>();
        let ids = body["ids"].as_array().and_then(texts);
        let ids = ids.ok_or_else(|| Error::invalid("Invalid 'ids': expected an array of strings"))?;
        let tasks = app.gateway.task_statuses(&caller, kind, &ids, &upstream_path(parts.uri.path()), body).await?;
        let tasks = match kind {
            TaskKind::Suno => json!({"code": "success", "message": "", "data": tasks}),
            _ => json!(tasks),
        };
        Ok(json_response(tasks.to_string()))
    };
    post(move |State(app): SharedState, Extension(log): Extension<RequestLog>, request: Request| async move {
        or_error_response(list(&app, &log, request).await, &log)
    })
}
