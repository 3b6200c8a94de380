//! The lightning indexer (`docs/model.md` section 7), which selects the cached positions that a
//! query attends to.

use kernels::{
    Angles, Arena, CachePosition, Cpu, IndexerShape, Linear, Mat, Pairing, Rows, hadamard_rows, layer_norm, rope,
    round_fp8_rows,
};
use weights::Checkpoint;

use crate::config::{Config, IndexerConfig};
use crate::options::{IndexFormat, Options};
use crate::scratch::AttentionScratch;

/// The indexer of one layer.
pub(crate) struct Indexer {
    /// `[index_n_heads * index_head_dim, q_lora_rank]`: queries, from the normalised query latent.
    wq_b: Mat,
    /// `[index_head_dim, hidden_size]`: one key per token, shared by all index heads.
    pub(crate) wk: Mat,
    /// LayerNorm of the key, `[index_head_dim]` each.
    k_norm_weight: Vec<f32>,
    k_norm_bias: Vec<f32>,
    /// `[index_n_heads, hidden_size]`: the weights of the heads.
    weights_proj: Mat,
    shape: IndexerShape,
    format: IndexFormat,
    ue8m0: bool,
    pairing: Pairing,
}

/// The epsilon of the index key's LayerNorm, which differs from the model's `rms_norm_eps`.
const LAYER_NORM_EPS: f32 = 1e-6;

impl Indexer {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        prefix: &str,
        config: &Config,
        index: &IndexerConfig,
        q_lora_rank: usize,
        options: &Options,
    ) -> Result<Self, weights::Error> {
        let mat = |name: &str, rows, cols| checkpoint.mat(&format!("{prefix}.indexer.{name}"), rows, cols);
        let vector = |name: &str| checkpoint.vector(&format!("{prefix}.indexer.{name}"), index.head_dim);
        Ok(Self {
            wq_b: mat("wq_b.weight", index.n_heads * index.head_dim, q_lora_rank)?,
            wk: mat("wk.weight", index.head_dim, config.hidden_size)?,
            k_norm_weight: vector("k_norm.weight")?,
            k_norm_bias: vector("k_norm.bias")?,
            weights_proj: mat("weights_proj.weight", index.n_heads, config.hidden_size)?,
            shape: IndexerShape { heads: index.n_heads, head_dim: index.head_dim, top_k: index.topk },
            format: options.index,
            ue8m0: config.ue8m0(),
            pairing: if index.rope_interleave { Pairing::Interleaved } else { Pairing::HalfSplit },
        })
    }

    /// Turns `wk(a)` into the cached key: LayerNorm, rotation of the first part, and for fp8 the
    /// Hadamard rotation (the cache rounds).
    pub(crate) fn finish_keys(&self, keys: &mut Rows, angles: &Angles) {
        layer_norm(keys, &self.k_norm_weight, &self.k_norm_bias, LAYER_NORM_EPS);
        rope(keys, 1, self.shape.head_dim, 0, angles, self.pairing);
        if self.format == IndexFormat::Fp8 {
            hadamard_rows(keys, self.shape.head_dim);
        }
    }

    /// Writes the selected positions of every query to `s.selection`. If all queries see at most
    /// `index_topk` positions, all are selected without scoring.
    pub(crate) fn select(
        &self,
        cpu: &Cpu,
        a: &Rows,
        angles: &Angles,
        positions: &[CachePosition<'_>],
        keys: &Arena,
        s: &mut AttentionScratch,
    ) {
        if positions.iter().all(|at| at.position < self.shape.top_k) {
            return s.selection.dense(positions.len());
        }
        let IndexerShape { heads, head_dim, .. } = self.shape;
        cpu.linear(&s.q_normed, &mut [Linear { w: &self.wq_b, out: &mut s.index_q }]);
        rope(&mut s.index_q, heads, head_dim, 0, angles, self.pairing);
        if self.format == IndexFormat::Fp8 {
            hadamard_rows(&mut s.index_q, head_dim);
            round_fp8_rows(&mut s.index_q, head_dim, self.ue8m0);
        }
        cpu.linear_f32(a, &mut [Linear { w: &self.weights_proj, out: &mut s.index_weights }]);
        let scale = ((heads * head_dim) as f32).sqrt().recip();
        s.index_weights.all_mut().iter_mut().for_each(|w| *w *= scale);
        cpu.select(self.shape, &s.index_q, &s.index_weights, positions, keys, &mut s.selection);
    }
}
