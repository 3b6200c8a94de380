//! Speed of the kernels, with the limits of the machine for comparison: run
//! `cargo bench -p kernels`.
//!
//! Matrix benches count bytes of weights (decode is bound by memory) and multiply-adds (prefill is
//! bound by the product units); `yardstick` measures both limits with loops that do nothing else.

mod common;

use common::values;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use kernels::{
    Arena, Attention, CachePosition, Compute, Cpu, DType, IndexerShape, Linear, Mat, PAGE_ROWS, RowFormat, Rows,
    Selection,
};

fn main() {
    divan::main();
}

const THREADS: [usize; 2] = [1, 2];

fn mat(rows: usize, cols: usize, dtype: DType) -> Mat {
    let values = values(rows * cols);
    let bytes: Vec<u8> = match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        DType::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        DType::Fp8 => values.iter().map(|v| kernels::fp8_from_f32(*v * 400.0)).collect(),
        DType::Int8 | DType::Int4 => unreachable!("packed weights have a bench of their own"),
    };
    let mat = Mat::new(rows, cols, dtype, bytes.into());
    match dtype {
        DType::Fp8 => mat.with_scales(vec![0.001; rows.div_ceil(128) * cols.div_ceil(128)]),
        _ => mat,
    }
}

/// Measures the limits of the machine.
mod yardstick {
    use super::*;

    /// One thread adds up 256 MiB.
    #[divan::bench]
    fn read_memory(bencher: Bencher<'_, '_>) {
        let data = vec![1u64; 32 << 20];
        let sum = || data.chunks_exact(64).fold(0u64, |sum, c| c.iter().fold(sum, |sum, v| sum.wrapping_add(*v)));
        bencher.counter(BytesCount::of_slice(&data)).bench(sum);
    }

    /// Two threads add up 128 MiB each.
    #[divan::bench]
    fn read_memory_by_two(bencher: Bencher<'_, '_>) {
        let data = vec![1u64; 32 << 20];
        bencher.counter(BytesCount::of_slice(&data)).bench(|| {
            let sum = |half: &[u64]| half.iter().fold(0u64, |sum, v| sum.wrapping_add(*v));
            let (a, b) = data.split_at(data.len() / 2);
            std::thread::scope(|scope| {
                let other = scope.spawn(|| sum(a));
                sum(b).wrapping_add(other.join().expect("adding does not panic"))
            })
        });
    }

    const STEPS: usize = 100_000;

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn fma_loop(x: f32) -> f32 {
        use std::arch::x86_64::*;
        let (x, mut sums) = (_mm512_set1_ps(x), [_mm512_setzero_ps(); 16]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(x, x, *sum);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn dot_loop(x: f32) -> f32 {
        use std::arch::x86_64::*;
        let x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(x), _mm512_set1_ps(x));
        let mut sums = [_mm512_setzero_ps(); 16];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, x, x);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    /// Multiply-adds of one thread without memory access.
    #[cfg(target_arch = "x86_64")]
    #[divan::bench]
    fn multiply_f32(bencher: Bencher<'_, '_>) {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature is there.
            bencher.counter(ItemsCount::new(STEPS * 16 * 16)).bench(|| unsafe { fma_loop(black_box(0.5)) });
        }
    }

    /// The same in bf16.
    #[cfg(target_arch = "x86_64")]
    #[divan::bench]
    fn multiply_bf16(bencher: Bencher<'_, '_>) {
        if is_x86_feature_detected!("avx512bf16") {
            // SAFETY: the features are there.
            bencher.counter(ItemsCount::new(STEPS * 16 * 32)).bench(|| unsafe { dot_loop(black_box(0.5)) });
        }
    }
}

/// Multiplies `m` positions with matrices of 2048 x 7168, more of them than fit into a cache.
fn linear(bencher: Bencher<'_, '_>, dtype: DType, compute: Compute, threads: usize, m: usize) {
    let (rows, cols) = (2048, 7168);
    let copies = if m == 1 { 8 } else { 1 };
    let mats: Vec<Mat> = (0..copies).map(|_| mat(rows, cols, dtype)).collect();
    let cpu = Cpu::new(threads, compute);
    let x = Rows::from_vec(cols, values(m * cols));
    let mut out = Rows::new(rows);
    bencher
        .counter(BytesCount::new(copies * dtype.row_bytes(rows * cols)))
        .counter(ItemsCount::new(copies * m * rows * cols))
        .bench_local(|| {
            for w in &mats {
                cpu.linear(&x, &mut [Linear { w, out: &mut out }]);
            }
        });
}

mod decode {
    use super::*;

    #[divan::bench(args = THREADS)]
    fn f32(bencher: Bencher<'_, '_>, threads: usize) {
        linear(bencher, DType::F32, Compute::F32, threads, 1);
    }

    #[divan::bench(args = THREADS)]
    fn bf16(bencher: Bencher<'_, '_>, threads: usize) {
        linear(bencher, DType::Bf16, Compute::Bf16, threads, 1);
    }

    #[divan::bench(args = THREADS)]
    fn fp8(bencher: Bencher<'_, '_>, threads: usize) {
        linear(bencher, DType::Fp8, Compute::Bf16, threads, 1);
    }

    #[divan::bench(args = THREADS)]
    fn fp8_in_f32(bencher: Bencher<'_, '_>, threads: usize) {
        linear(bencher, DType::Fp8, Compute::F32, threads, 1);
    }
}

mod batch {
    use super::*;

    const BATCHES: [usize; 5] = [2, 4, 8, 16, 64];

    #[divan::bench(args = BATCHES)]
    fn f32(bencher: Bencher<'_, '_>, m: usize) {
        linear(bencher, DType::F32, Compute::F32, 1, m);
    }

    #[divan::bench(args = BATCHES)]
    fn bf16(bencher: Bencher<'_, '_>, m: usize) {
        linear(bencher, DType::Bf16, Compute::Bf16, 1, m);
    }

    #[divan::bench(args = BATCHES)]
    fn fp8(bencher: Bencher<'_, '_>, m: usize) {
        linear(bencher, DType::Fp8, Compute::Bf16, 1, m);
    }
}

mod prefill {
    use super::*;

    #[divan::bench(args = THREADS)]
    fn f32(bencher: Bencher<'_, '_>, threads: usize) {
        linear(bencher, DType::F32, Compute::F32, threads, 256);
    }

    #[divan::bench(args = THREADS)]
    fn bf16(bencher: Bencher<'_, '_>, threads: usize) {
        linear(bencher, DType::Bf16, Compute::Bf16, threads, 256);
    }

    #[divan::bench(args = THREADS)]
    fn fp8(bencher: Bencher<'_, '_>, threads: usize) {
        linear(bencher, DType::Fp8, Compute::Bf16, threads, 256);
    }

    #[divan::bench(args = THREADS)]
    fn fp8_in_f32(bencher: Bencher<'_, '_>, threads: usize) {
        linear(bencher, DType::Fp8, Compute::F32, threads, 256);
    }
}

/// 32K positions of context in pages that are not consecutive.
const CONTEXT: usize = 32 * 1024;

fn pages() -> Vec<u32> {
    let n = (CONTEXT / PAGE_ROWS) as u32;
    (0..n).map(|page| page * 7 % n).collect()
}

fn arena(width: usize, format: RowFormat) -> Arena {
    let mut arena = Arena::new(CONTEXT, width, format);
    let values = values(CONTEXT + width);
    (0..CONTEXT).for_each(|slot| arena.write(slot, &values[slot..][..width]));
    arena
}

mod attention {
    use super::*;

    const SELECTED: usize = 2048;

    /// `n` positions at the end of the context attend to 2,048 selected rows of 512 +
    /// 64, with 32 heads.
    fn attend(bencher: Bencher<'_, '_>, compute: Compute, format: RowFormat, threads: usize, n: usize) {
        let (heads, nope, rope, v, latent) = (32, 128, 64, 128, 512);
        let dtype = if compute == Compute::Bf16 { DType::Bf16 } else { DType::F32 };
        let kv_b = mat(heads * (nope + v), latent, dtype);
        let layer = Attention { heads, nope, rope, v, latent, scale: 0.1, kv_b: &kv_b };
        let (latents, keys) = (arena(latent, format), arena(rope, format));
        let pages = pages();
        let positions: Vec<_> =
            (CONTEXT - n..CONTEXT).map(|position| CachePosition { pages: &pages, position }).collect();
        let spread = (0..SELECTED).map(|i| (i * (CONTEXT - n) / SELECTED) as u32).collect::<Vec<_>>();
        let selection = Selection { picked: vec![Some(spread); n] };
        let q = Rows::from_vec(heads * (nope + rope), values(n * heads * (nope + rope)));
        let mut out = Rows::new(heads * v);
        let cpu = Cpu::new(threads, compute);
        bencher
            .counter(ItemsCount::new(n * heads * SELECTED * (2 * latent + rope)))
            .bench_local(|| cpu.attend(&layer, &q, &positions, (&latents, &keys), &selection, &mut out));
    }

    #[divan::bench(args = THREADS)]
    fn decode_bf16(bencher: Bencher<'_, '_>, threads: usize) {
        attend(bencher, Compute::Bf16, RowFormat::Bf16, threads, 1);
    }

    #[divan::bench(args = THREADS)]
    fn decode_f32(bencher: Bencher<'_, '_>, threads: usize) {
        attend(bencher, Compute::F32, RowFormat::F32, threads, 1);
    }

    #[divan::bench(args = THREADS)]
    fn decode_fp8_cache(bencher: Bencher<'_, '_>, threads: usize) {
        attend(bencher, Compute::Bf16, RowFormat::Fp8 { ue8m0: true }, threads, 1);
    }

    #[divan::bench(args = THREADS, sample_count = 10)]
    fn prefill_bf16(bencher: Bencher<'_, '_>, threads: usize) {
        attend(bencher, Compute::Bf16, RowFormat::Bf16, threads, 256);
    }

    #[divan::bench(args = THREADS, sample_count = 10)]
    fn prefill_f32(bencher: Bencher<'_, '_>, threads: usize) {
        attend(bencher, Compute::F32, RowFormat::F32, threads, 256);
    }
}

mod indexer {
    use super::*;

    /// `n` positions at the end of the context pick 2,048 rows, with 16 heads of 128.
    fn select(bencher: Bencher<'_, '_>, compute: Compute, format: RowFormat, threads: usize, n: usize) {
        let index = IndexerShape { heads: 16, head_dim: 128, top_k: 2048 };
        let keys = arena(index.head_dim, format);
        let pages = pages();
        let positions: Vec<_> =
            (CONTEXT - n..CONTEXT).map(|position| CachePosition { pages: &pages, position }).collect();
        let q = Rows::from_vec(16 * 128, values(n * 16 * 128));
        let weights = Rows::from_vec(16, values(n * 16));
        let mut out = Selection::default();
        let cpu = Cpu::new(threads, compute);
        bencher
            .counter(BytesCount::new(n * CONTEXT * format.row_bytes(index.head_dim)))
            .counter(ItemsCount::new(n * CONTEXT * 16 * 128))
            .bench_local(|| cpu.select(index, &q, &weights, &positions, &keys, &mut out));
    }

    #[divan::bench(args = THREADS)]
    fn decode_bf16(bencher: Bencher<'_, '_>, threads: usize) {
        select(bencher, Compute::Bf16, RowFormat::Bf16, threads, 1);
    }

    #[divan::bench(args = THREADS)]
    fn decode_f32(bencher: Bencher<'_, '_>, threads: usize) {
        select(bencher, Compute::F32, RowFormat::F32, threads, 1);
    }

    #[divan::bench(args = THREADS)]
    fn decode_fp8_cache(bencher: Bencher<'_, '_>, threads: usize) {
        select(bencher, Compute::Bf16, RowFormat::Fp8 { ue8m0: true }, threads, 1);
    }

    #[divan::bench(args = THREADS, sample_count = 10)]
    fn prefill_bf16(bencher: Bencher<'_, '_>, threads: usize) {
        select(bencher, Compute::Bf16, RowFormat::Bf16, threads, 64);
    }
}
