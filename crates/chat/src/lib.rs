//! The nouns both halves of cachalot speak: a [`Chat`] goes in, a stream of [`Delta`]s comes out.
//!
//! Pure data. No I/O, no async runtime, no knowledge of HTTP or tensors.
#![forbid(unsafe_code)]

mod chat;
mod delta;
mod error;
mod held;
mod provider;
mod size;
mod usage;

pub use chat::{Chat, Format, Input, Message, Part, Role, Sampling, Tool, ToolCall, ToolChoice};
pub use delta::{Delta, FinishReason, Reply, TokenLogprob, TopLogprob, fold};
pub use error::{Error, ErrorKind};
pub use held::Held;
pub use provider::{BoxFuture, Deltas, Provider};
pub use size::json as json_bytes;
pub use usage::Usage;
