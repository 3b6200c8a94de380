//! The handlers, one file a surface, and what is said where there is none.

pub(crate) mod balance;
pub(crate) mod catalogue;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod gemini;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod quota;
pub(crate) mod responses;
pub(crate) mod tasks;

use ::chat::{Error, ErrorKind};
use axum::Extension;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use gateway::Caller;
use http::request::Parts;

use crate::line::{self, Line};
use crate::reply::refusal;
use crate::server::App;
use crate::{auth, body};

/// A request whose caller is let in and whose body is read.
pub(crate) struct Taken {
    pub(crate) caller: Caller,
    pub(crate) parts: Parts,
    pub(crate) bytes: Bytes,
}

/// Lets a caller in, and notes who it is.
///
/// # Errors
/// As [`auth::admit`].
pub(crate) fn enter(app: &App, line: &Line, parts: &Parts) -> Result<Caller, Error> {
    let mut caller = auth::admit(app, parts)?;
    line.caller(&caller);
    caller.traceparent = line.trace();
    caller.memory = app.memory.request(caller.memory_owner(line.peer().ip()));
    Ok(caller)
}

/// The documented order of checks, up to the body.
pub(crate) async fn take(app: &App, line: &Line, request: Request) -> Result<Taken, Error> {
    take_as(app, line, request, body::Kind::Json).await
}

/// The same for a body of another kind.
pub(crate) async fn take_as(app: &App, line: &Line, request: Request, kind: body::Kind) -> Result<Taken, Error> {
    let (parts, body) = request.into_parts();
    let caller = enter(app, line, &parts)?;
    take_body(app, caller, parts, body, kind).await
}

/// The body of a request whose caller was let in.
pub(crate) async fn take_body(
    app: &App,
    caller: Caller,
    parts: Parts,
    body: Body,
    kind: body::Kind,
) -> Result<Taken, Error> {
    let limit = if kind == body::Kind::Form { app.config.form_limit } else { app.config.body_limit };
    let reading = body::Reading { kind, limit, patience: app.config.read_timeout, memory: &caller.memory };
    let bytes = reading.read(&parts.headers, body).await?;
    Ok(Taken { caller, parts, bytes })
}

pub(crate) async fn not_found(Extension(line): Extension<Line>, request: Request) -> Response {
    let path: String = request.uri().path().chars().take(128).collect();
    in_its_shape(&Error::new(ErrorKind::NotFound, format!("No such path: {path}")), &line, &request)
}

pub(crate) async fn method_not_allowed(Extension(line): Extension<Line>, request: Request) -> Response {
    let message = format!("The method {} is not allowed here", line::method(request.method()));
    in_its_shape(&Error::new(ErrorKind::MethodNotAllowed, message), &line, &request)
}

/// A refusal in the shape of the surface that the path belongs to.
pub(crate) fn in_its_shape(error: &Error, line: &Line, request: &Request) -> Response {
    let path = request.uri().path();
    let anthropic = path.starts_with("/anthropic") || path.starts_with("/v1/messages");
    if anthropic {
        messages::refusal(error, line)
    } else if path.starts_with("/v1beta/") {
        gemini::refusal(error)
    } else {
        refusal(error)
    }
}
