//! Anthropic's Messages API: requests, messages, events and errors (API document 1.16 and 3).

mod blocks;
mod citations;
mod error;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use error::error_response;
pub use request::{MessageIndexMap, MessagesRequest, parse_request, request_from_json};
pub use response::MessageRenderer;

use serde_json::json;

/// The body of a token count.
pub fn token_count_body(input_tokens: u64) -> String {
    json!({ "input_tokens": input_tokens }).to_string()
}

/// The list of models in the shape that Anthropic's SDK reads.
pub fn model_list(ids: &[&str]) -> String {
    let model =
        |id: &&str| json!({ "type": "model", "id": id, "display_name": id, "created_at": "2025-12-01T00:00:00Z" });
    let data: Vec<_> = ids.iter().map(model).collect();
    json!({ "data": data, "has_more": false, "first_id": ids.first(), "last_id": ids.last() }).to_string()
}
