//! The provider side: converts a chat to the request body of a dialect, its events to deltas, and
//! its error responses to errors.

pub(crate) mod anthropic;
mod dialect;
mod error;
mod event_reader;
pub(crate) mod gemini;
mod image;
mod model_list;
pub(crate) mod openai;
#[cfg(test)]
mod tests;

pub use dialect::Dialect;
pub(crate) use error::json_error_message;
pub use error::map_error;
pub use event_reader::{EventReader, SignatureStore, SignedReasoning};
pub use model_list::parse_model_list;
