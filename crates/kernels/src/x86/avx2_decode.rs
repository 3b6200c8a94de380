//! AVX2 vectors of f32 and decoders of weights into them.

use std::arch::x86_64::*;

use super::lanes::{Decode, Lanes};
use super::nn::Wide;
use crate::mat::SCALE_BLOCK;

/// f32 products in 8 lanes.
pub(super) struct F32;

impl Lanes for F32 {
    type X = f32;
    type V = __m256;
    type Sum = __m256;
    const STEP: usize = 8;
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn x(x: *const f32) -> __m256 {
        // SAFETY: 8 numbers by the caller's promise.
        unsafe { _mm256_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn x_part(x: *const f32, n: usize) -> __m256 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm256_maskload_ps(x, first_of_8(n)) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn mul_add(x: __m256, w: __m256, sum: __m256) -> __m256 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm256_fmadd_ps(x, w, sum) }
    }

    /// Adds `(l0 + l2) + (l1 + l3)` in each 128-bit half, then the halves.
    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        // SAFETY: needs nothing but the features; four floats are a vector of 128 bits.
        unsafe {
            let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let (ab, cd) = (_mm256_castps_pd(ab), _mm256_castps_pd(cd));
            let low = _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd));
            let halves = _mm256_add_ps(low, _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)));
            let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            std::mem::transmute(sums)
        }
    }
}

impl Wide for F32 {
    #[inline(always)]
    unsafe fn store(p: *mut f32, n: usize, v: __m256) {
        // SAFETY: only the first `n` numbers are written.
        unsafe { if n == 8 { _mm256_storeu_ps(p, v) } else { _mm256_maskstore_ps(p, first_of_8(n), v) } }
    }

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m256 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm256_set1_ps(v) }
    }
}

pub(super) struct FromF32;

impl Decode<F32> for FromF32 {
    type Row = *const u8;
    const BITS: usize = 32;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m256 {
        // SAFETY: 8 numbers of 4 bytes by the caller's promise.
        unsafe { _mm256_loadu_ps(row.add(4 * k).cast()) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m256 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm256_maskload_ps(row.add(4 * k).cast(), first_of_8(n)) }
    }
}

pub(super) struct FromF16;

impl Decode<F32> for FromF16 {
    type Row = *const u8;
    const BITS: usize = 16;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m256 {
        // SAFETY: 8 numbers of 2 bytes by the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(row.add(2 * k).cast())) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m256 {
        // SAFETY: as for `step`, of a copy that is long enough.
        unsafe { self.step(padded(row.add(2 * k), 2 * n).as_ptr(), 0) }
    }
}

pub(super) struct FromBf16;

impl Decode<F32> for FromBf16 {
    type Row = *const u8;
    const BITS: usize = 16;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m256 {
        // SAFETY: 8 numbers of 2 bytes by the caller's promise.
        unsafe {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(row.add(2 * k).cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m256 {
        // SAFETY: as for `step`, of a copy that is long enough.
        unsafe { self.step(padded(row.add(2 * k), 2 * n).as_ptr(), 0) }
    }
}

/// e4m3 times the scale of its block, optionally rounded to bf16.
pub(super) struct FromFp8<const ROUNDED: bool> {
    pub(super) scales: *const f32,
}

impl<const ROUNDED: bool> FromFp8<ROUNDED> {
    /// Decodes the low 8 of `bytes`. Its bits as f16 have 1/256 of the e4m3 value, including
    /// subnormals; only NaN needs a correction.
    #[inline(always)]
    unsafe fn widen(&self, bytes: __m128i, k: usize) -> __m256 {
        // SAFETY: the caller's row has a scale for every block.
        unsafe {
            let bits = _mm_slli_epi16::<7>(_mm_cvtepi8_epi16(bytes));
            let small = _mm256_cvtph_ps(_mm_and_si128(bits, _mm_set1_epi16(0xBF80u16 as i16)));
            let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), small);
            let not_a_number = _mm256_cmp_ps::<_CMP_EQ_OQ>(magnitude, _mm256_set1_ps(1.875));
            let value = _mm256_mul_ps(
                _mm256_mul_ps(small, _mm256_set1_ps(256.0)),
                _mm256_set1_ps(*self.scales.add(k / SCALE_BLOCK)),
            );
            let value = if ROUNDED { round_bf16(value) } else { value };
            _mm256_or_ps(value, not_a_number)
        }
    }
}

impl<const ROUNDED: bool> Decode<F32> for FromFp8<ROUNDED> {
    type Row = *const u8;
    const BITS: usize = 8;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m256 {
        // SAFETY: 8 bytes by the caller's promise.
        unsafe { self.widen(_mm_loadl_epi64(row.add(k).cast()), k) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m256 {
        // SAFETY: only the first `n` bytes are read, the copy is long enough.
        unsafe { self.widen(_mm_loadl_epi64(padded(row.add(k), n).as_ptr().cast()), k) }
    }
}

/// To nearest, ties to even; NaN stays NaN.
#[inline(always)]
unsafe fn round_bf16(v: __m256) -> __m256 {
    // SAFETY: needs nothing but the features.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
        let rounded = _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32(!0xffff)));
        _mm256_blendv_ps(rounded, v, _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v))
    }
}

/// The first `n` bytes at `from`, then zeros.
#[inline(always)]
unsafe fn padded(from: *const u8, n: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: `n` bytes by the caller's promise, at most 16 of them: 7 numbers of 2 bytes.
    unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n) };
    bytes
}

#[inline(always)]
pub(super) fn first_of_8(n: usize) -> __m256i {
    const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: a slice of 8 numbers, checked.
    unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS[8 - n..][..8].as_ptr().cast()) }
}
