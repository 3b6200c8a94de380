//! Authenticates a request and reads its body.

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use chat::Error;
use gateway::{Caller, run_in_place, text_bytes};
use http::request::Parts;

use crate::app::AppState;
use crate::request_log::RequestLog;
use crate::{auth, body};

/// A request whose caller is authenticated and whose body is read.
pub(crate) struct AuthedRequest {
    pub(crate) caller: Caller,
    pub(crate) parts: Parts,
    pub(crate) bytes: Bytes,
}

/// Authenticates the caller, records it in the log entry, and attaches the trace context and the
/// memory account of the request.
///
/// # Errors
/// As [`auth::authenticate_caller`].
pub(crate) fn authenticate(app: &AppState, log: &RequestLog, parts: &Parts) -> Result<Caller, Error> {
    let mut caller = auth::authenticate_caller(app, parts)?;
    caller.request_id = Some(log.request_id());
    log.set_caller(&caller);
    caller.traceparent = log.traceparent();
    caller.memory = app.memory.request(caller.memory_owner(log.client_addr().ip()));
    Ok(caller)
}

/// Authenticates a request, then reads its JSON body (docs/api.md 0.5 has the order of all checks).
///
/// # Errors
/// As [`auth::authenticate_caller`] and [`body::BodyReader::read`].
pub(crate) async fn read_request(app: &AppState, log: &RequestLog, request: Request) -> Result<AuthedRequest, Error> {
    read_request_as(app, log, request, body::BodyType::Json).await
}

/// The same for a body of this type.
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

/// Reads the body of an authenticated request.
pub(crate) async fn read_body(
    app: &AppState,
    mut caller: Caller,
    parts: Parts,
    body: Body,
    body_type: body::BodyType,
) -> Result<AuthedRequest, Error> {
    let limit = if body_type == body::BodyType::Multipart { app.config.multipart_limit } else { app.config.body_limit };
    let reader = body::BodyReader { body_type, limit, read_timeout: app.config.read_timeout, memory: &caller.memory };
    let bytes = reader.read(&parts.headers, body).await?;
    let is_json = body_type == body::BodyType::Json;
    caller.text_bytes = is_json.then(|| run_in_place(bytes.len(), || text_bytes(&bytes)));
    Ok(AuthedRequest { caller, parts, bytes })
}
