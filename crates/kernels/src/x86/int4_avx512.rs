//! Fixed-point products with int4 weights, AVX-512: the integer sums of whole groups.
//!
//! Every output element has four sums. Group `g` adds to sum `g % 4`: its integer product times
//! both scales, then its offset times the sum of its activations. The element is
//! `((s0 + s2) + (s1 + s3)) * factor`. [`super::int4_amx`] computes the same bits.

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx512::first_of_16;
use super::fixed::{AHEAD, BLOCK_GROUPS, CHUNK, FixedLanes};
use super::fixed_avx512::Fixed;
use crate::fixed::{FIXED_BLOCK, FixedBlock, FixedRow, FixedRows};
use crate::mat::Mat;
use crate::packing::{PACKED_GROUP, ScaleParts};
use crate::product::Nt;

/// Columns of a tile.
const COLUMNS: usize = 4;

/// The most rows of a tile: they share the unpacked weights, and their sums lie in the L1 cache.
const ROWS: usize = 32;

/// Bytes of activations that are multiplied with all columns before the next ones. They are read
/// once for each tile, so most of them may lie in the L2 cache.
const L2_BYTES: usize = 64 << 10;

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
    let block = (L2_BYTES / (2 * task.k).max(1)).clamp(4, ROWS);
    for first in (0..task.m).step_by(block) {
        let rows = first..task.m.min(first + block);
        for start in columns.clone().step_by(COLUMNS) {
            let columns = start..columns.end.min(start + COLUMNS);
            // SAFETY: the columns lie inside the matrix by the assertion above; the features are
            // the caller's promise.
            unsafe {
                match rows.len() {
                    1 => tile::<1>(task, x, w, rows.clone(), columns),
                    2..=4 => tile::<4>(task, x, w, rows.clone(), columns),
                    _ => tile::<ROWS>(task, x, w, rows.clone(), columns),
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

/// Where a row of activations lies.
#[derive(Clone, Copy)]
struct RowParts {
    words: *const i16,
    scales: *const f32,
    sums: *const f32,
}

/// Multiplies `rows` of the left side, at least one and at most `M`, with up to four columns.
///
/// A function of its own: inlined beside the products of other formats, its vectors do not stay in
/// registers.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn tile<const M: usize>(
    task: &Nt<'_>,
    x: &FixedRows,
    w: Int4Matrix<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
) {
    let parts = |row: FixedRow<'_>| RowParts {
        words: row.blocks.as_ptr().cast(),
        scales: row.scales.as_ptr(),
        sums: row.sums.as_ptr(),
    };
    let n_rows = if M == 1 { 1 } else { rows.len().min(M) };
    let mut x_rows = [parts(x.row(task.x_row(rows.start))); M];
    for (i, x_row) in x_rows.iter_mut().enumerate().take(n_rows).skip(1) {
        *x_row = parts(x.row(task.x_row(rows.start + i)));
    }
    let Int4Matrix { quants, scales: matrix, groups } = w;
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
            if rows.start == 0 {
                for start in starts {
                    let ahead = start * groups + first + ahead / GROUP_BYTES;
                    Fixed::prefetch(matrix.scales.as_ptr().wrapping_add(ahead).cast());
                    Fixed::prefetch(matrix.offsets.as_ptr().wrapping_add(ahead).cast());
                }
            }
            let scales = scales_of_columns(matrix.scales.as_ptr(), starts, groups, first);
            let offsets = scales_of_columns(matrix.offsets.as_ptr(), starts, groups, first);
            for block in 0..n.div_ceil(BLOCK_GROUPS) {
                let group = first + block * BLOCK_GROUPS;
                let bytes = quants.add(group * GROUP_BYTES);
                if rows.start == 0 {
                    for start in starts {
                        Fixed::prefetch(bytes.wrapping_add(start * row_bytes + ahead));
                    }
                }
                let mask = first_of_16((groups - group).min(BLOCK_GROUPS) * GROUP_BYTES / 4);
                let [a, b, c, d] = starts.map(|start| bytes.add(start * row_bytes));
                let (a, b) = (unpack(load(a, mask)), unpack(load(b, mask)));
                let (c, d) = (unpack(load(c, mask)), unpack(load(d, mask)));
                let (scales, offsets) = (scales[block], offsets[block]);
                for (x, sum) in x_rows.iter().zip(&mut sums).take(n_rows) {
                    let words = x.words.add(group * PACKED_GROUP);
                    let x0 = Fixed::words(words);
                    let x1 = Fixed::words(words.add(Fixed::WORDS));
                    let x2 = Fixed::words(words.add(2 * Fixed::WORDS));
                    let x3 = Fixed::words(words.add(3 * Fixed::WORDS));
                    let zero = _mm512_setzero_si512();
                    // Four chains of sums, one for each column.
                    let mut dots = [
                        Fixed::dot(a[0], x0, zero),
                        Fixed::dot(b[0], x0, zero),
                        Fixed::dot(c[0], x0, zero),
                        Fixed::dot(d[0], x0, zero),
                    ];
                    for (v, x) in [(1, x1), (2, x2), (3, x3)] {
                        dots = [
                            Fixed::dot(a[v], x, dots[0]),
                            Fixed::dot(b[v], x, dots[1]),
                            Fixed::dot(c[v], x, dots[2]),
                            Fixed::dot(d[v], x, dots[3]),
                        ];
                    }
                    let scale = _mm512_set1_ps(*x.scales.add(group / BLOCK_GROUPS));
                    let products = _mm512_mul_ps(_mm512_cvtepi32_ps(group_sums(dots)), scales);
                    let with_products = _mm512_fmadd_ps(products, scale, *sum);
                    *sum = _mm512_fmadd_ps(sums_in_quarters(x.sums.add(group)), offsets, with_products);
                }
            }
        }
        let n = columns.len();
        let factors = &matrix.factors[columns.clone()];
        for (i, sums) in sums.iter().enumerate().take(n_rows) {
            let halves = _mm256_add_ps(_mm512_castps512_ps256(*sums), _mm512_extractf32x8_ps::<1>(*sums));
            let totals = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
            let totals: [f32; COLUMNS] = std::mem::transmute(totals);
            let out = task.out.piece(task.at(rows.start + i, columns.start), n);
            for (out, (total, factor)) in out.iter_mut().zip(totals.iter().zip(factors)) {
                *out = total * f32::from_le_bytes(*factor);
            }
        }
    }
}

/// The groups of a column that are in `mask`, four doublewords each; zeros follow them.
///
/// # Safety
/// `bytes` points to these groups.
#[inline(always)]
unsafe fn load(bytes: *const u8, mask: __mmask16) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_maskz_loadu_epi32(mask, bytes.cast()) }
}

/// Four bits of each word in four vectors, from the lowest on.
#[inline(always)]
unsafe fn unpack(bytes: __m512i) -> [__m512i; 4] {
    // SAFETY: needs nothing but the features.
    unsafe {
        let low = _mm512_set1_epi16(15);
        [
            _mm512_and_si512(bytes, low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low),
            _mm512_and_si512(_mm512_srli_epi16::<8>(bytes), low),
            _mm512_srli_epi16::<12>(bytes),
        ]
    }
}

/// The sums of four groups, each in all lanes of its quarter.
///
/// # Safety
/// `sums` points to four numbers.
#[inline(always)]
unsafe fn sums_in_quarters(sums: *const f32) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let quarter = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
        _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(sums)), quarter)
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
