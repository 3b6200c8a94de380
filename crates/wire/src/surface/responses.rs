//! OpenAI's Responses API, to the extent a server without a memory can speak it (API document 2.4).

mod request;
mod response;
#[cfg(test)]
mod tests;

pub use request::{ResponsesRequest, echoed_bytes, parse_request, request_from_json};
pub use response::{RequestEcho, ResponseRenderer};
