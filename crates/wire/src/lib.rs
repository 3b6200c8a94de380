//! API formats: converts request bodies to [`chat::Chat`], and deltas to response bodies and
//! events. It uses neither network nor clock.
//!
//! [`surface`] is the client side, one module for each API. [`upstream`] is the provider side, one
//! module for each dialect. [`passthrough`] edits and observes bodies that are forwarded unchanged.
//! [`model_rules`] changes request bodies to what a model takes.
//! [`progress`] defines when an answer has begun, failed or ended, and what of it is billed.
//! [`batches`] reads the files of batches of requests.
#![forbid(unsafe_code)]

pub mod batches;
pub mod event_stream;
mod field_reader;
pub mod json;
pub mod model_rules;
pub mod passthrough;
mod positioned_text;
pub mod progress;
pub mod provider_limits;
mod reasoning_details;
mod reasoning_effort;
pub mod sse;
pub mod surface;
pub mod tasks;
mod token_count;
mod tool_arguments;
pub mod upstream;
