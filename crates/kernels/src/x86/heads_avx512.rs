//! Products of many heads with the same rows, AVX-512: heads are in lanes and numbers of a row are
//! broadcast, so that sums do not cross lanes and cached rows are read in place.
//!
//! A *unit* is 32 bits: one f32, or two neighbouring bf16 that the dot-product unit multiplies
//! and adds at once.

use std::arch::x86_64::*;

use super::avx512::first_of_16;
use crate::arena::RowFormat;
use crate::softmax::{EXP_MAX, EXP_MIN, EXP_TERMS, LN2_HIGH, LN2_LOW, ROUND};

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Rows whose accumulators are kept in registers, with up to two vectors of heads.
pub(super) const ROWS: usize = 8;

/// A format of products.
pub(super) trait Format {
    /// Numbers of a unit.
    const NUMBERS: usize;
    /// Cache rows that consist of units.
    const ROWS: RowFormat;

    /// Adds the products of 16 units to 16 sums.
    ///
    /// # Safety
    /// The features are there.
    unsafe fn mul_add(a: __m512i, b: __m512i, sum: __m512) -> __m512;

    /// The first `n` numbers at `p` as units, then zeros.
    ///
    /// # Safety
    /// `p` points to `n <= 16 * NUMBERS` numbers.
    unsafe fn pack(p: *const f32, n: usize) -> __m512i;

    /// Units of the same column of [`Format::NUMBERS`] rows, for 32 columns from `column` on, of
    /// which the first `n` exist.
    ///
    /// # Safety
    /// The rows (`first`, and `second` where there are two) are `column + n` numbers long.
    unsafe fn columns(first: *const u8, second: *const u8, column: usize, n: usize) -> [__m512i; 2];

    /// Units of 16 heads from their weights for [`Format::NUMBERS`] rows.
    ///
    /// # Safety
    /// The features are there.
    unsafe fn weights(first: __m512, second: __m512) -> __m512i;
}

pub(super) struct F32;

impl Format for F32 {
    const NUMBERS: usize = 1;
    const ROWS: RowFormat = RowFormat::F32;

    #[inline(always)]
    unsafe fn mul_add(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum) }
    }

    #[inline(always)]
    unsafe fn pack(p: *const f32, n: usize) -> __m512i {
        // SAFETY: only the first `n` numbers are read.
        unsafe { _mm512_castps_si512(_mm512_maskz_loadu_ps(first_of_16(n), p)) }
    }

    #[inline(always)]
    unsafe fn columns(first: *const u8, _: *const u8, column: usize, n: usize) -> [__m512i; 2] {
        // SAFETY: only the first `n` numbers are read.
        unsafe {
            let first = first.add(4 * column).cast::<i32>();
            if n == 32 {
                return [_mm512_loadu_epi32(first), _mm512_loadu_epi32(first.add(16))];
            }
            let rest = first_of_16(n.saturating_sub(16));
            [
                _mm512_maskz_loadu_epi32(first_of_16(n.min(16)), first),
                _mm512_maskz_loadu_epi32(rest, first.wrapping_add(16)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn weights(first: __m512, _: __m512) -> __m512i {
        // SAFETY: needs nothing but the features.
        unsafe { _mm512_castps_si512(first) }
    }
}

pub(super) struct Bf16;

impl Format for Bf16 {
    const NUMBERS: usize = 2;
    const ROWS: RowFormat = RowFormat::Bf16;

    #[inline(always)]
    unsafe fn mul_add(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        // SAFETY: vectors of 32 bf16 and of 16 units have the same bits.
        unsafe {
            let [a, b] = [a, b].map(|v| std::mem::transmute::<__m512i, __m512bh>(v));
            _mm512_dpbf16_ps(sum, a, b)
        }
    }

    #[inline(always)]
    unsafe fn pack(p: *const f32, n: usize) -> __m512i {
        // SAFETY: only the first `n` numbers are read.
        unsafe {
            let low = _mm512_maskz_loadu_ps(first_of_16(n.min(16)), p);
            let high = _mm512_maskz_loadu_ps(first_of_16(n.saturating_sub(16)), p.wrapping_add(16));
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    #[inline(always)]
    unsafe fn columns(first: *const u8, second: *const u8, column: usize, n: usize) -> [__m512i; 2] {
        const LOW: [u16; 32] = interleaved(0);
        const HIGH: [u16; 32] = interleaved(16);
        // SAFETY: only the first `n` numbers are read.
        unsafe {
            let (first, second) = (first.add(2 * column).cast(), second.add(2 * column).cast());
            let [a, b] = if n == 32 {
                [_mm512_loadu_epi16(first), _mm512_loadu_epi16(second)]
            } else {
                let mask = !u32::MAX.unbounded_shl(n as u32);
                [_mm512_maskz_loadu_epi16(mask, first), _mm512_maskz_loadu_epi16(mask, second)]
            };
            let [low, high] = [_mm512_loadu_epi16(LOW.as_ptr().cast()), _mm512_loadu_epi16(HIGH.as_ptr().cast())];
            [_mm512_permutex2var_epi16(a, low, b), _mm512_permutex2var_epi16(a, high, b)]
        }
    }

    #[inline(always)]
    unsafe fn weights(first: __m512, second: __m512) -> __m512i {
        // SAFETY: vectors of 16 bf16 and of 16 words have the same bits.
        unsafe {
            let bits = |v| _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)));
            _mm512_or_si512(bits(first), _mm512_slli_epi32::<16>(bits(second)))
        }
    }
}

/// The indices of the words of two vectors that form 16 units from column `column` on.
const fn interleaved(column: u16) -> [u16; 32] {
    let mut words = [0; 32];
    let mut i = 0;
    while i < 32 {
        words[i as usize] = column + i / 2 + i % 2 * 32;
        i += 1;
    }
    words
}

/// Rearranges `queries`, `[heads, width]`, to units, `[width / NUMBERS, lanes]`; lanes beyond
/// the heads are zero.
///
/// # Safety
/// The features are there. `to` has room for `width.div_ceil(NUMBERS) * lanes` units; `lanes` is at
/// least the number of heads.
#[inline(always)]
pub(super) unsafe fn pack<F: Format>(queries: &[f32], width: usize, to: *mut i32, lanes: usize) {
    let units = width.div_ceil(F::NUMBERS);
    // SAFETY: heads and units lie inside the room the caller promises.
    unsafe {
        to.write_bytes(0, units * lanes);
        let steps = _mm512_mullo_epi32(
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
            _mm512_set1_epi32(lanes as i32),
        );
        for (head, query) in queries.chunks_exact(width).enumerate() {
            for unit in (0..units).step_by(LANES) {
                let number = unit * F::NUMBERS;
                let v = F::pack(query.as_ptr().add(number), (width - number).min(LANES * F::NUMBERS));
                let to = to.add(unit * lanes + head);
                _mm512_mask_i32scatter_epi32::<4>(to.cast(), first_of_16((units - unit).min(LANES)), steps, v);
            }
        }
    }
}

/// Adds to `sums` the products of `B` vectors of heads, packed at `q`, with `units`
/// units of every row.
///
/// # Safety
/// The features are there, and the units.
#[inline(always)]
pub(super) unsafe fn dots<F: Format, const B: usize>(
    (q, lanes): (*const i32, usize),
    rows: &[*const u8; ROWS],
    units: usize,
    sums: &mut [[__m512; B]; ROWS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut local = *sums;
        for unit in 0..units {
            let mut heads = [_mm512_setzero_si512(); B];
            for (b, heads) in heads.iter_mut().enumerate() {
                *heads = _mm512_loadu_epi32(q.add(unit * lanes + b * LANES));
            }
            for (row, sums) in rows.iter().zip(&mut local) {
                let number = _mm512_set1_epi32(row.add(4 * unit).cast::<i32>().read_unaligned());
                for (heads, sum) in heads.iter().zip(sums) {
                    *sum = F::mul_add(*heads, number, *sum);
                }
            }
        }
        *sums = local;
    }
}

/// [`crate::softmax::exp`] of 16 numbers, the same bits.
#[inline(always)]
pub(super) unsafe fn exp(x: __m512) -> __m512 {
    // SAFETY: needs nothing but the features.
    unsafe {
        let all = |v: f32| _mm512_set1_ps(v);
        // NaN stays NaN: minimum and maximum return their second operand then.
        let clamped = _mm512_min_ps(all(EXP_MAX), _mm512_max_ps(all(EXP_MIN), x));
        let shifted = _mm512_add_ps(_mm512_mul_ps(clamped, all(std::f32::consts::LOG2_E)), all(ROUND));
        let n = _mm512_sub_ps(shifted, all(ROUND));
        let r = _mm512_sub_ps(_mm512_sub_ps(clamped, _mm512_mul_ps(n, all(LN2_HIGH))), _mm512_mul_ps(n, all(LN2_LOW)));
        let mut p = all(EXP_TERMS[0]);
        for term in &EXP_TERMS[1..] {
            p = _mm512_add_ps(_mm512_mul_ps(p, r), all(*term));
        }
        let scale = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
        let scale = _mm512_castsi512_ps(_mm512_add_epi32(scale, _mm512_set1_epi32(127 << 23)));
        let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, all(EXP_MIN));
        _mm512_mask_mov_ps(_mm512_mul_ps(p, scale), below, _mm512_setzero_ps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_exponentials_have_the_bits_of_one() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        let mut inputs: Vec<f32> = (-9000..9000).map(|i| i as f32 * 0.01).collect();
        inputs.extend([f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -0.0, -87.3, 88.7, 1e-40, -1e30]);
        for x in inputs {
            // SAFETY: the feature is there; a vector is 16 floats.
            let lanes: [f32; 16] = unsafe { std::mem::transmute(exp(_mm512_set1_ps(x))) };
            let want = crate::softmax::exp(x);
            assert!(lanes.iter().all(|v| v.to_bits() == want.to_bits() || v.is_nan() && want.is_nan()), "exp({x})");
        }
    }
}
