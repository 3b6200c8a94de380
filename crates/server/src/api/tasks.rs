//! Midjourney, Suno and video: tasks that are submitted, and asked for until they end (API document 4.8 to 4.11).

use std::sync::Arc;

use ::chat::{Error, ErrorKind};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use gateway::{Caller, Submission, Told};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use wire::form::Form;
use wire::tasks::{Kind, MIDJOURNEY, SUNO};

use crate::api::{Taken, take, take_as};
use crate::line::Line;
use crate::server::App;
use crate::{auth, body, reply};

type Shared = State<Arc<App>>;

/// The routes. A speed of Midjourney is part of its paths, and goes on with them.
pub(crate) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new();
    for speed in ["mj", "mj-fast", "mj-turbo", "mj-relax"] {
        router = router
            .route(&format!("/{speed}/submit/{{action}}"), post(submit_midjourney))
            .route(&format!("/{speed}/task/{{id}}/fetch"), get(follow_midjourney))
            .route(&format!("/{speed}/task/list-by-condition"), post(list_midjourney))
            .route(&format!("/{speed}/image/{{id}}"), get(image));
    }
    for prefix in ["", "/v1"] {
        router = router
            .route(&format!("{prefix}/videos"), post(submit_video))
            .route(&format!("{prefix}/videos/{{id}}"), get(follow_video))
            .route(&format!("{prefix}/videos/{{id}}/content"), get(video))
            .route(&format!("{prefix}/videos/{{id}}/remix"), post(remix));
    }
    router
        .route("/suno/submit/{action}", post(submit_suno))
        .route("/suno/fetch/{id}", get(follow_suno))
        .route("/suno/fetch", post(list_suno))
}

fn answered(result: Result<Response, Error>, line: &Line) -> Response {
    result.unwrap_or_else(|error| reply::failure(error, line))
}

/// Lets in who only asks. Returns the path to be asked for, and its query.
fn admit(app: &App, line: &Line, request: Request) -> Result<(Caller, String), Error> {
    let (parts, _) = request.into_parts();
    let caller = auth::admit(app, &parts)?;
    line.caller(&caller);
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    Ok((caller, below(path)))
}

/// The path below a provider's base URL, which has the version.
fn below(path: &str) -> String {
    path.strip_prefix("/v1").unwrap_or(path).trim_start_matches('/').to_owned()
}

fn told(told: Told) -> Response {
    send(Body::from(told.bytes), &told.content_type)
}

fn send(body: Body, content_type: &str) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::try_from(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The ids of a list of tasks, and the rest of the request.
fn ids(bytes: &[u8]) -> Result<(Vec<String>, Value), Error> {
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("Failed to parse the request body as JSON: {error}")))?;
    let ids = body["ids"].as_array().and_then(|ids| ids.iter().map(|id| Some(id.as_str()?.to_owned())).collect());
    let ids = ids.ok_or_else(|| Error::invalid("Invalid 'ids': expected an array of strings"))?;
    Ok((ids, body))
}

async fn submit_midjourney(
    State(app): Shared,
    Extension(line): Extension<Line>,
    Path(action): Path<String>,
    request: Request,
) -> Response {
    let submit = async {
        let Taken { caller, parts, bytes } = take(&app, &line, request).await?;
        let model = format!("mj_{action}");
        if !MIDJOURNEY.contains(&&*model) {
            return Err(Error::new(ErrorKind::NotFound, format!("No such path: {:.128}", parts.uri.path())));
        }
        if !app.gateway.knows(&model) {
            let none = "No Midjourney provider is configured";
            let refusal = json!({"code": 4, "description": none, "result": null, "properties": {}});
            return Ok(crate::exchange::json(refusal.to_string()));
        }
        submit(&app, &caller, Kind::Midjourney, &model, &below(parts.uri.path()), &bytes).await
    };
    answered(submit.await, &line)
}

async fn submit_suno(
    State(app): Shared,
    Extension(line): Extension<Line>,
    Path(action): Path<String>,
    request: Request,
) -> Response {
    let submit = async {
        let Taken { caller, parts, bytes } = take(&app, &line, request).await?;
        let model = format!("suno_{action}");
        if !SUNO.contains(&&*model) {
            return Err(Error::new(ErrorKind::NotFound, format!("No such path: {:.128}", parts.uri.path())));
        }
        submit(&app, &caller, Kind::Suno, &model, &below(parts.uri.path()), &bytes).await
    };
    answered(submit.await, &line)
}

/// Submits a body of JSON.
async fn submit(
    app: &App,
    caller: &Caller,
    kind: Kind,
    model: &str,
    path: &str,
    bytes: &bytes::Bytes,
) -> Result<Response, Error> {
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("Failed to parse the request body as JSON: {error}")))?;
    let submission =
        Submission { kind, model, path, parent: kind.parent(&body), body: bytes, headers: HeaderMap::new() };
    app.gateway.submit(caller, submission).await.map(told)
}

async fn submit_video(State(app): Shared, Extension(line): Extension<Line>, request: Request) -> Response {
    let submit = async {
        let kind = request.headers().get(header::CONTENT_TYPE).cloned();
        let form = kind.filter(|kind| kind.as_bytes().starts_with(b"multipart/"));
        let what = if form.is_some() { body::Kind::Form } else { body::Kind::Json };
        let Taken { caller, bytes, .. } = take_as(&app, &line, request, what).await?;
        let mut headers = HeaderMap::new();
        let model = match form {
            Some(kind) => {
                let model = Form::scan(&String::from_utf8_lossy(kind.as_bytes()), &bytes)?.text("model");
                headers.insert(header::CONTENT_TYPE, kind);
                model
            }
            None => wire::splice::Fields::scan(&bytes)?.text("model"),
        };
        let model = model.ok_or_else(|| Error::invalid("The request body has no field `model`"))?;
        let submission =
            Submission { kind: Kind::Video, model: &model, path: "videos", parent: None, body: &bytes, headers };
        app.gateway.submit(&caller, submission).await.map(told)
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
        let model = app.gateway.model_of_task(&caller, Kind::Video, &id).await?;
        let submission = Submission {
            kind: Kind::Video,
            model: &model,
            path: &below(parts.uri.path()),
            parent: Some(&id),
            body: &bytes,
            headers: HeaderMap::new(),
        };
        app.gateway.submit(&caller, submission).await.map(told)
    };
    answered(submit.await, &line)
}

async fn follow(app: &App, line: &Line, kind: Kind, id: &str, request: Request) -> Response {
    let follow = async {
        let (caller, path) = admit(app, line, request)?;
        app.gateway.follow(&caller, kind, id, &path).await.map(told)
    };
    answered(follow.await, line)
}

async fn made(app: &App, line: &Line, kind: Kind, id: &str, request: Request) -> Response {
    let made = async {
        let (caller, path) = admit(app, line, request)?;
        let made = app.gateway.made(&caller, kind, id, &path).await?;
        Ok(send(Body::from_stream(made.body), &made.content_type))
    };
    answered(made.await, line)
}

async fn follow_midjourney(
    State(app): Shared,
    Extension(line): Extension<Line>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    follow(&app, &line, Kind::Midjourney, &id, request).await
}

async fn image(
    State(app): Shared,
    Extension(line): Extension<Line>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    made(&app, &line, Kind::Midjourney, &id, request).await
}

async fn follow_suno(
    State(app): Shared,
    Extension(line): Extension<Line>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    follow(&app, &line, Kind::Suno, &id, request).await
}

async fn follow_video(
    State(app): Shared,
    Extension(line): Extension<Line>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    follow(&app, &line, Kind::Video, &id, request).await
}

async fn video(
    State(app): Shared,
    Extension(line): Extension<Line>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    made(&app, &line, Kind::Video, &id, request).await
}

async fn list(app: &App, line: &Line, kind: Kind, request: Request) -> Result<Vec<Value>, Error> {
    let Taken { caller, parts, bytes } = take(app, line, request).await?;
    let (ids, body) = ids(&bytes)?;
    app.gateway.follow_all(&caller, kind, &ids, &below(parts.uri.path()), body).await
}

async fn list_midjourney(State(app): Shared, Extension(line): Extension<Line>, request: Request) -> Response {
    let tasks = list(&app, &line, Kind::Midjourney, request).await;
    answered(tasks.map(|tasks| crate::exchange::json(json!(tasks).to_string())), &line)
}

async fn list_suno(State(app): Shared, Extension(line): Extension<Line>, request: Request) -> Response {
    let tasks = list(&app, &line, Kind::Suno, request).await;
    let answer = |tasks| json!({"code": "success", "message": "", "data": tasks}).to_string();
    answered(tasks.map(|tasks| crate::exchange::json(answer(tasks))), &line)
}
