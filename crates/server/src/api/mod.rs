//! The handlers, one file a surface, and what is said where there is none.

pub(crate) mod balance;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod gemini;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod model_catalog;
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

use crate::request_log::{self, RequestLog};
use crate::respond::error_response;
use crate::server::AppState;
use crate::{auth, body};

/// A request whose caller is let in and whose body is read.
pub(crate) struct AuthedRequest {
    pub(crate) caller: Caller,
    pub(crate) parts: Parts,
    pub(crate) bytes: Bytes,
}

/// Lets a caller in, and notes who it is.
///
/// # Errors
/// As [`auth::admit`].
pub(crate) fn authenticate(app: &AppState, log: &RequestLog, parts: &Parts) -> Result<Caller, Error> {
    let mut caller = auth::authenticate_caller(app, parts)?;
    log.set_caller(&caller);
    caller.traceparent = log.traceparent();
    caller.memory = app.memory.request(caller.memory_owner(log.client_addr().ip()));
    Ok(caller)
}

/// The documented order of checks, up to the body.
pub(crate) async fn read_request(app: &AppState, log: &RequestLog, request: Request) -> Result<AuthedRequest, Error> {
    read_request_as(app, log, request, body::BodyType::Json).await
}

/// The same for a body of another kind.
pub(crate) async fn read_request_as(
    app: &AppState,
    log: &RequestLog,
    request: Request,
    body_type: body::BodyType,
) -> Result<AuthedRequest, Error> {
    let (parts, body) = request.into_parts();
    let caller = authenticate(app, log, &parts)?;
    read_body(app, caller, parts, body, body_type).await
}

/// The body of a request whose caller was let in.
pub(crate) async fn read_body(
    app: &AppState,
    caller: Caller,
    parts: Parts,
    body: Body,
    body_type: body::BodyType,
) -> Result<AuthedRequest, Error> {
    let limit = if body_type == body::BodyType::Multipart { app.config.multipart_limit } else { app.config.body_limit };
    let reading = body::BodyReader { body_type, limit, read_timeout: app.config.read_timeout, memory: &caller.memory };
    let bytes = reading.read(&parts.headers, body).await?;
    Ok(AuthedRequest { caller, parts, bytes })
}

pub(crate) async fn not_found(Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let path: String = request.uri().path().chars().take(128).collect();
    surface_error(&Error::new(ErrorKind::NotFound, format!("No such path: {path}")), &log, &request)
}

pub(crate) async fn method_not_allowed(Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let message = format!("The method {} is not allowed here", request_log::method_name(request.method()));
    surface_error(&Error::new(ErrorKind::MethodNotAllowed, message), &log, &request)
}

/// A refusal in the shape of the surface that the path belongs to.
pub(crate) fn surface_error(error: &Error, log: &RequestLog, request: &Request) -> Response {
    let path = request.uri().path();
    let anthropic = path.starts_with("/anthropic") || path.starts_with("/v1/messages");
    if anthropic {
        messages::error_response(error, log)
    } else if path.starts_with("/v1beta/") {
        gemini::error_response(error)
    } else {
        error_response(error)
    }
}
