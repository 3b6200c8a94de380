//! Errors in the shape of Anthropic's Messages API.

use chat::{Error, ErrorKind};
use serde_json::json;

use crate::surface::error::{error_code, http_status};

/// The status and body of an error. The body also suits clients that expect DeepSeek's flat shape.
pub fn error_response(error: &Error, request_id: &str) -> (u16, String) {
    let (status, kind) = match error.kind {
        // The status that the SDK defines for an overloaded server.
        ErrorKind::Overloaded => (529, "overloaded_error"),
        _ => (http_status(error), error_type(http_status(error))),
    };
    let body = json!({
        "type": "error",
        "error": {
            "type": kind,
            "message": error.message,
            "param": error.param,
            "code": error_code(error),
        },
        "request_id": request_id,
    });
    (status, body.to_string())
}

fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
