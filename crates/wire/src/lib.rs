//! API formats: request bodies to [`chat::Chat`], deltas to response bodies and events. No
//! network, no clock.
//!
//! [`surface`] is the client's side, one module for each API. [`upstream`] is the provider's
//! side, one module for each dialect. [`passthrough`] edits and observes bodies that are
//! forwarded as they are.
#![forbid(unsafe_code)]

mod field_reader;
pub mod json;
pub mod passthrough;
pub mod provider_limits;
pub mod sse;
pub mod surface;
pub mod tasks;
mod token_count;
pub mod upstream;
