//! Fixed-point products with packed weights in AVX2.

use std::arch::x86_64::*;

use super::avx2_decode::F32;
use super::fixed::{ChunkScales, FixedLanes, Quants};
use super::lanes::Lanes;
use crate::fixed::FixedOrder;
use crate::packing::Packing;

pub(super) static INT4_ORDER: FixedOrder = FixedOrder::new(Packing::Int4, Fixed::WORDS);
pub(super) static INT8_ORDER: FixedOrder = FixedOrder::new(Packing::Int8, Fixed::WORDS);

/// 16 words, 8 sums.
pub(super) struct Fixed;

impl FixedLanes for Fixed {
    type Integers = __m256i;
    type Floats = __m256;
    const WORDS: usize = 16;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn words(x: *const i16) -> __m256i {
        // SAFETY: 16 words by the caller's promise.
        unsafe { _mm256_loadu_si256(x.cast()) }
    }

    #[inline(always)]
    unsafe fn zero() -> (__m256i, __m256) {
        // SAFETY: needs nothing but the features.
        unsafe { (_mm256_setzero_si256(), _mm256_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn dot(a: __m256i, b: __m256i, sum: __m256i) -> __m256i {
        // SAFETY: needs nothing but the features.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    unsafe fn add_scaled(sum: __m256, dot: __m256i, scale: __m256, x_scale: __m256) -> __m256 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(dot), scale), x_scale, sum) }
    }

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m256 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm256_set1_ps(v) }
    }

    #[inline(always)]
    unsafe fn widen(halves: *const [u8; 2], n: usize, to: &mut ChunkScales) {
        let mut padded = [[0u8; 2]; 16];
        // SAFETY: the caller's numbers are as many; two vectors of eight numbers each.
        unsafe {
            let mut from = halves;
            if n < 16 {
                for (i, to) in padded.iter_mut().enumerate().take(n) {
                    *to = *halves.add(i);
                }
                from = padded.as_ptr();
            }
            let low = _mm256_cvtph_ps(_mm_loadu_si128(from.cast()));
            let high = _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast()));
            _mm256_store_ps(to.0.as_mut_ptr(), low);
            _mm256_store_ps(to.0.as_mut_ptr().add(8), high);
        }
    }

    #[inline(always)]
    unsafe fn add_products(sum: __m256, a: &ChunkScales, b: *const f32) -> __m256 {
        // SAFETY: 16 numbers by the caller's promise.
        unsafe {
            let sum = _mm256_fmadd_ps(_mm256_load_ps(a.0.as_ptr()), _mm256_loadu_ps(b), sum);
            _mm256_fmadd_ps(_mm256_load_ps(a.0.as_ptr().add(8)), _mm256_loadu_ps(b.add(8)), sum)
        }
    }

    #[inline(always)]
    unsafe fn totals(sums: [__m256; 4]) -> [f32; 4] {
        // SAFETY: needs nothing but the features.
        unsafe { F32::totals(sums) }
    }
}

/// Two groups a step, 16 bytes each.
pub(super) struct Int4;

impl Quants<Fixed, 4> for Int4 {
    const GROUP_BYTES: usize = 16;
    const OFFSETS: bool = true;

    #[inline(always)]
    unsafe fn step(bytes: *const u8) -> [__m256i; 4] {
        // SAFETY: 32 bytes by the caller's promise.
        unsafe { unpack_int4(_mm256_loadu_si256(bytes.cast())) }
    }

    #[inline(always)]
    unsafe fn part(bytes: *const u8, _: usize) -> [__m256i; 4] {
        // SAFETY: a part of two groups is one of them.
        unsafe { unpack_int4(_mm256_zextsi128_si256(_mm_loadu_si128(bytes.cast()))) }
    }

    #[inline(always)]
    unsafe fn scales(scales: *const f32) -> __m256 {
        // SAFETY: two numbers by the caller's promise.
        unsafe {
            let pair = _mm256_castpd_ps(_mm256_broadcast_sd(&*scales.cast()));
            _mm256_permutevar_ps(pair, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1))
        }
    }
}

#[inline(always)]
unsafe fn unpack_int4(bytes: __m256i) -> [__m256i; 4] {
    // SAFETY: needs nothing but the features.
    unsafe {
        let low = _mm256_set1_epi16(15);
        [
            _mm256_and_si256(bytes, low),
            _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low),
            _mm256_and_si256(_mm256_srli_epi16::<8>(bytes), low),
            _mm256_srli_epi16::<12>(bytes),
        ]
    }
}

/// One group of 32 bytes a step.
pub(super) struct Int8;

impl Quants<Fixed, 2> for Int8 {
    const GROUP_BYTES: usize = 32;
    const OFFSETS: bool = false;

    #[inline(always)]
    unsafe fn step(bytes: *const u8) -> [__m256i; 2] {
        // SAFETY: 32 bytes by the caller's promise.
        unsafe {
            let bytes = _mm256_loadu_si256(bytes.cast());
            [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)]
        }
    }

    #[inline(always)]
    unsafe fn part(bytes: *const u8, _: usize) -> [__m256i; 2] {
        // SAFETY: a group cannot be cut.
        unsafe { Self::step(bytes) }
    }

    #[inline(always)]
    unsafe fn scales(scales: *const f32) -> __m256 {
        // SAFETY: one number by the caller's promise.
        unsafe { _mm256_set1_ps(*scales) }
    }
}
