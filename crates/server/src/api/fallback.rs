//! Responses for unknown paths and methods, in the format of the API that the path belongs to.

use axum::Extension;
use axum::extract::Request;
use axum::response::Response;
use chat::{Error, ErrorKind};

use crate::api::gemini_request::is_gemini_path;
use crate::api::{gemini, messages};
use crate::error_response::error_response;
use crate::request_log::{self, RequestLog};

/// The response for an unknown path.
pub(crate) async fn not_found(Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let path: String = request.uri().path().chars().take(128).collect();
    surface_error(&Error::new(ErrorKind::NotFound, format!("No such path: {path}")), &log, &request)
}

/// The response for a method that a known path does not have.
pub(crate) async fn method_not_allowed(Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let message = format!("The method {} is not allowed here", request_log::method_name(request.method()));
    surface_error(&Error::new(ErrorKind::MethodNotAllowed, message), &log, &request)
}

/// The response for OpenAI's realtime API, whose sessions are WebSockets.
pub(crate) async fn no_realtime() -> Response {
    let message = "Realtime sessions (WebSockets, WebRTC) are not supported: use chat completions or responses with `stream`, and /audio/speech and /audio/transcriptions for audio";
    let mut error = Error::invalid(message);
    error.code = Some("realtime_not_supported");
    error_response(&error)
}

/// An error in the format of the API that the path belongs to.
pub(crate) fn surface_error(error: &Error, log: &RequestLog, request: &Request) -> Response {
    let path = request.uri().path();
    let anthropic = path.starts_with("/anthropic") || path.starts_with("/v1/messages");
    if anthropic {
        messages::error_response(error, log)
    } else if is_gemini_path(path) {
        gemini::error_response(error)
    } else {
        error_response(error)
    }
}
