use serde_json::json;

use super::*;

fn released(name: &str) -> Value {
    let text = match name {
        "v3.2" => include_str!("../../../../reference/configs/deepseek-v3.2.json"),
        _ => include_str!("../../../../reference/configs/deepseek-r1.json"),
    };
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_released_configs_are_read() {
    let config = Config::from_json(&released("v3.2")).unwrap();
    assert_eq!((config.hidden_size, config.num_hidden_layers, config.qk_head_dim()), (7168, 61, 192));
    assert_eq!(config.indexer, Some(IndexerConfig { n_heads: 64, head_dim: 128, topk: 2048, rope_interleave: false }));
    assert!((config.softmax_scale() - 0.135_233_778_860_880_1).abs() < 1e-15);
    assert!(config.ue8m0() && config.is_moe(3) && !config.is_moe(2));
    let config = Config::from_json(&released("r1")).unwrap();
    assert!(config.indexer.is_none() && !config.ue8m0());
}

#[test]
fn every_missing_or_contradictory_key_is_named() {
    for (key, value, complaint) in [
        ("hidden_size", Value::Null, "lacks `hidden_size`"),
        ("hidden_size", json!("7168"), "`hidden_size` is \"7168\""),
        ("hidden_size", json!(0), "`hidden_size` is 0"),
        ("hidden_size", json!(1u64 << 40), "`hidden_size`"),
        ("model_type", json!("llama"), "`model_type` is llama"),
        ("architectures", json!(["DeepseekV3ForCausalLM"]), "`architectures`"),
        ("n_group", json!(7), "`n_group`"),
        ("topk_group", json!(9), "`topk_group`"),
        ("num_experts_per_tok", json!(200), "`num_experts_per_tok`"),
        ("qk_rope_head_dim", json!(63), "`qk_rope_head_dim`"),
        ("index_head_dim", json!(96), "`index_head_dim`"),
        ("index_topk", Value::Null, "lacks `index_topk`"),
        ("q_lora_rank", Value::Null, "`q_lora_rank`"),
        ("q_lora_rank", json!(0), "`q_lora_rank` is 0"),
        ("routed_scaling_factor", json!(1e300), "`routed_scaling_factor`"),
        ("hidden_act", json!("gelu"), "`hidden_act`"),
        ("scoring_func", json!("softmax"), "`scoring_func`"),
        ("attention_bias", json!(true), "`attention_bias`"),
        ("tie_word_embeddings", json!("yes"), "`tie_word_embeddings`"),
        ("moe_layer_freq", json!(2), "`moe_layer_freq`"),
        ("rms_norm_eps", json!(-1), "`rms_norm_eps`"),
        ("rope_theta", json!(1), "`rope_theta`"),
        ("num_hidden_layers", json!(1 << 20), "`n_routed_experts`"),
        ("n_routed_experts", json!(1 << 19), "`n_routed_experts`"),
        ("num_attention_heads", json!(1 << 24), "`num_attention_heads` x"),
        ("index_n_heads", json!(1 << 20), "`index_n_heads` x"),
        ("vocab_size", json!(1 << 24), "`vocab_size`"),
        ("max_position_embeddings", json!(1u64 << 25), "`max_position_embeddings`"),
        ("num_nextn_predict_layers", json!(-1), "`num_nextn_predict_layers`"),
        ("norm_topk_prob", json!("yes"), "`norm_topk_prob`"),
        ("architectures", Value::Null, "lacks `architectures`"),
        ("architectures", json!(["LlamaForCausalLM"]), "LlamaForCausalLM"),
        ("topk_method", json!("greedy"), "`topk_method`"),
        ("n_routed_experts", json!(8), "at least 2"),
        ("rope_scaling", json!({ "type": "yarn", "factor": 40 }), "lacks `original_max_position_embeddings`"),
        (
            "rope_scaling",
            json!({ "type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "mscale": 1, "mscale_all_dim": 0.7 }),
            "`rope_scaling.mscale`",
        ),
        (
            "quantization_config",
            json!({ "quant_method": "fp8", "weight_block_size": [128, 128], "scale_fmt": "e5m3" }),
            "`quantization_config.scale_fmt`",
        ),
        ("rope_scaling", json!({ "type": "linear", "factor": 2 }), "`rope_scaling.type`"),
        ("quantization_config", json!({ "quant_method": "gptq" }), "`quantization_config.quant_method`"),
        (
            "quantization_config",
            json!({ "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [64, 64] }),
            "`quantization_config.weight_block_size`",
        ),
    ] {
        let mut json = released("v3.2");
        json[key] = value;
        let error = Config::from_json(&json).unwrap_err().to_string();
        assert!(error.contains(complaint), "{key}: {error}");
    }
}
