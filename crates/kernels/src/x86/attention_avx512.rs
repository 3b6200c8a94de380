//! Attention over cached rows and index scores, AVX-512, with heads in lanes.

use std::arch::x86_64::*;

use super::avx512::{first_of_16, totals};
use super::avx512_decode::read_row;
use super::few_heads_avx512::{self, FewHeads, heads_in_vectors};
use super::heads_avx512::{Bf16, F32, Format, LANES, ROWS, dots, exp, pack};
use crate::arena::Arena;
use crate::cache_position::PAGE_ROWS;
use crate::indexer::IndexScores;
use crate::partial_softmax::{AttentionPart, BLOCK_ROWS};
use crate::scratch;

/// The most heads whose sums are kept in registers.
const HEADS: usize = 12;

/// Columns of a latent that are summed together: two vectors.
const COLUMNS: usize = 2 * LANES;

/// Attention over one part; `rounded`: with bf16 products.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c")]
pub(super) unsafe fn partial(part: &AttentionPart<'_>, rounded: bool, out: &mut [f32]) {
    // SAFETY: the features are the caller's promise.
    unsafe { if rounded { partial_in::<Bf16>(part, out) } else { partial_in::<F32>(part, out) } }
}

/// Index scores of one query; `rounded`: with bf16 products.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c")]
pub(super) unsafe fn scores(task: &IndexScores<'_>, rounded: bool, out: &mut [f32]) {
    // SAFETY: the features are the caller's promise.
    unsafe { if rounded { scores_in::<Bf16>(task, out) } else { scores_in::<F32>(task, out) } }
}

/// Rows of an arena in the format of products: in place, or widened.
struct Reader<'a> {
    arena: &'a Arena,
    /// The buffer for widened rows; `None` when rows are read in place.
    widened: Option<scratch::ScratchBuffer>,
}

impl<'a> Reader<'a> {
    fn new<F: Format>(arena: &'a Arena) -> Self {
        let widened = (arena.format() != F::ROWS).then(|| scratch::borrow(BLOCK_ROWS * arena.width()));
        Self { arena, widened }
    }

    /// The row at `slot`, the `j`th of a block; valid until the next block.
    #[inline(always)]
    unsafe fn row(&mut self, slot: usize, j: usize) -> *const u8 {
        let Some(widened) = &mut self.widened else { return self.arena.rows(slot, 1).as_ptr() };
        let row = &mut widened[j * self.arena.width()..][..self.arena.width()];
        // SAFETY: the features are the caller's promise.
        unsafe { read_row(self.arena, slot, row) };
        row.as_ptr().cast()
    }
}

#[inline(always)]
unsafe fn partial_in<F: Format>(part: &AttentionPart<'_>, out: &mut [f32]) {
    let AttentionPart { heads, queries, latents, rope_keys, scale, slots } = *part;
    let (latent, rope) = (latents.width(), rope_keys.width());
    let width = latent + rope;
    let lanes = heads.next_multiple_of(LANES);
    let in_vectors = heads_in_vectors(heads);
    let q_lanes = in_vectors.next_multiple_of(LANES);
    assert!(queries.len() == heads * width && out.len() == heads * (latent + 2), "a query and sums for every head");
    let (sums, rest) = out.split_at_mut(heads * latent);
    sums.fill(0.0);

    let mut q = scratch::borrow(width * lanes);
    let mut weights = scratch::borrow((BLOCK_ROWS + 3) * lanes);
    let (weights, state) = weights.split_at_mut(BLOCK_ROWS * lanes);
    let (maxima, state) = state.split_at_mut(lanes);
    let (totals, factors) = state.split_at_mut(lanes);
    maxima.fill(f32::NEG_INFINITY);
    totals.fill(0.0);
    let (mut latents, mut rope_keys) = (Reader::new::<F>(latents), Reader::new::<F>(rope_keys));
    // SAFETY: `q` has units for every lane, `weights` a row of lanes for every row of a block; rows
    // are `latent` and `rope` numbers.
    unsafe {
        let q = q.as_mut_ptr().cast::<i32>();
        let few = q.add(width.div_ceil(F::NUMBERS) * q_lanes);
        pack::<F>(&queries[..in_vectors * width], width, q, q_lanes);
        few_heads_avx512::pack::<F>(&queries[in_vectors * width..], width, few);
        for slots in slots.chunks(BLOCK_ROWS) {
            let n = slots.len();
            let mut rows = [[std::ptr::null(); BLOCK_ROWS]; 2];
            for j in 0..n.next_multiple_of(ROWS) {
                let (j, from) = (j, j.min(n - 1));
                rows[0][j] = latents.row(slots[from], j);
                rows[1][j] = rope_keys.row(slots[from], j);
            }
            let [latent_rows, rope_rows] = &rows;
            let groups = latent_rows.as_chunks::<ROWS>().0.iter().zip(rope_rows.as_chunks::<ROWS>().0);
            for (group, rows) in groups.enumerate().take(n.div_ceil(ROWS)) {
                let units = [latent / F::NUMBERS, rope / F::NUMBERS];
                let to = weights.as_mut_ptr().add(group * ROWS * lanes);
                let mut first = 0;
                while q_lanes - first >= 2 * LANES {
                    score::<F, 2>((q.add(first), q_lanes), [rows.0, rows.1], units, scale, (to.add(first), lanes));
                    first += 2 * LANES;
                }
                if first < q_lanes {
                    score::<F, 1>((q.add(first), q_lanes), [rows.0, rows.1], units, scale, (to.add(first), lanes));
                }
                let few = FewHeads { q: few, heads: heads - in_vectors, rows: [rows.0, rows.1], units };
                few.products::<F>(|head, products| {
                    for (j, product) in products.into_iter().enumerate() {
                        *to.add(j * lanes + in_vectors + head) = product * scale;
                    }
                });
            }
            for first in (0..lanes).step_by(LANES) {
                let state = [&mut *maxima, &mut *totals, &mut *factors].map(|state| state.as_mut_ptr().add(first));
                softmax_step::<F>(weights.as_mut_ptr().add(first), lanes, n, state);
            }
            let units = (weights.as_ptr().cast::<i32>(), lanes);
            // Blocks of about the same size.
            let block = heads.div_ceil(heads.div_ceil(HEADS));
            for head in (0..heads).step_by(block) {
                for column in (0..latent).step_by(COLUMNS) {
                    let tile = Tile { units, factors: factors.as_ptr(), head, rows: latent_rows, n, column, latent };
                    let sums = sums.as_mut_ptr();
                    match block.min(heads - head) {
                        1 => tile.add_values::<F, 1>(sums),
                        2 => tile.add_values::<F, 2>(sums),
                        3 => tile.add_values::<F, 3>(sums),
                        4 => tile.add_values::<F, 4>(sums),
                        5 => tile.add_values::<F, 5>(sums),
                        6 => tile.add_values::<F, 6>(sums),
                        7 => tile.add_values::<F, 7>(sums),
                        8 => tile.add_values::<F, 8>(sums),
                        9 => tile.add_values::<F, 9>(sums),
                        10 => tile.add_values::<F, 10>(sums),
                        11 => tile.add_values::<F, 11>(sums),
                        _ => tile.add_values::<F, HEADS>(sums),
                    }
                }
            }
        }
    }
    let (out_maxima, out_totals) = rest.split_at_mut(heads);
    out_maxima.copy_from_slice(&maxima[..heads]);
    out_totals.copy_from_slice(&totals[..heads]);
}

/// Scaled scores of `B` vectors of heads for [`ROWS`] rows, into `to`, rows of `to_lanes`.
#[inline(always)]
unsafe fn score<F: Format, const B: usize>(
    (q, lanes): (*const i32, usize),
    [latents, rope_keys]: [&[*const u8; ROWS]; 2],
    [latent, rope]: [usize; 2],
    scale: f32,
    (to, to_lanes): (*mut f32, usize),
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); B]; ROWS];
        dots::<F, B>((q, lanes), latents, latent, &mut sums);
        dots::<F, B>((q.add(latent * lanes), lanes), rope_keys, rope, &mut sums);
        for (j, sums) in sums.iter().enumerate() {
            for (b, sum) in sums.iter().enumerate() {
                _mm512_storeu_ps(to.add(j * to_lanes + b * LANES), _mm512_mul_ps(*sum, _mm512_set1_ps(scale)));
            }
        }
    }
}

/// One step of the online softmax of 16 heads: replaces the `n` rows of scores by units of weights.
/// `state` has the maximum, the sum of weights, and the factor that rescales earlier sums to
/// the new maximum.
#[inline(always)]
pub(super) unsafe fn softmax_step<F: Format>(
    scores: *mut f32,
    lanes: usize,
    n: usize,
    [max, total, factor]: [*mut f32; 3],
) {
    // SAFETY: the caller's scores are `n` rows of `lanes`.
    unsafe {
        let row = |j: usize| scores.add(j * lanes);
        let old = _mm512_loadu_ps(max);
        let mut new = old;
        for j in 0..n {
            new = _mm512_max_ps(new, _mm512_loadu_ps(row(j)));
        }
        let scale = exp(_mm512_sub_ps(old, new));
        let mut sum = _mm512_mul_ps(_mm512_loadu_ps(total), scale);
        // Row `unit` is written after rows up to `unit * NUMBERS` were read.
        for unit in 0..n.div_ceil(F::NUMBERS) {
            let mut weights = [_mm512_setzero_ps(); 2];
            for (i, weight) in weights.iter_mut().enumerate().take(F::NUMBERS) {
                let j = unit * F::NUMBERS + i;
                if j < n {
                    *weight = exp(_mm512_sub_ps(_mm512_loadu_ps(row(j)), new));
                    sum = _mm512_add_ps(sum, *weight);
                }
            }
            _mm512_storeu_epi32(row(unit).cast(), F::weights(weights[0], weights[1]));
        }
        _mm512_storeu_ps(max, new);
        _mm512_storeu_ps(total, sum);
        _mm512_storeu_ps(factor, scale);
    }
}

/// Some heads and columns of a block of rows.
struct Tile<'a> {
    /// Units of weights, `[n / NUMBERS, lanes]`, and the number of lanes.
    units: (*const i32, usize),
    /// `[heads]`: the factors of earlier sums.
    factors: *const f32,
    head: usize,
    rows: &'a [*const u8; BLOCK_ROWS],
    n: usize,
    column: usize,
    latent: usize,
}

impl Tile<'_> {
    /// `sums[head] = sums[head] * factor + sum_j weight_j * row_j` for `H` heads and
    /// [`COLUMNS`] columns.
    #[inline(always)]
    unsafe fn add_values<F: Format, const H: usize>(&self, sums: *mut f32) {
        let Tile { units: (units, lanes), factors, head, rows, n, column, latent } = *self;
        let columns = COLUMNS.min(latent - column);
        let masks = [first_of_16(columns.min(LANES)), first_of_16(columns.saturating_sub(LANES))];
        // SAFETY: the caller's sums, weights and rows.
        unsafe {
            let at = |h: usize, v: usize| sums.add((head + h) * latent + column).wrapping_add(v * LANES);
            let mut local = [[_mm512_setzero_ps(); 2]; H];
            for (h, local) in local.iter_mut().enumerate() {
                let factor = _mm512_set1_ps(*factors.add(head + h));
                for (v, sum) in local.iter_mut().enumerate() {
                    *sum = _mm512_mul_ps(_mm512_maskz_loadu_ps(masks[v], at(h, v)), factor);
                }
            }
            for unit in 0..n.div_ceil(F::NUMBERS) {
                let first = unit * F::NUMBERS;
                let second = (first + F::NUMBERS - 1).min(n - 1);
                let values = F::columns(rows[first], rows[second], column, columns);
                for (h, local) in local.iter_mut().enumerate() {
                    let weight = _mm512_set1_epi32(*units.add(unit * lanes + head + h));
                    for (value, sum) in values.iter().zip(local) {
                        *sum = F::mul_add(weight, *value, *sum);
                    }
                }
            }
            for (h, local) in local.iter().enumerate() {
                for (v, sum) in local.iter().enumerate() {
                    _mm512_mask_storeu_ps(at(h, v), masks[v], *sum);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn scores_in<F: Format>(task: &IndexScores<'_>, out: &mut [f32]) {
    let IndexScores { q, weights, query, keys, start } = *task;
    let (heads, head_dim) = (weights.len(), keys.width());
    let in_vectors = heads_in_vectors(heads);
    let lanes = in_vectors.next_multiple_of(LANES);
    assert_eq!(q.len(), heads * head_dim, "a query for every head");
    let mut units = scratch::borrow(head_dim * heads.next_multiple_of(LANES));
    let mut padded = scratch::borrow(lanes);
    let (weights, few_weights) = weights.split_at(in_vectors);
    padded[..in_vectors].copy_from_slice(weights);
    padded[in_vectors..].fill(0.0);
    let mut keys = Reader::new::<F>(keys);
    // SAFETY: `units` has units for every lane, keys are rows of `head_dim` numbers.
    unsafe {
        let q = units.as_mut_ptr().cast::<i32>();
        let few = q.add(head_dim.div_ceil(F::NUMBERS) * lanes);
        pack::<F>(&task.q[..in_vectors * head_dim], head_dim, q, lanes);
        few_heads_avx512::pack::<F>(&task.q[in_vectors * head_dim..], head_dim, few);
        for (page, out) in out.chunks_mut(PAGE_ROWS).enumerate() {
            let slot = query.slot(start + page * PAGE_ROWS);
            for (group, out) in out.chunks_mut(ROWS).enumerate() {
                let mut rows = [std::ptr::null(); ROWS];
                for (j, row) in rows.iter_mut().enumerate() {
                    *row = keys.row(slot + group * ROWS + j.min(out.len() - 1), j);
                }
                let mut weighed = [_mm512_setzero_ps(); ROWS];
                let (mut first, units) = (0, head_dim / F::NUMBERS);
                while lanes - first >= 2 * LANES {
                    add_weighted_scores::<F, 2>(
                        (q.add(first), lanes),
                        &rows,
                        units,
                        padded[first..].as_ptr(),
                        &mut weighed,
                    );
                    first += 2 * LANES;
                }
                if first < lanes {
                    add_weighted_scores::<F, 1>(
                        (q.add(first), lanes),
                        &rows,
                        units,
                        padded[first..].as_ptr(),
                        &mut weighed,
                    );
                }
                let [a, b, c, d, e, f, g, h] = weighed;
                let mut sums = [totals([a, b, c, d]), totals([e, f, g, h])];
                let few = FewHeads { q: few, heads: heads - in_vectors, rows: [&rows], units: [units] };
                few.products::<F>(|head, products| {
                    for (sum, product) in sums.as_flattened_mut().iter_mut().zip(products) {
                        // NaN counts as 0.
                        *sum += few_weights[head] * product.max(0.0);
                    }
                });
                out.copy_from_slice(&sums.as_flattened()[..out.len()]);
            }
        }
    }
}

/// Adds `weight * max(q . row, 0)` of `B` vectors of heads.
#[inline(always)]
unsafe fn add_weighted_scores<F: Format, const B: usize>(
    q: (*const i32, usize),
    rows: &[*const u8; ROWS],
    units: usize,
    weights: *const f32,
    weighed: &mut [__m512; ROWS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); B]; ROWS];
        dots::<F, B>(q, rows, units, &mut sums);
        for (sums, weighed) in sums.iter().zip(weighed) {
            for (b, sum) in sums.iter().enumerate() {
                // NaN counts as 0: with NaN, the instruction returns its second operand.
                let positive = _mm512_max_ps(*sum, _mm512_setzero_ps());
                *weighed = _mm512_fmadd_ps(positive, _mm512_loadu_ps(weights.add(b * LANES)), *weighed);
            }
        }
    }
}
