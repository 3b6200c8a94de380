//! Tiling of `out[i, :] += sum_j p[i, j] * c[j, :]` for any instruction set. Every output element
//! adds its terms in order of `j`, by one fused multiply-add each, independent of the tile.
#![expect(clippy::needless_range_loop, reason = "a register is an index in several arrays at once")]

use std::marker::PhantomData;

use super::lanes::{Decode, Lanes, WeightRows};
use crate::product::Nn;

/// Vectors of f32 that can also be stored.
pub(super) trait Wide: Lanes<X = f32, Sum = <Self as Lanes>::V> {
    /// # Safety
    /// The features are there.
    unsafe fn splat(v: f32) -> Self::V;
    /// # Safety
    /// `p` points to `n <= STEP` numbers.
    unsafe fn store(p: *mut f32, n: usize, v: Self::V);
}

/// The operands of a product.
pub(super) struct Terms<'a, W, C, D> {
    task: &'a Nn<'a>,
    c: C,
    decode: D,
    wide: PhantomData<W>,
}

impl<'a, W, C, D> Terms<'a, W, C, D> {
    pub(super) fn new(task: &'a Nn<'a>, c: C, decode: D) -> Self {
        Self { task, c, decode, wide: PhantomData }
    }
}

/// Vectors of one output row per tile.
const VECTORS: usize = 4;

/// # Safety
/// The features of `W` and `D` are there. For speed it must be inlined into a function
/// that enables them.
///
/// # Panics
/// When the operands are shorter than the task says.
#[inline(always)]
pub(super) unsafe fn nn<W, C, D>(of: &Terms<'_, W, C, D>, out: &mut [f32])
where
    W: Wide,
    C: WeightRows,
    D: Decode<W, Row = C::Row>,
{
    let Nn { p, p_stride, m, n, width, first, d, out_stride, .. } = *of.task;
    if m == 0 || n == 0 || d == 0 {
        return;
    }
    assert!(d <= width && of.c.len() >= first + n, "every row of the right side");
    assert!(p.len() >= (m - 1) * p_stride + n, "a factor for every term");
    assert!(out.len() >= (m - 1) * out_stride + d, "every output row");
    let block = VECTORS * W::STEP;
    for column in (0..d).step_by(block) {
        for row in (0..m).step_by(W::ROWS) {
            // SAFETY: rows and columns lie inside the operands by the assertions above; the
            // features are the caller's promise.
            unsafe {
                let out = out.as_mut_ptr().add(row * out_stride + column);
                match (W::ROWS.min(m - row), d - column >= block) {
                    (1, true) => tile::<W, C, D, 1, true>(of, row, column, out),
                    (2, true) => tile::<W, C, D, 2, true>(of, row, column, out),
                    (3, true) => tile::<W, C, D, 3, true>(of, row, column, out),
                    (4, true) => tile::<W, C, D, 4, true>(of, row, column, out),
                    (5, true) => tile::<W, C, D, 5, true>(of, row, column, out),
                    (_, true) => tile::<W, C, D, 6, true>(of, row, column, out),
                    (rows, false) => {
                        for i in 0..rows {
                            tile::<W, C, D, 1, false>(of, row + i, column, out.add(i * out_stride));
                        }
                    }
                }
            }
        }
    }
}

/// Multiplies `M` rows of `p` with [`VECTORS`] vectors of every row of `c`; the last vectors may be
/// partial unless `FULL`.
#[inline(always)]
unsafe fn tile<W, C, D, const M: usize, const FULL: bool>(
    of: &Terms<'_, W, C, D>,
    row: usize,
    column: usize,
    out: *mut f32,
) where
    W: Wide,
    C: WeightRows,
    D: Decode<W, Row = C::Row>,
{
    let task = of.task;
    let mut width = [W::STEP; VECTORS];
    if !FULL {
        for (v, width) in width.iter_mut().enumerate() {
            *width = (task.d - column).saturating_sub(v * W::STEP).min(W::STEP);
        }
    }
    // SAFETY: `nn` has checked that rows and columns lie inside the operands; a vector of no
    // numbers touches no memory.
    unsafe {
        let p = task.p.as_ptr().add(row * task.p_stride);
        let mut sums = [[W::zero(); VECTORS]; M];
        for i in 0..M {
            for v in 0..VECTORS {
                let out = out.wrapping_add(i * task.out_stride + v * W::STEP);
                sums[i][v] = if width[v] == W::STEP { W::x(out) } else { W::x_part(out, width[v]) };
            }
        }
        for j in 0..task.n {
            let (c, mut terms) = (of.c.row(task.first + j), [W::zero(); VECTORS]);
            if FULL {
                let [a, b] = of.decode.pair(c, column);
                let [c, d] = of.decode.pair(c, column + 2 * W::STEP);
                terms = [a, b, c, d];
            } else {
                for v in 0..VECTORS {
                    let column = column + v * W::STEP;
                    if width[v] == W::STEP {
                        terms[v] = of.decode.step(c, column);
                    } else if width[v] > 0 {
                        terms[v] = of.decode.part(c, column, width[v]);
                    }
                }
            }
            for i in 0..M {
                let p = W::splat(*p.add(i * task.p_stride + j));
                for v in 0..VECTORS {
                    sums[i][v] = W::mul_add(p, terms[v], sums[i][v]);
                }
            }
        }
        for i in 0..M {
            for v in 0..VECTORS {
                W::store(out.wrapping_add(i * task.out_stride + v * W::STEP), width[v], sums[i][v]);
            }
        }
    }
}
