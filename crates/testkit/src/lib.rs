//! For tests only: tiny seeded checkpoints of the DeepSeek V3 family with a tokenizer of single bytes, and a provider to be
//! asked over HTTP; and the measure of how parsers grow.
//!
//! The weights are noise, so nothing may depend on what such a model says.
#![forbid(unsafe_code)]

mod checkpoint;
pub mod growth;
mod noise;
mod tokenizer;
pub mod transcripts;
pub mod upstream;

pub use checkpoint::{Format, Tiny};
pub use tokenizer::tokenizer_json;
pub use upstream::FakeUpstream;
