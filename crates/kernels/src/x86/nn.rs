//! How `out[i, :] += sum_j p[i, j] * c[j, :]` is cut into tiles, for any instruction set. Every output element takes its terms in
//! order of `j`, one fused multiply-add each, whatever the tile.
#![expect(clippy::needless_range_loop, reason = "a register is an index in several arrays at once")]

use crate::product::Nn;

/// Vectors of f32 of one instruction set. All methods need its features.
pub(super) trait Wide {
    type V: Copy;
    /// Numbers of a vector.
    const WIDTH: usize;
    /// Rows of `p` whose accumulators for [`VECTORS`] vectors fit into registers; at most 6.
    const ROWS: usize;

    /// The first `n <= WIDTH` numbers at `p`, then zeros.
    ///
    /// # Safety
    /// `p` points to `n` numbers.
    unsafe fn load(p: *const f32, n: usize) -> Self::V;
    /// # Safety
    /// `p` points to `n <= WIDTH` numbers.
    unsafe fn store(p: *mut f32, n: usize, v: Self::V);
    /// # Safety
    /// The features are there.
    unsafe fn splat(v: f32) -> Self::V;
    /// # Safety
    /// The features are there.
    unsafe fn mul_add(a: Self::V, b: Self::V, sum: Self::V) -> Self::V;
}

/// Vectors of one output row a tile holds.
const VECTORS: usize = 4;

/// # Safety
/// The features of `W` are there. For speed it must be inlined into a function that enables them.
///
/// # Panics
/// When the operands are shorter than the task says.
#[inline(always)]
pub(super) unsafe fn nn<W: Wide>(task: &Nn<'_>, out: &mut [f32]) {
    let Nn { p, p_stride, m, n, c, c_stride, d, out_stride } = *task;
    if m == 0 || n == 0 || d == 0 {
        return;
    }
    assert!(p.len() >= (m - 1) * p_stride + n, "a factor for every term");
    assert!(c.len() >= (n - 1) * c_stride + d, "every row of the right side");
    assert!(out.len() >= (m - 1) * out_stride + d, "every output row");
    // SAFETY: rows and columns lie inside the operands by the assertions above; the features are the caller's promise.
    unsafe {
        let block = VECTORS * W::WIDTH;
        for first in (0..d).step_by(block) {
            for row in (0..m).step_by(W::ROWS) {
                let out = out.as_mut_ptr().add(row * out_stride + first);
                match (W::ROWS.min(m - row), d - first >= block) {
                    (1, true) => tile::<W, 1, true>(task, row, first, out),
                    (2, true) => tile::<W, 2, true>(task, row, first, out),
                    (3, true) => tile::<W, 3, true>(task, row, first, out),
                    (4, true) => tile::<W, 4, true>(task, row, first, out),
                    (5, true) => tile::<W, 5, true>(task, row, first, out),
                    (_, true) => tile::<W, 6, true>(task, row, first, out),
                    (rows, false) => {
                        for i in 0..rows {
                            tile::<W, 1, false>(task, row + i, first, out.add(i * out_stride));
                        }
                    }
                }
            }
        }
    }
}

/// `M` rows of `p` against [`VECTORS`] vectors of every row of `c`; the last vectors may be cut off unless `FULL`.
#[inline(always)]
unsafe fn tile<W: Wide, const M: usize, const FULL: bool>(task: &Nn<'_>, row: usize, first: usize, out: *mut f32) {
    let mut width = [W::WIDTH; VECTORS];
    if !FULL {
        for (v, width) in width.iter_mut().enumerate() {
            *width = (task.d - first).saturating_sub(v * W::WIDTH).min(W::WIDTH);
        }
    }
    // SAFETY: `nn` has checked that rows and columns lie inside the operands; a vector of no numbers touches no memory.
    unsafe {
        let p = task.p.as_ptr().add(row * task.p_stride);
        let c = task.c.as_ptr().add(first);
        let mut sums = [[W::splat(0.0); VECTORS]; M];
        for i in 0..M {
            for v in 0..VECTORS {
                sums[i][v] = W::load(out.wrapping_add(i * task.out_stride + v * W::WIDTH), width[v]);
            }
        }
        for j in 0..task.n {
            let mut terms = [W::splat(0.0); VECTORS];
            for v in 0..VECTORS {
                terms[v] = W::load(c.wrapping_add(j * task.c_stride + v * W::WIDTH), width[v]);
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
                W::store(out.wrapping_add(i * task.out_stride + v * W::WIDTH), width[v], sums[i][v]);
            }
        }
    }
}
