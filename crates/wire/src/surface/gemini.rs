//! Gemini's `generateContent`: requests, responses, events and errors (API document 3 and 4.6).

mod error;
mod field_names;
mod grounding;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod tools;

pub use error::error_response;
pub use request::{GenerateContentRequest, parse_request, request_from_json};
pub use response::{GenerateContentRenderer, StreamFormat};

use serde_json::json;

/// The body of a token count.
pub fn token_count_body(tokens: u64) -> String {
    json!({ "totalTokens": tokens }).to_string()
}

/// An entry of the list of models.
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
