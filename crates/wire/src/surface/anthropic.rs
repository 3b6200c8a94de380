//! Anthropic's Messages API: requests in, messages and events out, errors in its shape (API
//! document 1.16 and 3).

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{MessageIndexMap, MessagesRequest, parse_request, request_from_json};
pub use response::{MessageRenderer, Signer};

use chat::{Error, ErrorKind};
use serde_json::json;

use crate::surface::error::{error_code, http_status};

/// Status and body of a refusal. The body serves clients of DeepSeek's flat shape too.
pub fn error_response(error: &Error, request_id: &str) -> (u16, String) {
    let (status, kind) = match error.kind {
        // The SDK's own word for a server that is busy.
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

/// The body of a token count.
pub fn token_count_body(input_tokens: u64) -> String {
    json!({ "input_tokens": input_tokens }).to_string()
}

/// The list of models as Anthropic's SDK reads it.
pub fn model_list(ids: &[&str]) -> String {
    let model =
        |id: &&str| json!({ "type": "model", "id": id, "display_name": id, "created_at": "2025-12-01T00:00:00Z" });
    let data: Vec<_> = ids.iter().map(model).collect();
    json!({ "data": data, "has_more": false, "first_id": ids.first(), "last_id": ids.last() }).to_string()
}
