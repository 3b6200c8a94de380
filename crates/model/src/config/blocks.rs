//! The groups of keys that a model may lack: YaRN, the indexer, quantization.

/// YaRN scaling of the rotary frequencies, from `rope_scaling`.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    pub factor: f64,
    pub original_max_position_embeddings: usize,
    pub beta_fast: f64,
    pub beta_slow: f64,
    pub mscale: f64,
    pub mscale_all_dim: f64,
}

/// The lightning indexer of `deepseek_v32`, from the `index_*` keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexerConfig {
    /// `index_n_heads`
    pub n_heads: usize,
    /// `index_head_dim`
    pub head_dim: usize,
    /// `index_topk`
    pub topk: usize,
    /// `indexer_rope_interleave`
    pub rope_interleave: bool,
}

/// The scales of an fp8 checkpoint, from `quantization_config`, or of the source of a packed one,
/// from `cachalot_packing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// `scale_fmt` is `ue8m0`: every scale of the release is a power of two.
    pub ue8m0: bool,
}
