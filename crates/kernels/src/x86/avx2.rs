//! AVX2 with FMA and F16C: 256-bit vectors. Without a dot-product unit, bf16 products are f32
//! products of rounded numbers.

use std::ops::Range;

use super::avx2_decode::{F32, FromBf16, FromF16, FromF32, FromFp8};
use super::fixed_avx2::{Fixed, Int4, Int8};
use super::nn::{self, Terms};
use super::nt::{self, Operands};
use super::packed_avx2::Packed;
use super::{RightBytes, fixed, fixed_avx2, packed, with_widened_rows};
use crate::cpu::{Isa, round_all};
use crate::dtype::DType;
use crate::fixed::FixedRows;
use crate::mat::Mat;
use crate::packing::Packing;
use crate::product::{Left, Nn, Nt};

pub(super) static ISA: Isa = Isa {
    name: "avx2",
    nt: |task, columns| match task.x {
        // SAFETY: `supported` hands this table out only where the processor has the features.
        Left::F32(_) => unsafe { product_nt(task, columns, false) },
        // SAFETY: as above.
        Left::Bf16(x) => with_widened_rows(x, task, |task| unsafe { product_nt(task, columns, true) }),
        // SAFETY: as above.
        Left::Fixed(x) => unsafe { product_fixed(task, x, columns) },
    },
    // SAFETY: as above.
    nn: |task, out| unsafe { product_nn(task, out) },
    partial: None,
    index_scores: None,
    round: round_all,
    // SAFETY: as above.
    fixed: |x, k, packing| unsafe { fixed_rows(x, k, packing) },
};

#[target_feature(enable = "avx2,fma,f16c")]
fn fixed_rows(x: &[f32], k: usize, packing: Packing) -> FixedRows {
    let order = match packing {
        Packing::Int4 => &fixed_avx2::INT4_ORDER,
        Packing::Int8 => &fixed_avx2::INT8_ORDER,
    };
    FixedRows::arranged(x, k, order, |block| order.arrange(block))
}

unsafe fn product_fixed(task: &Nt<'_>, x: &FixedRows, columns: Range<usize>) {
    let weights = RightBytes::new(task.w, task.k);
    // SAFETY: the features are the caller's promise.
    unsafe {
        match weights.dtype {
            DType::Int4 => product_int4(task, x, weights.packed(), columns),
            DType::Int8 => product_int8(task, x, weights.packed(), columns),
            _ => unreachable!("fixed point is for packed weights"),
        }
    }
}

/// A function of its own, as [`product_int8`]: side by side in one, fewer values stay in registers.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn product_int4(task: &Nt<'_>, x: &FixedRows, w: &Mat, columns: Range<usize>) {
    // SAFETY: the features are the caller's promise.
    unsafe { fixed::nt::<Fixed, Int4, 4>(task, x, w, columns) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn product_int8(task: &Nt<'_>, x: &FixedRows, w: &Mat, columns: Range<usize>) {
    // SAFETY: the features are the caller's promise.
    unsafe { fixed::nt::<Fixed, Int8, 2>(task, x, w, columns) }
}

/// The product with an f32 left side; `rounded`: scaled weights are rounded to bf16 first.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn product_nt(task: &Nt<'_>, columns: Range<usize>, rounded: bool) {
    let weights = RightBytes::new(task.w, task.k);
    let (w, dtype) = (weights.rows(), weights.dtype);
    let Left::F32(x) = task.x else { unreachable!("the caller has widened the left side") };
    // SAFETY: the features are the caller's promise; fp8 decoders get the scales of every block
    // their columns cross.
    unsafe {
        match dtype {
            DType::F32 => nt::nt(&Operands::<F32, _, _> { task, x, w, decode: FromF32 }, columns),
            DType::F16 => nt::nt(&Operands::<F32, _, _> { task, x, w, decode: FromF16 }, columns),
            DType::Bf16 => nt::nt(&Operands::<F32, _, _> { task, x, w, decode: FromBf16 }, columns),
            DType::Int8 | DType::Int4 => packed::product_nt::<Packed>(task, x, weights.packed(), columns),
            DType::Fp8 => {
                for (columns, scales) in weights.scale_parts(columns) {
                    let scales = scales.as_ptr();
                    if rounded {
                        let decode = FromFp8::<true> { scales };
                        nt::nt(&Operands::<F32, _, _> { task, x, w, decode }, columns);
                    } else {
                        let decode = FromFp8::<false> { scales };
                        nt::nt(&Operands::<F32, _, _> { task, x, w, decode }, columns);
                    }
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn product_nn(task: &Nn<'_>, out: &mut [f32]) {
    let weights = RightBytes::new(task.c, task.width);
    let c = weights.rows();
    // SAFETY: the features are the caller's promise; fp8 decoders get the scales of every block
    // their rows cross.
    unsafe {
        match weights.dtype {
            DType::F32 => nn::nn(&Terms::<F32, _, _>::new(task, c, FromF32), out),
            DType::F16 => nn::nn(&Terms::<F32, _, _>::new(task, c, FromF16), out),
            DType::Bf16 => nn::nn(&Terms::<F32, _, _>::new(task, c, FromBf16), out),
            DType::Int8 | DType::Int4 => packed::product_nn::<Packed>(task, weights.packed(), out),
            DType::Fp8 => {
                for (rows, scales) in weights.scale_parts(task.first..task.first + task.n) {
                    let p = &task.p[rows.start - task.first..];
                    let task = Nn { p, n: rows.len(), first: rows.start, ..*task };
                    let decode = FromFp8::<false> { scales: scales.as_ptr() };
                    nn::nn(&Terms::<F32, _, _>::new(&task, c, decode), out);
                }
            }
        }
    }
}
