//! The scales of fp8 weights, as the tools in use write them: for each block, for each row, or one
//! for the whole matrix, in several number formats (`docs/model.md` section 6.2).

use kernels::{DType, Mat, SCALE_BLOCK, widen};

use crate::error::Error;
use crate::matrix_parts::FP8_SCALE_SUFFIXES;
use crate::safetensors::TensorInfo;
use crate::tensor_index::TensorIndex;

/// The name of 8-bit powers of two in safetensors headers.
const E8M0: &str = "F8_E8M0";

/// The part of a matrix that shares one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScaleLayout {
    /// A block of 128 x 128.
    Blocks,
    /// A row.
    Rows,
    /// The whole matrix.
    Tensor,
}

impl ScaleLayout {
    /// The layout of scales of this shape beside a matrix `[rows, cols]`; `None` if there is none.
    /// No shape has two meanings: where two layouts have the same one, they have the same scales.
    fn of_shape(shape: &[u64], rows: usize, cols: usize) -> Option<Self> {
        let rows_of_matrix = rows as u64;
        match shape {
            _ if shape.iter().copied().eq(block_shape(rows, cols)) => Some(Self::Blocks),
            [] | [1] | [1, 1] => Some(Self::Tensor),
            [n] | [n, 1] if *n == rows_of_matrix => Some(Self::Rows),
            _ => None,
        }
    }
}

/// The shape of block scales.
fn block_shape(rows: usize, cols: usize) -> [u64; 2] {
    [rows.div_ceil(SCALE_BLOCK) as u64, cols.div_ceil(SCALE_BLOCK) as u64]
}

/// The scales of an fp8 weight in a checkpoint.
pub(crate) struct Fp8Scales<'a> {
    /// The tensor that holds them, and its file.
    pub(crate) tensor: &'a TensorInfo,
    file: &'a str,
    layout: ScaleLayout,
}

impl<'a> Fp8Scales<'a> {
    /// Finds the scales of the weight `name` of shape `[rows, cols]`, which is in `file`. With
    /// `only_blocks`, the config says that blocks of 128 x 128 have scales.
    ///
    /// # Errors
    /// Scales that are missing, there under two names, misshapen or of a format that is not read.
    pub(crate) fn find(
        index: &'a TensorIndex,
        (name, file): (&str, &str),
        [rows, cols]: [usize; 2],
        only_blocks: bool,
    ) -> Result<Self, Error> {
        let [own, other] = FP8_SCALE_SUFFIXES.map(|suffix| format!("{name}{suffix}"));
        let (shard, tensor) = match (index.tensors.get(&own), index.tensors.get(&other)) {
            (Some(_), Some(_)) => {
                return Err(Error::TwoScales { tensor: name.into(), file: file.into(), scales: [own, other] });
            }
            (Some(found), None) | (None, Some(found)) => found,
            (None, None) => {
                let dtype = DType::Fp8.name();
                return Err(Error::MissingScale { tensor: name.into(), file: file.into(), dtype, scale: own });
            }
        };
        let file = index.shards[*shard].file.as_str();
        let layout = ScaleLayout::of_shape(&tensor.shape, rows, cols);
        let Some(layout) = layout.filter(|layout| !only_blocks || *layout == ScaleLayout::Blocks) else {
            let expected = block_shape(rows, cols).map(|n| n as usize).to_vec();
            let (found, tensor) = (tensor.shape.clone(), tensor.name.clone());
            return Err(Error::Shape { tensor, file: file.into(), found, expected });
        };
        if tensor.dtype != E8M0 && float_format(tensor.dtype).is_none() {
            let accepted = "F32, F16, BF16 and F8_E8M0 scales";
            let (dtype, tensor) = (tensor.dtype, tensor.name.clone());
            return Err(Error::DType { tensor, file: file.into(), dtype, accepted });
        }
        Ok(Self { tensor, file, layout })
    }

    /// Adds the scales, whose bytes are `bytes`, to the weight.
    ///
    /// # Errors
    /// A scale that is not a finite number.
    pub(crate) fn add_to(&self, mat: Mat, bytes: &[u8]) -> Result<Mat, Error> {
        let values = read_values(self.tensor.dtype, bytes);
        if let Some(value) = values.iter().copied().find(|value| !value.is_finite()) {
            return Err(Error::ScaleValue { tensor: self.tensor.name.clone(), file: self.file.to_owned(), value });
        }
        Ok(match self.layout {
            ScaleLayout::Blocks => mat.with_scales(values),
            ScaleLayout::Rows => mat.with_row_scales(values),
            ScaleLayout::Tensor => {
                let [down, across] = block_shape(mat.rows(), mat.cols());
                mat.with_scales(vec![values[0]; (down * across) as usize])
            }
        })
    }
}

fn float_format(dtype: &str) -> Option<DType> {
    [DType::F32, DType::F16, DType::Bf16].into_iter().find(|format| format.name() == dtype)
}

/// The values of scales.
fn read_values(dtype: &str, bytes: &[u8]) -> Vec<f32> {
    let Some(format) = float_format(dtype) else {
        return bytes.iter().map(|byte| e8m0(*byte)).collect();
    };
    let mut values = vec![0.0; bytes.len() / format.row_bytes(1)];
    widen(format, bytes, &mut values);
    values
}

/// The value of an e8m0 byte, `2^(byte - 127)`; 255 is NaN.
fn e8m0(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(byte) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e8m0_bytes_are_powers_of_two() {
        for (byte, value) in [(0, 2.0f32.powi(-127)), (1, 2.0f32.powi(-126)), (127, 1.0), (254, 2.0f32.powi(127))] {
            assert_eq!(e8m0(byte), value, "{byte}");
        }
        assert!(e8m0(255).is_nan());
    }

    #[test]
    fn a_shape_has_one_meaning() {
        use ScaleLayout::{Blocks, Rows, Tensor};
        for (shape, layout) in [
            (&[2, 3][..], Some(Blocks)),
            (&[], Some(Tensor)),
            (&[1], Some(Tensor)),
            (&[1, 1], Some(Tensor)),
            (&[130], Some(Rows)),
            (&[130, 1], Some(Rows)),
            (&[130, 3], None),
            (&[1, 300], None),
            (&[2], None),
            (&[300], None),
        ] {
            assert_eq!(ScaleLayout::of_shape(shape, 130, 300), layout, "{shape:?}");
        }
        assert_eq!(ScaleLayout::of_shape(&[1, 1], 128, 128), Some(Blocks));
    }
}
