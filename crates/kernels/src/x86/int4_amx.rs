//! Fixed-point products of many rows with int4 weights, AMX: activations are split into low and
//! high bytes, tiles add up the integers of a group, and groups are added as
//! [`super::int4_avx512`] does, so that all bits are the same.

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx512::first_of_16;
use super::fixed::BLOCK_GROUPS;
use super::int4_avx512::transpose_quarters;
use super::tiles::{ROW_BYTES, TILE, Tiles, tile_dot, tile_load, tile_store, tile_zero};
use crate::dtype::DType;
use crate::fixed::{FIXED_BLOCK, FixedBlock, FixedRow, FixedRows};
use crate::mat::Mat;
use crate::packing::{PACKED_GROUP, ScaleParts};
use crate::product::Nt;
use crate::scratch;

/// The least rows for which unpacking weights into tiles pays.
pub(super) const MIN_ROWS: usize = 16;

/// The least groups of a row: scales are read in pairs.
const MIN_GROUPS: usize = 2;

/// Columns that are multiplied together: two tiles.
const COLUMNS: usize = 2 * TILE;

/// Bytes of a block of activations, and of a group of them: 32 low bytes, then 32 high bytes.
const BLOCK_BYTES: usize = 2 * FIXED_BLOCK;
const GROUP_BYTES: usize = 2 * PACKED_GROUP;

/// Numbers of 32 bits in a tile of sums, and in one of weights, which has half as many rows.
const SUMS: usize = TILE * TILE;
const WEIGHTS: usize = SUMS / 2;

/// Sums of an output element.
const PARTS: usize = BLOCK_GROUPS;

/// Splits rows in the order of [`super::fixed_avx512::INT4_ORDER`] into bytes in the order of the
/// weights.
///
/// # Safety
/// The features are there.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn split(x: &mut FixedRows) {
    x.split_blocks(|block| {
        let mut bytes = FixedBlock::ZERO;
        // SAFETY: a block is four vectors of 32 words, and as many bytes.
        unsafe {
            let from = block.as_ptr();
            let words = |v: usize| _mm512_load_si512(from.add(32 * v).cast());
            let [even, even_high, odd, odd_high] = [words(0), words(1), words(2), words(3)];
            let low = _mm512_set1_epi16(0xff);
            let low_bytes = |a, b| _mm512_or_si512(_mm512_and_si512(a, low), _mm512_slli_epi16::<8>(b));
            let high_bytes = |a, b| _mm512_or_si512(_mm512_srli_epi16::<8>(a), _mm512_andnot_si512(low, b));
            let groups = transpose_quarters([
                low_bytes(even, odd),
                low_bytes(even_high, odd_high),
                high_bytes(even, odd),
                high_bytes(even_high, odd_high),
            ]);
            for (group, v) in groups.into_iter().enumerate() {
                _mm512_store_si512(bytes.as_mut_ptr().cast::<u8>().add(group * GROUP_BYTES).cast(), v);
            }
        }
        bytes
    });
}

/// Whether [`nt`] computes this product.
pub(super) fn takes(task: &Nt<'_>, x: &FixedRows, w: &Mat) -> bool {
    w.dtype() == DType::Int4 && task.m >= MIN_ROWS && task.k >= MIN_GROUPS * PACKED_GROUP && x.are_split()
}

/// Computes the columns `columns` of a product that it [`takes`].
///
/// # Safety
/// The features are there, tiles are available, and the rows were [`split`].
///
/// # Panics
/// When the operands are shorter than the task says.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
pub(super) unsafe fn nt(task: &Nt<'_>, x: &FixedRows, w: &Mat, columns: Range<usize>) {
    assert_eq!(x.width(), task.k.div_ceil(FIXED_BLOCK), "the left side has whole rows");
    assert!(takes(task, x, w), "many rows, at least two groups each");
    assert!(w.cols() == task.k && columns.end <= w.rows(), "the right side has every column asked for");
    let (groups, stride) = (task.k / PACKED_GROUP, x.width() * BLOCK_BYTES);
    let len = TILE + groups * COLUMNS * (PACKED_GROUP / 4 + 2) + 4 * SUMS + COLUMNS * TILE * PARTS + TILE * stride / 4;
    let mut memory = scratch::borrow(len);
    let start = memory.as_mut_ptr();
    let weights = start.wrapping_add(start.align_offset(ROW_BYTES));
    let scales = weights.wrapping_add(groups * 2 * WEIGHTS);
    let dots = scales.wrapping_add(groups * 2 * COLUMNS);
    let sums = dots.wrapping_add(4 * SUMS);
    let rows = sums.wrapping_add(COLUMNS * TILE * PARTS).cast::<u8>();
    let (shapes, halves) = ((16, 64), (16, 32));
    // SAFETY: the parts of the memory are as large as they are used; the rest is the caller's
    // promise.
    unsafe {
        let _tiles = Tiles::new([shapes, shapes, shapes, shapes, halves, halves, (8, 64), (8, 64)]);
        for first in columns.clone().step_by(COLUMNS) {
            let columns = first..columns.end.min(first + COLUMNS);
            let panel = Panel { weights, scales, dots, sums, groups };
            panel.unpack(w, columns.clone());
            for row in (0..task.m).step_by(TILE) {
                let n = TILE.min(task.m - row);
                let (bytes, stride) = if task.rows.is_none() && n == TILE {
                    (x.bytes(row).as_ptr().cast(), stride)
                } else {
                    for i in 0..TILE {
                        let from = x.bytes(task.x_row(row + i.min(n - 1))).as_ptr().cast::<u8>();
                        rows.add(i * stride).copy_from_nonoverlapping(from, stride);
                    }
                    (rows.cast_const(), stride)
                };
                let mut x_rows = [x.row(task.x_row(row)); TILE];
                for (i, x_row) in x_rows.iter_mut().enumerate().take(n) {
                    *x_row = x.row(task.x_row(row + i));
                }
                panel.add_groups((bytes, stride), &x_rows);
                panel.write(task, row..row + n, columns.clone(), w.packed_scales().expect("the matrix is packed"));
            }
        }
    }
}

/// 32 columns of weights in tiles, and the memory for their sums.
struct Panel {
    /// `[groups, 2, 8, 16]`: four weights of each column.
    weights: *mut f32,
    /// `[groups, 2, 32]`: scales, then offsets.
    scales: *mut f32,
    /// `[2, 2, 16, 16]`: sums of low bytes, then of high bytes.
    dots: *mut f32,
    /// `[2, 16, 4, 16]`
    sums: *mut f32,
    groups: usize,
}

impl Panel {
    /// Unpacks columns of `w`, whose rows have at least two groups. The last column stands for
    /// those that are missing.
    #[inline(always)]
    unsafe fn unpack(&self, w: &Mat, columns: Range<usize>) {
        let parts = w.packed_scales().expect("the matrix is packed");
        let groups = self.groups;
        let row_bytes = groups * PACKED_GROUP / 2;
        // SAFETY: only groups of the columns are read.
        unsafe {
            let low = _mm512_set1_epi32(0x0f0f_0f0f);
            for tile in 0..2 {
                let last = _mm512_set1_epi32((columns.len() - 1) as i32);
                let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                let in_tile = _mm512_min_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32((tile * TILE) as i32)), last);
                let rows = _mm512_mullo_epi32(in_tile, _mm512_set1_epi32(row_bytes as i32));
                let columns_of_tile = _mm512_mullo_epi32(in_tile, _mm512_set1_epi32(groups as i32));
                let quants = w.bytes().as_ptr().add(columns.start * row_bytes);
                for group in 0..groups {
                    let to = self.weights.add((2 * group + tile) * WEIGHTS).cast::<i32>();
                    for q in 0..4 {
                        let from = quants.add(group * PACKED_GROUP / 2 + 4 * q);
                        let bytes = _mm512_i32gather_epi32::<1>(rows, from.cast());
                        _mm512_store_si512(to.add(q * TILE).cast(), _mm512_and_si512(bytes, low));
                        let high = _mm512_and_si512(_mm512_srli_epi32::<4>(bytes), low);
                        _mm512_store_si512(to.add((4 + q) * TILE).cast(), high);
                    }
                    let scales = self.scales.add(group * 2 * COLUMNS + tile * TILE);
                    // Two groups are read at once; `shift` chooses one.
                    let first = group.min(groups - 2);
                    let shift = _mm_cvtsi32_si128(16 * (group - first) as i32);
                    for (halves, to) in [(parts.scales, scales), (parts.offsets, scales.add(COLUMNS))] {
                        let halves = halves.as_ptr().add(columns.start * groups + first);
                        let pairs = _mm512_i32gather_epi32::<2>(columns_of_tile, halves.cast());
                        let halves = _mm512_cvtepi32_epi16(_mm512_srl_epi32(pairs, shift));
                        _mm512_store_ps(to, _mm512_cvtph_ps(halves));
                    }
                }
            }
        }
    }

    /// Sets the sums to those of all groups of 16 rows; `bytes` are the rows as they were split.
    #[inline(always)]
    unsafe fn add_groups(&self, (bytes, stride): (*const u8, usize), x: &[FixedRow<'_>; TILE]) {
        // SAFETY: rows and weights have the groups.
        unsafe {
            self.sums.write_bytes(0, COLUMNS * TILE * PARTS);
            for group in 0..self.groups {
                let (x_bytes, weights) = (bytes.add(group * GROUP_BYTES), self.weights.add(2 * group * WEIGHTS));
                tile_zero!(0);
                tile_zero!(1);
                tile_zero!(2);
                tile_zero!(3);
                tile_load!(4, x_bytes, stride);
                tile_load!(5, x_bytes.add(PACKED_GROUP), stride);
                tile_load!(6, weights, ROW_BYTES);
                tile_load!(7, weights.add(WEIGHTS), ROW_BYTES);
                tile_dot!("tdpbuud", 0, 4, 6);
                tile_dot!("tdpbsud", 1, 5, 6);
                tile_dot!("tdpbuud", 2, 4, 7);
                tile_dot!("tdpbsud", 3, 5, 7);
                tile_store!(0, self.dots, ROW_BYTES);
                tile_store!(1, self.dots.add(SUMS), ROW_BYTES);
                tile_store!(2, self.dots.add(2 * SUMS), ROW_BYTES);
                tile_store!(3, self.dots.add(3 * SUMS), ROW_BYTES);
                let scales = self.scales.add(group * 2 * COLUMNS);
                for tile in 0..2 {
                    let scale = _mm512_load_ps(scales.add(tile * TILE));
                    let offset = _mm512_load_ps(scales.add(COLUMNS + tile * TILE));
                    let dots = self.dots.add(2 * tile * SUMS);
                    for (i, x) in x.iter().enumerate() {
                        let low = _mm512_load_si512(dots.add(i * TILE).cast());
                        let high = _mm512_load_si512(dots.add(SUMS + i * TILE).cast());
                        let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(low, _mm512_slli_epi32::<8>(high)));
                        let x_scale = _mm512_set1_ps(*x.scales.as_ptr().add(group / BLOCK_GROUPS));
                        let x_sum = _mm512_set1_ps(*x.sums.as_ptr().add(group));
                        let sums = self.sums.add(((tile * TILE + i) * PARTS + group % PARTS) * TILE);
                        let sum = _mm512_fmadd_ps(_mm512_mul_ps(dot, scale), x_scale, _mm512_load_ps(sums));
                        _mm512_store_ps(sums, _mm512_fmadd_ps(x_sum, offset, sum));
                    }
                }
            }
        }
    }

    /// Writes the rows `rows` and the columns `columns` of the output.
    #[inline(always)]
    unsafe fn write(&self, task: &Nt<'_>, rows: Range<usize>, columns: Range<usize>, parts: ScaleParts<'_>) {
        for (tile, first) in columns.clone().step_by(TILE).enumerate() {
            let n = TILE.min(columns.end - first);
            // SAFETY: only as many numbers are read and written as there are columns.
            unsafe {
                let used = first_of_16(n);
                let factors = _mm512_maskz_loadu_ps(used, parts.factors[first..].as_ptr().cast());
                for (i, row) in rows.clone().enumerate() {
                    let sums = self.sums.add((tile * TILE + i) * PARTS * TILE);
                    let sum = |part: usize| _mm512_load_ps(sums.add(part * TILE));
                    let (even, odd) = (_mm512_add_ps(sum(0), sum(2)), _mm512_add_ps(sum(1), sum(3)));
                    let out = task.out.piece(task.at(row, first), n).as_mut_ptr();
                    _mm512_mask_storeu_ps(out, used, _mm512_mul_ps(_mm512_add_ps(even, odd), factors));
                }
            }
        }
    }
}
