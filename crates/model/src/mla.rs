//! Multi-head latent attention (`docs/model.md` section 5), with the indexer's selection where the
//! layer has one (section 7).

use kernels::{Angles, Attention, CachePosition, Cpu, Linear, Mat, Pairing, Rows, rms_norm, rope};
use weights::Checkpoint;

use crate::cache::LayerCache;
use crate::config::Config;
use crate::indexer::Indexer;
use crate::options::{AttentionPath, Options};
use crate::scratch::AttentionScratch;
use crate::tap::Tap;

/// The attention of one layer.
pub(crate) struct Mla {
    query: Query,
    /// `[kv_lora_rank + qk_rope_head_dim, hidden_size]`
    kv_a_proj_with_mqa: Mat,
    /// `[kv_lora_rank]`: applies to the latent, not to the rope key after it.
    kv_a_layernorm: Vec<f32>,
    /// `[heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank]`
    kv_b_proj: Mat,
    /// `[hidden_size, heads * v_head_dim]`
    o_proj: Mat,
    indexer: Option<Indexer>,
    heads: usize,
    /// `qk_nope_head_dim`
    nope: usize,
    /// `qk_rope_head_dim`
    rope: usize,
    /// `v_head_dim`
    v: usize,
    scale: f32,
    /// `latent_norm_eps`
    eps: f32,
}

/// The projection of queries.
enum Query {
    /// Through a latent of `q_lora_rank`.
    Lora { q_a_proj: Mat, q_a_layernorm: Vec<f32>, q_b_proj: Mat },
    /// In one step, where `q_lora_rank` is null.
    Direct { q_proj: Mat },
}

impl Mla {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        prefix: &str,
        config: &Config,
        options: &Options,
    ) -> Result<Self, weights::Error> {
        let hidden = config.hidden_size;
        let heads = config.num_attention_heads;
        let mat = |name: &str, rows, cols| checkpoint.mat(&format!("{prefix}.{name}.weight"), rows, cols);
        let vector = |name: &str, len| checkpoint.vector(&format!("{prefix}.{name}.weight"), len);
        let q_width = heads * config.qk_head_dim();
        let query = match config.q_lora_rank {
            Some(rank) => Query::Lora {
                q_a_proj: mat("q_a_proj", rank, hidden)?,
                q_a_layernorm: vector("q_a_layernorm", rank)?,
                q_b_proj: mat("q_b_proj", q_width, rank)?,
            },
            None => Query::Direct { q_proj: mat("q_proj", q_width, hidden)? },
        };
        let indexer = match (&config.indexer, config.q_lora_rank) {
            (Some(index), Some(rank)) => Some(Indexer::load(checkpoint, prefix, config, index, rank, options)?),
            _ => None,
        };
        Ok(Self {
            query,
            kv_a_proj_with_mqa: mat("kv_a_proj_with_mqa", config.kv_lora_rank + config.qk_rope_head_dim, hidden)?,
            kv_a_layernorm: vector("kv_a_layernorm", config.kv_lora_rank)?,
            kv_b_proj: mat("kv_b_proj", heads * (config.qk_nope_head_dim + config.v_head_dim), config.kv_lora_rank)?,
            o_proj: mat("o_proj", hidden, heads * config.v_head_dim)?,
            indexer,
            heads,
            nope: config.qk_nope_head_dim,
            rope: config.qk_rope_head_dim,
            v: config.v_head_dim,
            scale: config.softmax_scale() as f32,
            eps: config.latent_norm_eps as f32,
        })
    }

    /// `out = attention(a)` for the normalised inputs `a` at `positions`; fills their cache rows.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a layer are the state of the forward pass")]
    pub(crate) fn forward(
        &self,
        cpu: &Cpu,
        a: &Rows,
        angles: &Angles,
        positions: &[CachePosition<'_>],
        cache: &mut LayerCache,
        s: &mut AttentionScratch,
        layer: usize,
        tap: &mut dyn Tap,
        out: &mut Rows,
    ) {
        let mut first = vec![Linear { w: &self.kv_a_proj_with_mqa, out: &mut s.kv }];
        match &self.query {
            Query::Lora { q_a_proj, .. } => first.push(Linear { w: q_a_proj, out: &mut s.q_latent }),
            Query::Direct { q_proj } => first.push(Linear { w: q_proj, out: &mut s.q }),
        }
        if let Some(indexer) = &self.indexer {
            first.push(Linear { w: &indexer.wk, out: &mut s.index_key });
        }
        cpu.linear(a, &mut first);

        // The cached rows: latent, rope key, index key.
        rms_norm(&s.kv, &self.kv_a_layernorm, self.eps, &mut s.latent);
        rope(&mut s.kv, 1, 0, s.latent.width(), angles, Pairing::Interleaved);
        if let Some(indexer) = &self.indexer {
            indexer.finish_keys(&mut s.index_key, angles);
        }
        cache.write(positions, &s.latent, &s.kv, self.indexer.as_ref().map(|_| &s.index_key));

        // The queries, and the positions they attend to.
        if let Query::Lora { q_a_layernorm, q_b_proj, .. } = &self.query {
            rms_norm(&s.q_latent, q_a_layernorm, self.eps, &mut s.q_normed);
            cpu.linear(&s.q_normed, &mut [Linear { w: q_b_proj, out: &mut s.q }]);
        }
        rope(&mut s.q, self.heads, self.nope + self.rope, self.nope, angles, Pairing::Interleaved);
        match (&self.indexer, &cache.index_keys) {
            (Some(indexer), Some(keys)) if s.paths.contains(&AttentionPath::Sparse) => {
                indexer.select(cpu, a, angles, positions, keys, s);
                for (picked, path) in s.selection.picked.iter_mut().zip(&s.paths) {
                    if *path == AttentionPath::Dense {
                        *picked = None;
                    }
                }
            }
            _ => s.selection.dense(positions.len()),
        }
        tap.selection(layer, &s.selection);

        let attention = Attention {
            heads: self.heads,
            nope: self.nope,
            rope: self.rope,
            v: self.v,
            latent: s.latent.width(),
            scale: self.scale,
            kv_b: &self.kv_b_proj,
        };
        cpu.attend(&attention, &s.q, positions, (&cache.latents, &cache.rope_keys), &s.selection, &mut s.output);
        cpu.linear(&s.output, &mut [Linear { w: &self.o_proj, out }]);
    }
}
