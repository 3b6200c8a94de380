//! Midjourney, Suno and video: tasks that clients submit and poll until they end
//! (docs/api.md 4.8 to 4.11).

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
use crate::api::run_to_end::run_to_end;
use crate::app::AppState;
use crate::body;
use crate::error_response::or_error_response;
use crate::request_log::RequestLog;
use crate::respond::{body_response, json_response};

type SharedState = State<Arc<AppState>>;

/// The routes. The speed of a Midjourney task is part of its path, which is forwarded.
pub(crate) fn routes() -> Router<Arc<AppState>> {
    let mut router = Router::new();
    for speed in ["mj", "mj-fast", "mj-turbo", "mj-relax"] {
        router = router
            .route(&format!("/{speed}/submit/{{action}}"), submit_route(TaskKind::Midjourney))
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
        .route("/suno/submit/{action}", submit_route(TaskKind::Suno))
        .route("/suno/fetch/{id}", status_route(TaskKind::Suno))
        .route("/suno/fetch", list_route(TaskKind::Suno))
}

/// The path below a provider's base URL, which contains the version.
fn upstream_path(path: &str) -> String {
    path.strip_prefix("/v1").unwrap_or(path).trim_start_matches('/').to_owned()
}

fn task_response(reply: TaskReply) -> Response {
    body_response(Body::from(reply.bytes), reply.content_type, false)
}

/// The route that submits an action with a JSON body.
fn submit_route(kind: TaskKind) -> MethodRouter<Arc<AppState>> {
    let submit = async move |app: &AppState, log: &RequestLog, action: String, request: Request| {
        let AuthedRequest { caller, parts, bytes } = read_request(app, log, request).await?;
        let path = parts.uri.path();
        let not_found = || Error::new(ErrorKind::NotFound, format!("No such path: {path:.128}"));
        let model = kind.model_of_action(&action).ok_or_else(not_found)?;
        if kind == TaskKind::Midjourney && !app.gateway.has_model(&model) {
            let message = "No Midjourney provider is configured";
            let refusal = json!({"code": 4, "description": message, "result": null, "properties": {}});
            return Ok(json_response(refusal.to_string()));
        }
        let read = move |tree, _: &mut _| Ok(kind.parent_task_id(&tree));
        let size = |parent: &Option<String>| parent.as_ref().map_or(0, String::len);
        let (parent, _) = body::parse_json(&caller.memory, bytes.clone(), read, size).await?;
        let (gateway, path) = (app.gateway.clone(), upstream_path(path));
        let submit = async move {
            let submission = TaskSubmission {
                kind,
                model: Some(model.as_str()),
                path: &path,
                parent: parent.as_deref(),
                body: &bytes,
                headers: HeaderMap::new(),
            };
            gateway.submit_task(&caller, submission).await
        };
        run_to_end(submit).await.map(task_response)
    };
    post(
        move |State(app): SharedState, Extension(log): Extension<RequestLog>, Path(action), request: Request| async move {
            or_error_response(submit(&app, &log, action, request).await, &log)
        },
    )
}

/// Submits a video, whose body is JSON or a form with files.
async fn submit_video(State(app): SharedState, Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let submit = async {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let is_multipart = content_type.is_some_and(|value| value.as_bytes().starts_with(b"multipart/"));
        let body_type = if is_multipart { body::BodyType::Multipart } else { body::BodyType::Json };
        let AuthedRequest { caller, parts, bytes } = read_request_as(&app, &log, request, body_type).await?;
        let headers = multipart_headers(body_type, &parts.headers);
        let gateway = app.gateway.clone();
        let submit = async move {
            let (kind, body) = (TaskKind::Video, &bytes);
            let submission = TaskSubmission { kind, model: None, path: "videos", parent: None, body, headers };
            gateway.submit_task(&caller, submission).await
        };
        run_to_end(submit).await.map(task_response)
    };
    or_error_response(submit.await, &log)
}

/// Submits a new version of a video.
async fn remix(
    State(app): SharedState,
    Extension(log): Extension<RequestLog>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let submit = async {
        let AuthedRequest { caller, parts, bytes } = read_request(&app, &log, request).await?;
        let (gateway, path) = (app.gateway.clone(), upstream_path(parts.uri.path()));
        let submit = async move {
            let submission = TaskSubmission {
                kind: TaskKind::Video,
                model: None,
                path: &path,
                parent: Some(id.as_str()),
                body: &bytes,
                headers: HeaderMap::new(),
            };
            gateway.submit_task(&caller, submission).await
        };
        run_to_end(submit).await.map(task_response)
    };
    or_error_response(submit.await, &log)
}

/// Authenticates a request without a body. Returns the caller, and the path and query to request
/// from the provider.
fn authenticate_lookup(app: &AppState, log: &RequestLog, request: Request) -> Result<(Caller, String), Error> {
    let (parts, _) = request.into_parts();
    let caller = authenticate(app, log, &parts)?;
    Ok((caller, upstream_path(parts.uri.path_and_query().map_or("", |path| path.as_str()))))
}

/// The route that returns the status of a task.
fn status_route(kind: TaskKind) -> MethodRouter<Arc<AppState>> {
    let status = async move |app: &AppState, log: &RequestLog, id: String, request: Request| {
        let (caller, path) = authenticate_lookup(app, log, request)?;
        app.gateway.task_status(&caller, kind, &id, &path).await.map(task_response)
    };
    get(move |State(app): SharedState, Extension(log): Extension<RequestLog>, Path(id), request: Request| async move {
        or_error_response(status(&app, &log, id, request).await, &log)
    })
}

/// The route that returns the artifact of a task: its image or video.
fn artifact_route(kind: TaskKind) -> MethodRouter<Arc<AppState>> {
    let artifact = async move |app: &AppState, log: &RequestLog, id: String, request: Request| {
        let (caller, path) = authenticate_lookup(app, log, request)?;
        let artifact = app.gateway.task_artifact(&caller, kind, &id, &path).await?;
        Ok(body_response(Body::from_stream(artifact.body), artifact.content_type, false))
    };
    get(move |State(app): SharedState, Extension(log): Extension<RequestLog>, Path(id), request: Request| async move {
        or_error_response(artifact(&app, &log, id, request).await, &log)
    })
}

/// The route that returns the status of several tasks.
fn list_route(kind: TaskKind) -> MethodRouter<Arc<AppState>> {
    let list = async move |app: &AppState, log: &RequestLog, request: Request| {
        let AuthedRequest { caller, parts, bytes } = read_request(app, log, request).await?;
        let read = |tree, _: &mut _| Ok(tree);
        let (body, _reservation) = body::parse_json(&caller.memory, bytes, read, ::chat::json_bytes).await?;
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
