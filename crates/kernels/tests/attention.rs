//! Attention and selection through the public methods: fast kernels equal the plain ones, and the
//! bits do not depend on the batch or the number of threads.

use kernels::{
    Arena, Attention, CachePosition, Compute, Cpu, IndexerShape, Mat, PAGE_ROWS, RowFormat, Rows, Selection,
};
use proptest::prelude::*;

fn values(n: usize, seed: &mut u32) -> Vec<f32> {
    let mut next = || {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A sequence of `context` positions in shuffled pages; the last `n` are queries.
struct Case {
    heads: usize,
    nope: usize,
    rope: usize,
    v: usize,
    latent: usize,
    kv_b: Mat,
    latents: Arena,
    rope_keys: Arena,
    pages: Vec<u32>,
    first: usize,
    q: Rows,
    selection: Selection,
}

const FORMATS: [RowFormat; 3] = [RowFormat::F32, RowFormat::Bf16, RowFormat::Fp8 { ue8m0: false }];

impl Case {
    fn new(seed: u32, [heads, latent, rope]: [usize; 3], context: usize, n: usize, format: RowFormat) -> Self {
        let seed = &mut { seed };
        let (nope, v) = (8, 5);
        let pages = context.div_ceil(PAGE_ROWS);
        let slots = pages * PAGE_ROWS;
        let mut arena = |width: usize| {
            let mut arena = Arena::new(slots, width, format);
            (0..slots).for_each(|slot| arena.write(slot, &values(width, seed)));
            arena
        };
        let (latents, rope_keys) = (arena(latent), arena(rope));
        let kv_b = Mat::from_f32(heads * (nope + v), latent, &values(heads * (nope + v) * latent, seed));
        let q = Rows::from_vec(heads * (nope + rope), values(n * heads * (nope + rope), seed));
        let picked = (0..n).map(|i| {
            let all = 0..(context - n + i + 1) as u32;
            (i % 3 > 0).then(|| all.clone().filter(|p| p % (i as u32 % 3 + 1) == 0).collect())
        });
        let selection = Selection { picked: picked.collect() };
        let pages = (0..pages as u32).rev().collect();
        Self { heads, nope, rope, v, latent, kv_b, latents, rope_keys, pages, first: context - n, q, selection }
    }

    /// The positions `range` of the batch, computed together.
    fn attend(&self, cpu: &Cpu, range: std::ops::Range<usize>) -> Vec<f32> {
        let Self { heads, nope, rope, v, latent, ref kv_b, .. } = *self;
        let layer = Attention { heads, nope, rope, v, latent, scale: 0.7, kv_b };
        let positions: Vec<_> =
            range.clone().map(|i| CachePosition { pages: &self.pages, position: self.first + i }).collect();
        let rows = range.clone().flat_map(|i| self.q.row(i).to_vec()).collect();
        let selection = Selection { picked: self.selection.picked[range].to_vec() };
        let mut out = Rows::new(heads * v);
        let q = Rows::from_vec(self.q.width(), rows);
        cpu.attend(&layer, &q, &positions, (&self.latents, &self.rope_keys), &selection, &mut out);
        out.all().to_vec()
    }
}

fn shape() -> impl Strategy<Value = [usize; 3]> {
    prop_oneof![
        Just([32, 64, 16]),
        Just([3, 40, 6]),
        Just([16, 16, 8]),
        Just([50, 33, 5]),
        Just([1, 96, 2]),
        Just([9, 512, 64]),
        Just([29, 48, 16]),
        Just([9, 224, 192]),
        Just([20, 64, 32])
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn attention_of_a_position_has_the_same_bits_in_every_batch_and_on_any_threads(
        seed: u32, shape in shape(), context in 40usize..1500, n in 1usize..40, format in 0..3usize, bf16: bool,
    ) {
        let case = Case::new(seed, shape, context, n, FORMATS[format]);
        let compute = if bf16 { Compute::Bf16 } else { Compute::F32 };
        let together = case.attend(&Cpu::new(1, compute), 0..n);
        let three = Cpu::new(3, compute);
        prop_assert_eq!(&case.attend(&three, 0..n), &together);
        for i in [0, n / 2, n - 1] {
            let alone = case.attend(&three, i..i + 1);
            prop_assert_eq!(&alone, &together[i * case.heads * case.v..][..alone.len()], "position {}", i);
        }
    }

    #[test]
    fn fast_attention_equals_the_plain_one(
        seed: u32, shape in shape(), context in 40usize..1200, n in 1usize..4, format in 0..3usize, bf16: bool,
    ) {
        let case = Case::new(seed, shape, context, n, FORMATS[format]);
        let compute = if bf16 { Compute::Bf16 } else { Compute::F32 };
        let (fast, plain) = (case.attend(&Cpu::new(2, compute), 0..n), case.attend(&Cpu::plain(2, compute), 0..n));
        // Values are sums of `latent` numbers below 1. The softmax turns the rounding error of a
        // score, a sum in another order, into a relative error of its weight. In bf16 a weight on
        // the border may round to either side.
        let bound = (case.latent as f32).sqrt() * if bf16 { 4e-3 } else { 4e-5 };
        for (fast, plain) in fast.iter().zip(&plain) {
            prop_assert!((fast - plain).abs() <= bound, "{fast} is not {plain} (bound {bound})");
        }
    }

    #[test]
    fn selection_of_a_position_is_the_same_in_every_batch_and_on_any_threads(
        seed: u32, heads in 1usize..40, head_dim in 1usize..70, context in 40usize..1500, n in 1usize..6,
        format in 0..3usize, bf16: bool,
    ) {
        let seed = &mut { seed };
        let slots = context.next_multiple_of(PAGE_ROWS);
        let mut keys = Arena::new(slots, head_dim, FORMATS[format]);
        (0..slots).for_each(|slot| keys.write(slot, &values(head_dim, seed)));
        let pages: Vec<u32> = (0..(slots / PAGE_ROWS) as u32).rev().collect();
        let q = values(n * heads * head_dim, seed);
        let weights = values(n * heads, seed);
        let index = IndexerShape { heads, head_dim, top_k: 20 };
        let compute = if bf16 { Compute::Bf16 } else { Compute::F32 };
        let select = |cpu: &Cpu, range: std::ops::Range<usize>| {
            let positions: Vec<_> =
                range.clone().map(|i| CachePosition { pages: &pages, position: context - n + i }).collect();
            let part = |all: &[f32], width: usize| all[range.start * width..range.end * width].to_vec();
            let q = Rows::from_vec(heads * head_dim, part(&q, heads * head_dim));
            let mut out = Selection::default();
            cpu.select(index, &q, &Rows::from_vec(heads, part(&weights, heads)), &positions, &keys, &mut out);
            out.picked
        };
        let together = select(&Cpu::new(1, compute), 0..n);
        let three = Cpu::new(3, compute);
        prop_assert_eq!(&select(&three, 0..n), &together);
        let last = select(&three, n - 1..n);
        prop_assert_eq!(&last[..], &together[n - 1..]);
        // Near ties may fall either way in another order of sums: nearly all picks are those of
        // the plain version.
        let plain = select(&Cpu::plain(1, compute), n - 1..n);
        if let (Some(fast), Some(plain)) = (&last[0], &plain[0]) {
            let common = fast.iter().filter(|p| plain.contains(p)).count();
            prop_assert!(fast.len() == 20 && common >= 18, "{fast:?} is not {plain:?}");
        }
    }
}
