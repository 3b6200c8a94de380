//! The two matrix products of all kernels, in their plain versions (the specification). The names
//! follow BLAS: N is an operand as stored, T a transposed one.
//!
//! * [`Nt`]: `out[i, n] = x[i] . w[n]`, both operands contiguous along the sum (linear layers,
//!   attention and index scores).
//! * [`Nn`]: `out[i, :] += sum_j p[i, j] * c[j, :]` (absorbing queries, attention values).
//!
//! Each output element has one reduction order, independent of the tile in which it is computed,
//! which makes the numbers of a position independent of its batch. For `Nt`, element `k` of the sum
//! goes to lane `k % 16` (bf16 products: lane `k / 2 % 16`), and lanes are added as a tree at the
//! end. For `Nn`, terms are added in order of `j`.

use std::ops::Range;

use crate::dtype::{DType, bf16_value};
use crate::fixed::FixedRows;
use crate::mat::Mat;
use crate::pool::Disjoint;
use crate::scratch;

/// The left side of [`Nt`]: rows of `k` numbers. bf16 rows mean bf16 products with
/// f32 accumulation.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
    /// For packed weights.
    Fixed(&'a FixedRows),
}

/// The right side of [`Nt`].
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    Mat(&'a Mat),
    /// Rows of f32, for example widened cache rows.
    F32(&'a [f32]),
    /// Rows of bf16 as stored in the cache.
    Bf16(&'a [u8]),
}

impl Right<'_> {
    /// Row `n` in the precision of the products; `rounded`: the left side is bf16.
    pub(crate) fn row(&self, n: usize, rounded: bool, out: &mut [f32]) {
        let k = out.len();
        match self {
            Self::Mat(mat) if rounded => mat.row_rounded(n, out),
            Self::Mat(mat) => mat.row(n, out),
            Self::F32(rows) => out.copy_from_slice(&rows[n * k..][..k]),
            Self::Bf16(rows) => crate::dtype::widen(DType::Bf16, &rows[2 * n * k..][..2 * k], out),
        }
    }
}

/// `out[offset + i * stride + n - first] = x[rows[i]] . w[n]` for `i` in `0..m` and every requested
/// column `n`.
pub(crate) struct Nt<'a> {
    pub(crate) x: Left<'a>,
    /// Indices of the rows of `x`; `None`: the first `m` rows.
    pub(crate) rows: Option<&'a [u32]>,
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) w: Right<'a>,
    /// The row of `w` that column 0 of the output belongs to.
    pub(crate) first: usize,
    pub(crate) out: &'a Disjoint<f32>,
    pub(crate) offset: usize,
    pub(crate) stride: usize,
}

impl Nt<'_> {
    pub(crate) fn x_row(&self, i: usize) -> usize {
        self.rows.map_or(i, |rows| rows[i] as usize)
    }

    /// The index of `out[i, n]` in the output.
    pub(crate) fn at(&self, i: usize, n: usize) -> usize {
        self.offset + i * self.stride + n - self.first
    }
}

/// The plain version of [`Nt`] for the columns `columns`.
pub(crate) fn nt(task: &Nt<'_>, columns: Range<usize>) {
    let k = task.k;
    if let (Left::Fixed(x), Right::Mat(w)) = (task.x, task.w) {
        for n in columns {
            for i in 0..task.m {
                // SAFETY: the items of a region compute disjoint columns.
                unsafe { task.out.piece(task.at(i, n), 1)[0] = x.dot(task.x_row(i), w, n) };
            }
        }
        return;
    }
    scratch::with(k, |w| {
        for n in columns {
            task.w.row(n, matches!(task.x, Left::Bf16(_)), w);
            for i in 0..task.m {
                let row = task.x_row(i) * k;
                let sum = match task.x {
                    Left::F32(x) => dot(&x[row..][..k], w),
                    Left::Bf16(x) => dot_bf16(&x[row..][..k], w),
                    Left::Fixed(_) => unreachable!("cache rows are not packed"),
                };
                // SAFETY: the items of a region compute disjoint columns.
                unsafe { task.out.piece(task.at(i, n), 1)[0] = sum };
            }
        }
    });
}

/// Adds the lanes of [`Nt`] as a tree: 8 pairs that are 8 apart, then 4, 2, 1.
pub(crate) fn sum_lanes(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

fn dot(x: &[f32], w: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (x, w) in x.chunks(16).zip(w.chunks(16)) {
        for ((lane, x), w) in lanes.iter_mut().zip(x).zip(w) {
            *lane += x * w;
        }
    }
    sum_lanes(lanes)
}

fn dot_bf16(x: &[u16], w: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (x, w) in x.chunks(32).zip(w.chunks(32)) {
        for (i, (x, w)) in x.iter().zip(w).enumerate() {
            lanes[i / 2] += bf16_value(*x) * w;
        }
    }
    sum_lanes(lanes)
}

/// `out[i * out_stride ..][..d] += sum_j p[i * p_stride + j] * c[first + j][..d]` for `i <
/// m`, `j < n`, in f32.
#[derive(Clone, Copy)]
pub(crate) struct Nn<'a> {
    pub(crate) p: &'a [f32],
    pub(crate) p_stride: usize,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) c: Right<'a>,
    /// Numbers of a row of `c`.
    pub(crate) width: usize,
    /// The row of `c` that belongs to `j = 0`.
    pub(crate) first: usize,
    pub(crate) d: usize,
    pub(crate) out_stride: usize,
}

/// The plain version of [`Nn`].
pub(crate) fn nn(task: &Nn<'_>, out: &mut [f32]) {
    scratch::with(task.width, |c| {
        for j in 0..task.n {
            task.c.row(task.first + j, false, c);
            for i in 0..task.m {
                let p = task.p[i * task.p_stride + j];
                let out = &mut out[i * task.out_stride..][..task.d];
                out.iter_mut().zip(&*c).for_each(|(out, c)| *out += p * c);
            }
        }
    });
}
