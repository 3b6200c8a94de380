//! The kernels for x86-64. [`nt`] and [`nn`] cut products into tiles; [`amx`], [`avx512`] and
//! [`avx2`] provide the instructions. The features of the processor decide at the start which of
//! them run.

mod amx;
mod attention_amx;
mod attention_avx512;
mod avx2;
mod avx2_decode;
mod avx512;
mod avx512_decode;
mod few_heads_avx512;
mod fixed;
mod fixed_avx2;
mod fixed_avx512;
mod heads_avx512;
mod int4_amx;
mod int4_avx512;
mod lanes;
mod nn;
mod nt;
mod packed;
mod packed_avx2;
mod packed_avx512;
mod tiles;

use std::borrow::Cow;
use std::ops::Range;

use self::lanes::PlainRows;
use crate::cpu::Isa;
use crate::dtype::{DType, bf16_value};
use crate::mat::{Mat, SCALE_BLOCK};
use crate::product::{Left, Nt, Right};
use crate::scratch;

/// The kernels that this machine supports, fastest first.
pub(crate) fn supported() -> Vec<&'static Isa> {
    macro_rules! all {
        ($first:tt $($feature:tt)*) => { is_x86_feature_detected!($first) $(&& is_x86_feature_detected!($feature))* };
    }
    let avx512 = all!("avx512f" "avx512bw" "avx512vl" "avx512dq" "avx512bf16" "avx512vbmi" "avx512vnni" "fma" "f16c");
    let avx2 = all!("avx2" "fma" "f16c");
    [(avx512 && tiles::available(), &amx::ISA), (avx512, &avx512::ISA), (avx2, &avx2::ISA)]
        .into_iter()
        .filter_map(|(supported, isa)| supported.then_some(isa))
        .collect()
}

/// The right side of a product as bytes.
struct RightBytes<'a> {
    right: Right<'a>,
    bytes: &'a [u8],
    dtype: DType,
    row_bytes: usize,
}

impl<'a> RightBytes<'a> {
    /// `width` is the number of values per row.
    fn new(right: Right<'a>, width: usize) -> Self {
        let (bytes, dtype) = match right {
            Right::Mat(mat) => {
                assert_eq!(mat.cols(), width, "the matrix fits its task");
                (mat.bytes(), mat.dtype())
            }
            Right::F32(rows) => {
                // SAFETY: any four bytes of an f32 are four bytes.
                let (_, bytes, _) = unsafe { rows.align_to::<u8>() };
                (bytes, DType::F32)
            }
            Right::Bf16(rows) => (rows, DType::Bf16),
        };
        Self { right, bytes, dtype, row_bytes: dtype.row_bytes(width) }
    }

    /// The packed matrix.
    fn packed(&self) -> &'a Mat {
        let Right::Mat(mat) = self.right else { unreachable!("cache rows are not packed") };
        mat
    }

    /// The rows, for decoders of plain numbers and of fp8.
    fn rows(&self) -> PlainRows<'a> {
        PlainRows { bytes: self.bytes, row_bytes: self.row_bytes }
    }

    /// Splits `rows` where other scales of an fp8 matrix begin; each part comes with the
    /// scales of its rows.
    fn scale_parts(&self, rows: Range<usize>) -> impl Iterator<Item = (Range<usize>, Cow<'a, [f32]>)> {
        let (right, width) = (self.right, self.row_bytes);
        let step = match right {
            Right::Mat(mat) => mat.rows_per_scale(),
            Right::F32(_) | Right::Bf16(_) => SCALE_BLOCK,
        };
        let mut start = rows.start;
        std::iter::from_fn(move || {
            let part = start..rows.end.min((start / step + 1) * step);
            start = part.end;
            let scales = match right {
                _ if part.is_empty() => return None,
                Right::Mat(mat) => mat.row_scales(part.start),
                Right::F32(_) | Right::Bf16(_) => None,
            };
            Some((part, scales.unwrap_or_else(|| vec![1.0; width.div_ceil(SCALE_BLOCK)].into())))
        })
    }
}

/// Computes `task`, whose left side is bf16, with its rows widened to f32, for instruction sets
/// without bf16 products.
fn with_widened_rows(x: &[u16], task: &Nt<'_>, product: impl FnOnce(&Nt<'_>)) {
    let (m, k) = (task.m, task.k);
    let mut wide = scratch::borrow(m * k);
    for (i, wide) in wide.chunks_mut(k.max(1)).enumerate() {
        let row = &x[task.x_row(i) * k..][..k];
        wide.iter_mut().zip(row).for_each(|(wide, x)| *wide = bf16_value(*x));
    }
    product(&Nt { x: Left::F32(&wide), rows: None, ..*task });
}

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod tests;
