//! Attention of some heads of one position over a part of its rows, and the merging of parts.
//!
//! The result of a part is relative to its own maximum: `[heads, latent]` sums, then per head the
//! maximum score, then per head the sum of the weights.

use crate::arena::{Arena, RowFormat};
use crate::cpu::{Compute, Cpu};
use crate::dtype::round_bf16;
use crate::pool::Disjoint;
use crate::product::{Left, Nn, Nt, Right};
use crate::scratch;
use crate::softmax::{OnlineSoftmax, exp};

/// Rows of a part: enough to make the cost of merging negligible, few enough to share a long
/// context between threads.
pub(crate) const PART_ROWS: usize = 512;

/// Rows whose scores update the running maximum together.
pub(crate) const BLOCK_ROWS: usize = 64;

/// The operands of one part.
pub(crate) struct AttentionPart<'a> {
    pub(crate) heads: usize,
    /// Absorbed queries, `[heads, latent + rope]`.
    pub(crate) queries: &'a [f32],
    pub(crate) latents: &'a Arena,
    pub(crate) rope_keys: &'a Arena,
    /// Factor of the scores.
    pub(crate) scale: f32,
    /// Arena slots of the rows, in order of their position; at least one.
    pub(crate) slots: &'a [usize],
}

impl AttentionPart<'_> {
    /// Whether products are bf16 with f32 sums, which requires a bf16 cache: queries and weights
    /// are rounded to bf16.
    pub(crate) fn rounded(&self, compute: Compute) -> bool {
        let bf16 = |arena: &Arena| arena.format() == RowFormat::Bf16 && arena.width().is_multiple_of(2);
        compute == Compute::Bf16 && bf16(self.latents) && bf16(self.rope_keys)
    }
}

impl Cpu {
    /// Computes one part into `out` (`heads * (latent + 2)` numbers).
    pub(crate) fn partial(&self, part: &AttentionPart<'_>, out: &mut [f32]) {
        match self.isa.partial {
            Some(partial) => partial(part, part.rounded(self.compute), out),
            None => self.partial_by_products(part, out),
        }
    }

    /// The specification: gathers the rows, then computes scores and weighted sums by
    /// the two products.
    fn partial_by_products(&self, part: &AttentionPart<'_>, out: &mut [f32]) {
        let heads = part.heads;
        let latent = part.latents.width();
        let rounded = part.rounded(self.compute);
        let width = latent + part.rope_keys.width();
        let (sums, rest) = out.split_at_mut(heads * latent);
        sums.fill(0.0);
        let mut running = vec![OnlineSoftmax::EMPTY; heads];
        scratch::with(BLOCK_ROWS * width + heads * (BLOCK_ROWS + width), |buffer| {
            let (rows, buffer) = buffer.split_at_mut(BLOCK_ROWS * width);
            let (scores, queries) = buffer.split_at_mut(heads * BLOCK_ROWS);
            queries.copy_from_slice(part.queries);
            if rounded {
                queries.iter_mut().for_each(|q| *q = round_bf16(*q));
            }
            for slots in part.slots.chunks(BLOCK_ROWS) {
                for (slot, row) in slots.iter().zip(rows.chunks_mut(width)) {
                    part.latents.read(*slot, &mut row[..latent]);
                    part.rope_keys.read(*slot, &mut row[latent..]);
                }
                let out = Disjoint::new(scores);
                let task = Nt {
                    x: Left::F32(queries),
                    rows: None,
                    m: heads,
                    k: width,
                    w: Right::F32(rows),
                    first: 0,
                    out: &out,
                    offset: 0,
                    stride: BLOCK_ROWS,
                };
                self.nt(&task, 0..slots.len());
                for (head, running) in running.iter_mut().enumerate() {
                    let scores = &mut scores[head * BLOCK_ROWS..][..slots.len()];
                    scores.iter_mut().for_each(|s| *s *= part.scale);
                    let factor = running.update(scores);
                    sums[head * latent..][..latent].iter_mut().for_each(|v| *v *= factor);
                    if rounded {
                        scores.iter_mut().for_each(|s| *s = round_bf16(*s));
                    }
                }
                let task = Nn {
                    p: scores,
                    p_stride: BLOCK_ROWS,
                    m: heads,
                    n: slots.len(),
                    c: Right::F32(rows),
                    width,
                    first: 0,
                    d: latent,
                    out_stride: latent,
                };
                self.nn(&task, sums);
            }
        });
        let (maxima, totals) = rest.split_at_mut(heads);
        for ((max, total), running) in maxima.iter_mut().zip(totals).zip(running) {
            (*max, *total) = (running.max(), running.sum());
        }
    }
}

/// Merges the part `next` into `sums`, rescaling both to the larger maximum.
pub(crate) fn merge_parts(sums: &mut [f32], next: &[f32], latent: usize) {
    let heads = sums.len() / (latent + 2);
    let (values, rest) = sums.split_at_mut(heads * latent);
    let (maxima, totals) = rest.split_at_mut(heads);
    let (next_values, next_rest) = next.split_at(heads * latent);
    for head in 0..heads {
        let (next_max, next_total) = (next_rest[head], next_rest[heads + head]);
        let max = maxima[head].max(next_max);
        let (old, new) = (exp(maxima[head] - max), exp(next_max - max));
        let values = &mut values[head * latent..][..latent];
        values.iter_mut().zip(&next_values[head * latent..]).for_each(|(v, next)| *v = *v * old + next * new);
        totals[head] = totals[head] * old + next_total * new;
        maxima[head] = max;
    }
}

/// `out[head] = sum of values / sum of weights`.
pub(crate) fn normalize_sums(sums: &[f32], latent: usize, out: &mut [f32]) {
    let heads = sums.len() / (latent + 2);
    let totals = &sums[heads * (latent + 1)..];
    for ((out, values), total) in out.chunks_mut(latent).zip(sums.chunks(latent)).zip(totals) {
        out.iter_mut().zip(values).for_each(|(out, v)| *out = v / total);
    }
}
