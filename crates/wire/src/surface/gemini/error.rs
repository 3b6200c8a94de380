//! Errors in the shape of Gemini's `generateContent`.

use chat::{Error, ErrorKind};
use serde_json::json;

use crate::surface::error::http_status;

/// The status and body of an error.
pub fn error_response(error: &Error) -> (u16, String) {
    let status = http_status(error);
    let status_name = match (error.kind, status) {
        (ErrorKind::Upstream(_), 502) => "INTERNAL",
        (_, 401) => "UNAUTHENTICATED",
        (_, 402 | 403) => "PERMISSION_DENIED",
        (_, 404) => "NOT_FOUND",
        (_, 429) => "RESOURCE_EXHAUSTED",
        (_, 503) => "UNAVAILABLE",
        (_, 504) => "DEADLINE_EXCEEDED",
        (_, 500..) => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    (status, json!({"error": {"code": status, "message": error.message, "status": status_name}}).to_string())
}
