//! OpenAI's Responses API without its stateful parts (API document 2.4).

mod compaction;
mod echo;
mod items;
mod output_item;
mod request;
mod response;
mod summary;
#[cfg(test)]
mod tests;
mod tools;

pub use compaction::{CompactionRenderer, CompactionRequest, compaction_from_json, parse_compaction, token_count_body};
pub use echo::{RequestEcho, echoed_bytes};
pub use request::{ResponsesRequest, parse_request, request_from_json};
pub use response::{Clock, ResponseRenderer, write_error_event};
pub use summary::has_own_summary;
