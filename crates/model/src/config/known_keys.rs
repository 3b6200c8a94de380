//! The keys that a `config.json` may have. Any other may change what the model computes, and is
//! refused by name.

use serde_json::Value;

use super::error::ConfigError;

/// The keys that are read.
const READ: [&str; 46] = [
    "architectures",
    "attention_bias",
    "cachalot_packing",
    "first_k_dense_replace",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "index_head_dim",
    "index_n_heads",
    "index_topk",
    "indexer_rope_interleave",
    "intermediate_size",
    "kv_lora_rank",
    "latent_norm_eps",
    "layer_types",
    "max_position_embeddings",
    "mlp_bias",
    "mlp_layer_types",
    "model_type",
    "moe_intermediate_size",
    "moe_layer_freq",
    "n_group",
    "n_routed_experts",
    "n_shared_experts",
    "norm_topk_prob",
    "num_attention_heads",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_nextn_predict_layers",
    "partial_rotary_factor",
    "q_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "quantization_config",
    "rms_norm_eps",
    "rope_interleave",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "routed_scaling_factor",
    "scoring_func",
    "tie_word_embeddings",
    "topk_group",
    "topk_method",
    "v_head_dim",
    "vocab_size",
];

/// Keys that do not change what the model computes: those of training, those that follow from
/// others, and those that every config of transformers may have, among them its defaults for
/// generation.
const HARMLESS: &[&str] = &[
    // The family.
    "attention_dropout",
    "aux_loss_alpha",
    "ep_size",
    "initializer_range",
    "num_key_value_heads",
    "num_local_experts",
    "output_router_logits",
    "pretraining_tp",
    "qk_head_dim",
    "router_aux_loss_coef",
    "seq_aux",
    // Every config.
    "add_cross_attention",
    "attn_implementation",
    "auto_map",
    "bos_token_id",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "license",
    "model_name",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "prefix",
    "problem_type",
    "pruned_heads",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    // Generation.
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// Checks the keys of a whole `config.json`.
///
/// # Errors
/// A key that may change what the model computes.
pub(super) fn check_config(json: &Value) -> Result<(), ConfigError> {
    check_known(json, &[&READ, HARMLESS], "")
}

/// Checks that every key of the object is in one of the lists; null counts as absent, and a key
/// that begins with `_` is private to whoever wrote the file. `path` stands before the key in the
/// error.
pub(super) fn check_known(object: &Value, lists: &[&[&str]], path: &str) -> Result<(), ConfigError> {
    let is_known = |key: &str| key.starts_with('_') || lists.iter().any(|list| list.contains(&key));
    let mut entries = object.as_object().into_iter().flatten();
    match entries.find(|(key, value)| !value.is_null() && !is_known(key)) {
        Some((key, _)) => Err(ConfigError::Unknown { key: format!("{path}{key}") }),
        None => Ok(()),
    }
}
