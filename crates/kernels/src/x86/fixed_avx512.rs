//! Fixed-point products with packed weights by the integer dot-product unit of AVX-512.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx512::{first_of_16, totals};
use super::fixed::{ChunkScales, FixedLanes, Quants};
use crate::fixed::FixedOrder;
use crate::packing::Packing;

pub(super) static INT4_ORDER: FixedOrder = FixedOrder::new(Packing::Int4, Fixed::WORDS);
pub(super) static INT8_ORDER: FixedOrder = FixedOrder::new(Packing::Int8, Fixed::WORDS);

/// 32 words, 16 sums.
pub(super) struct Fixed;

impl FixedLanes for Fixed {
    type Integers = __m512i;
    type Floats = __m512;
    const WORDS: usize = 32;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn words(x: *const i16) -> __m512i {
        // SAFETY: 32 words by the caller's promise.
        unsafe { _mm512_loadu_epi16(x) }
    }

    #[inline(always)]
    unsafe fn zero() -> (__m512i, __m512) {
        // SAFETY: needs nothing but the features.
        unsafe { (_mm512_setzero_si512(), _mm512_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn dot(a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
        // SAFETY: the features are the caller's promise.
        unsafe { vpdpwssd(a, b, sum) }
    }

    #[inline(always)]
    unsafe fn add_scaled(sum: __m512, dot: __m512i, scale: __m512, x_scale: __m512) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), scale), x_scale, sum) }
    }

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_set1_ps(v) }
    }

    #[inline(always)]
    unsafe fn widen(halves: *const [u8; 2], n: usize, to: &mut ChunkScales) {
        // SAFETY: only as many numbers are read as there are.
        unsafe {
            let halves = _mm256_maskz_loadu_epi16(first_of_16(n), halves.cast());
            _mm512_store_ps(to.0.as_mut_ptr(), _mm512_cvtph_ps(halves));
        }
    }

    #[inline(always)]
    unsafe fn add_products(sum: __m512, a: &ChunkScales, b: *const f32) -> __m512 {
        // SAFETY: 16 numbers by the caller's promise.
        unsafe { _mm512_fmadd_ps(_mm512_load_ps(a.0.as_ptr()), _mm512_loadu_ps(b), sum) }
    }

    #[inline(always)]
    unsafe fn totals(sums: [__m512; 4]) -> [f32; 4] {
        // SAFETY: needs nothing but the features.
        unsafe { totals(sums) }
    }
}

/// `_mm512_dpwssd_epi32`, which the compiler would split into two instructions.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn vpdpwssd(a: __m512i, b: __m512i, mut sum: __m512i) -> __m512i {
    // SAFETY: the instruction touches nothing but its registers.
    unsafe {
        asm!(
            "vpdpwssd {sum}, {a}, {b}",
            sum = inout(zmm_reg) sum,
            a = in(zmm_reg) a,
            b = in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Two groups a step, 32 bytes each.
pub(super) struct Int8;

impl Quants<Fixed, 2> for Int8 {
    const GROUP_BYTES: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    unsafe fn step(bytes: *const u8) -> [__m512i; 2] {
        // SAFETY: 64 bytes by the caller's promise.
        unsafe { unpack_int8(_mm512_loadu_epi8(bytes.cast())) }
    }

    #[inline(always)]
    unsafe fn part(bytes: *const u8, groups: usize) -> [__m512i; 2] {
        // SAFETY: only the groups are read, eight doublewords each.
        unsafe { unpack_int8(_mm512_maskz_loadu_epi32(first_of_16(8 * groups), bytes.cast())) }
    }

    #[inline(always)]
    unsafe fn scales(scales: *const f32) -> __m512 {
        // SAFETY: two numbers by the caller's promise.
        unsafe {
            let half = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
            let pair = _mm512_broadcastsd_pd(_mm_load_sd(scales.cast()));
            _mm512_permutevar_ps(_mm512_castpd_ps(pair), half)
        }
    }
}

#[inline(always)]
unsafe fn unpack_int8(bytes: __m512i) -> [__m512i; 2] {
    // SAFETY: needs nothing but the features.
    unsafe { [_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(bytes)), _mm512_srai_epi16::<8>(bytes)] }
}
