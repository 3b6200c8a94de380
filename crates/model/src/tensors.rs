//! The tensors of a checkpoint, by name and shape (`docs/model.md` section 11), and the number of
//! their parameters.

use std::collections::HashSet;

use weights::Checkpoint;

use crate::config::Config;

/// The embedding.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output head.
pub(crate) const HEAD: &str = "lm_head.weight";
/// Rows of a tied head that differ from the embedding, `[rows, hidden_size]`; optional.
pub(crate) const HEAD_ROWS: &str = "lm_head.rows";
/// The tokens of [`HEAD_ROWS`], `[rows]` in I32.
pub(crate) const HEAD_ROW_IDS: &str = "lm_head.row_ids";

/// A tensor that a config implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    /// `[out, in]`, or `[len]`.
    pub shape: Vec<usize>,
    /// Whether the releases store it as fp8 with block scales.
    pub scaled: bool,
    /// Whether it may be missing: the routing bias, the MTP module's copies of embedding and head,
    /// and a head that is tied to the embedding.
    pub optional: bool,
    /// Whether it belongs to the MTP module.
    pub mtp: bool,
    pub kind: TensorKind,
}

/// The part of the model that a tensor belongs to. Packed weights have a format for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorKind {
    Embedding,
    Head,
    /// Projections of queries, keys, values and the output.
    Attention,
    /// `wq_b` and `wk` of the lightning indexer.
    Indexer,
    /// Dense MLPs, shared experts, and `eh_proj` of the MTP module.
    Mlp,
    /// Routed experts, of which a token uses only some.
    Experts,
    /// Norms, biases, gates and the weights of index heads, which are never packed.
    Kept,
}

impl TensorKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Embedding, Self::Head, Self::Attention, Self::Indexer, Self::Mlp, Self::Experts, Self::Kept];

    /// The name in reports and in `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Head => "head",
            Self::Attention => "attention",
            Self::Indexer => "indexer",
            Self::Mlp => "mlp",
            Self::Experts => "experts",
            Self::Kept => "kept",
        }
    }
}

/// Parameter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterCounts {
    /// Parameters of the main model.
    pub total: u64,
    /// Parameters of the main model that one token uses.
    pub active: u64,
    /// Parameters of the MTP module, without its copies of embedding and head.
    pub mtp: u64,
}

/// All tensors that `config` implies, those of the MTP module last.
pub fn expected_tensors(config: &Config) -> Vec<TensorSpec> {
    let mut list = TensorList { config, tensors: Vec::new(), mtp: false };
    let (hidden, vocab) = (config.hidden_size, config.vocab_size);
    list.push(EMBEDDING, &[vocab, hidden], TensorKind::Embedding);
    for layer in 0..config.num_hidden_layers {
        list.layer(layer, config.is_moe(layer));
    }
    list.plain("model.norm.weight", &[hidden]);
    list.push(HEAD, &[vocab, hidden], TensorKind::Head).optional = config.tie_word_embeddings;
    list.mtp = true;
    for layer in config.num_hidden_layers..config.num_hidden_layers + config.num_nextn_predict_layers {
        let prefix = format!("model.layers.{layer}");
        list.layer(layer, true);
        list.plain(&format!("{prefix}.enorm.weight"), &[hidden]);
        list.plain(&format!("{prefix}.hnorm.weight"), &[hidden]);
        list.push(&format!("{prefix}.eh_proj.weight"), &[hidden, 2 * hidden], TensorKind::Mlp);
        list.plain(&format!("{prefix}.shared_head.norm.weight"), &[hidden]);
        let copies = [("embed_tokens", TensorKind::Embedding), ("shared_head.head", TensorKind::Head)];
        for (copy, kind) in copies {
            list.push(&format!("{prefix}.{copy}.weight"), &[vocab, hidden], kind).optional = true;
        }
    }
    list.tensors
}

/// The list under construction.
struct TensorList<'a> {
    config: &'a Config,
    tensors: Vec<TensorSpec>,
    mtp: bool,
}

impl TensorList<'_> {
    fn push(&mut self, name: &str, shape: &[usize], kind: TensorKind) -> &mut TensorSpec {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.tensors.push(TensorSpec { name, shape, scaled: false, optional: false, mtp: self.mtp, kind });
        self.tensors.last_mut().expect("one was just pushed")
    }

    fn plain(&mut self, name: &str, shape: &[usize]) {
        self.push(name, shape, TensorKind::Kept);
    }

    fn scaled(&mut self, name: &str, shape: &[usize], kind: TensorKind) {
        self.push(name, shape, kind).scaled = true;
    }

    fn layer(&mut self, layer: usize, moe: bool) {
        let hidden = self.config.hidden_size;
        let prefix = format!("model.layers.{layer}");
        self.plain(&format!("{prefix}.input_layernorm.weight"), &[hidden]);
        self.attention(&format!("{prefix}.self_attn"));
        self.plain(&format!("{prefix}.post_attention_layernorm.weight"), &[hidden]);
        if moe {
            self.moe(&format!("{prefix}.mlp"));
        } else {
            self.mlp(&format!("{prefix}.mlp"), self.config.intermediate_size, TensorKind::Mlp);
        }
    }

    fn attention(&mut self, prefix: &str) {
        use TensorKind::{Attention, Indexer};
        let config = self.config;
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        let q_width = heads * config.qk_head_dim();
        if let Some(rank) = config.q_lora_rank {
            self.scaled(&format!("{prefix}.q_a_proj.weight"), &[rank, hidden], Attention);
            self.plain(&format!("{prefix}.q_a_layernorm.weight"), &[rank]);
            self.scaled(&format!("{prefix}.q_b_proj.weight"), &[q_width, rank], Attention);
            if let Some(index) = &config.indexer {
                self.scaled(&format!("{prefix}.indexer.wq_b.weight"), &[index.n_heads * index.head_dim, rank], Indexer);
                self.scaled(&format!("{prefix}.indexer.wk.weight"), &[index.head_dim, hidden], Indexer);
                self.plain(&format!("{prefix}.indexer.k_norm.weight"), &[index.head_dim]);
                self.plain(&format!("{prefix}.indexer.k_norm.bias"), &[index.head_dim]);
                self.plain(&format!("{prefix}.indexer.weights_proj.weight"), &[index.n_heads, hidden]);
            }
        } else {
            self.scaled(&format!("{prefix}.q_proj.weight"), &[q_width, hidden], Attention);
        }
        self.scaled(
            &format!("{prefix}.kv_a_proj_with_mqa.weight"),
            &[config.kv_lora_rank + config.qk_rope_head_dim, hidden],
            Attention,
        );
        self.plain(&format!("{prefix}.kv_a_layernorm.weight"), &[config.kv_lora_rank]);
        let kv_width = heads * (config.qk_nope_head_dim + config.v_head_dim);
        self.scaled(&format!("{prefix}.kv_b_proj.weight"), &[kv_width, config.kv_lora_rank], Attention);
        self.scaled(&format!("{prefix}.o_proj.weight"), &[hidden, heads * config.v_head_dim], Attention);
    }

    fn moe(&mut self, prefix: &str) {
        let config = self.config;
        self.plain(&format!("{prefix}.gate.weight"), &[config.n_routed_experts, config.hidden_size]);
        let bias = format!("{prefix}.gate.e_score_correction_bias");
        self.push(&bias, &[config.n_routed_experts], TensorKind::Kept).optional = true;
        for expert in 0..config.n_routed_experts {
            self.mlp(&format!("{prefix}.experts.{expert}"), config.moe_intermediate_size, TensorKind::Experts);
        }
        if config.n_shared_experts > 0 {
            self.mlp(
                &format!("{prefix}.shared_experts"),
                config.n_shared_experts * config.moe_intermediate_size,
                TensorKind::Mlp,
            );
        }
    }

    fn mlp(&mut self, prefix: &str, width: usize, kind: TensorKind) {
        let hidden = self.config.hidden_size;
        for (name, shape) in
            [("gate_proj", [width, hidden]), ("up_proj", [width, hidden]), ("down_proj", [hidden, width])]
        {
            self.scaled(&format!("{prefix}.{name}.weight"), &shape, kind);
        }
    }
}

/// Counts the parameters of `config`.
pub fn count_parameters(config: &Config) -> ParameterCounts {
    let mut counts = ParameterCounts { total: 0, active: 0, mtp: 0 };
    let mut routed = 0;
    for tensor in expected_tensors(config) {
        let n = tensor.shape.iter().map(|n| *n as u64).product::<u64>();
        let copy = tensor.optional && tensor.shape.len() == 2;
        match tensor {
            _ if copy => {}
            TensorSpec { mtp: true, .. } => counts.mtp += n,
            TensorSpec { kind: TensorKind::Experts, .. } => routed += n,
            _ => counts.total += n,
        }
    }
    counts.active = counts.total + routed / config.n_routed_experts as u64 * config.num_experts_per_tok as u64;
    counts.total += routed;
    counts
}

/// The bytes of weights that the main model reads for one token, where `bytes` is the size of a
/// tensor: all but the MTP module, the experts that the gate does not choose, and the other rows of
/// the embedding.
pub fn bytes_per_token(config: &Config, bytes: impl Fn(&TensorSpec) -> u64) -> u64 {
    let mut experts = 0;
    let mut others = 0;
    for tensor in expected_tensors(config).iter().filter(|tensor| !tensor.mtp) {
        match tensor.kind {
            TensorKind::Experts => experts += bytes(tensor),
            TensorKind::Embedding if !config.tie_word_embeddings => others += bytes(tensor) / config.vocab_size as u64,
            TensorKind::Head if config.tie_word_embeddings => {}
            _ => others += bytes(tensor),
        }
    }
    others + experts / config.n_routed_experts as u64 * config.num_experts_per_tok as u64
}

/// Checks that the checkpoint has exactly the tensors of `config`, in their shapes and in supported
/// formats. A head of its own beside `tie_word_embeddings` is ignored. The MTP module may be
/// missing as a whole. Tensors that the model does not need are skipped ([`unneeded_tensors`]).
///
/// # Errors
/// The first tensor that is missing, misshapen or unexpected.
pub fn verify(config: &Config, checkpoint: &Checkpoint) -> Result<(), weights::Error> {
    let expected = expected_tensors(config);
    let has_mtp = expected.iter().any(|tensor| tensor.mtp && !tensor.optional && checkpoint.contains(&tensor.name));
    for tensor in &expected {
        let may_be_missing = tensor.optional || (tensor.mtp && !has_mtp);
        if !may_be_missing || checkpoint.contains(&tensor.name) {
            checkpoint.check(&tensor.name, &tensor.shape)?;
        }
    }
    let parts = expected.iter().flat_map(|tensor| checkpoint.parts(&tensor.name));
    let mut known: HashSet<&str> = parts.map(|part| part.name.as_str()).collect();
    if config.tie_word_embeddings && (checkpoint.contains(HEAD_ROWS) || checkpoint.contains(HEAD_ROW_IDS)) {
        let ids = checkpoint.row_ids(HEAD_ROW_IDS, config.vocab_size)?;
        checkpoint.check(HEAD_ROWS, &[ids.len(), config.hidden_size])?;
        known.extend([HEAD_ROWS, HEAD_ROW_IDS]);
    }
    for name in checkpoint.names() {
        let (_, file) = checkpoint.tensor(name).expect("a name of the checkpoint");
        if !known.contains(name) && !is_unneeded(config, checkpoint, name) {
            return Err(weights::Error::UnexpectedTensor { tensor: name.to_owned(), file: file.to_owned() });
        }
    }
    Ok(())
}

/// The tensors that are skipped because the model does not need them, sorted.
pub fn unneeded_tensors<'a>(config: &Config, checkpoint: &'a Checkpoint) -> Vec<&'a str> {
    let mut names: Vec<&str> = checkpoint.names().filter(|name| is_unneeded(config, checkpoint, name)).collect();
    names.sort_unstable();
    names
}

/// The last parts of names of tensors that do not change what the model computes: the rotary table
/// of older conversions, and the scales with which other engines round activations and their cache.
const UNNEEDED: [&str; 10] = [
    "rotary_emb.inv_freq",
    ".input_scale",
    ".input_scale_ub",
    ".output_scale",
    ".k_scale",
    ".v_scale",
    ".q_scale",
    ".kv_scale",
    ".prob_scale",
    ".attn_output_scale",
];

/// Whether a tensor that no config describes may be skipped: one of [`UNNEEDED`], and those of MTP
/// modules behind the ones that the config counts.
fn is_unneeded(config: &Config, checkpoint: &Checkpoint, name: &str) -> bool {
    let layers = config.num_hidden_layers + config.num_nextn_predict_layers;
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let layer = layer.and_then(|(layer, _)| layer.parse::<usize>().ok());
    let is_of_module =
        |layer: usize| layer >= layers && checkpoint.contains(&format!("model.layers.{layer}.eh_proj.weight"));
    UNNEEDED.iter().any(|suffix| name.ends_with(suffix)) || layer.is_some_and(is_of_module)
}

#[cfg(test)]
mod tests;
