//! Checkpoints: files in, named matrices out, memory-mapped. Knows file formats, not model names.
//!
//! Nothing is read but headers and small files until a tensor is asked for, and everything a header
//! claims is checked when the checkpoint is opened, before anything large is allocated.

mod checkpoint;
mod error;
mod json;
mod safetensors;
mod source;
mod tensor_index;

pub use checkpoint::{Checkpoint, SCALE_SUFFIX};
pub use error::Error;
pub use kernels::Bytes;
pub use safetensors::{Header, TensorInfo};
pub use source::static_bytes;
pub use tensor_index::CheckpointSummary;
