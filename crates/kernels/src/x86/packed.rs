//! Products with packed weights for any instruction set: the rows of a packed matrix, with their
//! scales in f32 beside them.
//!
//! Scales are converted for some rows at a time, shortly before these are multiplied, into memory
//! of the thread.

use std::ops::Range;

use super::lanes::{Decode, Lanes, Row, WeightRows};
use super::nn::{self, Terms, Wide};
use super::nt::{self, Operands};
use crate::dtype::DType;
use crate::mat::Mat;
use crate::packing::{MAX_PACKED_COLS, PACKED_GROUP, RowScales};
use crate::product::{Nn, Nt};
use crate::scratch::{self, ScratchBuffer};

/// Groups whose scales are converted together: 16 KiB, which stay in the L1 cache until they
/// are used.
const GROUPS: usize = 2048;

/// Least and most rows whose scales are converted together, multiples of four.
const ROWS: (usize, usize) = (8, 32);

/// Floats from the scales of a row to those of the next. A constant, so that the addresses of four
/// rows need one register; more than a multiple of 4 KiB, so that rows do not share cache sets.
const STRIDE: usize = 2 * MAX_PACKED_COLS / PACKED_GROUP + 32;

/// The decoders of packed weights for one kind of products.
pub(super) trait Unpack {
    type Lanes: Lanes;
    type Int4: Decode<Self::Lanes, Row = PackedRow> + Default;
    type Int8: Decode<Self::Lanes, Row = PackedRow> + Default;

    /// Writes the pairs of scale and offset of a row, times its factor. The output has room for 15
    /// pairs more.
    ///
    /// # Safety
    /// The features are there.
    unsafe fn convert(row: RowScales<'_>, out: &mut [f32]);
}

/// The product with the packed matrix `mat`.
///
/// # Safety
/// The features of `U` are there. For speed it must be inlined into a function that enables them.
#[inline(always)]
pub(super) unsafe fn product_nt<U: Unpack>(
    task: &Nt<'_>,
    x: &[<U::Lanes as Lanes>::X],
    mat: &Mat,
    columns: Range<usize>,
) {
    // SAFETY: the features are the caller's promise.
    unsafe {
        for columns in PackedRows::parts(mat, columns) {
            let w = PackedRows::new::<U>(mat, columns.clone());
            if mat.dtype() == DType::Int4 {
                nt::nt(&Operands::<U::Lanes, _, _> { task, x, w, decode: U::Int4::default() }, columns);
            } else {
                nt::nt(&Operands::<U::Lanes, _, _> { task, x, w, decode: U::Int8::default() }, columns);
            }
        }
    }
}

/// The weighted sum of rows of the packed matrix `mat`.
///
/// # Safety
/// As for [`product_nt`].
#[inline(always)]
pub(super) unsafe fn product_nn<U>(task: &Nn<'_>, mat: &Mat, out: &mut [f32])
where
    U: Unpack<Lanes: Wide>,
{
    // SAFETY: the features are the caller's promise.
    unsafe {
        for rows in PackedRows::parts(mat, task.first..task.first + task.n) {
            let (p, n, first) = (&task.p[rows.start - task.first..], rows.len(), rows.start);
            let task = Nn { p, n, first, ..*task };
            let c = PackedRows::new::<U>(mat, rows);
            if mat.dtype() == DType::Int4 {
                nn::nn(&Terms::<U::Lanes, _, _>::new(&task, c, U::Int4::default()), out);
            } else {
                nn::nn(&Terms::<U::Lanes, _, _>::new(&task, c, U::Int8::default()), out);
            }
        }
    }
}

/// Some rows of a packed matrix.
struct PackedRows<'a> {
    mat: &'a Mat,
    rows: Range<usize>,
    /// Rows of [`STRIDE`] floats, a multiple of four of them.
    scales: ScratchBuffer,
}

impl<'a> PackedRows<'a> {
    /// Splits `rows` of `mat` into parts whose scales fit into the L1 cache.
    fn parts(mat: &Mat, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let part = (GROUPS / (mat.cols() / PACKED_GROUP).max(1)).clamp(ROWS.0, ROWS.1) / 4 * 4;
        rows.clone().step_by(part).map(move |start| start..rows.end.min(start + part))
    }

    /// # Safety
    /// The features of `U` are there.
    #[inline(always)]
    unsafe fn new<U: Unpack>(mat: &'a Mat, rows: Range<usize>) -> Self {
        let mut scales = scratch::borrow(rows.len().next_multiple_of(4) * STRIDE);
        for (row, scales) in rows.clone().zip(scales.chunks_mut(STRIDE)) {
            let (_, packed) = mat.packed_row(row).expect("the matrix is packed");
            // SAFETY: the features are the caller's promise.
            unsafe { U::convert(packed, scales) };
        }
        Self { mat, rows, scales }
    }
}

impl WeightRows for PackedRows<'_> {
    type Row = PackedRow;
    const EIGHT: bool = false;

    fn len(&self) -> usize {
        self.rows.end
    }

    #[inline(always)]
    fn row_bytes(&self) -> usize {
        self.mat.dtype().row_bytes(self.mat.cols())
    }

    #[inline(always)]
    unsafe fn row(&self, n: usize) -> PackedRow {
        debug_assert!(self.rows.contains(&n), "the row has scales");
        // SAFETY: the row is one of this part by the caller's promise, so that it has quants and
        // scales.
        unsafe {
            let quants = self.mat.bytes().as_ptr().add(n * self.row_bytes());
            PackedRow { quants, scales: self.scales.as_ptr().add((n - self.rows.start) * STRIDE) }
        }
    }

    #[inline(always)]
    unsafe fn four(&self, first: usize, end: usize) -> [PackedRow; 4] {
        // SAFETY: the quants are those of rows less than `end`; there are scales, of any numbers,
        // for a multiple of four rows, and `first` is such a multiple after the first row.
        unsafe {
            let (quants, bytes) = (self.mat.bytes().as_ptr(), self.row_bytes());
            let scales = self.scales.as_ptr().add((first - self.rows.start) * STRIDE);
            [0, 1, 2, 3].map(|j| PackedRow {
                quants: quants.add((first + j).min(end - 1) * bytes),
                scales: scales.add(j * STRIDE),
            })
        }
    }
}

/// The quants of a row, and its pairs of scale and offset.
#[derive(Clone, Copy)]
pub(super) struct PackedRow {
    pub(super) quants: *const u8,
    scales: *const f32,
}

impl PackedRow {
    /// Scale and offset of the group of column `k`.
    ///
    /// # Safety
    /// The row has that column.
    #[inline(always)]
    pub(super) unsafe fn scale_and_offset(self, k: usize) -> (f32, f32) {
        // SAFETY: the row has a pair for every group.
        unsafe {
            let pair = self.scales.add(k / PACKED_GROUP * 2);
            (*pair, *pair.add(1))
        }
    }
}

impl Row for PackedRow {
    #[inline(always)]
    fn numbers(self) -> *const u8 {
        self.quants
    }
}
