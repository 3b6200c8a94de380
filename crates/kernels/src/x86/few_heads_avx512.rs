//! Products of few heads with the same rows, AVX-512: numbers of a row are in lanes. Heads in lanes
//! ([`super::heads_avx512`]) would leave most lanes of their last vector idle.

use std::arch::x86_64::*;

use super::avx512::{first_of_16, totals};
use super::heads_avx512::{Format, LANES, ROWS};

/// The most heads of a vector for which numbers in lanes take fewer instructions.
const MOST: usize = 12;

/// Heads whose sums for [`ROWS`] rows are kept in registers.
const HEADS: usize = 3;

/// How many of `heads` heads are taken in vectors of heads. The last ones are few; which ones does
/// not depend on how a layer's heads are divided, if every division but the last is whole vectors.
pub(super) const fn heads_in_vectors(heads: usize) -> usize {
    let last = heads % LANES;
    if last > MOST { heads } else { heads - last }
}

/// Rearranges `queries`, `[heads, width]`, to units, `[heads, width / NUMBERS]`.
///
/// # Safety
/// The features are there. `to` has room for these units.
#[inline(always)]
pub(super) unsafe fn pack<F: Format>(queries: &[f32], width: usize, to: *mut i32) {
    let units = width.div_ceil(F::NUMBERS);
    for (head, query) in queries.chunks_exact(width).enumerate() {
        for unit in (0..units).step_by(LANES) {
            let number = unit * F::NUMBERS;
            // SAFETY: numbers and units lie inside their head's.
            unsafe {
                let v = F::pack(query.as_ptr().add(number), (width - number).min(LANES * F::NUMBERS));
                _mm512_mask_storeu_epi32(to.add(head * units + unit), first_of_16((units - unit).min(LANES)), v);
            }
        }
    }
}

/// Some heads that were packed by [`pack`], and the rows that they are multiplied with.
pub(super) struct FewHeads<'a, const PARTS: usize> {
    pub(super) q: *const i32,
    pub(super) heads: usize,
    /// The parts of every row, and the units of each.
    pub(super) rows: [&'a [*const u8; ROWS]; PARTS],
    pub(super) units: [usize; PARTS],
}

impl<const PARTS: usize> FewHeads<'_, PARTS> {
    /// Calls `each` with every head and its products with the rows.
    ///
    /// # Safety
    /// The features are there, the heads, and the units of every row.
    #[inline(always)]
    pub(super) unsafe fn products<F: Format>(&self, mut each: impl FnMut(usize, [f32; ROWS])) {
        for first in (0..self.heads).step_by(HEADS) {
            // SAFETY: the caller's promise.
            unsafe {
                match self.heads - first {
                    1 => self.some::<F, 1>(first, &mut each),
                    2 => self.some::<F, 2>(first, &mut each),
                    _ => self.some::<F, HEADS>(first, &mut each),
                }
            }
        }
    }

    /// The products of `H` heads from `first` on.
    #[inline(always)]
    unsafe fn some<F: Format, const H: usize>(&self, first: usize, each: &mut impl FnMut(usize, [f32; ROWS])) {
        let stride: usize = self.units.iter().sum();
        // SAFETY: the caller's promise; only the units of a row are read.
        unsafe {
            let mut q = self.q.add(first * stride);
            let mut sums = [[_mm512_setzero_ps(); ROWS]; H];
            for (rows, units) in self.rows.iter().zip(self.units) {
                let whole = units - units % LANES;
                for unit in (0..whole).step_by(LANES) {
                    let mut heads = [_mm512_setzero_si512(); H];
                    for (h, head) in heads.iter_mut().enumerate() {
                        *head = _mm512_loadu_epi32(q.add(h * stride + unit));
                    }
                    for (j, row) in rows.iter().enumerate() {
                        let numbers = _mm512_loadu_epi32(row.add(4 * unit).cast());
                        for (head, sums) in heads.iter().zip(&mut sums) {
                            sums[j] = F::mul_add(*head, numbers, sums[j]);
                        }
                    }
                }
                if whole < units {
                    let mask = first_of_16(units - whole);
                    for (j, row) in rows.iter().enumerate() {
                        let numbers = _mm512_maskz_loadu_epi32(mask, row.add(4 * whole).cast());
                        for (h, sums) in sums.iter_mut().enumerate() {
                            let head = _mm512_maskz_loadu_epi32(mask, q.add(h * stride + whole));
                            sums[j] = F::mul_add(head, numbers, sums[j]);
                        }
                    }
                }
                q = q.add(units);
            }
            for (h, [a, b, c, d, e, f, g, i]) in sums.into_iter().enumerate() {
                let halves = [totals([a, b, c, d]), totals([e, f, g, i])];
                let mut products = [0.0; ROWS];
                products.copy_from_slice(halves.as_flattened());
                each(first + h, products);
            }
        }
    }
}
