//! A weight matrix as the checkpoint stores it: bytes, a number format, a shape, and the scales of
//! fp8 blocks or packed groups.

use std::borrow::Cow;
use std::sync::Arc;

use crate::bytes::Bytes;
use crate::dtype::{DType, round_bf16, widen};
use crate::packing::{self, PACKED_GROUP, PackError, Packed, PackedScales, Packing, RowScales, ScaleParts};

/// Rows and columns of the blocks that share one fp8 scale.
pub const SCALE_BLOCK: usize = 128;

/// A weight `[rows, cols]` = `[out, in]`, row-major. A vector has one row.
#[derive(Clone, Debug)]
pub struct Mat {
    rows: usize,
    cols: usize,
    dtype: DType,
    bytes: Bytes,
    scales: Scales,
}

/// Multipliers of a matrix's numbers.
#[derive(Clone, Debug)]
enum Scales {
    None,
    /// `[ceil(rows / 128), ceil(cols / 128)]` multipliers of an fp8 matrix, one for each block of
    /// 128x128; the last block of a row or column may be smaller.
    Blocks(Arc<[f32]>),
    /// One multiplier for each row of an fp8 matrix.
    Rows(Arc<[f32]>),
    Packed(Packing, PackedScales),
}

impl Mat {
    /// A matrix without scales.
    ///
    /// # Panics
    /// When `bytes` does not hold `rows * cols` numbers; the checkpoint reader has checked it.
    pub fn new(rows: usize, cols: usize, dtype: DType, bytes: Bytes) -> Self {
        assert!(!matches!(dtype, DType::Int8 | DType::Int4), "packed weights come with their scales");
        assert_eq!(bytes.len(), dtype.row_bytes(rows * cols), "a matrix holds rows x cols numbers");
        Self { rows, cols, dtype, bytes, scales: Scales::None }
    }

    /// A matrix of packed weights.
    ///
    /// # Errors
    /// A width that is not a multiple of 32 or over 65,536, a part of another length, a factor that
    /// is not a power of two.
    pub fn packed(rows: usize, cols: usize, packing: Packing, parts: Packed<Bytes>) -> Result<Self, PackError> {
        packing::check(rows, cols, packing, &parts)?;
        let (scales, bytes) = PackedScales::new(parts);
        Ok(Self { rows, cols, dtype: packing.dtype(), bytes, scales: Scales::Packed(packing, scales) })
    }

    /// Adds block scales (`weight_scale_inv`, which is multiplied).
    ///
    /// # Panics
    /// When the number of scales is not `ceil(rows / 128) * ceil(cols / 128)`, or the matrix is
    /// packed.
    pub fn with_scales(mut self, scales: impl Into<Arc<[f32]>>) -> Self {
        let scales = scales.into();
        assert_eq!(
            scales.len(),
            self.rows.div_ceil(SCALE_BLOCK) * self.cols.div_ceil(SCALE_BLOCK),
            "a scale per block"
        );
        assert!(!matches!(self.scales, Scales::Packed(..)), "packed weights have scales of their own");
        self.scales = Scales::Blocks(scales);
        self
    }

    /// Adds scales of rows, where a tool has quantised each output channel by itself. The products
    /// take such a matrix row by row, which is slower than with scales of blocks.
    ///
    /// # Panics
    /// When the number of scales is not that of the rows, or the matrix is packed.
    pub fn with_row_scales(mut self, scales: impl Into<Arc<[f32]>>) -> Self {
        let scales = scales.into();
        assert_eq!(scales.len(), self.rows, "a scale per row");
        assert!(!matches!(self.scales, Scales::Packed(..)), "packed weights have scales of their own");
        self.scales = Scales::Rows(scales);
        self
    }

    /// A matrix of f32 values in memory.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Self {
        Self::new(rows, cols, DType::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into())
    }

    /// Number of rows, the output width.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns, the input width.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The number format.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// All bytes, row-major; of packed weights the quants.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of row `row`; of packed weights the quants.
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        let width = self.dtype.row_bytes(self.cols);
        &self.bytes[row * width..][..width]
    }

    /// The fp8 scales of the blocks that row `row` crosses, left to right; `None` without them.
    pub fn row_scales(&self, row: usize) -> Option<Cow<'_, [f32]>> {
        let blocks = self.cols.div_ceil(SCALE_BLOCK);
        match &self.scales {
            Scales::Blocks(scales) => Some(scales[row / SCALE_BLOCK * blocks..][..blocks].into()),
            Scales::Rows(scales) => Some(vec![scales[row]; blocks].into()),
            Scales::None | Scales::Packed(..) => None,
        }
    }

    /// The number of rows, counted from the first, that share their fp8 scales.
    pub(crate) fn rows_per_scale(&self) -> usize {
        if matches!(self.scales, Scales::Rows(_)) { 1 } else { SCALE_BLOCK }
    }

    /// The format of packed weights and the scales of row `row`; `None` if they are not packed.
    pub(crate) fn packed_row(&self, row: usize) -> Option<(Packing, RowScales<'_>)> {
        let Scales::Packed(packing, scales) = &self.scales else { return None };
        Some((*packing, scales.row(row, self.cols / PACKED_GROUP)))
    }

    /// The scales of packed weights; `None` if they are not packed.
    pub(crate) fn packed_scales(&self) -> Option<ScaleParts<'_>> {
        let Scales::Packed(_, scales) = &self.scales else { return None };
        Some(scales.parts())
    }

    /// Writes row `row`, with its scales applied, to `out` in f32.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "a whole row");
        if let Some((packing, scales)) = self.packed_row(row) {
            return packing::unpack(packing, self.row_bytes(row), scales, out);
        }
        widen(self.dtype, self.row_bytes(row), out);
        if let Some(scales) = self.row_scales(row) {
            for (block, scale) in out.chunks_mut(SCALE_BLOCK).zip(scales.iter()) {
                block.iter_mut().for_each(|v| *v *= scale);
            }
        }
    }

    /// Writes row `row` to `out` as the products of `--compute bf16` use it: scaled fp8 weights are
    /// rounded to bf16.
    pub(crate) fn row_rounded(&self, row: usize, out: &mut [f32]) {
        self.row(row, out);
        if matches!(self.scales, Scales::Blocks(_) | Scales::Rows(_)) {
            out.iter_mut().for_each(|v| *v = round_bf16(*v));
        }
    }

    /// All values in f32, for small vectors such as norms and biases.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        if self.cols > 0 {
            values.chunks_mut(self.cols).enumerate().for_each(|(row, out)| self.row(row, out));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fp8_rows_take_the_scale_of_their_block() {
        // 130 x 130 ones (0x38 = 1.0): four blocks, three of them cut off.
        let mat = Mat::new(130, 130, DType::Fp8, vec![0x38; 130 * 130].into()).with_scales(vec![1.0, 2.0, 4.0, 8.0]);
        let mut row = vec![0.0; 130];
        mat.row(127, &mut row);
        assert_eq!((row[0], row[127], row[128]), (1.0, 1.0, 2.0));
        mat.row(128, &mut row);
        assert_eq!((row[0], row[129]), (4.0, 8.0));
    }

    #[test]
    fn fp8_rows_may_have_scales_of_their_own() {
        let scales: Vec<f32> = (0..3).map(|row| row as f32).collect();
        let mat = Mat::new(3, 130, DType::Fp8, vec![0x38; 3 * 130].into()).with_row_scales(scales);
        for row in 0..3 {
            let mut out = vec![0.0; 130];
            mat.row(row, &mut out);
            assert_eq!(out, vec![row as f32; 130]);
        }
    }
}
