//! The client-facing APIs. Each parses its request into a chat, and renders deltas as a response or
//! as events.

pub mod anthropic;
mod cache_control;
pub mod chat_completions;
pub mod completions;
pub mod error;
pub mod gemini;
pub mod model_catalog;
mod renderer;
pub mod responses;
mod uncarried;

pub use renderer::{Renderer, Signer};
