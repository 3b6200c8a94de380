//! Arithmetic on slices: the verbs a model is written in, each with a plain version (the specification) and fast ones
//! chosen at run time. Knows number formats and shapes, not model names or files.

mod dtype;
mod mat;

pub use dtype::{DType, FP8_MAX, FP8_VALUES, fp8_from_f32, round_bf16, widen};
pub use mat::{Bytes, Mat, SCALE_BLOCK};
