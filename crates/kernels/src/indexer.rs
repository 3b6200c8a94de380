//! The lightning indexer: scores every visible position and selects the best.

use crate::arena::{Arena, RowFormat};
use crate::cache_position::{CachePosition, PAGE_ROWS, Selection};
use crate::cpu::{Compute, Cpu};
use crate::dtype::bf16_bits;
use crate::pool::Disjoint;
use crate::product::{Left, Nt, Right};
use crate::rows::Rows;
use crate::scratch;
use crate::topk::top_k;

/// Pages per item: a long context is shared between threads even for a single query.
const PAGES_PER_ITEM: usize = 8;

/// Shapes of one layer's indexer.
#[derive(Clone, Copy, Debug)]
pub struct IndexerShape {
    /// `index_n_heads`
    pub heads: usize,
    /// `index_head_dim`
    pub head_dim: usize,
    /// `index_topk`
    pub top_k: usize,
}

/// The scores of one query for the positions from `start` (a page border) on:
/// `sum_j weights_j * max(q_j . k_s, 0)`.
pub(crate) struct IndexScores<'a> {
    /// `[heads, head_dim]`
    pub(crate) q: &'a [f32],
    /// `[heads]`
    pub(crate) weights: &'a [f32],
    pub(crate) query: &'a CachePosition<'a>,
    /// Rows of `head_dim`.
    pub(crate) keys: &'a Arena,
    pub(crate) start: usize,
}

impl IndexScores<'_> {
    /// Whether products are bf16 with f32 sums, which requires bf16 keys.
    pub(crate) fn rounded(&self, compute: Compute) -> bool {
        compute == Compute::Bf16 && self.keys.format() == RowFormat::Bf16 && self.keys.width().is_multiple_of(2)
    }
}

impl Cpu {
    /// Selects the cached positions that each position of the batch attends to.
    ///
    /// `q` is `[n, heads * head_dim]`, `weights` `[n, heads]`, `keys` the index rows of this layer.
    /// If a query sees at most `top_k` positions, all of them are selected without scoring.
    /// Otherwise `score(s) = sum_j weights_j * max(q_j . k_s, 0)`, heads added in order; ties go to
    /// the lower position. Working memory is one row of scores per thread.
    ///
    /// Source: DeepSeek-V3.2-Exp report, eq. 1 and 2.
    pub fn select(
        &self,
        shape: IndexerShape,
        q: &Rows,
        weights: &Rows,
        positions: &[CachePosition<'_>],
        keys: &Arena,
        out: &mut Selection,
    ) {
        out.dense(positions.len());
        let scored: Vec<usize> = (0..positions.len()).filter(|i| positions[*i].position + 1 > shape.top_k).collect();
        for group in scored.chunks(self.threads()) {
            let longest = group.iter().map(|i| positions[*i].position + 1).max().unwrap_or(0);
            let chunk = PAGES_PER_ITEM * PAGE_ROWS;
            let chunks = longest.div_ceil(chunk);
            scratch::with(group.len() * longest, |scores| {
                let rows = Disjoint::new(scores);
                let cost = group.len() * longest * shape.heads * shape.head_dim;
                self.pool.run(group.len() * chunks, cost, |item| {
                    let (row, start) = (item / chunks, item % chunks * chunk);
                    let i = group[row];
                    let end = (start + chunk).min(positions[i].position + 1);
                    if start < end {
                        // SAFETY: an item owns its chunk of its query's scores.
                        let scores = unsafe { rows.piece(row * longest + start, end - start) };
                        let task =
                            IndexScores { q: q.row(i), weights: weights.row(i), query: &positions[i], keys, start };
                        self.index_scores(&task, scores);
                    }
                });
                let scores = &*scores;
                let mut picked: Vec<Vec<u32>> = vec![Vec::new(); group.len()];
                let slots = Disjoint::new(&mut picked);
                self.pool.run(group.len(), group.len() * longest * 8, |row| {
                    let visible = positions[group[row]].position + 1;
                    // SAFETY: an item owns its query's list.
                    top_k(&scores[row * longest..][..visible], shape.top_k, unsafe { &mut slots.piece(row, 1)[0] });
                });
                group.iter().zip(picked).for_each(|(i, picked)| out.picked[*i] = Some(picked));
            });
        }
    }

    pub(crate) fn index_scores(&self, task: &IndexScores<'_>, out: &mut [f32]) {
        match self.isa.index_scores {
            Some(scores) => scores(task, task.rounded(self.compute), out),
            None => self.scores_by_products(task, out),
        }
    }

    /// The specification: scores every page of keys for all heads, then adds the weighted scores of
    /// the heads.
    fn scores_by_products(&self, task: &IndexScores<'_>, out: &mut [f32]) {
        let IndexScores { keys, q, weights, .. } = *task;
        let (heads, head_dim) = (weights.len(), keys.width());
        let rounded: Vec<u16>;
        // Pages of bf16 keys are used in place; other formats are widened first.
        let direct = task.rounded(self.compute);
        let x = if direct {
            rounded = q.iter().map(|v| bf16_bits(*v)).collect();
            Left::Bf16(&rounded)
        } else {
            Left::F32(q)
        };
        out.fill(0.0);
        scratch::with(PAGE_ROWS * head_dim + heads * PAGE_ROWS, |buffer| {
            let (rows, dots) = buffer.split_at_mut(PAGE_ROWS * head_dim);
            for (page, out) in out.chunks_mut(PAGE_ROWS).enumerate() {
                let slot = task.query.slot(task.start + page * PAGE_ROWS);
                let w = if direct {
                    Right::Bf16(keys.rows(slot, out.len()))
                } else {
                    rows.chunks_mut(head_dim).take(out.len()).enumerate().for_each(|(j, row)| keys.read(slot + j, row));
                    Right::F32(rows)
                };
                let local = Disjoint::new(dots);
                let task =
                    Nt { x, rows: None, m: heads, k: head_dim, w, first: 0, out: &local, offset: 0, stride: PAGE_ROWS };
                self.nt(&task, 0..out.len());
                for (head, weight) in weights.iter().enumerate() {
                    let dots = &dots[head * PAGE_ROWS..][..out.len()];
                    out.iter_mut().zip(dots).for_each(|(out, d)| *out += weight * d.max(0.0));
                }
            }
        });
    }
}
