//! `config.json`: the hyper-parameters of the family, checked for completeness and contradictions
//! (`docs/model.md` section 2).

mod blocks;
mod error;
mod keys;
mod known_keys;
mod quantization_keys;
mod rope_keys;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use blocks::{IndexerConfig, Quantization, Yarn};
pub use error::ConfigError;
use keys::{ConfigKeys, unsupported};
use known_keys::check_config;
use rope_keys::read_rope;

/// The default of `latent_norm_eps`, a key of this program's own: no config of a release has one.
const LATENT_NORM_EPS: f64 = 1e-6;

/// The keys that the model needs, by their names in `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub moe_intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub first_k_dense_replace: usize,
    pub num_attention_heads: usize,
    pub q_lora_rank: Option<usize>,
    pub kv_lora_rank: usize,
    pub qk_nope_head_dim: usize,
    pub qk_rope_head_dim: usize,
    pub v_head_dim: usize,
    pub n_routed_experts: usize,
    pub n_shared_experts: usize,
    pub num_experts_per_tok: usize,
    pub n_group: usize,
    pub topk_group: usize,
    pub norm_topk_prob: bool,
    pub routed_scaling_factor: f64,
    pub rms_norm_eps: f64,
    /// Epsilon of the norms of both latents, which the release's code leaves at 1e-6 whatever
    /// `rms_norm_eps` is.
    pub latent_norm_eps: f64,
    pub max_position_embeddings: usize,
    pub rope_theta: f64,
    pub rope_scaling: Option<Yarn>,
    pub num_nextn_predict_layers: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    pub indexer: Option<IndexerConfig>,
    /// The scales that `quantization_config` describes, where the weights are fp8.
    pub quantization: Option<Quantization>,
}

impl Config {
    /// Reads and validates a `config.json`.
    ///
    /// # Errors
    /// A key that is missing, of the wrong type, unsupported, or at odds with another.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let keys = ConfigKeys(json);
        if keys.get("text_config").is_some() {
            return unsupported(
                "text_config",
                "there",
                "the model reads more than text, which no release of the family does",
            );
        }
        let model_type = keys.text("model_type")?;
        let sparse = match model_type.as_str() {
            "deepseek_v3" => false,
            "deepseek_v32" => true,
            "qwen2" | "qwen3" | "llama" => {
                let reason = "only deepseek_v3 and deepseek_v32 are; DeepSeek's distillations of R1 are Qwen and Llama models, which other engines run";
                return unsupported("model_type", &model_type, reason);
            }
            _ => return unsupported("model_type", &model_type, "only deepseek_v3 and deepseek_v32 are"),
        };
        keys.check_architecture(sparse)?;
        keys.require_value("hidden_act", "silu")?;
        keys.require_value("scoring_func", "sigmoid")?;
        keys.require_value("topk_method", "noaux_tc")?;
        for key in ["attention_bias", "mlp_bias"] {
            if keys.flag(key, false)? {
                return unsupported(key, "true", "no released model of the family has it");
            }
        }
        if keys.size_or("moe_layer_freq", 1)? != 1 {
            return unsupported(
                "moe_layer_freq",
                "not 1",
                "every layer from `first_k_dense_replace` on must be a mixture of experts",
            );
        }
        let (rope_theta, rope_scaling) = read_rope(&keys)?;
        let config = Self {
            vocab_size: keys.size("vocab_size")?,
            hidden_size: keys.size("hidden_size")?,
            intermediate_size: keys.size("intermediate_size")?,
            moe_intermediate_size: keys.size("moe_intermediate_size")?,
            num_hidden_layers: keys.size("num_hidden_layers")?,
            first_k_dense_replace: keys.size("first_k_dense_replace")?,
            num_attention_heads: keys.size("num_attention_heads")?,
            q_lora_rank: keys.optional_size("q_lora_rank")?,
            kv_lora_rank: keys.size("kv_lora_rank")?,
            qk_nope_head_dim: keys.size("qk_nope_head_dim")?,
            qk_rope_head_dim: keys.size("qk_rope_head_dim")?,
            v_head_dim: keys.size("v_head_dim")?,
            n_routed_experts: keys.size("n_routed_experts")?,
            n_shared_experts: keys.size_or("n_shared_experts", 0)?,
            num_experts_per_tok: keys.size("num_experts_per_tok")?,
            n_group: keys.size("n_group")?,
            topk_group: keys.size("topk_group")?,
            norm_topk_prob: keys.flag("norm_topk_prob", true)?,
            routed_scaling_factor: keys.number("routed_scaling_factor")?,
            rms_norm_eps: keys.number("rms_norm_eps")?,
            latent_norm_eps: keys.optional_number("latent_norm_eps")?.unwrap_or(LATENT_NORM_EPS),
            max_position_embeddings: keys.size("max_position_embeddings")?,
            rope_theta,
            rope_scaling,
            num_nextn_predict_layers: keys.size_or("num_nextn_predict_layers", 0)?,
            tie_word_embeddings: keys.flag("tie_word_embeddings", false)?,
            indexer: sparse.then(|| keys.indexer()).transpose()?,
            quantization: keys.quantization(sparse)?,
            model_type,
        };
        config.validate()?;
        config.check_layer_types(&keys)?;
        check_config(json)?;
        Ok(config)
    }

    /// Checks that the sizes fit each other; the first contradiction in this order is returned.
    fn validate(&self) -> Result<(), ConfigError> {
        self.validate_positive()?;
        self.validate_extent()?;
        self.validate_relations()?;
        for (key, value, above) in [
            ("rms_norm_eps", self.rms_norm_eps, 0.0),
            ("latent_norm_eps", self.latent_norm_eps, 0.0),
            ("rope_theta", self.rope_theta, 1.0),
            ("routed_scaling_factor", self.routed_scaling_factor, 0.0),
        ] {
            if !((value as f32).is_finite() && value as f32 > above) {
                return contradiction(format!("`{key}` is {value}, but must be more than {above} and fit an f32"));
            }
        }
        Ok(())
    }

    fn validate_positive(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("kv_lora_rank", self.kv_lora_rank),
            ("qk_nope_head_dim", self.qk_nope_head_dim),
            ("v_head_dim", self.v_head_dim),
            ("n_routed_experts", self.n_routed_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("n_group", self.n_group),
            ("topk_group", self.topk_group),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        match sizes.into_iter().find(|(_, size)| *size == 0) {
            Some((key, _)) => contradiction(format!("`{key}` is 0, but must be at least 1")),
            None => Ok(()),
        }
    }

    /// Checks the table of relations between expert groups, latent ranks and head widths.
    fn validate_relations(&self) -> Result<(), ConfigError> {
        let Self { n_routed_experts, n_group, topk_group, num_experts_per_tok, qk_rope_head_dim, .. } = *self;
        let experts_per_group = n_routed_experts / n_group;
        let indexer = self.indexer.as_ref();
        let relations = [
            (
                n_routed_experts % n_group == 0,
                format!("{n_routed_experts} `n_routed_experts` cannot be split into {n_group} `n_group` equal groups"),
            ),
            (
                experts_per_group >= 2,
                format!("a group of experts needs at least 2, `n_routed_experts` / `n_group` is {experts_per_group}"),
            ),
            (topk_group <= n_group, format!("`topk_group` ({topk_group}) is more than `n_group` ({n_group})")),
            (
                num_experts_per_tok <= topk_group * experts_per_group,
                format!(
                    "`num_experts_per_tok` ({num_experts_per_tok}) is more than the {topk_group} surviving groups of \
                     {experts_per_group} hold"
                ),
            ),
            (self.q_lora_rank != Some(0), "`q_lora_rank` is 0: without a query latent it must be null".to_owned()),
            (
                qk_rope_head_dim != 0 && qk_rope_head_dim % 2 == 0,
                format!("`qk_rope_head_dim` ({qk_rope_head_dim}) must be even and positive: it is rotated in pairs"),
            ),
            (
                indexer
                    .is_none_or(|indexer| indexer.head_dim.is_power_of_two() && indexer.head_dim >= qk_rope_head_dim),
                format!(
                    "`index_head_dim` ({}) must be a power of two and at least `qk_rope_head_dim` ({qk_rope_head_dim})",
                    indexer.map_or(0, |indexer| indexer.head_dim)
                ),
            ),
            (
                indexer.is_none_or(|indexer| indexer.n_heads > 0 && indexer.topk > 0),
                "`index_n_heads` and `index_topk` must be at least 1".to_owned(),
            ),
            (
                indexer.is_none() || self.q_lora_rank.is_some(),
                "the indexer reads the query latent, but `q_lora_rank` is null".to_owned(),
            ),
        ];
        match relations.into_iter().find(|(holds, _)| !holds) {
            Some((_, message)) => contradiction(message),
            None => Ok(()),
        }
    }

    /// Limits matrices to 2^20 rows and columns and all layers together to 2^16 experts. Released
    /// models are far smaller; the limits bound the list of tensors and the count of parameters.
    fn validate_extent(&self) -> Result<(), ConfigError> {
        let heads = self.num_attention_heads;
        let (index_heads, index_dim) = self.indexer.as_ref().map_or((0, 0), |index| (index.n_heads, index.head_dim));
        for (what, width) in [
            ("`hidden_size`", self.hidden_size),
            ("`vocab_size`", self.vocab_size),
            ("`intermediate_size`", self.intermediate_size),
            ("`n_routed_experts`", self.n_routed_experts),
            ("`n_shared_experts` x `moe_intermediate_size`", self.n_shared_experts.max(1) * self.moe_intermediate_size),
            ("`q_lora_rank`", self.q_lora_rank.unwrap_or(1)),
            ("`kv_lora_rank` + `qk_rope_head_dim`", self.kv_lora_rank + self.qk_rope_head_dim),
            ("`num_attention_heads` x (`qk_nope_head_dim` + `qk_rope_head_dim`)", heads * self.qk_head_dim()),
            (
                "`num_attention_heads` x (`qk_nope_head_dim` + `v_head_dim`)",
                heads * (self.qk_nope_head_dim + self.v_head_dim),
            ),
            ("`index_n_heads` x `index_head_dim`", index_heads * index_dim),
        ] {
            if width > 1 << 20 {
                return contradiction(format!("{what} is {width}, more than any model of the family has (2^20)"));
            }
        }
        let layers = self.num_hidden_layers + self.num_nextn_predict_layers;
        if layers * (self.n_routed_experts + 1) > 1 << 16 {
            return contradiction(format!(
                "{layers} layers of {} `n_routed_experts` are more than any model of the family has (2^16 in all)",
                self.n_routed_experts
            ));
        }
        Ok(())
    }

    /// Checks the lists in which transformers 5 names the kind of every layer.
    fn check_layer_types(&self, keys: &ConfigKeys<'_>) -> Result<(), ConfigError> {
        let attention = if self.indexer.is_some() { "deepseek_sparse_attention" } else { "full_attention" };
        let mlp = |layer| if self.is_moe(layer) { "sparse" } else { "dense" };
        let layers = 0..self.num_hidden_layers;
        for (key, kinds) in [
            ("layer_types", layers.clone().map(|_| attention).collect::<Vec<_>>()),
            ("mlp_layer_types", layers.map(mlp).collect()),
        ] {
            let Some(list) = keys.read(key, "a list of strings", Value::as_array)? else { continue };
            if !list.iter().map(Value::as_str).eq(kinds.into_iter().map(Some)) {
                return contradiction(format!("`{key}` does not list the layers that the other keys describe"));
            }
        }
        Ok(())
    }

    /// Whether layer `layer` is a mixture of experts. The MTP module is one too.
    pub fn is_moe(&self, layer: usize) -> bool {
        layer >= self.first_k_dense_replace
    }

    /// Width of a query or key head.
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// The factor of attention scores before softmax: `qk_head_dim^-0.5 * m^2`, in both forms of
    /// MLA and at all lengths.
    pub fn softmax_scale(&self) -> f64 {
        let m = self.rope_scaling.as_ref().map_or(1.0, |yarn| 0.1 * yarn.mscale_all_dim * yarn.factor.ln() + 1.0);
        (self.qk_head_dim() as f64).powf(-0.5) * m * m
    }

    /// Whether activations and cache rows are rounded to fp8 with power-of-two scales. The weights
    /// decide; where a conversion to bf16 has dropped `quantization_config`, the release does: V3.2
    /// has such scales.
    pub fn ue8m0(&self) -> bool {
        self.quantization.map_or(self.indexer.is_some(), |quantization| quantization.ue8m0)
    }
}

fn contradiction<T>(message: String) -> Result<T, ConfigError> {
    Err(ConfigError::Contradiction(message))
}
