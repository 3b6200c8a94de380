//! AVX-512 decoders of weights: conversion of f32, f16 and bf16, table lookup in
//! registers for e4m3.

use std::arch::x86_64::*;

use super::avx512::{Bf16, F32, first_of_16, first_of_32};
use super::lanes::Decode;
use crate::arena::{Arena, RowFormat};
use crate::dtype::{FP8_VALUES, fp8_values};
use crate::mat::SCALE_BLOCK;
use crate::quant::GROUP;

pub(super) struct FromF32;

impl Decode<F32> for FromF32 {
    type Row = *const u8;
    const BITS: usize = 32;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512 {
        // SAFETY: 16 numbers of 4 bytes by the caller's promise.
        unsafe { _mm512_loadu_ps(row.add(4 * k).cast()) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_maskz_loadu_ps(first_of_16(n), row.add(4 * k).cast()) }
    }
}

pub(super) struct FromF16;

impl Decode<F32> for FromF16 {
    type Row = *const u8;
    const BITS: usize = 16;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512 {
        // SAFETY: 16 numbers of 2 bytes by the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_epi16(row.add(2 * k).cast())) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_of_16(n), row.add(2 * k).cast())) }
    }
}

pub(super) struct FromBf16;

impl FromBf16 {
    #[inline(always)]
    unsafe fn widen(bits: __m256i) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))) }
    }
}

impl Decode<F32> for FromBf16 {
    type Row = *const u8;
    const BITS: usize = 16;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512 {
        // SAFETY: 16 numbers of 2 bytes by the caller's promise.
        unsafe { Self::widen(_mm256_loadu_epi16(row.add(2 * k).cast())) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512 {
        // SAFETY: only the first `n` numbers are read.
        unsafe { Self::widen(_mm256_maskz_loadu_epi16(first_of_16(n), row.add(2 * k).cast())) }
    }
}

/// e4m3 times the scale of its block, in f32.
pub(super) struct FromFp8 {
    pub(super) scales: *const f32,
}

impl FromFp8 {
    /// The lookup turns bytes into the upper half of f32 numbers, which are
    /// multiplied by their scale.
    #[inline(always)]
    unsafe fn widen(&self, bytes: __m128i, k: usize) -> __m512 {
        const SPREAD: [u8; 64] = spread(4);
        const THIRD: u64 = 0x4444_4444_4444_4444;
        // SAFETY: the caller's row has a scale for every block.
        unsafe {
            let spread = _mm512_maskz_permutexvar_epi8(
                THIRD | THIRD << 1,
                _mm512_loadu_epi8(SPREAD.as_ptr().cast()),
                _mm512_castsi128_si512(bytes),
            );
            let bits = look_up::<THIRD>(&UNSCALED, spread, i32::MIN);
            _mm512_mul_ps(_mm512_castsi512_ps(bits), _mm512_set1_ps(self.scales.add(k / SCALE_BLOCK).read_unaligned()))
        }
    }
}

impl Decode<F32> for FromFp8 {
    type Row = *const u8;
    const BITS: usize = 8;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512 {
        // SAFETY: 16 bytes by the caller's promise.
        unsafe { self.widen(_mm_loadu_epi8(row.add(k).cast()), k) }
    }

    /// Decodes 32 bytes as words with both lookups at once; interleaving with zeros restores their
    /// order.
    #[inline(always)]
    unsafe fn pair(&self, row: *const u8, k: usize) -> [__m512; 2] {
        const SPREAD: [u8; 64] = {
            let mut indices = [0; 64];
            let mut i = 0;
            while i < 64 {
                let (quarter, word) = (i / 16, i % 16 / 2);
                indices[i] = (4 * quarter + word % 4 + 16 * (word / 4)) as u8;
                i += 1;
            }
            indices
        };
        // SAFETY: 32 bytes by the caller's promise, whose row has a scale for every block.
        unsafe {
            let bytes = _mm512_castsi256_si512(_mm256_loadu_epi8(row.add(k).cast()));
            let spread = _mm512_permutexvar_epi8(_mm512_loadu_epi8(SPREAD.as_ptr().cast()), bytes);
            let words = look_up::<{ Lookup::LOW }>(&UNSCALED, spread, Lookup::SIGNS);
            let (zero, scale) =
                (_mm512_setzero_si512(), _mm512_set1_ps(self.scales.add(k / SCALE_BLOCK).read_unaligned()));
            [
                _mm512_mul_ps(_mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, words)), scale),
                _mm512_mul_ps(_mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, words)), scale),
            ]
        }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512 {
        // SAFETY: only the first `n` bytes are read.
        unsafe { self.widen(_mm_maskz_loadu_epi8(first_of_16(n), row.add(k).cast()), k) }
    }
}

/// bf16 as stored.
pub(super) struct Bits;

impl Decode<Bf16> for Bits {
    type Row = *const u8;
    const BITS: usize = 16;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512i {
        // SAFETY: 32 numbers of 2 bytes by the caller's promise.
        unsafe { _mm512_loadu_epi16(row.add(2 * k).cast()) }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512i {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_maskz_loadu_epi16(first_of_32(n), row.add(2 * k).cast()) }
    }
}

/// e4m3 as bf16, through tables that hold the scale of their block.
pub(super) struct Lookup {
    pub(super) tables: *const Table,
}

impl Lookup {
    /// The low bytes of words, and their sign bits.
    const LOW: u64 = 0x5555_5555_5555_5555;
    const SIGNS: i32 = 0x8000_8000u32 as i32;

    #[inline(always)]
    unsafe fn widen(&self, bytes: __m256i, k: usize) -> __m512i {
        const SPREAD: [u8; 64] = spread(2);
        // SAFETY: the caller's row has a table for every block.
        unsafe {
            let spread =
                _mm512_permutexvar_epi8(_mm512_loadu_epi8(SPREAD.as_ptr().cast()), _mm512_castsi256_si512(bytes));
            look_up::<{ Self::LOW }>(&*self.tables.add(k / SCALE_BLOCK), spread, Self::SIGNS)
        }
    }
}

impl Decode<Bf16> for Lookup {
    type Row = *const u8;
    const BITS: usize = 8;

    #[inline(always)]
    unsafe fn step(&self, row: *const u8, k: usize) -> __m512i {
        // SAFETY: 32 bytes by the caller's promise.
        unsafe { self.widen(_mm256_loadu_epi8(row.add(k).cast()), k) }
    }

    /// Decodes 64 bytes with both lookups at once. The halves are interleaved within each quarter
    /// of a vector, so the bytes are permuted before.
    #[inline(always)]
    unsafe fn pair(&self, row: *const u8, k: usize) -> [__m512i; 2] {
        // SAFETY: 64 bytes by the caller's promise, which has a table for every block.
        unsafe {
            let table = &*self.tables.add(k / SCALE_BLOCK);
            let order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm512_permutexvar_epi64(order, _mm512_loadu_epi8(row.add(k).cast()));
            let part = |i: usize| _mm512_load_si512(table.0[64 * i..].as_ptr().cast());
            let low = _mm512_permutex2var_epi8(part(0), bytes, part(1));
            let high = _mm512_permutex2var_epi8(part(2), bytes, part(3));
            // 0x78: a ^ (b & c)
            let high = _mm512_ternarylogic_epi32::<0x78>(high, bytes, _mm512_set1_epi8(i8::MIN));
            [_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)]
        }
    }

    #[inline(always)]
    unsafe fn part(&self, row: *const u8, k: usize, n: usize) -> __m512i {
        // SAFETY: only the first `n` bytes are read.
        unsafe { self.widen(_mm256_maskz_loadu_epi8(first_of_32(n), row.add(k).cast()), k) }
    }
}

/// The 128 e4m3 magnitudes as bf16: all low bytes, then all high bytes.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Table([u8; 256]);

/// Every e4m3 number is a bf16 number.
static UNSCALED: Table = {
    let mut table = [0; 256];
    let mut magnitude = 0;
    while magnitude < 128 {
        let [_, _, low, high] = fp8_values()[magnitude].to_bits().to_le_bytes();
        (table[magnitude], table[128 + magnitude]) = (low, high);
        magnitude += 1;
    }
    Table(table)
};

/// Indices that repeat byte `i` of the source in every byte of element `i` of `size` bytes.
const fn spread(size: usize) -> [u8; 64] {
    let mut indices = [0; 64];
    let mut i = 0;
    while i < 64 {
        indices[i] = (i / size) as u8;
        i += 1;
    }
    indices
}

/// Replaces the bytes at `LOW` and the bytes after them by the halves of their table entry, and
/// flips the sign (the bits of `sign`) where the byte's own is set.
#[inline(always)]
unsafe fn look_up<const LOW: u64>(table: &Table, bytes: __m512i, sign: i32) -> __m512i {
    let part = |i: usize| table.0[64 * i..].as_ptr().cast();
    // SAFETY: the table has four vectors.
    unsafe {
        let [a, b, c, d] = [part(0), part(1), part(2), part(3)];
        let low = _mm512_mask2_permutex2var_epi8(_mm512_load_si512(a), bytes, LOW, _mm512_load_si512(b));
        let both = _mm512_mask2_permutex2var_epi8(_mm512_load_si512(c), low, LOW << 1, _mm512_load_si512(d));
        // 0x78: a ^ (b & c)
        _mm512_ternarylogic_epi32::<0x78>(both, bytes, _mm512_set1_epi32(sign))
    }
}

/// The table of `bf16(value * scale)`.
#[inline(always)]
pub(super) unsafe fn scaled_table(scale: f32, table: &mut Table) {
    // SAFETY: `FP8_VALUES` has 128 magnitudes before its negative half, the table two
    // halves of 128 bytes.
    unsafe {
        let scale = _mm512_set1_ps(scale);
        for first in (0..128).step_by(32) {
            let values = FP8_VALUES.as_ptr().add(first);
            let a = _mm512_mul_ps(_mm512_loadu_ps(values), scale);
            let b = _mm512_mul_ps(_mm512_loadu_ps(values.add(16)), scale);
            let words = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a));
            let out = table.0.as_mut_ptr().add(first);
            _mm256_storeu_epi8(out.cast(), _mm512_cvtepi16_epi8(words));
            _mm256_storeu_epi8(out.add(128).cast(), _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(words)));
        }
    }
}

/// [`Arena::read`].
#[inline(always)]
pub(super) unsafe fn read_row(arena: &Arena, slot: usize, out: &mut [f32]) {
    const { assert!(GROUP == SCALE_BLOCK, "groups of a row are like blocks of a matrix") };
    assert_eq!(out.len(), arena.width(), "a whole row");
    let row = arena.rows(slot, 1).as_ptr();
    // SAFETY: the row has its width in numbers, and an fp8 row the scales of its groups after them.
    unsafe {
        match arena.format() {
            RowFormat::F32 => widen(&FromF32, row, out),
            RowFormat::Bf16 => widen(&FromBf16, row, out),
            RowFormat::Fp8 { .. } => widen(&FromFp8 { scales: row.add(out.len()).cast() }, row, out),
        }
    }
}

#[inline(always)]
unsafe fn widen(decode: &impl Decode<F32, Row = *const u8>, row: *const u8, out: &mut [f32]) {
    let (whole, rest) = out.as_chunks_mut::<16>();
    // SAFETY: the caller's row is as long as `out`.
    unsafe {
        for (step, out) in whole.iter_mut().enumerate() {
            _mm512_storeu_ps(out.as_mut_ptr(), decode.step(row, 16 * step));
        }
        if !rest.is_empty() {
            let values = decode.part(row, 16 * whole.len(), rest.len());
            _mm512_mask_storeu_ps(rest.as_mut_ptr(), first_of_16(rest.len()), values);
        }
    }
}

/// Rounds to bf16 like [`crate::dtype::bf16_bits`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c")]
pub(super) fn round(values: &[f32], out: &mut [u16]) {
    assert_eq!(values.len(), out.len(), "a place for every value");
    for (values, out) in values.chunks(16).zip(out.chunks_mut(16)) {
        let mask = first_of_16(values.len());
        // SAFETY: both chunks have as many numbers as the mask has bits.
        unsafe {
            let bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(mask, values.as_ptr()));
            // To nearest, ties to even, in integers: the conversion instruction would
            // flush subnormals.
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
            // NaN keeps its upper bits and becomes quiet.
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(_mm512_castsi512_ps(bits), _mm512_castsi512_ps(bits));
            let rounded = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x40_0000));
            let words = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
            _mm256_mask_storeu_epi16(out.as_mut_ptr().cast(), mask, words);
        }
    }
}
