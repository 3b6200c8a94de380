//! The APIs that clients speak: each reads its request into a chat and writes deltas as its
//! response or events.

pub mod anthropic;
pub mod chat_completions;
pub mod completions;
pub mod error;
pub mod gemini;
pub mod model_catalog;
mod renderer;
pub mod responses;

pub use renderer::Renderer;
