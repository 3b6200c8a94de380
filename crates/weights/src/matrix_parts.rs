//! The tensors that store one matrix: its numbers, and the scales that its format needs beside
//! them.

use kernels::{DType, PACKED_GROUP, SCALE_BLOCK};

use crate::shard_writer::OutputTensor;

/// The suffix of a weight's name in the name of its fp8 block scales.
pub const SCALE_SUFFIX: &str = "_scale_inv";
/// The suffixes of fp8 scales: DeepSeek's, and that of compressed-tensors, FBGEMM and ModelOpt.
/// Both are multipliers.
pub(crate) const FP8_SCALE_SUFFIXES: [&str; 2] = [SCALE_SUFFIX, "_scale"];
/// The suffixes of the scales, offsets and factors of packed weights.
pub(crate) const GROUP_SCALE_SUFFIX: &str = "_scale";
pub(crate) const GROUP_OFFSET_SUFFIX: &str = "_offset";
pub(crate) const FACTOR_SUFFIX: &str = "_factor";

/// A tensor beside the numbers of a matrix.
pub(crate) struct Part {
    pub(crate) suffix: &'static str,
    /// The name of its number format.
    pub(crate) dtype: &'static str,
    kind: PartKind,
}

#[derive(Clone, Copy)]
enum PartKind {
    /// One number for each block of 128 x 128.
    Blocks,
    /// One number for each 32 weights of a row.
    Groups,
    /// One number for each row.
    Rows,
}

const BLOCK_SCALES: Part = Part { suffix: SCALE_SUFFIX, dtype: "F32", kind: PartKind::Blocks };
const GROUP_SCALES: Part = Part { suffix: GROUP_SCALE_SUFFIX, dtype: "F16", kind: PartKind::Groups };
const GROUP_OFFSETS: Part = Part { suffix: GROUP_OFFSET_SUFFIX, dtype: "F16", kind: PartKind::Groups };
const FACTORS: Part = Part { suffix: FACTOR_SUFFIX, dtype: "F32", kind: PartKind::Rows };

/// The tensors that a matrix of this format has beside its numbers, as this program writes it.
pub(crate) fn companions(dtype: DType) -> &'static [Part] {
    match dtype {
        DType::F32 | DType::F16 | DType::Bf16 => &[],
        DType::Fp8 => &[BLOCK_SCALES],
        DType::Int8 => &[GROUP_SCALES, FACTORS],
        DType::Int4 => &[GROUP_SCALES, GROUP_OFFSETS, FACTORS],
    }
}

/// The suffixes of the tensors that a stored matrix of this format may have beside its numbers.
pub(crate) fn part_suffixes(dtype: DType) -> Vec<&'static str> {
    match dtype {
        DType::Fp8 => FP8_SCALE_SUFFIXES.to_vec(),
        _ => companions(dtype).iter().map(|part| part.suffix).collect(),
    }
}

impl Part {
    /// The accepted formats, for messages.
    pub(crate) const fn accepted(&self) -> &'static str {
        match self.kind {
            PartKind::Blocks | PartKind::Rows => "F32 scales",
            PartKind::Groups => "F16 scales",
        }
    }

    /// The shape beside a matrix `[rows, cols]`.
    pub(crate) fn shape(&self, rows: usize, cols: usize) -> Vec<usize> {
        match self.kind {
            PartKind::Blocks => vec![rows.div_ceil(SCALE_BLOCK), cols.div_ceil(SCALE_BLOCK)],
            PartKind::Groups => vec![rows, cols / PACKED_GROUP],
            PartKind::Rows => vec![rows],
        }
    }
}

/// The shape of the tensor that holds the numbers of a weight.
pub(crate) fn stored_shape(dtype: DType, shape: &[usize]) -> Vec<usize> {
    match (dtype, shape) {
        // Two numbers a byte.
        (DType::Int4, [rows, cols]) => vec![*rows, cols / 2],
        _ => shape.to_vec(),
    }
}

/// Describes the tensors that store the matrix `name` of shape `[rows, cols]`: its numbers first,
/// then scales, offsets and factors as far as the format has them.
pub fn matrix_tensors(name: &str, dtype: DType, rows: usize, cols: usize) -> Vec<OutputTensor> {
    let numbers =
        OutputTensor { name: name.to_owned(), dtype: dtype.name(), shape: stored_shape(dtype, &[rows, cols]) };
    let beside = companions(dtype).iter().map(|part| OutputTensor {
        name: format!("{name}{}", part.suffix),
        dtype: part.dtype,
        shape: part.shape(rows, cols),
    });
    std::iter::once(numbers).chain(beside).collect()
}
