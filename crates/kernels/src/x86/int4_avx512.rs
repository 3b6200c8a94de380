//! Fixed-point products with int4 weights, AVX-512: the integer sums of whole groups.
//!
//! Every output element has four sums. Group `g` adds to sum `g % 4`: its integer product times
//! both scales, then its offset times the sum of its activations. The element is
//! `((s0 + s2) + (s1 + s3)) * factor`. [`super::int4_amx`] computes the same bits.

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx512::first_of_16;
use super::fixed::{AHEAD, BLOCK_GROUPS, CHUNK, FixedLanes, L1_BYTES, Quants};
use super::fixed_avx512::{Fixed, Int4};
use crate::fixed::{FIXED_BLOCK, FixedBlock, FixedRow, FixedRows};
use crate::mat::Mat;
use crate::packing::{PACKED_GROUP, ScaleParts};
use crate::product::Nt;

/// Columns of a tile.
const COLUMNS: usize = 4;

/// The most rows of a tile.
const ROWS: usize = 4;

/// Bytes of a group.
const GROUP_BYTES: usize = PACKED_GROUP / 2;

/// Computes the columns `columns`.
///
/// # Safety
/// The features are there. For speed it must be inlined into a function that enables them.
///
/// # Panics
/// When the operands are shorter than the task says.
#[inline(always)]
pub(super) unsafe fn nt(task: &Nt<'_>, x: &FixedRows, w: &Mat, columns: Range<usize>) {
    assert_eq!(x.width(), task.k.div_ceil(BLOCK_GROUPS * PACKED_GROUP), "the left side has whole rows");
    assert!(w.cols() == task.k && columns.end <= w.rows(), "the right side has every column asked for");
    let scales = w.packed_scales().expect("the matrix is packed");
    let w = Int4Matrix { quants: w.bytes().as_ptr(), scales, groups: task.k / PACKED_GROUP };
    // Rows that stay in the L1 cache while all columns are multiplied with them.
    let block = (L1_BYTES / (2 * task.k).max(1) / ROWS).max(1) * ROWS;
    for first in (0..task.m).step_by(block) {
        for start in columns.clone().step_by(COLUMNS) {
            let end = columns.end.min(start + COLUMNS);
            for row in (first..task.m.min(first + block)).step_by(ROWS) {
                // SAFETY: the columns lie inside the matrix by the assertion above; the features
                // are the caller's promise.
                unsafe {
                    match task.m - row {
                        1 => tile::<1>(task, x, w, row, start..end),
                        2 => tile::<2>(task, x, w, row, start..end),
                        3 => tile::<3>(task, x, w, row, start..end),
                        _ => tile::<ROWS>(task, x, w, row, start..end),
                    }
                }
            }
        }
    }
}

/// The parts of a matrix, looked up once for many tiles.
#[derive(Clone, Copy)]
struct Int4Matrix<'a> {
    quants: *const u8,
    scales: ScaleParts<'a>,
    /// Groups of a row.
    groups: usize,
}

/// Multiplies rows `row..row + M` of the left side with up to four columns.
#[inline(always)]
unsafe fn tile<const M: usize>(task: &Nt<'_>, x: &FixedRows, w: Int4Matrix<'_>, row: usize, columns: Range<usize>) {
    let mut x_rows: [FixedRow<'_>; M] = [x.row(task.x_row(row)); M];
    for (i, x_row) in x_rows.iter_mut().enumerate().skip(1) {
        *x_row = x.row(task.x_row(row + i));
    }
    let Int4Matrix { quants, scales: parts, groups } = w;
    let row_bytes = groups * GROUP_BYTES;
    let ahead = (COLUMNS * row_bytes).max(AHEAD);
    let column = |j: usize| (columns.start + j).min(columns.end - 1);
    let starts = [column(0), column(1), column(2), column(3)];
    // SAFETY: rows of activations are as long as those of weights, in whole blocks, and have sums
    // for whole chunks; rows of the matrix have `groups` groups, and no more of them are read.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); M];
        for first in (0..groups).step_by(CHUNK) {
            let n = CHUNK.min(groups - first);
            let scales = scales_of_columns(parts.scales.as_ptr(), starts, groups, first);
            let offsets = scales_of_columns(parts.offsets.as_ptr(), starts, groups, first);
            for block in 0..n.div_ceil(BLOCK_GROUPS) {
                let group = first + block * BLOCK_GROUPS;
                let whole = groups - group >= BLOCK_GROUPS;
                let mut dots = [[_mm512_setzero_si512(); COLUMNS]; M];
                for j in 0..COLUMNS {
                    let bytes = quants.add(starts[j] * row_bytes + group * GROUP_BYTES);
                    if row == 0 {
                        Fixed::prefetch(bytes.wrapping_add(ahead));
                    }
                    let words = if whole { Int4::step(bytes) } else { Int4::part(bytes, groups - group) };
                    for (v, words) in words.iter().enumerate() {
                        for i in 0..M {
                            let x = x_rows[i].blocks.as_ptr().add(group / BLOCK_GROUPS).cast::<i16>();
                            dots[i][j] = Fixed::dot(*words, Fixed::words(x.add(v * Fixed::WORDS)), dots[i][j]);
                        }
                    }
                }
                for i in 0..M {
                    let x = x_rows[i];
                    let scale = _mm512_set1_ps(*x.scales.as_ptr().add(group / BLOCK_GROUPS));
                    let products = _mm512_mul_ps(_mm512_cvtepi32_ps(group_sums(dots[i])), scales[block]);
                    sums[i] = _mm512_fmadd_ps(products, scale, sums[i]);
                    sums[i] = _mm512_fmadd_ps(Int4::scales(x.sums.as_ptr().add(group)), offsets[block], sums[i]);
                }
            }
        }
        let n = columns.len();
        for (i, sums) in sums.iter().enumerate() {
            let halves = _mm256_add_ps(_mm512_castps512_ps256(*sums), _mm512_extractf32x8_ps::<1>(*sums));
            let totals = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            let totals: [f32; COLUMNS] = std::mem::transmute(totals);
            let out = task.out.piece(task.at(row + i, columns.start), n);
            let factors = &parts.factors[columns.clone()];
            for (out, (total, factor)) in out.iter_mut().zip(totals.iter().zip(factors)) {
                *out = total * f32::from_le_bytes(*factor);
            }
        }
    }
}

/// Adds the four sums of each group in four vectors, one for each column; the result is lane
/// `4 * group + column`.
#[inline(always)]
unsafe fn group_sums([a, b, c, d]: [__m512i; COLUMNS]) -> __m512i {
    // SAFETY: needs nothing but the features.
    unsafe {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
    }
}

/// The scales of 16 groups from `first` on, of which the row has `groups`, in four columns: lane `4
/// * group + column` of a vector for each four groups.
#[inline(always)]
unsafe fn scales_of_columns(
    halves: *const [u8; 2],
    columns: [usize; COLUMNS],
    groups: usize,
    first: usize,
) -> [__m512; CHUNK / BLOCK_GROUPS] {
    // SAFETY: only the groups of the columns are read.
    unsafe {
        let mut wide = [_mm512_setzero_ps(); COLUMNS];
        for (wide, column) in wide.iter_mut().zip(columns) {
            let mask = first_of_16((groups - first).min(CHUNK));
            let halves = halves.add(column * groups + first).cast();
            *wide = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, halves));
        }
        let [a, b, c, d] = wide;
        let [ab, cd] = [_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)].map(|v| _mm512_castps_pd(v));
        let [ab_high, cd_high] = [_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)].map(|v| _mm512_castps_pd(v));
        // Vector `g` has group `4 * quarter + g` of the four columns in each quarter.
        transpose_quarters([
            _mm512_castpd_si512(_mm512_unpacklo_pd(ab, cd)),
            _mm512_castpd_si512(_mm512_unpackhi_pd(ab, cd)),
            _mm512_castpd_si512(_mm512_unpacklo_pd(ab_high, cd_high)),
            _mm512_castpd_si512(_mm512_unpackhi_pd(ab_high, cd_high)),
        ])
        .map(|v| _mm512_castsi512_ps(v))
    }
}

/// The values of a block in the order of [`super::fixed_avx512::INT4_ORDER`].
#[inline(always)]
pub(super) unsafe fn arrange(block: &[i16; FIXED_BLOCK]) -> FixedBlock {
    /// The weights of a group in the order of the vectors that they are unpacked to.
    const WEIGHTS: [u16; PACKED_GROUP] = {
        let mut weights = [0; PACKED_GROUP];
        let mut i = 0;
        while i < PACKED_GROUP {
            let (vector, word) = (i / 8, i % 8);
            weights[i] = (2 * word + vector / 2 + vector % 2 * 16) as u16;
            i += 1;
        }
        weights
    };
    let mut ordered = FixedBlock::ZERO;
    // SAFETY: a block is four vectors of 32 words.
    unsafe {
        let weights = _mm512_loadu_epi16(WEIGHTS.as_ptr().cast());
        let mut groups = [_mm512_setzero_si512(); BLOCK_GROUPS];
        for (group, v) in groups.iter_mut().enumerate() {
            *v = _mm512_permutexvar_epi16(weights, _mm512_loadu_epi16(block.as_ptr().add(group * PACKED_GROUP)));
        }
        for (i, v) in transpose_quarters(groups).into_iter().enumerate() {
            _mm512_store_si512(ordered.as_mut_ptr().add(i * PACKED_GROUP).cast(), v);
        }
    }
    ordered
}

/// Exchanges vectors and their quarters: quarter `i` of vector `j` becomes quarter `j` of vector
/// `i`.
#[inline(always)]
pub(super) unsafe fn transpose_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    // SAFETY: needs nothing but the features.
    unsafe {
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0x44>(c, d));
        let (ab_high, cd_high) = (_mm512_shuffle_i32x4::<0xee>(a, b), _mm512_shuffle_i32x4::<0xee>(c, d));
        [
            _mm512_shuffle_i32x4::<0x88>(ab, cd),
            _mm512_shuffle_i32x4::<0xdd>(ab, cd),
            _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
            _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
        ]
    }
}
