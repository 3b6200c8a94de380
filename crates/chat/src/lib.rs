//! The types that both halves of cachalot share: a [`Chat`] is the request, a stream of [`Delta`]s
//! the answer.
//!
//! Plain data without I/O or an async runtime; it knows neither HTTP nor tensors.
#![forbid(unsafe_code)]

mod chat;
mod citation;
mod delta;
mod engine_fields;
mod engine_status;
mod error;
mod media;
mod memory_guard;
mod memory_size;
mod provider;
mod response_format;
mod signed_reasoning;
mod usage;
mod volatile_lines;

pub use chat::{Attention, Chat, Input, Message, Part, Role, Sampling, Tool, ToolCall, ToolChoice};
pub use citation::Citation;
pub use delta::{Delta, FinishReason, Reply, TokenLogprob, TopLogprob, fold};
pub use engine_fields::EngineFields;
pub use engine_status::{CacheStatus, EngineStatus, MemoryStatus, Throughput};
pub use error::{Error, ErrorKind, MODEL_NOT_FOUND};
pub use media::{Media, MediaKind};
pub use memory_guard::MemoryGuard;
pub use memory_size::json_bytes;
pub use provider::{BoxDeltaStream, BoxFuture, Provider, StartedAnswer};
pub use response_format::ResponseFormat;
pub use signed_reasoning::{SignatureFormat, SignedReasoning};
pub use usage::{ExtraCount, ExtraCounts, ServiceTier, Total, Usage};
pub use volatile_lines::volatile_line;
