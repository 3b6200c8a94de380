//! Authenticates a request and reads its body.

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use chat::Error;
use gateway::Caller;
use http::request::Parts;

use crate::app::AppState;
use crate::request_log::RequestLog;
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
