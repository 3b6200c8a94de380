//! Gemini's `generateContent`: requests in, responses and events out, errors in its shape (API
//! document 3 and 4.6).

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{GenerateContentRequest, parse_request, request_from_json};
pub use response::{GenerateContentRenderer, StreamFormat};

use chat::{Error, ErrorKind};
use serde_json::json;

use crate::surface::error::http_status;

/// Status and body of a refusal.
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

/// The body of a token count.
pub fn token_count_body(tokens: u64) -> String {
    json!({ "totalTokens": tokens }).to_string()
}

/// One line of the list of models.
pub fn model_object(id: &str) -> serde_json::Value {
    json!({
        "name": format!("models/{id}"), "displayName": id, "inputTokenLimit": 131_072, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    })
}

/// The list of models.
pub fn model_list(ids: &[&str]) -> String {
    json!({ "models": ids.iter().map(|id| model_object(id)).collect::<Vec<_>>() }).to_string()
}
