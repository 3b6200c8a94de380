//! Multi-head latent attention in its absorbed form, over selected rows of the latent cache.

use crate::arena::Arena;
use crate::cache_position::{CachePosition, Selection};
use crate::cpu::Cpu;
use crate::mat::Mat;
use crate::partial_softmax::{AttentionPart, PART_ROWS, merge_parts, normalize_sums};
use crate::pool::Disjoint;
use crate::product::{Nn, Nt, Right};
use crate::rows::Rows;
use crate::scratch;

/// Positions per tile: limits the memory of absorbed queries during prefill.
const POSITIONS: usize = 32;

/// Shapes and weights of one attention layer.
pub struct Attention<'a> {
    pub heads: usize,
    /// `qk_nope_head_dim`
    pub nope: usize,
    /// `qk_rope_head_dim`
    pub rope: usize,
    /// `v_head_dim`
    pub v: usize,
    /// `kv_lora_rank`
    pub latent: usize,
    /// Factor of the scores before softmax.
    pub scale: f32,
    /// `[heads * (nope + v), latent]`, per head first the key rows, then the value rows.
    pub kv_b: &'a Mat,
}

/// The positions of a tile, with the cache rows they attend to.
struct TileView<'a> {
    positions: &'a [CachePosition<'a>],
    picked: &'a [Option<Vec<u32>>],
    /// Latents and rope keys.
    arenas: (&'a Arena, &'a Arena),
}

impl TileView<'_> {
    /// Number of rows that position `i` of the tile attends to.
    fn row_count(&self, i: usize) -> usize {
        self.picked[i].as_ref().map_or(self.positions[i].position + 1, Vec::len)
    }

    /// The arena slots of one part of these rows.
    fn slots(&self, i: usize, part: usize) -> Vec<usize> {
        let rows = part * PART_ROWS..self.row_count(i).min((part + 1) * PART_ROWS);
        match &self.picked[i] {
            Some(picked) => picked[rows].iter().map(|position| self.positions[i].slot(*position as usize)).collect(),
            None => rows.map(|position| self.positions[i].slot(position)).collect(),
        }
    }
}

impl Cpu {
    /// Attention of every position of the batch over its selected rows.
    ///
    /// `q` is `[n, heads * (nope + rope)]` with the rope parts rotated; `latents` and `rope_keys`
    /// are the cache rows of this layer; `out` becomes `[n, heads * v]`. Per head (`docs/model.md`
    /// section 5, absorbed form):
    /// `qa = Uk^T q_nope`, `score(s) = (qa . c_s + q_rope . kp_s) * scale`,
    /// `o = Uv sum_s softmax(score)_s c_s`.
    pub fn attend(
        &self,
        layer: &Attention<'_>,
        q: &Rows,
        positions: &[CachePosition<'_>],
        (latents, rope_keys): (&Arena, &Arena),
        selection: &Selection,
        out: &mut Rows,
    ) {
        out.resize(q.len());
        let width = layer.latent + layer.rope;
        let tile = POSITIONS.min(q.len());
        scratch::with(tile * layer.heads * (width + layer.latent), |buffer| {
            let (keys, values) = buffer.split_at_mut(tile * layer.heads * width);
            for start in (0..q.len()).step_by(POSITIONS) {
                let n = POSITIONS.min(q.len() - start);
                self.absorb(layer, q, start, n, keys);
                let view = TileView {
                    positions: &positions[start..start + n],
                    picked: &selection.picked[start..start + n],
                    arenas: (latents, rope_keys),
                };
                self.attend_tile(layer, &view, keys, values);
                self.expand(layer, start, n, values, out);
            }
        });
    }

    /// `keys[i][head] = [Uk_head^T q_nope ; q_rope]` for the positions `start..start + n`.
    fn absorb(&self, layer: &Attention<'_>, q: &Rows, start: usize, n: usize, keys: &mut [f32]) {
        let Attention { heads, nope, rope, v, latent, .. } = *layer;
        let (width, head_width) = (latent + rope, nope + rope);
        let keys = Disjoint::new(keys);
        self.pool.run(heads, n * heads * nope * latent, |head| {
            scratch::with(n * latent, |absorbed| {
                absorbed.fill(0.0);
                let task = Nn {
                    p: &q.all()[start * q.width() + head * head_width..],
                    p_stride: q.width(),
                    m: n,
                    n: nope,
                    c: Right::Mat(layer.kv_b),
                    width: latent,
                    first: head * (nope + v),
                    d: latent,
                    out_stride: latent,
                };
                self.nn(&task, absorbed);
                for (i, absorbed) in absorbed.chunks(latent).enumerate() {
                    // SAFETY: an item owns its head's part of every position.
                    let key = unsafe { keys.piece((i * heads + head) * width, width) };
                    key[..latent].copy_from_slice(absorbed);
                    key[latent..].copy_from_slice(&q.row(start + i)[head * head_width + nope..][..rope]);
                }
            });
        });
    }

    /// `values[i][head] = sum_s softmax(score)_s c_s` over the selected rows of every position.
    ///
    /// Rows are taken in parts of [`PART_ROWS`], which are then merged in order: the same
    /// arithmetic whether one thread takes all parts of a position or many share them.
    fn attend_tile(&self, layer: &Attention<'_>, view: &TileView<'_>, keys: &[f32], values: &mut [f32]) {
        let Attention { heads, rope, latent, scale, .. } = *layer;
        let n = view.positions.len();
        let width = latent + rope;
        let cost = (0..n).map(|i| view.row_count(i)).sum::<usize>() * heads * (width + latent);
        // The heads of an item share every cached row that they read; smaller blocks leave more
        // items for the threads.
        let block = if n * heads.div_ceil(32) >= 2 * self.threads() { 32 } else { 16 };
        let blocks = heads.div_ceil(block);
        let heads_of = |item: usize| item % blocks * block..heads.min((item % blocks + 1) * block);
        let part = |item: usize, part: usize, out: &mut [f32]| {
            let (i, heads_of) = (item / blocks, heads_of(item));
            let queries = &keys[(i * heads + heads_of.start) * width..][..heads_of.len() * width];
            let slots = view.slots(i, part);
            let (latents, rope_keys) = view.arenas;
            self.partial(
                &AttentionPart { heads: heads_of.len(), queries, latents, rope_keys, scale, slots: &slots },
                out,
            );
        };
        let values = Disjoint::new(values);
        let finish = |item: usize, sums: &[f32]| {
            let first = (item / blocks * heads + heads_of(item).start) * latent;
            // SAFETY: an item owns its heads of its position.
            normalize_sums(sums, latent, unsafe { values.piece(first, heads_of(item).len() * latent) });
        };
        let size = block * (latent + 2);
        let parts = (0..n).map(|i| view.row_count(i).div_ceil(PART_ROWS)).max().unwrap_or(0);
        if parts == 1 || n * blocks >= 2 * self.threads() {
            self.pool.run(n * blocks, cost, |item| {
                let size = heads_of(item).len() * (latent + 2);
                scratch::with(2 * size, |buffer| {
                    let (sums, next) = buffer.split_at_mut(size);
                    part(item, 0, sums);
                    for p in 1..view.row_count(item / blocks).div_ceil(PART_ROWS) {
                        part(item, p, next);
                        merge_parts(sums, next, latent);
                    }
                    finish(item, sums);
                });
            });
            return;
        }
        scratch::with(n * blocks * parts * size, |buffer| {
            let all = Disjoint::new(buffer);
            self.pool.run(n * blocks * parts, cost, |index| {
                let (item, p) = (index / parts, index % parts);
                if p * PART_ROWS < view.row_count(item / blocks) {
                    // SAFETY: an item owns its own sums.
                    part(item, p, unsafe { all.piece(index * size, heads_of(item).len() * (latent + 2)) });
                }
            });
            for (item, sums) in buffer.chunks_mut(parts * size).enumerate() {
                let used = heads_of(item).len() * (latent + 2);
                let (sums, others) = sums.split_at_mut(size);
                let others = others.chunks(size).take(view.row_count(item / blocks).div_ceil(PART_ROWS) - 1);
                others.for_each(|next| merge_parts(&mut sums[..used], &next[..used], latent));
                finish(item, &sums[..used]);
            }
        });
    }

    /// `out[start + i][head] = Uv_head values[i][head]`.
    fn expand(&self, layer: &Attention<'_>, start: usize, n: usize, values: &[f32], out: &mut Rows) {
        let Attention { heads, nope, v, latent, .. } = *layer;
        let width = heads * v;
        let out = Disjoint::new(&mut out.all_mut()[start * width..]);
        let activations = self.activations(&values[..n * heads * latent], latent, [layer.kv_b]);
        self.pool.run(heads, n * width * latent, |head| {
            let rows: Vec<u32> = (0..n).map(|i| (i * heads + head) as u32).collect();
            let first = head * (nope + v) + nope;
            // Row `first + j` of the matrix becomes column `head * v + j`.
            scratch::with(n * v, |buffer| {
                let local = Disjoint::new(buffer);
                let x = activations.for_weight(layer.kv_b);
                let w = Right::Mat(layer.kv_b);
                let task = Nt { x, rows: Some(&rows), m: n, k: latent, w, first, out: &local, offset: 0, stride: v };
                self.nt(&task, first..first + v);
                for i in 0..n {
                    // SAFETY: an item owns its head's columns.
                    unsafe { out.piece(i * width + head * v, v) }.copy_from_slice(&buffer[i * v..][..v]);
                }
            });
        });
    }
}
