//! Vectors of one instruction set, and decoders of weight rows into them, for tiled products.

/// Vectors of one instruction set and one format of products. All methods need the features of
/// their instruction set.
pub(super) trait Lanes {
    /// Number format of the left side.
    type X;
    /// [`Lanes::STEP`] numbers of one operand.
    type V: Copy;
    /// The accumulators of one output element.
    type Sum: Copy;
    const STEP: usize;
    /// Rows of `x` whose accumulators for four columns fit into registers; at most 6.
    const ROWS: usize;

    /// # Safety
    /// `x` points to [`Lanes::STEP`] numbers.
    unsafe fn x(x: *const Self::X) -> Self::V;
    /// The first `n < STEP` numbers, then zeros.
    ///
    /// # Safety
    /// `x` points to `n` numbers.
    unsafe fn x_part(x: *const Self::X, n: usize) -> Self::V;
    /// Brings the line of `at` into the L2 cache.
    #[inline(always)]
    fn prefetch(at: *const u8) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, which may be given any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
    /// # Safety
    /// The features are there.
    unsafe fn zero() -> Self::Sum;
    /// # Safety
    /// The features are there.
    unsafe fn mul_add(x: Self::V, w: Self::V, sum: Self::Sum) -> Self::Sum;
    /// The four sums of four accumulators, each added up in the same order.
    ///
    /// # Safety
    /// The features are there.
    unsafe fn totals(sums: [Self::Sum; 4]) -> [f32; 4];
}

/// The rows of a weight matrix.
pub(super) trait WeightRows {
    /// A row, as its decoder reads it.
    type Row: Row;
    /// Whether one row of `x` is multiplied with 8 rows at a time, else with 4: more hide more
    /// latency, if their addresses fit into registers.
    const EIGHT: bool;
    /// Number of rows.
    fn len(&self) -> usize;
    /// Bytes from the numbers of a row to those of the next.
    fn row_bytes(&self) -> usize;
    /// # Safety
    /// `n` is less than the number of rows.
    unsafe fn row(&self, n: usize) -> Self::Row;
    /// Four rows from `first` on; those from `end` on may have any numbers.
    ///
    /// # Safety
    /// `0 < end`, and `end` is at most the number of rows.
    #[inline(always)]
    unsafe fn four(&self, first: usize, end: usize) -> [Self::Row; 4] {
        // SAFETY: the rows are less than `end`.
        unsafe { [0, 1, 2, 3].map(|j| self.row((first + j).min(end - 1))) }
    }
}

/// A row of weights.
pub(super) trait Row: Copy {
    /// The address of the row's numbers.
    fn numbers(self) -> *const u8;
}

impl Row for *const u8 {
    #[inline(always)]
    fn numbers(self) -> *const u8 {
        self
    }
}

/// Rows of `row_bytes` bytes side by side.
#[derive(Clone, Copy)]
pub(super) struct PlainRows<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) row_bytes: usize,
}

impl WeightRows for PlainRows<'_> {
    type Row = *const u8;
    const EIGHT: bool = true;

    #[inline(always)]
    fn len(&self) -> usize {
        self.bytes.len().checked_div(self.row_bytes).unwrap_or(usize::MAX)
    }

    #[inline(always)]
    fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    #[inline(always)]
    unsafe fn row(&self, n: usize) -> *const u8 {
        // SAFETY: the row lies inside the bytes by the caller's promise.
        unsafe { self.bytes.as_ptr().add(n * self.row_bytes) }
    }
}

/// A decoder of a weight row into vectors.
pub(super) trait Decode<L: Lanes> {
    type Row: Row;
    /// Bits of one number.
    const BITS: usize;

    /// Numbers `k..k + STEP` of the row, `k` a multiple of `STEP`.
    ///
    /// # Safety
    /// The row has at least `k + STEP` numbers.
    unsafe fn step(&self, row: Self::Row, k: usize) -> L::V;
    /// Two steps at once, where that is cheaper; `k` is a multiple of `2 * STEP`.
    ///
    /// # Safety
    /// The row has at least `k + 2 * STEP` numbers.
    #[inline(always)]
    unsafe fn pair(&self, row: Self::Row, k: usize) -> [L::V; 2] {
        // SAFETY: both steps lie inside the row.
        unsafe { [self.step(row, k), self.step(row, k + L::STEP)] }
    }
    /// Numbers `k..k + n`, then zeros; `n < STEP`.
    ///
    /// # Safety
    /// The row has at least `k + n` numbers.
    unsafe fn part(&self, row: Self::Row, k: usize, n: usize) -> L::V;
}
