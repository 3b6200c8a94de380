//! Midjourney, Suno and video: tasks that are submitted, and asked for until they end (API document 4.8 to 4.11).

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

use crate::api::media::form_type;
use crate::api::{Taken, enter, take, take_as};
use crate::line::Line;
use crate::relay::response;
use crate::server::App;
use crate::{body, exchange, reply};

type Shared = State<Arc<App>>;

/// The routes. A speed of Midjourney is part of its paths, and goes on with them.
pub(crate) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new();
    for speed in ["mj", "mj-fast", "mj-turbo", "mj-relax"] {
        router = router
            .route(&format!("/{speed}/submit/{{action}}"), submit(TaskKind::Midjourney))
            .route(&format!("/{speed}/task/{{id}}/fetch"), follow(TaskKind::Midjourney))
            .route(&format!("/{speed}/task/list-by-condition"), list(TaskKind::Midjourney))
            .route(&format!("/{speed}/image/{{id}}"), made(TaskKind::Midjourney));
    }
    for prefix in ["", "/v1"] {
        router = router
            .route(&format!("{prefix}/videos"), post(submit_video))
            .route(&format!("{prefix}/videos/{{id}}"), follow(TaskKind::Video))
            .route(&format!("{prefix}/videos/{{id}}/content"), made(TaskKind::Video))
            .route(&format!("{prefix}/videos/{{id}}/remix"), post(remix));
    }
    router
        .route("/suno/submit/{action}", submit(TaskKind::Suno))
        .route("/suno/fetch/{id}", follow(TaskKind::Suno))
        .route("/suno/fetch", list(TaskKind::Suno))
}

fn answered(result: Result<Response, Error>, line: &Line) -> Response {
    result.unwrap_or_else(|error| reply::failure(error, line))
}

/// The path below a provider's base URL, which has the version.
fn below(path: &str) -> String {
    path.strip_prefix("/v1").unwrap_or(path).trim_start_matches('/').to_owned()
}

fn told(told: TaskReply) -> Response {
    response(Body::from(told.bytes), told.content_type, false)
}

/// Submits an action, whose body is JSON.
fn submit(kind: TaskKind) -> MethodRouter<Arc<App>> {
    let submit = async move |app: &App, line: &Line, action: String, request: Request| {
        let Taken { caller, parts, bytes } = take(app, line, request).await?;
        let path = parts.uri.path();
        let nothing = || Error::new(ErrorKind::NotFound, format!("No such path: {path:.128}"));
        let model = kind.model_of_action(&action).ok_or_else(nothing)?;
        if kind == TaskKind::Midjourney && !app.gateway.has_model(&model) {
            let none = "No Midjourney provider is configured";
            let refusal = json!({"code": 4, "description": none, "result": null, "properties": {}});
            return Ok(exchange::json(refusal.to_string()));
        }
        let read = move |said, _: &mut _| Ok(kind.parent_task_id(&said));
        let size = |parent: &Option<String>| parent.as_ref().map_or(0, String::len);
        let (parent, _) = body::understood(&caller.memory, bytes.clone(), read, size).await?;
        let (path, headers) = (below(path), HeaderMap::new());
        let (model, parent) = (Some(model.as_str()), parent.as_deref());
        let submission = TaskSubmission { kind, model, path: &path, parent, body: &bytes, headers };
        app.gateway.submit_task(&caller, submission).await.map(told)
    };
    post(move |State(app): Shared, Extension(line): Extension<Line>, Path(action), request: Request| async move {
        answered(submit(&app, &line, action, request).await, &line)
    })
}

async fn submit_video(State(app): Shared, Extension(line): Extension<Line>, request: Request) -> Response {
    let submit = async {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let form = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"));
        let what = if form { body::Kind::Form } else { body::Kind::Json };
        let Taken { caller, parts, bytes } = take_as(&app, &line, request, what).await?;
        let (kind, headers) = (TaskKind::Video, form_type(what, &parts.headers));
        let submission = TaskSubmission { kind, model: None, path: "videos", parent: None, body: &bytes, headers };
        app.gateway.submit_task(&caller, submission).await.map(told)
    };
    answered(submit.await, &line)
}

async fn remix(
    State(app): Shared,
    Extension(line): Extension<Line>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let submit = async {
        let Taken { caller, parts, bytes } = take(&app, &line, request).await?;
        let (path, parent, headers) = (below(parts.uri.path()), Some(id.as_str()), HeaderMap::new());
        let submission =
            TaskSubmission { kind: TaskKind::Video, model: None, path: &path, parent, body: &bytes, headers };
        app.gateway.submit_task(&caller, submission).await.map(told)
    };
    answered(submit.await, &line)
}

/// Lets in who only asks. Returns the path to be asked for, and its query.
fn asks(app: &App, line: &Line, request: Request) -> Result<(Caller, String), Error> {
    let (parts, _) = request.into_parts();
    let caller = enter(app, line, &parts)?;
    Ok((caller, below(parts.uri.path_and_query().map_or("", |path| path.as_str()))))
}

/// Asks how a task goes.
fn follow(kind: TaskKind) -> MethodRouter<Arc<App>> {
    let follow = async move |app: &App, line: &Line, id: String, request: Request| {
        let (caller, path) = asks(app, line, request)?;
        app.gateway.task_status(&caller, kind, &id, &path).await.map(told)
    };
    get(move |State(app): Shared, Extension(line): Extension<Line>, Path(id), request: Request| async move {
        answered(follow(&app, &line, id, request).await, &line)
    })
}

/// Asks for what a task has made.
fn made(kind: TaskKind) -> MethodRouter<Arc<App>> {
    let made = async move |app: &App, line: &Line, id: String, request: Request| {
        let (caller, path) = asks(app, line, request)?;
        let made = app.gateway.task_artifact(&caller, kind, &id, &path).await?;
        Ok(response(Body::from_stream(made.body), made.content_type, false))
    };
    get(move |State(app): Shared, Extension(line): Extension<Line>, Path(id), request: Request| async move {
        answered(made(&app, &line, id, request).await, &line)
    })
}

/// Asks how several tasks go.
fn list(kind: TaskKind) -> MethodRouter<Arc<App>> {
    let list = async move |app: &App, line: &Line, request: Request| {
        let Taken { caller, parts, bytes } = take(app, line, request).await?;
        let read = |tree, _: &mut _| Ok(tree);
        let (body, _hold) = body::understood(&caller.memory, bytes, read, ::chat::json_bytes).await?;
        let texts = |ids: &Vec<Value>| ids.iter().map(|id| Some(id.as_str()?.to_owned())).collect::<Option<Vec<_>>>();
        let ids = body["ids"].as_array().and_then(texts);
        let ids = ids.ok_or_else(|| Error::invalid("Invalid 'ids': expected an array of strings"))?;
        let tasks = app.gateway.task_statuses(&caller, kind, &ids, &below(parts.uri.path()), body).await?;
        let tasks = match kind {
            TaskKind::Suno => json!({"code": "success", "message": "", "data": tasks}),
            _ => json!(tasks),
        };
        Ok(exchange::json(tasks.to_string()))
    };
    post(move |State(app): Shared, Extension(line): Extension<Line>, request: Request| async move {
        answered(list(&app, &line, request).await, &line)
    })
}
