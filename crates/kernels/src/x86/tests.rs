use std::sync::Arc;

use proptest::prelude::*;

use crate::bytes::Bytes;
use crate::cpu::{Isa, supported};
use crate::dtype::{DType, bf16_bits};
use crate::fixed::FixedRows;
use crate::mat::{Mat, SCALE_BLOCK};
use crate::pack::pack_row;
use crate::packing::{PACKED_GROUP, Packed, Packing};
use crate::pool::Disjoint;
use crate::product::{Left, Nn, Nt, Right};

/// Pseudo-random numbers that depend only on the seed.
struct TestRng(u64);

impl TestRng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n.max(1)
    }

    fn float(&mut self) -> f32 {
        (self.next() as f32 / (1u64 << 30) as f32 - 1.0) * [0.01, 1.0, 30.0][self.below(3)]
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// A matrix at an unaligned address, as in a mapped file. Packed ones have a multiple of 32
    /// columns.
    fn mat(&mut self, rows: usize, cols: usize, dtype: DType, scaled: bool) -> Mat {
        match dtype {
            DType::Int4 => return self.packed(rows, cols, Packing::Int4),
            DType::Int8 => return self.packed(rows, cols, Packing::Int8),
            _ => {}
        }
        let shift = self.below(8);
        let mut bytes = vec![0; shift];
        for _ in 0..rows * cols {
            let value = self.float();
            match dtype {
                DType::F32 => bytes.extend(value.to_le_bytes()),
                DType::F16 => bytes.extend(half::f16::from_f32(value).to_le_bytes()),
                DType::Bf16 => bytes.extend(bf16_bits(value).to_le_bytes()),
                DType::Fp8 => bytes.push(crate::dtype::fp8_from_f32(value)),
                DType::Int8 | DType::Int4 => unreachable!("packed above"),
            }
        }
        let range = shift..bytes.len();
        let mat = Mat::new(rows, cols, dtype, Bytes::new(Arc::new(bytes), range));
        if !scaled {
            return mat;
        }
        if self.below(3) == 0 {
            let scales: Vec<f32> = (0..rows).map(|_| self.float() * 0.01).collect();
            return mat.with_row_scales(scales);
        }
        let scales: Vec<f32> =
            (0..rows.div_ceil(SCALE_BLOCK) * cols.div_ceil(SCALE_BLOCK)).map(|_| self.float() * 0.01).collect();
        mat.with_scales(scales)
    }

    fn packed(&mut self, rows: usize, cols: usize, packing: Packing) -> Mat {
        let mut parts = Packed::default();
        for _ in 0..rows {
            let scale = [2.0f32.powi(-17), 1.0, 40.0][self.below(3)];
            let row: Vec<f32> = self.floats(cols).iter().map(|v| v * scale).collect();
            pack_row(packing, &row, &mut parts).expect("finite rows of whole groups");
        }
        let mut unaligned = |bytes: Vec<u8>| {
            let shift = self.below(8);
            let bytes = [vec![0; shift], bytes].concat();
            let range = shift..bytes.len();
            Bytes::new(Arc::new(bytes), range)
        };
        let Packed { quants, scales, offsets, factors } = parts;
        let parts = Packed {
            quants: unaligned(quants),
            scales: unaligned(scales),
            offsets: unaligned(offsets),
            factors: unaligned(factors),
        };
        Mat::packed(rows, cols, packing, parts).expect("what was packed")
    }
}

/// Left and right sides of a random product.
struct TestOperands {
    exact: Vec<f32>,
    rounded: Vec<u16>,
    /// bf16, or fixed point for packed weights.
    bf16: bool,
    w: Mat,
    /// Stored like cache rows instead of a matrix.
    rows: Option<(Vec<f32>, Vec<u8>)>,
    k: usize,
    n: usize,
}

impl TestOperands {
    fn random(rng: &mut TestRng, kind: usize, x_rows: usize, k: usize, n: usize) -> Self {
        let bf16 = kind % 2 == 1;
        let k = if (10..14).contains(&kind) { k.next_multiple_of(PACKED_GROUP) } else { k };
        let (dtype, scaled) = [
            (DType::F32, false),
            (DType::F16, false),
            (DType::Bf16, false),
            (DType::Fp8, true),
            (DType::Fp8, false),
            (DType::Int4, true),
            (DType::Int8, true),
            (DType::F32, false),
            (DType::Bf16, false),
        ][kind / 2];
        let exact = rng.floats(x_rows * k);
        let rounded = exact.iter().map(|v| bf16_bits(*v)).collect();
        let w = rng.mat(n, k, dtype, scaled);
        let rows = (kind / 2 > 6).then(|| (w.to_f32(), w.bytes().to_vec()));
        Self { exact, rounded, bf16, w, rows, k, n }
    }

    /// The left side in fixed point, if the product uses it.
    fn fixed(&self, isa: &Isa) -> Option<FixedRows> {
        let (packing, _) = self.w.packed_row(0)?;
        self.bf16.then(|| (isa.fixed)(&self.exact, self.k, packing))
    }

    fn left<'a>(&'a self, fixed: Option<&'a FixedRows>) -> Left<'a> {
        match fixed {
            Some(fixed) => Left::Fixed(fixed),
            None if self.bf16 => Left::Bf16(&self.rounded),
            None => Left::F32(&self.exact),
        }
    }

    fn right(&self) -> Right<'_> {
        match &self.rows {
            None => Right::Mat(&self.w),
            Some((values, _)) if self.w.dtype() == DType::F32 => Right::F32(values),
            Some((_, bytes)) => Right::Bf16(bytes),
        }
    }

    /// The product of the rows `rows` and the columns between neighbouring `cuts`, `[rows, n]`; NaN
    /// where nothing was computed.
    fn product(&self, isa: &Isa, rows: &[u32], cuts: &[usize]) -> Vec<f32> {
        self.product_of(isa, Some(rows), rows.len(), cuts)
    }

    /// [`TestOperands::product`] of `m` rows: of the first ones, or those that are listed.
    fn product_of(&self, isa: &Isa, rows: Option<&[u32]>, m: usize, cuts: &[usize]) -> Vec<f32> {
        let mut out = vec![f32::NAN; m * self.n];
        let to = Disjoint::new(&mut out);
        let fixed = self.fixed(isa);
        let task = Nt {
            x: self.left(fixed.as_ref()),
            rows,
            m,
            k: self.k,
            w: self.right(),
            first: 0,
            out: &to,
            offset: 0,
            stride: self.n,
        };
        cuts.windows(2).for_each(|cut| (isa.nt)(&task, cut[0]..cut[1]));
        out
    }

    /// `sum |x * w|` of one element; with fixed point, quants and offsets count separately.
    fn magnitude(&self, row: usize, column: usize) -> f32 {
        let mut w = vec![0.0; self.k];
        if self.bf16 {
            self.w.row_rounded(column, &mut w)
        } else {
            self.w.row(column, &mut w)
        }
        if let (true, Some((_, scales))) = (self.bf16, self.w.packed_row(column)) {
            w.iter_mut().enumerate().for_each(|(k, w)| *w = w.abs() + 2.0 * scales.group(k / PACKED_GROUP).1.abs());
        }
        self.exact[row * self.k..].iter().zip(w).map(|(x, w)| (x * w).abs()).sum()
    }
}

const KINDS: usize = 18;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_output_element_has_the_same_bits_in_every_batch_and_tile(
        seed: u64, kind in 0..KINDS, m in 1usize..20, k in prop_oneof![1usize..300, 1500usize..1700], n in 1usize..150,
    ) {
        let rng = &mut TestRng(seed);
        let sides = TestOperands::random(rng, kind, 9, k, n);
        let rows: Vec<u32> = (0..m).map(|_| rng.below(9) as u32).collect();
        let mut cuts = vec![0, n, rng.below(n), rng.below(n)];
        cuts.sort_unstable();
        for isa in supported() {
            let whole = sides.product(isa, &rows, &cuts);
            for _ in 0..40 {
                let (i, column) = (rng.below(m), rng.below(n));
                let alone = sides.product(isa, &rows[i..=i], &[column, column + 1])[column];
                prop_assert_eq!(whole[i * n + column].to_bits(), alone.to_bits(), "{} [{}, {}]", isa.name, i, column);
            }
        }
    }

    #[test]
    fn many_rows_of_a_packed_product_have_the_bits_of_one(
        seed: u64, int8: bool, m in 14usize..70, k in 1usize..700, n in 1usize..70,
    ) {
        let rng = &mut TestRng(seed);
        let sides = TestOperands::random(rng, if int8 { 13 } else { 11 }, m, k, n);
        for isa in supported() {
            let whole = sides.product_of(isa, None, m, &[0, n / 2, n]);
            for row in (0..m).step_by(5) {
                let alone = sides.product(isa, &[row as u32], &[0, n]);
                for (whole, alone) in whole[row * n..][..n].iter().zip(alone) {
                    prop_assert_eq!(whole.to_bits(), alone.to_bits(), "{} row {}", isa.name, row);
                }
            }
        }
    }

    #[test]
    fn fast_products_equal_the_plain_ones(
        seed: u64, kind in 0..KINDS, m in 1usize..9, k in prop_oneof![1usize..300, 1500usize..1700], n in 1usize..40,
    ) {
        let sides = TestOperands::random(&mut TestRng(seed), kind, m, k, n);
        let rows: Vec<u32> = (0..m as u32).collect();
        let isas = supported();
        let (plain, fast) = isas.split_last().expect("the plain kernels run everywhere");
        let want = sides.product(plain, &rows, &[0, n]);
        for isa in fast {
            let got = sides.product(isa, &rows, &[0, n]);
            for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                let bound = 4e-6 * sides.magnitude(at / n, at % n) + 1e-30;
                prop_assert!((got - want).abs() <= bound, "{}: {got} is not {want} (bound {bound})", isa.name);
            }
        }
    }

    #[test]
    fn sums_of_rows_do_not_depend_on_their_tile_and_equal_the_plain_ones(
        seed: u64, kind in 0..7usize, m in 1usize..15, n in 1usize..150, d in 1usize..200, gap in 0usize..5, first in 0usize..200,
    ) {
        let rng = &mut TestRng(seed);
        let dtype = [DType::F32, DType::F16, DType::Bf16, DType::Fp8, DType::Fp8, DType::Int4, DType::Int8][kind];
        let gap = if kind < 5 { gap } else { (d + gap).next_multiple_of(PACKED_GROUP) - d };
        let (p, c) = (rng.floats(m * (n + gap)), rng.mat(first + n, d + gap, dtype, kind == 3));
        let (start, mut rows) = (rng.floats(m * (d + gap)), vec![0.0; d + gap]);
        let c = Right::Mat(&c);
        let task = Nn { p: &p, p_stride: n + gap, m, n, c, width: d + gap, first, d, out_stride: d + gap };
        let isas = supported();
        let (plain, fast) = isas.split_last().expect("the plain kernels run everywhere");
        let mut want = start.clone();
        (plain.nn)(&task, &mut want);
        let mut magnitude: Vec<f32> = start.iter().map(|v| v.abs()).collect();
        for j in 0..n {
            c.row(first + j, false, &mut rows);
            for at in 0..m * (d + gap) {
                magnitude[at] += (p[at / (d + gap) * (n + gap) + j] * rows[at % (d + gap)]).abs();
            }
        }
        for isa in fast {
            let mut whole = start.clone();
            (isa.nn)(&task, &mut whole);
            for at in 0..m * (d + gap) {
                if at % (d + gap) >= d {
                    prop_assert_eq!(whole[at], start[at], "nothing is written beside the output");
                }
                let bound = 8e-6 * magnitude[at];
                prop_assert!((whole[at] - want[at]).abs() <= bound, "{}: {} is not {}", isa.name, whole[at], want[at]);
            }
            for _ in 0..20 {
                let (i, d) = (rng.below(m), 1 + rng.below(d));
                let mut alone = start[i * task.out_stride..][..d].to_vec();
                let one = Nn { p: &p[i * (n + gap)..], m: 1, d, ..task };
                (isa.nn)(&one, &mut alone);
                prop_assert_eq!(&alone, &whole[i * task.out_stride..][..d], "{} row {}", isa.name, i);
            }
        }
    }
}

#[test]
fn fixed_point_costs_about_half_a_step_of_each_activation() {
    for kind in [11, 13] {
        let sides = TestOperands::random(&mut TestRng(7), kind, 3, 1000, 40);
        for isa in supported() {
            let fixed = sides.fixed(isa).expect("packed weights");
            let got = sides.product(isa, &[0, 1, 2], &[0, 40]);
            let exact = TestOperands { bf16: false, ..TestOperands::random(&mut TestRng(7), kind, 3, 1000, 40) };
            let want = exact.product(isa, &[0, 1, 2], &[0, 40]);
            for (at, (got, want)) in got.iter().zip(want).enumerate() {
                let (row, column) = (at / 40, at % 40);
                let mut w = vec![0.0; sides.k];
                sides.w.row(column, &mut w);
                let steps: f32 = w.iter().enumerate().map(|(k, w)| w.abs() * fixed.value(row, k).1 * 0.51).sum();
                let bound = steps + 4e-6 * sides.magnitude(row, column);
                assert!((got - want).abs() <= bound, "{}: {got} is not {want} (bound {bound})", isa.name);
            }
        }
    }
}

#[test]
fn an_activation_that_is_not_finite_is_not_hidden() {
    for kind in [11, 13] {
        let mut sides = TestOperands::random(&mut TestRng(7), kind, 2, 320, 9);
        sides.exact[300] = f32::NAN;
        for isa in supported() {
            let got = sides.product(isa, &[0, 1], &[0, 9]);
            assert!(got[..9].iter().all(|v| v.is_nan()), "{}: {got:?}", isa.name);
            assert!(got[9..].iter().all(|v| v.is_finite()), "{}: {got:?}", isa.name);
        }
    }
}
