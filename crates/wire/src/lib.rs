//! How chats look on the wire: bytes in, nouns out, and back. No network, no clock.
//!
//! A request body becomes a [`deepseek::Request`]; the answer's deltas become a whole reply ([`Envelope::whole`]) or
//! events ([`Chunks`]); a refusal becomes a status and a body ([`error`]).
#![forbid(unsafe_code)]

pub mod deepseek;
pub mod error;
mod json;
pub mod openai;
mod reader;
mod reply;
pub mod sse;
mod stream;

pub use reply::Envelope;
pub use stream::Chunks;
