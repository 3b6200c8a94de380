//! How chats look on the wire: bytes in, nouns out, and back. No network, no clock.
//!
//! A request body becomes a [`deepseek::Request`]; the answer's deltas become a whole reply or events ([`Render`], for
//! this surface [`Chunks`]); a refusal becomes a status and a body ([`error`]).
#![forbid(unsafe_code)]

pub mod anthropic;
pub mod bounds;
pub mod catalogue;
pub mod completions;
mod count;
pub mod deepseek;
pub mod error;
pub mod fits;
pub mod form;
pub mod gemini;
pub mod glance;
pub mod json;
pub mod openai;
mod passage;
mod reader;
mod render;
mod reply;
pub mod responses;
pub mod splice;
pub mod sse;
mod stream;
pub mod tasks;
pub mod upstream;

pub use passage::Passage;
pub use render::Render;
pub use reply::Envelope;
pub use stream::Chunks;
