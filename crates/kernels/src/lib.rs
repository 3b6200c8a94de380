//! Kernels: the arithmetic of a model on slices. Each has a plain version (the specification)
//! and fast versions that are chosen at run time. Handles number formats and shapes, not
//! model names or files.

mod arena;
mod attention;
mod bytes;
mod cache_position;
mod cpu;
mod dtype;
mod experts;
mod fixed;
mod gate;
mod indexer;
mod linear;
mod mat;
mod norm;
mod pack;
mod packing;
mod partial_softmax;
mod pool;
mod product;
mod quant;
mod rope;
mod rows;
mod scratch;
mod softmax;
mod topk;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use arena::{Arena, RowFormat};
pub use attention::Attention;
pub use bytes::Bytes;
pub use cache_position::{CachePosition, PAGE_ROWS, Selection};
pub use cpu::{Compute, Cpu};
pub use dtype::{DType, FP8_MAX, FP8_VALUES, fp8_from_f32, round_bf16, widen};
pub use experts::Mlp;
pub use gate::{ExpertRoutes, GateRule};
pub use indexer::IndexerShape;
pub use linear::Linear;
pub use mat::{Mat, SCALE_BLOCK};
pub use norm::{layer_norm, rms_norm};
pub use pack::pack_row;
pub use packing::{MAX_PACKED_COLS, PACKED_GROUP, PackError, Packed, Packing};
pub use quant::{hadamard_rows, round_fp8_rows};
pub use rope::{Angles, Pairing, rope};
pub use rows::Rows;
