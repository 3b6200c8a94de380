//! Products of activations in fixed point with packed weights, for any instruction set.
//!
//! Every output element adds in ascending order, for 16 groups at a time: their offsets times the
//! sums of their activations, then step by step the integer products times both scales. Its bits do
//! not depend on the tile in which it is computed.

use std::ops::Range;

use crate::fixed::{FIXED_BLOCK, FixedRows};
use crate::mat::Mat;
use crate::packing::{PACKED_GROUP, ScaleParts};
use crate::product::Nt;

/// Groups whose scales are converted together.
pub(super) const CHUNK: usize = 16;

/// Least distance in bytes at which weights are prefetched: rows may be too short for the hardware
/// prefetcher.
pub(super) const AHEAD: usize = 8192;

/// Bytes of activations that are multiplied with all columns before the next ones: they stay in the
/// L1 cache, beside the weights.
pub(super) const L1_BYTES: usize = 24 << 10;

/// Groups of weights in a block of activations.
pub(super) const BLOCK_GROUPS: usize = FIXED_BLOCK / PACKED_GROUP;

/// Scales of one row for a chunk of groups.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct ChunkScales(pub(super) [f32; CHUNK]);

/// Vectors of integers and of f32. All methods need the features of their instruction set.
pub(super) trait FixedLanes {
    /// Words, or sums of 32 bits.
    type Integers: Copy;
    type Floats: Copy;
    /// Words of a vector.
    const WORDS: usize;
    /// Rows of a tile, at most 6: they share the unpacked weights. Accumulators for four columns
    /// that do not fit into registers lie in the L1 cache.
    const ROWS: usize;

    /// # Safety
    /// `x` points to a whole vector.
    unsafe fn words(x: *const i16) -> Self::Integers;
    /// # Safety
    /// The features are there.
    unsafe fn zero() -> (Self::Integers, Self::Floats);
    /// Adds the products of words, two neighbours to each sum.
    ///
    /// # Safety
    /// The features are there.
    unsafe fn dot(a: Self::Integers, b: Self::Integers, sum: Self::Integers) -> Self::Integers;
    /// `sum + dot * scale * x_scale`
    ///
    /// # Safety
    /// The features are there.
    unsafe fn add_scaled(
        sum: Self::Floats,
        dot: Self::Integers,
        scale: Self::Floats,
        x_scale: Self::Floats,
    ) -> Self::Floats;
    /// # Safety
    /// The features are there.
    unsafe fn splat(v: f32) -> Self::Floats;
    /// Converts `n` f16 numbers, at most 16; zeros follow them.
    ///
    /// # Safety
    /// `halves` points to these numbers.
    unsafe fn widen(halves: *const [u8; 2], n: usize, to: &mut ChunkScales);
    /// `sum + a * b`, lane by lane over a chunk.
    ///
    /// # Safety
    /// `b` points to 16 numbers.
    unsafe fn add_products(sum: Self::Floats, a: &ChunkScales, b: *const f32) -> Self::Floats;
    /// The four sums of four accumulators, each added up in the same order.
    ///
    /// # Safety
    /// The features are there.
    unsafe fn totals(sums: [Self::Floats; 4]) -> [f32; 4];
    /// Brings the line of `at` into the L2 cache.
    #[inline(always)]
    fn prefetch(at: *const u8) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, which may be given any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}

/// A format of quants, unpacked into `N` vectors of words a step, in the order of
/// [`crate::fixed::FixedOrder`].
pub(super) trait Quants<L: FixedLanes, const N: usize> {
    /// Bytes of a group.
    const GROUP_BYTES: usize;
    const OFFSETS: bool;
    /// Groups of a step.
    const GROUPS: usize = N * L::WORDS / PACKED_GROUP;

    /// # Safety
    /// `bytes` points to the groups of a step.
    unsafe fn step(bytes: *const u8) -> [L::Integers; N];
    /// The first `groups` of a step, then zeros.
    ///
    /// # Safety
    /// `bytes` points to these groups.
    unsafe fn part(bytes: *const u8, groups: usize) -> [L::Integers; N];
    /// The scale of each group of a step in the lanes of its products.
    ///
    /// # Safety
    /// `scales` points to the scales of a step.
    unsafe fn scales(scales: *const f32) -> L::Floats;
}

/// The parts of a packed matrix, looked up once for many tiles.
#[derive(Clone, Copy)]
struct PackedParts<'a> {
    quants: *const u8,
    scales: ScaleParts<'a>,
    /// Groups of a row.
    groups: usize,
}

/// Computes the columns `columns`.
///
/// # Safety
/// The features of `L` are there. For speed it must be inlined into a function that enables them.
///
/// # Panics
/// When the operands are shorter than the task says.
#[inline(always)]
pub(super) unsafe fn nt<L, Q, const N: usize>(task: &Nt<'_>, x: &FixedRows, w: &Mat, columns: Range<usize>)
where
    L: FixedLanes,
    Q: Quants<L, N>,
{
    assert_eq!(x.width(), task.k.div_ceil(FIXED_BLOCK), "the left side has whole rows");
    assert!(w.cols() == task.k && columns.end <= w.rows(), "the right side has every column asked for");
    let scales = w.packed_scales().expect("the matrix is packed");
    let w = PackedParts { quants: w.bytes().as_ptr(), scales, groups: task.k / PACKED_GROUP };
    // Rows that stay in the L1 cache while all columns are multiplied with them.
    let block = (L1_BYTES / (2 * task.k).max(1) / L::ROWS).max(1) * L::ROWS;
    for first in (0..task.m).step_by(block) {
        for start in columns.clone().step_by(4) {
            let end = columns.end.min(start + 4);
            for row in (first..task.m.min(first + block)).step_by(L::ROWS) {
                // SAFETY: the columns lie inside the matrix by the assertion above; the features
                // are the caller's promise.
                unsafe {
                    match L::ROWS.min(task.m - row) {
                        1 => tile::<L, Q, N, 1>(task, x, w, row, start..end),
                        2 => tile::<L, Q, N, 2>(task, x, w, row, start..end),
                        3 => tile::<L, Q, N, 3>(task, x, w, row, start..end),
                        4 => tile::<L, Q, N, 4>(task, x, w, row, start..end),
                        5 => tile::<L, Q, N, 5>(task, x, w, row, start..end),
                        _ => tile::<L, Q, N, 6>(task, x, w, row, start..end),
                    }
                }
            }
        }
    }
}

/// Multiplies rows `row..row + M` of the left side with up to four columns.
#[inline(always)]
unsafe fn tile<L, Q, const N: usize, const M: usize>(
    task: &Nt<'_>,
    x: &FixedRows,
    w: PackedParts<'_>,
    row: usize,
    columns: Range<usize>,
) where
    L: FixedLanes,
    Q: Quants<L, N>,
{
    // Loops fill arrays: the closures of `from_fn` are not inlined into functions that enable
    // features.
    let mut x_rows = [x.row(task.x_row(row)); M];
    for (i, x_row) in x_rows.iter_mut().enumerate().skip(1) {
        *x_row = x.row(task.x_row(row + i));
    }
    let x = x_rows;
    let column = |j: usize| (columns.start + j).min(columns.end - 1);
    let PackedParts { quants, scales: parts, groups } = w;
    let row_bytes = groups * Q::GROUP_BYTES;
    // SAFETY: rows of activations are as long as those of weights, in whole blocks, and have sums
    // for whole chunks; rows of the matrix have `groups` groups, and no more of them are read, of
    // rows that `nt` has checked.
    unsafe {
        let (scales, offsets) = (parts.scales.as_ptr(), parts.offsets.as_ptr());
        let ahead = (4 * row_bytes).max(AHEAD);
        let mut sums = [[L::zero().1; 4]; M];
        for first in (0..groups).step_by(CHUNK) {
            let chunk = first..groups.min(first + CHUNK);
            let mut wide = [ChunkScales([0.0; CHUNK]); 4];
            for j in 0..4 {
                let at = column(j) * groups + first;
                if Q::OFFSETS {
                    L::widen(offsets.add(at), chunk.len(), &mut wide[j]);
                    for i in 0..M {
                        sums[i][j] = L::add_products(sums[i][j], &wide[j], x[i].sums.as_ptr().add(first));
                    }
                }
                L::widen(scales.add(at), chunk.len(), &mut wide[j]);
            }
            for group in chunk.clone().step_by(Q::GROUPS) {
                let mut x_scales = [L::zero().1; M];
                for (x, x_scale) in x.iter().zip(&mut x_scales) {
                    *x_scale = L::splat(*x.scales.as_ptr().add(group / BLOCK_GROUPS));
                }
                for j in 0..4 {
                    let bytes = quants.add(column(j) * row_bytes + group * Q::GROUP_BYTES);
                    if row == 0 {
                        L::prefetch(bytes.wrapping_add(ahead));
                    }
                    let whole = chunk.end - group >= Q::GROUPS;
                    let words = if whole { Q::step(bytes) } else { Q::part(bytes, chunk.end - group) };
                    let scale = Q::scales(wide[j].0.as_ptr().add(group - first));
                    // One chain of sums for each row: the chains hide the latency of the products.
                    let mut dots = [L::zero().0; M];
                    for (v, words) in words.iter().enumerate() {
                        for i in 0..M {
                            let x = x[i].blocks.as_ptr().cast::<i16>().add(group * PACKED_GROUP);
                            dots[i] = L::dot(*words, L::words(x.add(v * L::WORDS)), dots[i]);
                        }
                    }
                    for i in 0..M {
                        sums[i][j] = L::add_scaled(sums[i][j], dots[i], scale, x_scales[i]);
                    }
                }
            }
        }
        let n = columns.len();
        for (i, sums) in sums.iter().enumerate() {
            let totals = L::totals(*sums);
            let out = task.out.piece(task.at(row + i, columns.start), n);
            let factors = &parts.factors[columns.clone()];
            for (out, (total, factor)) in out.iter_mut().zip(totals.iter().zip(factors)) {
                *out = total * f32::from_le_bytes(*factor);
            }
        }
    }
}
