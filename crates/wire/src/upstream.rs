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
pub(crate) mod error;
mod event_reader;
pub(crate) mod gemini;
mod model_list;
mod openai;
mod responses;
mod retry_delay;
mod short_id;
#[cfg(test)]
mod tests;
mod token_counting;

pub use dialect::Dialect;
pub use error::{map_error, reported_error};
pub use event_reader::{EventReader, SignatureStore, SignedReasoning};
pub use model_list::parse_model_list;
pub use retry_delay::parse_delay;
pub use token_counting::{CountRequest, parse_token_count};
