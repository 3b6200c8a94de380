//! AVX-512 with BF16 and VBMI: 512-bit vectors, bf16 products by the dot-product unit, fp8 by table
//! lookup in registers.

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx512_decode::{self, Bits, FromBf16, FromF16, FromF32, FromFp8, Lookup, Table, scaled_table};
use super::fixed_avx512::{Fixed, Int8};
use super::lanes::Lanes;
use super::nn::{self, Terms, Wide};
use super::nt::{self, Operands};
use super::{RightBytes, attention_avx512, fixed, fixed_avx512, int4_avx512, packed, with_widened_rows};
use crate::cpu::Isa;
use crate::dtype::DType;
use crate::fixed::FixedRows;
use crate::packing::Packing;
use crate::product::{Left, Nn, Nt};
use crate::scratch;

pub(super) static ISA: Isa = Isa {
    name: "avx512",
    // SAFETY: `supported` hands this table out only where the processor has the features.
    nt: |task, columns| unsafe { product_nt(task, columns) },
    // SAFETY: as above.
    nn: |task, out| unsafe { product_nn(task, out) },
    // SAFETY: as above.
    partial: Some(|part, rounded, out| unsafe { attention_avx512::partial(part, rounded, out) }),
    // SAFETY: as above.
    index_scores: Some(|task, rounded, out| unsafe { attention_avx512::scores(task, rounded, out) }),
    // SAFETY: as above.
    round: |values, out| unsafe { avx512_decode::round(values, out) },
    // SAFETY: as above.
    fixed: |x, k, packing| unsafe { fixed_rows(x, k, packing) },
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
fn fixed_rows(x: &[f32], k: usize, packing: Packing) -> FixedRows {
    match packing {
        Packing::Int4 => {
            // SAFETY: the features are there.
            let arrange = |block: &_| unsafe { int4_avx512::arrange(block) };
            FixedRows::arranged(x, k, &fixed_avx512::INT4_ORDER, arrange)
        }
        Packing::Int8 => {
            let order = &fixed_avx512::INT8_ORDER;
            FixedRows::arranged(x, k, order, |block| order.arrange(block))
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx512vnni,avx2,fma,f16c")]
unsafe fn product_nt(task: &Nt<'_>, columns: Range<usize>) {
    let weights = RightBytes::new(task.w, task.k);
    let (w, dtype) = (weights.rows(), weights.dtype);
    // SAFETY: the features are the caller's promise; fp8 decoders get the scales of every block
    // their columns cross.
    unsafe {
        match (task.x, dtype) {
            (Left::F32(x), DType::F32) => {
                nt::nt(&Operands::<F32, _, _> { task, x, w, decode: FromF32 }, columns);
            }
            (Left::F32(x), DType::F16) => {
                nt::nt(&Operands::<F32, _, _> { task, x, w, decode: FromF16 }, columns);
            }
            (Left::F32(x), DType::Bf16) => {
                nt::nt(&Operands::<F32, _, _> { task, x, w, decode: FromBf16 }, columns);
            }
            (Left::F32(x), DType::Fp8) => {
                for (columns, scales) in weights.scale_parts(columns) {
                    let decode = FromFp8 { scales: scales.as_ptr() };
                    nt::nt(&Operands::<F32, _, _> { task, x, w, decode }, columns);
                }
            }
            (Left::Bf16(x), DType::Bf16) => {
                nt::nt(&Operands::<Bf16, _, _> { task, x, w, decode: Bits }, columns);
            }
            (Left::Bf16(x), DType::Fp8) => {
                for (columns, scales) in weights.scale_parts(columns) {
                    let mut tables = scratch::borrow(scales.len() * (size_of::<Table>() / 4) + 16);
                    let aligned = tables.as_ptr().align_offset(64);
                    let tables = tables[aligned..].as_mut_ptr().cast::<Table>();
                    for (block, scale) in scales.iter().enumerate() {
                        scaled_table(*scale, &mut *tables.add(block));
                    }
                    let decode = Lookup { tables };
                    nt::nt(&Operands::<Bf16, _, _> { task, x, w, decode }, columns);
                }
            }
            (Left::F32(x), DType::Int8 | DType::Int4) => {
                packed::product_nt::<F32>(task, x, weights.packed(), columns);
            }
            (Left::Fixed(x), DType::Int4) => {
                int4_avx512::nt(task, x, weights.packed(), columns);
            }
            (Left::Fixed(x), DType::Int8) => {
                fixed::nt::<Fixed, Int8, 2>(task, x, weights.packed(), columns);
            }
            (Left::Fixed(_), _) => unreachable!("fixed point is for packed weights"),
            (Left::Bf16(x), DType::F32 | DType::F16 | DType::Int8 | DType::Int4) => {
                with_widened_rows(x, task, |task| product_nt(task, columns));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c")]
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
            DType::Int8 | DType::Int4 => packed::product_nn::<F32>(task, weights.packed(), out),
            DType::Fp8 => {
                for (rows, scales) in weights.scale_parts(task.first..task.first + task.n) {
                    let p = &task.p[rows.start - task.first..];
                    let task = Nn { p, n: rows.len(), first: rows.start, ..*task };
                    let decode = FromFp8 { scales: scales.as_ptr() };
                    nn::nn(&Terms::<F32, _, _>::new(&task, c, decode), out);
                }
            }
        }
    }
}

/// f32 products in 16 lanes.
pub(super) struct F32;

impl Lanes for F32 {
    type X = f32;
    type V = __m512;
    type Sum = __m512;
    const STEP: usize = 16;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn x(x: *const f32) -> __m512 {
        // SAFETY: 16 numbers by the caller's promise.
        unsafe { _mm512_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn x_part(x: *const f32, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_maskz_loadu_ps(first_of_16(n), x) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn mul_add(x: __m512, w: __m512, sum: __m512) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_fmadd_ps(x, w, sum) }
    }

    #[inline(always)]
    unsafe fn totals(sums: [__m512; 4]) -> [f32; 4] {
        // SAFETY: needs nothing but the features.
        unsafe { totals(sums) }
    }
}

impl Wide for F32 {
    #[inline(always)]
    unsafe fn store(p: *mut f32, n: usize, v: __m512) {
        // SAFETY: only the first `n` numbers are written.
        unsafe { if n == 16 { _mm512_storeu_ps(p, v) } else { _mm512_mask_storeu_ps(p, first_of_16(n), v) } }
    }

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_set1_ps(v) }
    }
}

/// bf16 products of 32 numbers, neighbouring pairs summed into 16 f32 lanes.
pub(super) struct Bf16;

impl Lanes for Bf16 {
    type X = u16;
    type V = __m512i;
    type Sum = __m512;
    const STEP: usize = 32;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn x(x: *const u16) -> __m512i {
        // SAFETY: 32 numbers by the caller's promise.
        unsafe { _mm512_loadu_epi16(x.cast()) }
    }

    #[inline(always)]
    unsafe fn x_part(x: *const u16, n: usize) -> __m512i {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_maskz_loadu_epi16(first_of_32(n), x.cast()) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn mul_add(x: __m512i, w: __m512i, sum: __m512) -> __m512 {
        // SAFETY: vectors of 32 bf16 and of 32 words have the same bits.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(x),
                std::mem::transmute::<__m512i, __m512bh>(w),
            )
        }
    }

    #[inline(always)]
    unsafe fn totals(sums: [__m512; 4]) -> [f32; 4] {
        // SAFETY: needs nothing but the features.
        unsafe { totals(sums) }
    }
}

#[inline(always)]
pub(super) fn first_of_16(n: usize) -> __mmask16 {
    !(u16::MAX.unbounded_shl(n as u32))
}

#[inline(always)]
pub(super) fn first_of_32(n: usize) -> __mmask32 {
    !(u32::MAX.unbounded_shl(n as u32))
}

/// The sums of four vectors: of every 128-bit quarter `(l0 + l2) + (l1 + l3)`, of the quarters
/// `(q0 + q2) + (q1 + q3)`.
#[inline(always)]
pub(super) unsafe fn totals([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
    // SAFETY: needs nothing but the features; four floats are a vector of 128 bits.
    unsafe {
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
        let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
        let quarters = _mm512_add_ps(low, _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
        let halves = _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm512_extractf32x8_ps::<1>(quarters));
        let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
        std::mem::transmute(sums)
    }
}
