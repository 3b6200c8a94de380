//! AVX-512 decoders of packed weights. Four bits are an index into a vector of 16 numbers: a group
//! of int4 computes its 16 values once, then looks its weights up.

use std::arch::x86_64::*;

use super::avx512::{F32, first_of_16};
use super::lanes::Decode;
use super::packed::{PackedRow, Unpack};
use crate::packing::{PACKED_GROUP, RowScales};

impl Unpack for F32 {
    type Lanes = Self;
    type Int4 = FromInt4;
    type Int8 = FromInt8;

    #[inline(always)]
    unsafe fn convert(row: RowScales<'_>, out: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { convert(row, out) }
    }
}

/// Converts the scales of a row, 16 groups at a time.
#[inline(always)]
unsafe fn convert(row: RowScales<'_>, out: &mut [f32]) {
    let groups = row.scales.len();
    assert!(out.len() >= 2 * groups.next_multiple_of(16), "room for whole vectors");
    // SAFETY: only the first groups are read where fewer than 16 are left; the output has room for
    // 16 pairs each time.
    unsafe {
        let factor = _mm512_set1_ps(row.factor);
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
        for group in (0..groups).step_by(16) {
            let mask = first_of_16((groups - group).min(16));
            let widen = |halves: &[[u8; 2]]| {
                let halves = halves.as_ptr().wrapping_add(group).cast();
                _mm512_mul_ps(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, halves)), factor)
            };
            let scales = widen(row.scales);
            let offsets = if row.offsets.is_empty() { _mm512_setzero_ps() } else { widen(row.offsets) };
            let out = out.as_mut_ptr().add(2 * group);
            _mm512_storeu_ps(out, _mm512_permutex2var_ps(scales, low, offsets));
            _mm512_storeu_ps(out.add(16), _mm512_permutex2var_ps(scales, high, offsets));
        }
    }
}

/// int4: 16 bytes are a group, the first half of its weights in their low bits.
#[derive(Default)]
pub(super) struct FromInt4;

impl FromInt4 {
    /// The values of the 16 quants.
    #[inline(always)]
    unsafe fn values(row: PackedRow, k: usize) -> __m512 {
        // SAFETY: the row has column `k` by the caller's promise.
        unsafe {
            let (scale, offset) = row.scale_and_offset(k);
            let quants =
                _mm512_setr_ps(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0);
            _mm512_fmadd_ps(_mm512_set1_ps(scale), quants, _mm512_set1_ps(offset))
        }
    }

    /// The bytes of the group of column `k`, as indices whose low four bits count.
    #[inline(always)]
    unsafe fn indices(row: PackedRow, k: usize) -> __m512i {
        // SAFETY: a group is 16 bytes.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_epi8(row.quants.add(k / PACKED_GROUP * 16).cast())) }
    }
}

impl Decode<F32> for FromInt4 {
    type Row = PackedRow;
    const BITS: usize = 4;

    #[inline(always)]
    unsafe fn step(&self, row: PackedRow, k: usize) -> __m512 {
        // SAFETY: the row has the group of column `k`.
        unsafe {
            let [low, high] = Decode::<F32>::pair(self, row, k);
            if k.is_multiple_of(PACKED_GROUP) { low } else { high }
        }
    }

    #[inline(always)]
    unsafe fn pair(&self, row: PackedRow, k: usize) -> [__m512; 2] {
        // SAFETY: the row has the group of column `k`.
        unsafe {
            let (values, indices) = (Self::values(row, k), Self::indices(row, k));
            [_mm512_permutexvar_ps(indices, values), _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(indices), values)]
        }
    }

    #[inline(always)]
    unsafe fn part(&self, row: PackedRow, k: usize, n: usize) -> __m512 {
        // SAFETY: rows consist of whole groups.
        unsafe { _mm512_maskz_mov_ps(first_of_16(n), Decode::<F32>::step(self, row, k)) }
    }
}

/// int8: 32 bytes are a group.
#[derive(Default)]
pub(super) struct FromInt8;

impl Decode<F32> for FromInt8 {
    type Row = PackedRow;
    const BITS: usize = 8;

    #[inline(always)]
    unsafe fn step(&self, row: PackedRow, k: usize) -> __m512 {
        // SAFETY: 16 bytes by the caller's promise, in a group that has a scale.
        unsafe {
            let quants = _mm512_cvtepi8_epi32(_mm_loadu_epi8(row.quants.add(k).cast()));
            _mm512_mul_ps(_mm512_cvtepi32_ps(quants), _mm512_set1_ps(row.scale_and_offset(k).0))
        }
    }

    #[inline(always)]
    unsafe fn part(&self, row: PackedRow, k: usize, n: usize) -> __m512 {
        // SAFETY: rows consist of whole groups.
        unsafe { _mm512_maskz_mov_ps(first_of_16(n), Decode::<F32>::step(self, row, k)) }
    }
}
