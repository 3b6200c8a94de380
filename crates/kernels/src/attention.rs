//! Multi-head latent attention in its absorbed form, over gathered rows of the latent cache.

use crate::arena::Arena;
use crate::cpu::Cpu;
use crate::mat::Mat;
use crate::pool::Disjoint;
use crate::product::{Left, Nn, Nt, Right};
use crate::rows::Rows;
use crate::scratch;
use crate::softmax::Running;

/// Rows of a cache page.
pub const PAGE_ROWS: usize = 64;

/// Positions whose absorbed queries are held at once: bounds working memory during prefill.
const POSITIONS: usize = 32;

/// Where a position of the batch lives: its place in its sequence, and the pages of that sequence.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Page ids of the sequence, in order; position `p` is row `p % 64` of page `pages[p / 64]`.
    pub pages: &'a [u32],
    pub position: usize,
}

impl Place<'_> {
    /// The arena slot of position `position` of this sequence.
    pub fn slot(&self, position: usize) -> usize {
        self.pages[position / PAGE_ROWS] as usize * PAGE_ROWS + position % PAGE_ROWS
    }

    /// The arena slot of this place.
    pub fn own_slot(&self) -> usize {
        self.slot(self.position)
    }
}

/// Which cached positions each query attends to.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// For every query: the selected positions, ascending; `None` means all it can see.
    pub picked: Vec<Option<Vec<u32>>>,
}

impl Selection {
    /// Every one of `queries` sees everything before it.
    pub fn dense(&mut self, queries: usize) {
        self.picked.clear();
        self.picked.resize(queries, None);
    }
}

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
    pub scale: f32,
    /// `[heads * (nope + v), latent]`, per head first the key rows, then the value rows.
    pub kv_b: &'a Mat,
}

impl Cpu {
    /// Attention of every position of the batch over its selected rows.
    ///
    /// `q` is `[n, heads * (nope + rope)]` with the rope parts rotated; `latents` and `rope_keys` are the cache rows of this layer;
    /// `out` becomes `[n, heads * v]`. Per head (`model.md` section 5, absorbed form):
    /// `qa = Uk^T q_nope`, `score(s) = (qa . c_s + q_rope . kp_s) * scale`, `o = Uv sum_s softmax(score)_s c_s`.
    pub fn attend(
        &self,
        layer: &Attention<'_>,
        q: &Rows,
        places: &[Place<'_>],
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
                self.attend_tile(
                    layer,
                    &places[start..start + n],
                    (latents, rope_keys),
                    &selection.picked[start..start + n],
                    keys,
                    values,
                );
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
            scratch::with(nope * latent + n * latent, |buffer| {
                let (uk, absorbed) = buffer.split_at_mut(nope * latent);
                for (i, row) in uk.chunks_mut(latent).enumerate() {
                    layer.kv_b.row(head * (nope + v) + i, row);
                }
                absorbed.fill(0.0);
                let p = &q.all()[start * q.width() + head * head_width..];
                let task = Nn {
                    p,
                    p_stride: q.width(),
                    m: n,
                    n: nope,
                    c: uk,
                    c_stride: latent,
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
    fn attend_tile(
        &self,
        layer: &Attention<'_>,
        places: &[Place<'_>],
        (latents, rope_keys): (&Arena, &Arena),
        picked: &[Option<Vec<u32>>],
        keys: &[f32],
        values: &mut [f32],
    ) {
        let Attention { heads, rope, latent, .. } = *layer;
        let width = latent + rope;
        let seen = |i: usize| picked[i].as_ref().map_or(places[i].position + 1, Vec::len);
        let cost = (0..places.len()).map(seen).sum::<usize>() * heads * (width + latent);
        // Heads share the gathered rows; more of them an item means less gathering, fewer means more parallel items.
        let block = (places.len() * heads).div_ceil(4 * self.threads()).clamp(1, heads.min(16));
        let blocks = heads.div_ceil(block);
        let values = Disjoint::new(values);
        self.pool.run(places.len() * blocks, cost, |item| {
            let (i, first) = (item / blocks, item % blocks * block);
            let n_heads = block.min(heads - first);
            // SAFETY: an item owns its heads of its position.
            let sums = unsafe { values.piece((i * heads + first) * latent, n_heads * latent) };
            sums.fill(0.0);
            let queries = &keys[(i * heads + first) * width..][..n_heads * width];
            let mut running = vec![Running::START; n_heads];
            scratch::with(PAGE_ROWS * width + n_heads * PAGE_ROWS, |buffer| {
                let (rows, scores) = buffer.split_at_mut(PAGE_ROWS * width);
                let total = seen(i);
                for start in (0..total).step_by(PAGE_ROWS) {
                    let n = PAGE_ROWS.min(total - start);
                    for (j, row) in rows.chunks_mut(width).take(n).enumerate() {
                        let position = picked[i].as_ref().map_or(start + j, |picked| picked[start + j] as usize);
                        let slot = places[i].slot(position);
                        latents.read(slot, &mut row[..latent]);
                        rope_keys.read(slot, &mut row[latent..]);
                    }
                    let out = Disjoint::new(scores);
                    let x = Left::F32(queries);
                    self.nt(
                        &Nt {
                            x,
                            rows: None,
                            m: n_heads,
                            k: width,
                            w: Right::F32(rows),
                            first: 0,
                            out: &out,
                            offset: 0,
                            stride: PAGE_ROWS,
                        },
                        0..n,
                    );
                    for (head, running) in running.iter_mut().enumerate() {
                        let scores = &mut scores[head * PAGE_ROWS..][..n];
                        scores.iter_mut().for_each(|s| *s *= layer.scale);
                        let factor = running.step(scores);
                        sums[head * latent..][..latent].iter_mut().for_each(|v| *v *= factor);
                    }
                    let task = Nn {
                        p: scores,
                        p_stride: PAGE_ROWS,
                        m: n_heads,
                        n,
                        c: rows,
                        c_stride: width,
                        d: latent,
                        out_stride: latent,
                    };
                    self.nn(&task, sums);
                }
            });
            for (sums, running) in sums.chunks_mut(latent).zip(&running) {
                let total = running.total();
                sums.iter_mut().for_each(|v| *v /= total);
            }
        });
    }

    /// `out[start + i][head] = Uv_head values[i][head]`.
    fn expand(&self, layer: &Attention<'_>, start: usize, n: usize, values: &[f32], out: &mut Rows) {
        let Attention { heads, nope, v, latent, .. } = *layer;
        let width = heads * v;
        let out = Disjoint::new(&mut out.all_mut()[start * width..]);
        self.with_sides(&values[..n * heads * latent], |sides| {
            self.pool.run(heads, n * width * latent, |head| {
                let rows: Vec<u32> = (0..n).map(|i| (i * heads + head) as u32).collect();
                let first = head * (nope + v) + nope;
                // Row `first + j` of the matrix becomes column `head * v + j`.
                scratch::with(n * v, |buffer| {
                    let local = Disjoint::new(buffer);
                    let (x, w) = (sides.for_weight(layer.kv_b), Right::Mat(layer.kv_b));
                    let task =
                        Nt { x, rows: Some(&rows), m: n, k: latent, w, first, out: &local, offset: 0, stride: v };
                    self.nt(&task, first..first + v);
                    for i in 0..n {
                        // SAFETY: an item owns its head's columns.
                        unsafe { out.piece(i * width + head * v, v) }.copy_from_slice(&buffer[i * v..][..v]);
                    }
                });
            });
        });
    }
}
