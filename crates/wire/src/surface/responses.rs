//! OpenAI's Responses API without its stateful parts (API document 2.4).

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{ResponsesRequest, echoed_bytes, parse_request, request_from_json};
pub use response::{RequestEcho, ResponseRenderer};
