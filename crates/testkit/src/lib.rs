//! Test fixtures: tiny seeded checkpoints of the DeepSeek V3 family with a tokenizer of single
//! bytes, a fake provider and a fake hub over HTTP, and a measurement of how parsers scale with
//! their input.
//!
//! The weights are noise, so no test may depend on the text that such a model generates.
#![forbid(unsafe_code)]

mod checkpoint;
pub mod event_stream;
pub mod fake_hub;
pub mod fake_upstream;
pub mod growth;
mod rng;
mod tokenizer;
pub mod transcripts;

pub use checkpoint::{Format, Head, TinyCheckpoint};
pub use fake_hub::{FakeHub, HubFile};
pub use fake_upstream::FakeUpstream;
pub use tokenizer::tokenizer_json;
