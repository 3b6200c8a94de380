//! Tiling of `out[i, n] = x[i] . w[n]` for any instruction set.
//!
//! Every output element has one accumulator vector, which adds the steps of the sum in ascending
//! order and is reduced by [`Lanes::totals`] at the end. Tiles only decide which accumulators are
//! in registers at the same time, so the bits of an element do not depend on its tile, on the
//! number of rows, or on the columns computed beside it.

use std::ops::Range;

use super::lanes::{Decode, Lanes, Row, WeightRows};
use crate::product::Nt;
use crate::scratch;

/// Columns decoded at once, in groups of four, and their memory, half of a usual L2 cache.
const COLUMNS: usize = 32;
const PANEL_BYTES: usize = 512 * 1024;

/// Steps of the sum between which a tile's operands stay in the L1 cache.
const CHUNK: usize = 48;

/// The operands of a product: the rows of the left side, from the first on, and of the right side.
pub(super) struct Operands<'a, L: Lanes, W, D> {
    pub(super) task: &'a Nt<'a>,
    pub(super) x: &'a [L::X],
    pub(super) w: W,
    pub(super) decode: D,
}

/// Computes the columns `columns`.
///
/// # Safety
/// The features of `L` and `D` are there. For speed it must be inlined into a function
/// that enables them.
///
/// # Panics
/// When the operands are shorter than the task says.
#[inline(always)]
pub(super) unsafe fn nt<L, W, D>(of: &Operands<'_, L, W, D>, columns: Range<usize>)
where
    L: Lanes,
    W: WeightRows,
    D: Decode<L, Row = W::Row>,
{
    let Nt { m, k, rows, .. } = *of.task;
    let last = rows.map_or(m, |rows| rows[..m].iter().max().map_or(0, |row| *row as usize + 1));
    assert!(of.x.len() >= last * k, "the left side has every row asked for");
    assert!(of.w.len() >= columns.end, "the right side has every column asked for");
    // SAFETY: the rows and columns lie inside the operands by the assertions above; the features
    // are the caller's promise.
    unsafe {
        match m {
            1 if W::EIGHT => few_rows::<L, W, D, 1, 2>(of, 0, columns),
            1 => few_rows::<L, W, D, 1, 1>(of, 0, columns),
            _ if m <= 2 * L::ROWS => {
                for start in columns.clone().step_by(4) {
                    let columns = start..columns.end.min(start + 4);
                    for row in (0..m).step_by(L::ROWS) {
                        match L::ROWS.min(m - row) {
                            1 => few_rows::<L, W, D, 1, 1>(of, row, columns.clone()),
                            2 => few_rows::<L, W, D, 2, 1>(of, row, columns.clone()),
                            3 => few_rows::<L, W, D, 3, 1>(of, row, columns.clone()),
                            4 => few_rows::<L, W, D, 4, 1>(of, row, columns.clone()),
                            5 => few_rows::<L, W, D, 5, 1>(of, row, columns.clone()),
                            _ => few_rows::<L, W, D, 6, 1>(of, row, columns.clone()),
                        }
                    }
                }
            }
            _ => many_rows(of, columns),
        }
    }
}

/// Multiplies rows `row..row + M` of `x` with `4 * G` columns at a time, decoding weights as they
/// are used, so that memory access overlaps with products.
#[inline(always)]
unsafe fn few_rows<L, W, D, const M: usize, const G: usize>(
    of: &Operands<'_, L, W, D>,
    row: usize,
    columns: Range<usize>,
) where
    L: Lanes,
    W: WeightRows,
    D: Decode<L, Row = W::Row>,
{
    let k = of.task.k;
    let pairs = k - k % (2 * L::STEP);
    // SAFETY: `nt` has checked that rows and columns lie inside the operands; columns beyond the
    // end repeat the last.
    unsafe {
        let mut x = [of.x.as_ptr(); M];
        for (i, x) in x.iter_mut().enumerate() {
            *x = x.add(of.task.x_row(row + i) * k);
        }
        for start in columns.clone().step_by(4 * G) {
            let w: [_; G] = std::array::from_fn(|g| of.w.four(start + 4 * g, columns.end));
            // Rows may be too short for the hardware prefetcher: the next ones are prefetched here.
            let ahead = 4 * G * of.w.row_bytes();
            let mut sums = [[[L::zero(); 4]; M]; G];
            for k in (0..pairs).step_by(2 * L::STEP) {
                for (w, sums) in w.iter().zip(&mut sums) {
                    for (j, w) in w.iter().enumerate() {
                        if row == 0 {
                            L::prefetch(w.numbers().wrapping_add(ahead + k * D::BITS / 8));
                        }
                        let [first, second] = of.decode.pair(*w, k);
                        for (x, sums) in x.iter().zip(&mut *sums) {
                            sums[j] = L::mul_add(L::x(x.add(k)), first, sums[j]);
                            sums[j] = L::mul_add(L::x(x.add(k + L::STEP)), second, sums[j]);
                        }
                    }
                }
            }
            for k in (pairs..k).step_by(L::STEP) {
                let n = L::STEP.min(of.task.k - k);
                for (w, sums) in w.iter().zip(&mut sums) {
                    for (j, w) in w.iter().enumerate() {
                        let w = if n < L::STEP { of.decode.part(*w, k, n) } else { of.decode.step(*w, k) };
                        for (x, sums) in x.iter().zip(&mut *sums) {
                            let x = if n < L::STEP { L::x_part(x.add(k), n) } else { L::x(x.add(k)) };
                            sums[j] = L::mul_add(x, w, sums[j]);
                        }
                    }
                }
            }
            for (g, sums) in sums.iter().enumerate() {
                write::<L, M>(of.task, row, sums, start + 4 * g, columns.end);
            }
        }
    }
}

/// Decodes a block of columns once and multiplies it with all rows of `x`.
#[inline(always)]
unsafe fn many_rows<L, W, D>(of: &Operands<'_, L, W, D>, columns: Range<usize>)
where
    L: Lanes,
    W: WeightRows,
    D: Decode<L, Row = W::Row>,
{
    let Nt { m, k, .. } = *of.task;
    let (steps, rest) = (k / L::STEP, k % L::STEP);
    let group_vectors = 4 * k.div_ceil(L::STEP);
    let vector = size_of::<L::V>();
    let block = (PANEL_BYTES / (group_vectors * vector).max(1)).clamp(1, COLUMNS / 4) * 4;
    // One extra vector, so that the panel can start at a multiple of the vector size.
    let mut panel = scratch::borrow((block / 4 * group_vectors + 1) * vector / 4);
    let panel = panel.as_mut_ptr().cast::<u8>();
    // SAFETY: `nt` has checked that rows and columns lie inside the operands; columns beyond
    // the end repeat the last. The panel holds `block / 4` groups of `group_vectors` vectors
    // after its alignment.
    unsafe {
        let panel = panel.add(panel.align_offset(vector)).cast::<L::V>();
        for start in columns.clone().step_by(block) {
            let columns = start..columns.end.min(start + block);
            for group in 0..columns.len().div_ceil(4) {
                let w = of.w.four(start + 4 * group, columns.end);
                let to = panel.add(group * group_vectors);
                for (j, w) in w.iter().enumerate() {
                    for step in (0..steps - steps % 2).step_by(2) {
                        let [first, second] = of.decode.pair(*w, step * L::STEP);
                        to.add(4 * step + j).write(first);
                        to.add(4 * step + 4 + j).write(second);
                    }
                    if steps % 2 == 1 {
                        to.add(4 * (steps - 1) + j).write(of.decode.step(*w, (steps - 1) * L::STEP));
                    }
                    if rest > 0 {
                        to.add(4 * steps + j).write(of.decode.part(*w, steps * L::STEP, rest));
                    }
                }
            }
            for row in (0..m).step_by(L::ROWS) {
                match L::ROWS.min(m - row) {
                    1 => row_band::<L, W, D, 1>(of, row, panel, columns.clone()),
                    2 => row_band::<L, W, D, 2>(of, row, panel, columns.clone()),
                    3 => row_band::<L, W, D, 3>(of, row, panel, columns.clone()),
                    4 => row_band::<L, W, D, 4>(of, row, panel, columns.clone()),
                    5 => row_band::<L, W, D, 5>(of, row, panel, columns.clone()),
                    _ => row_band::<L, W, D, 6>(of, row, panel, columns.clone()),
                }
            }
        }
    }
}

/// Multiplies rows `row..row + M` of `x` with the decoded columns, a chunk of the sum at a time.
#[inline(always)]
unsafe fn row_band<L: Lanes, W, D, const M: usize>(
    of: &Operands<'_, L, W, D>,
    row: usize,
    panel: *const L::V,
    columns: Range<usize>,
) {
    let k = of.task.k;
    let (steps, rest) = (k / L::STEP, k % L::STEP);
    let group_vectors = 4 * k.div_ceil(L::STEP);
    let groups = columns.len().div_ceil(4);
    // SAFETY: as for `many_rows`, which calls this for rows of the task.
    unsafe {
        let mut x = [of.x.as_ptr(); M];
        for (i, x) in x.iter_mut().enumerate() {
            *x = x.add(of.task.x_row(row + i) * k);
        }
        let mut sums = [[[L::zero(); 4]; M]; COLUMNS / 4];
        for first in (0..steps).step_by(CHUNK) {
            let chunk = first..steps.min(first + CHUNK);
            for (group, sums) in sums.iter_mut().enumerate().take(groups) {
                tile::<L, M>(&x, panel.add(group * group_vectors), chunk.clone(), sums);
            }
        }
        for (group, sums) in sums.iter_mut().enumerate().take(groups) {
            if rest > 0 {
                let w = panel.add(group * group_vectors + 4 * steps);
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = L::x_part(x[i].add(steps * L::STEP), rest);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = L::mul_add(x, *w.add(j), *sum);
                    }
                }
            }
            write::<L, M>(of.task, row, sums, columns.start + 4 * group, columns.end);
        }
    }
}

/// The innermost loop: `M x 4` accumulators in registers.
#[inline(always)]
unsafe fn tile<L: Lanes, const M: usize>(
    x: &[*const L::X; M],
    panel: *const L::V,
    steps: Range<usize>,
    sums: &mut [[L::Sum; 4]; M],
) {
    // SAFETY: the caller's rows and panel hold `steps.end` whole steps.
    unsafe {
        let mut local = *sums;
        for step in steps {
            let w = panel.add(4 * step);
            let w = [*w, *w.add(1), *w.add(2), *w.add(3)];
            for i in 0..M {
                let x = L::x(x[i].add(step * L::STEP));
                for j in 0..4 {
                    local[i][j] = L::mul_add(x, w[j], local[i][j]);
                }
            }
        }
        *sums = local;
    }
}

/// Adds up the accumulators of rows `row..row + M` and columns from `first` on, and stores
/// those below `end`.
#[inline(always)]
unsafe fn write<L: Lanes, const M: usize>(
    task: &Nt<'_>,
    row: usize,
    sums: &[[L::Sum; 4]; M],
    first: usize,
    end: usize,
) {
    if first >= end {
        return;
    }
    let n = 4.min(end - first);
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: the features are the caller's promise; the items of a region compute disjoint
        // columns.
        unsafe {
            let totals = L::totals(*sums);
            task.out.piece(task.at(row + i, first), n).copy_from_slice(&totals[..n]);
        }
    }
}
