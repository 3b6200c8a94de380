//! Checkpoints: named matrices from memory-mapped safetensors files. Handles file formats, without
//! any knowledge of models.
//!
//! Opening a checkpoint reads only headers and small files. Everything in a header is checked then,
//! before anything large is allocated; the bytes of a tensor are read on first use.

mod checkpoint;
mod checkpoint_summary;
mod error;
mod json;
mod safetensors;
mod source;
mod tensor_index;

pub use checkpoint::{Checkpoint, SCALE_SUFFIX};
pub use checkpoint_summary::CheckpointSummary;
pub use error::Error;
pub use kernels::Bytes;
pub use safetensors::{Header, TensorInfo};
pub use source::static_bytes;
