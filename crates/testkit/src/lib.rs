//! For tests only: tiny seeded checkpoints of the DeepSeek V3 family with a tokenizer of single
//! bytes, and a provider to be asked over HTTP; and the measure of how parsers grow.
//!
//! The weights are noise, so nothing may depend on what such a model says.
#![forbid(unsafe_code)]

mod checkpoint;
pub mod fake_upstream;
pub mod growth;
mod rng;
mod tokenizer;
pub mod transcripts;

pub use checkpoint::{Format, TinyCheckpoint};
pub use fake_upstream::FakeUpstream;
pub use tokenizer::tokenizer_json;
