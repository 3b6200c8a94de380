//! Text completions: OpenAI's legacy API, with DeepSeek's fill-in-the-middle (API document 1.12 and
//! 2.1).

mod request;
mod response;

pub use request::{CompletionRequest, parse_request, request_from_json};
pub use response::CompletionRenderer;
