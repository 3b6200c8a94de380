//! Checkpoints: named matrices from memory-mapped safetensors files. Handles file formats, without
//! any knowledge of models.
//!
//! Opening a checkpoint reads only headers and small files. Everything in a header is checked then,
//! before anything large is allocated; the bytes of a tensor are read on first use.

mod checkpoint;
mod checkpoint_summary;
mod checksum;
mod error;
mod foreign_format;
mod fp8_scales;
mod json;
mod manifest;
mod matrix_parts;
mod packed_folder;
mod safetensors;
mod shard_writer;
mod source;
mod tensor_index;

pub use checkpoint::Checkpoint;
pub use checkpoint_summary::{CheckpointSummary, StoredWeight};
pub use error::Error;
pub use kernels::Bytes;
pub use manifest::{MANIFEST_KEY, MANIFEST_VERSION, Manifest, ShardRecord};
pub use matrix_parts::{SCALE_SUFFIX, matrix_tensors};
pub use packed_folder::{Destination, PackedFolder};
pub use safetensors::{Header, TensorInfo};
pub use shard_writer::{OutputTensor, ShardLayout, ShardWriter};
pub use source::static_bytes;
