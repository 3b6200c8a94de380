//! Tests of number formats and index scores.

use crate::arena::{Arena, RowFormat};
use crate::cache_position::{CachePosition, PAGE_ROWS};
use crate::cpu::{Compute, Cpu, supported};
use crate::dtype::{DType, bf16_bits};
use crate::indexer::IndexScores;
use crate::mat::Mat;
use crate::pool::Disjoint;
use crate::product::{Left, Nt, Right};

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
