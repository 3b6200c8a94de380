//! Responses for errors, and the headers that tell clients whether to retry.

use axum::response::Response;
use chat::{Error, ErrorKind};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::request_log::RequestLog;
use crate::respond::json_response;

/// An error in the format of OpenAI's API.
pub(crate) fn error_response(error: &Error) -> Response {
    error_response_with_body(error, wire::surface::error::http_status(error), wire::surface::error::error_body(error))
}

/// The same, with the request id in the message if a provider caused the error.
pub(crate) fn error_response_with_id(error: Error, log: &RequestLog) -> Response {
    if !matches!(error.kind, ErrorKind::Upstream(_)) {
        return error_response(&error);
    }
    let message = format!("{} (request id: {})", error.message, log.id());
    error_response(&Error { message, ..error })
}

/// The response, or the error as one.
pub(crate) fn or_error_response(result: Result<Response, Error>, log: &RequestLog) -> Response {
    result.unwrap_or_else(|error| error_response_with_id(error, log))
}

/// An error whose status and body are in the format of some API. Server errors are logged.
pub(crate) fn error_response_with_body(error: &Error, status: u16, body: String) -> Response {
    let mut response = json_response(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    set_retry_headers(error, response.headers_mut());
    // The kind of the error, for the record of a refused request.
    response.extensions_mut().insert(error.kind);
    if response.status().is_server_error() {
        tracing::warn!(status = response.status().as_u16(), error = error.message, "request failed");
    }
    response
}

/// Sets the headers by which official clients decide whether and when to retry.
fn set_retry_headers(error: &Error, headers: &mut HeaderMap) {
    let default_delay = match error.kind {
        ErrorKind::RateLimited => Some(1),
        ErrorKind::Overloaded => Some(5),
        _ => None,
    };
    let provider_delay = error.retry_after.map(|after| after.as_secs_f64().ceil() as u64);
    if let Some(seconds) = provider_delay.or(default_delay) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.kind == ErrorKind::InsufficientBalance {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
}
