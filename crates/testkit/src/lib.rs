//! For tests only: tiny seeded checkpoints of the DeepSeek V3 family, and a tokenizer of single bytes to go with them.
//!
//! The weights are noise, so nothing may depend on what such a model says.
#![forbid(unsafe_code)]

mod checkpoint;
mod noise;
mod tokenizer;

pub use checkpoint::{Format, Tiny};
pub use tokenizer::tokenizer_json;
