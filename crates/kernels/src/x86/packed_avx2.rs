//! AVX2 decoders of packed weights.

use std::arch::x86_64::*;

use super::avx2_decode::{F32, first_of_8};
use super::lanes::Decode;
use super::packed::{PackedRow, Unpack};
use crate::packing::{PACKED_GROUP, RowScales};

/// The decoders.
pub(super) struct Packed;

impl Unpack for Packed {
    type Lanes = F32;
    type Int4 = FromInt4;
    type Int8 = FromInt8;

    /// Converts the scales of a row, one by one.
    #[inline(always)]
    unsafe fn convert(row: RowScales<'_>, out: &mut [f32]) {
        // SAFETY: needs nothing but the features.
        let value = |half: [u8; 2]| unsafe {
            _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(u16::from_le_bytes(half).into()))) * row.factor
        };
        for (group, pair) in out.as_chunks_mut::<2>().0.iter_mut().enumerate().take(row.scales.len()) {
            *pair = [value(row.scales[group]), row.offsets.get(group).map_or(0.0, |offset| value(*offset))];
        }
    }
}

/// int4: 16 bytes are a group, the first half of its weights in their low bits.
#[derive(Default)]
pub(super) struct FromInt4;

impl Decode<F32> for FromInt4 {
    type Row = PackedRow;
    const BITS: usize = 4;

    #[inline(always)]
    unsafe fn step(&self, row: PackedRow, k: usize) -> __m256 {
        // SAFETY: a group is 16 bytes, of which 8 are read; the row has the group of column `k`.
        unsafe {
            let bytes = row.quants.add(k / PACKED_GROUP * 16 + k % 16);
            let half = _mm_cvtsi32_si128((k % PACKED_GROUP / 16 * 4) as i32);
            let quants = _mm256_srl_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes.cast())), half);
            let quants = _mm256_cvtepi32_ps(_mm256_and_si256(quants, _mm256_set1_epi32(15)));
            let (scale, offset) = row.scale_and_offset(k);
            _mm256_fmadd_ps(_mm256_set1_ps(scale), quants, _mm256_set1_ps(offset))
        }
    }

    #[inline(always)]
    unsafe fn part(&self, row: PackedRow, k: usize, n: usize) -> __m256 {
        // SAFETY: rows consist of whole groups.
        unsafe { first_numbers(self.step(row, k), n) }
    }
}

/// int8: 32 bytes are a group.
#[derive(Default)]
pub(super) struct FromInt8;

impl Decode<F32> for FromInt8 {
    type Row = PackedRow;
    const BITS: usize = 8;

    #[inline(always)]
    unsafe fn step(&self, row: PackedRow, k: usize) -> __m256 {
        // SAFETY: 8 bytes by the caller's promise, in a group that has a scale.
        unsafe {
            let quants = _mm256_cvtepi8_epi32(_mm_loadl_epi64(row.quants.add(k).cast()));
            _mm256_mul_ps(_mm256_cvtepi32_ps(quants), _mm256_set1_ps(row.scale_and_offset(k).0))
        }
    }

    #[inline(always)]
    unsafe fn part(&self, row: PackedRow, k: usize, n: usize) -> __m256 {
        // SAFETY: rows consist of whole groups.
        unsafe { first_numbers(self.step(row, k), n) }
    }
}

/// The first `n` numbers, then zeros.
#[inline(always)]
unsafe fn first_numbers(v: __m256, n: usize) -> __m256 {
    // SAFETY: needs nothing but the features.
    unsafe { _mm256_and_ps(v, _mm256_castsi256_ps(first_of_8(n))) }
}
