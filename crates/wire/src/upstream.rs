//! The provider side: converts a chat to the request body of a dialect, its events to deltas, and
//! its error responses to errors.

pub(crate) mod anthropic;
mod attachment;
mod bedrock;
mod block_citations;
mod chat_part;
#[cfg(test)]
mod conversion_tests;
mod dialect;
mod dialect_request;
mod dropped_parts;
pub(crate) mod error;
mod event_reader;
pub(crate) mod gemini;
mod model_list;
mod openai;
mod responses;
mod retry_delay;
mod short_id;
mod signatures;
#[cfg(test)]
mod tests;
mod token_counting;
mod unsupported;

pub use dialect::Dialect;
pub use dialect_request::DialectRequest;
pub use error::{map_error, reported_error};
pub use event_reader::EventReader;
pub use model_list::parse_model_list;
pub use retry_delay::parse_delay;
pub use signatures::{SignatureStore, signature_keys};
pub use token_counting::{CountRequest, parse_token_count};
