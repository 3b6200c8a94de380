//! The types that both halves of cachalot share: a [`Chat`] is the request, a stream of [`Delta`]s
//! the answer.
//!
//! Plain data without I/O or an async runtime; it knows neither HTTP nor tensors.
#![forbid(unsafe_code)]

mod chat;
mod delta;
mod error;
mod memory_guard;
mod memory_size;
mod provider;
mod usage;

pub use chat::{Chat, Input, Message, Part, ResponseFormat, Role, Sampling, Tool, ToolCall, ToolChoice};
pub use delta::{Delta, FinishReason, Reply, TokenLogprob, TopLogprob, fold};
pub use error::{Error, ErrorKind};
pub use memory_guard::MemoryGuard;
pub use memory_size::json_bytes;
pub use provider::{BoxDeltaStream, BoxFuture, Provider};
pub use usage::Usage;
