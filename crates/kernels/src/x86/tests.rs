use std::sync::Arc;

use proptest::prelude::*;

use crate::arena::{Arena, RowFormat};
use crate::bytes::Bytes;
use crate::cache_position::{CachePosition, PAGE_ROWS};
use crate::cpu::{Compute, Cpu, Isa, supported};
use crate::dtype::{DType, bf16_bits, bf16_value};
use crate::indexer::IndexScores;
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

    fn left(&self) -> Left<'_> {
        if self.bf16 { Left::Bf16(&self.rounded) } else { Left::F32(&self.exact) }
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
        let mut out = vec![f32::NAN; rows.len() * self.n];
        let to = Disjoint::new(&mut out);
        let task = Nt {
            x: self.left(),
            rows: Some(rows),
            m: rows.len(),
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

    /// `sum |x * w|` of one element.
    fn magnitude(&self, row: usize, column: usize) -> f32 {
        let mut w = vec![0.0; self.k];
        if self.bf16 {
            self.w.row_rounded(column, &mut w)
        } else {
            self.w.row(column, &mut w)
        }
        let x = (0..self.k).map(|k| match self.left() {
            Left::F32(x) => x[row * self.k + k],
            Left::Bf16(x) => bf16_value(x[row * self.k + k]),
        });
        x.zip(w).map(|(x, w)| (x * w).abs()).sum()
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
fn every_fp8_byte_decodes_to_its_scaled_value() {
    let bytes: Vec<u8> = (0..=255).collect();
    for scale in [1.0, 0.001_234_5, -3.7] {
        let w = Mat::new(256, 1, DType::Fp8, bytes.clone().into()).with_scales(vec![scale; 2]);
        for isa in supported() {
            for (m, rounded) in [(1, false), (1, true), (5, false), (5, true)] {
                let (exact, bf16) = (vec![1.0; m], vec![bf16_bits(1.0); m]);
                let mut out = vec![0.0; m * 256];
                let to = Disjoint::new(&mut out);
                let x = if rounded { Left::Bf16(&bf16) } else { Left::F32(&exact) };
                let task = Nt { x, rows: None, m, k: 1, w: Right::Mat(&w), first: 0, out: &to, offset: 0, stride: 256 };
                (isa.nt)(&task, 0..256);
                for (at, got) in out.iter().enumerate() {
                    let mut want = [0.0];
                    if rounded {
                        w.row_rounded(at % 256, &mut want)
                    } else {
                        w.row(at % 256, &mut want)
                    }
                    let same = *got == want[0] || got.is_nan() && want[0].is_nan();
                    assert!(same, "{}: byte {} times {scale} is {got}, not {}", isa.name, at % 256, want[0]);
                }
            }
        }
    }
}

#[test]
fn rounding_is_the_same_for_every_kind_of_number() {
    let mut bits: Vec<u32> = (0..1u32 << 16).map(|i| i << 16 | (i.wrapping_mul(40_503) & 0xffff)).collect();
    bits.extend((0..1 << 10).flat_map(|i| [i << 22 | 0x8000, i << 22 | 0x1_8000, i << 22 | 0x7fff, i << 22 | 0xffff]));
    let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
    let want: Vec<u16> = values.iter().map(|v| bf16_bits(*v)).collect();
    for isa in supported() {
        let mut got = vec![0; values.len() - 3];
        (isa.round)(&values[3..], &mut got);
        let differ = got.iter().zip(&want[3..]).position(|(got, want)| got != want);
        assert_eq!(differ.map(|at| values[3 + at].to_bits()), None, "{}", isa.name);
    }
}

#[test]
fn index_scores_equal_the_plain_ones_and_do_not_depend_on_where_a_chunk_begins() {
    let wave = |n: usize, step: f32| (0..n).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
    for (heads, head_dim) in [(1, 8), (16, 128), (33, 40), (64, 31)] {
        let (q, weights, rows) = (wave(heads * head_dim, 0.7), wave(heads, 0.3), wave(300 + head_dim, 1.3));
        for format in [RowFormat::F32, RowFormat::Bf16, RowFormat::Fp8 { ue8m0: true }] {
            let mut keys = Arena::new(5 * PAGE_ROWS, head_dim, format);
            (0..300).for_each(|slot| keys.write(slot, &rows[slot..][..head_dim]));
            let query = CachePosition { pages: &[3, 1, 0, 4, 2], position: 299 };
            let scores = |cpu: &Cpu, start: usize, n: usize| {
                let mut out = vec![f32::NAN; n];
                cpu.index_scores(
                    &IndexScores { q: &q, weights: &weights, query: &query, keys: &keys, start },
                    &mut out,
                );
                out
            };
            for compute in [Compute::F32, Compute::Bf16] {
                let (fast, plain) = (Cpu::new(1, compute), Cpu::plain(1, compute));
                let whole = scores(&fast, 0, 300);
                for (got, want) in whole.iter().zip(scores(&plain, 0, 300)) {
                    let bound = 1e-6 * (heads * head_dim) as f32;
                    assert!((got - want).abs() <= bound, "{heads} x {head_dim}, {format:?}: {got} is not {want}");
                }
                assert_eq!(scores(&fast, PAGE_ROWS, 100), whole[PAGE_ROWS..][..100]);
                assert_eq!(scores(&fast, 4 * PAGE_ROWS, 1), whole[4 * PAGE_ROWS..][..1]);
            }
        }
    }
}
