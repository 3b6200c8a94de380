//! The buffers of a forward pass, allocated once and grown to the largest batch.

use kernels::{Angles, ExpertRoutes, Rows, Selection};

use crate::config::Config;
use crate::options::AttentionPath;
use crate::rope::Rope;

/// All buffers.
pub(crate) struct Scratch {
    pub(crate) angles: Angles,
    /// The residual stream, `[n, hidden_size]`.
    pub(crate) residual: Rows,
    /// The normalised input of a branch, `[n, hidden_size]`.
    pub(crate) input: Rows,
    /// The output of a branch, which is added to the residual, `[n, hidden_size]`.
    pub(crate) branch: Rows,
    pub(crate) attention: AttentionScratch,
    pub(crate) feed_forward: FeedForwardScratch,
}

/// The buffers of attention.
pub(crate) struct AttentionScratch {
    /// `[n, q_lora_rank]`, before the norm.
    pub(crate) q_latent: Rows,
    /// `[n, q_lora_rank]`, after the norm.
    pub(crate) q_normed: Rows,
    /// `[n, heads * qk_head_dim]`
    pub(crate) q: Rows,
    /// `[n, kv_lora_rank + qk_rope_head_dim]`
    pub(crate) kv: Rows,
    /// `[n, kv_lora_rank]`, normalised.
    pub(crate) latent: Rows,
    /// `[n, heads * v_head_dim]`
    pub(crate) output: Rows,
    /// `[n, index_head_dim]`
    pub(crate) index_key: Rows,
    /// `[n, index_n_heads * index_head_dim]`
    pub(crate) index_q: Rows,
    /// `[n, index_n_heads]`
    pub(crate) index_weights: Rows,
    pub(crate) selection: Selection,
    /// The attention path of every position of the batch.
    pub(crate) paths: Vec<AttentionPath>,
}

/// The buffers of feed-forward parts.
pub(crate) struct FeedForwardScratch {
    /// `[n, n_routed_experts]`
    pub(crate) scores: Rows,
    pub(crate) routes: ExpertRoutes,
    /// Gate and up projections of the dense MLP, `[n, intermediate_size]`.
    pub(crate) dense: [Rows; 2],
    /// Gate and up projections of the shared expert.
    pub(crate) shared: [Rows; 2],
    /// The shared expert's output, `[n, hidden_size]`.
    pub(crate) shared_output: Rows,
}

impl Scratch {
    pub(crate) fn new(config: &Config, rope: &Rope) -> Self {
        let hidden = || Rows::new(config.hidden_size);
        let heads = config.num_attention_heads;
        let (index_heads, index_dim) = config.indexer.as_ref().map_or((0, 0), |index| (index.n_heads, index.head_dim));
        let shared = config.n_shared_experts * config.moe_intermediate_size;
        Self {
            angles: rope.new_angles(),
            residual: hidden(),
            input: hidden(),
            branch: hidden(),
            attention: AttentionScratch {
                q_latent: Rows::new(config.q_lora_rank.unwrap_or(0)),
                q_normed: Rows::new(config.q_lora_rank.unwrap_or(0)),
                q: Rows::new(heads * config.qk_head_dim()),
                kv: Rows::new(config.kv_lora_rank + config.qk_rope_head_dim),
                latent: Rows::new(config.kv_lora_rank),
                output: Rows::new(heads * config.v_head_dim),
                index_key: Rows::new(index_dim),
                index_q: Rows::new(index_heads * index_dim),
                index_weights: Rows::new(index_heads),
                selection: Selection::default(),
                paths: Vec::new(),
            },
            feed_forward: FeedForwardScratch {
                scores: Rows::new(config.n_routed_experts),
                routes: ExpertRoutes::default(),
                dense: [Rows::new(config.intermediate_size), Rows::new(config.intermediate_size)],
                shared: [Rows::new(shared), Rows::new(shared)],
                shared_output: hidden(),
            },
        }
    }
}
