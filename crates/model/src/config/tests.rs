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
        ("latent_norm_eps", json!(0), "`latent_norm_eps`"),
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
        ("rope_interleave", json!(false), "`rope_interleave` is false"),
        ("partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5"),
        ("llama_4_scaling", json!({ "beta": 0.1 }), "`llama_4_scaling` is not known"),
        ("mlp_bias", json!(true), "`mlp_bias`"),
        ("text_config", json!({ "model_type": "deepseek_v3" }), "`text_config`"),
        ("layer_types", json!(["full_attention"]), "`layer_types` does not list"),
        ("mlp_layer_types", json!(["sparse"]), "`mlp_layer_types` does not list"),
        (
            "quantization_config",
            json!({ "quant_method": "gptq" }),
            "a GPTQ conversion (`quantization_config.quant_method`)",
        ),
        ("quantization_config", json!({ "quant_method": "awq", "bits": 4 }), "an AWQ conversion"),
        ("quantization_config", json!({ "quant_method": "compressed-tensors" }), "quantized as `compressed-tensors`"),
        ("quantization", json!({ "group_size": 64, "bits": 4 }), "an MLX conversion of 4 bits"),
        ("quantization_config", json!({ "quant_method": "modelopt", "quant_algo": "NVFP4" }), "`modelopt` (NVFP4)"),
        (
            "quantization_config",
            json!({ "quant_method": "compressed-tensors", "format": "pack-quantized" }),
            "quantized as `compressed-tensors` (pack-quantized)",
        ),
        ("quantization_config", compressed_tensors("weights", json!({ "num_bits": 4 })), "config_groups"),
        ("quantization_config", compressed_tensors("weights", json!({ "symmetric": false })), "config_groups"),
        ("quantization_config", compressed_tensors("weights", json!({ "strategy": "group" })), "config_groups"),
        (
            "quantization_config",
            compressed_tensors("transform_config", json!({ "config_groups": { "u": {} } })),
            "`transform_config`",
        ),
        ("quantization_config", compressed_tensors("sparsity_config", json!({ "format": "2:4" })), "`sparsity_config`"),
        ("model_type", json!("qwen2"), "distillations of R1"),
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

#[test]
fn the_epsilon_of_the_latents_does_not_follow_that_of_the_other_norms() {
    let mut json = released("r1");
    json["rms_norm_eps"] = json!(1e-5);
    let config = Config::from_json(&json).unwrap();
    assert_eq!((config.rms_norm_eps, config.latent_norm_eps), (1e-5, 1e-6));
    json["latent_norm_eps"] = json!(1e-5);
    assert_eq!(Config::from_json(&json).unwrap().latent_norm_eps, 1e-5);
}

/// A `quantization_config` of llm-compressor with scales for channels, and the values of `changes`
/// in the object `at`.
fn compressed_tensors(at: &str, changes: Value) -> Value {
    let mut weights = json!({ "num_bits": 8, "type": "float", "symmetric": true, "dynamic": false, "strategy": "channel",
        "block_structure": null, "group_size": null });
    let mut config = json!({ "quant_method": "compressed-tensors", "format": "float-quantized", "kv_cache_scheme": null,
        "sparsity_config": {}, "transform_config": {}, "ignore": ["lm_head"] });
    let changed = if at == "weights" { &mut weights } else { &mut config[at] };
    for (key, value) in changes.as_object().unwrap() {
        changed[key] = value.clone();
    }
    config["config_groups"] = json!({ "group_0": { "targets": ["Linear"], "weights": weights,
        "input_activations": { "num_bits": 8, "type": "float", "dynamic": true, "strategy": "token" } } });
    config
}

#[test]
fn fp8_weights_of_every_tool_are_read() {
    let blocks = json!({ "strategy": "block", "block_structure": [128, 128] });
    for (quantization, ue8m0) in [
        (json!({ "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "static" }), false),
        (json!({ "quant_method": "fp8", "weight_block_size": [128, 128] }), false),
        (json!({ "quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0 }), true),
        (json!({ "quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8" }), true),
        (compressed_tensors("weights", json!({})), true),
        (compressed_tensors("weights", json!({ "strategy": "tensor" })), true),
        (compressed_tensors("weights", blocks), true),
    ] {
        let mut json = released("v3.2");
        json["quantization_config"] = quantization.clone();
        let config = Config::from_json(&json).unwrap_or_else(|error| panic!("{quantization}: {error}"));
        assert_eq!(config.quantization, Some(Quantization { ue8m0 }), "{quantization}");
    }
}

/// The config with the rotary keys as transformers 5 writes them.
fn saved_by_transformers_5(mut json: Value) -> Value {
    let keys = json.as_object_mut().unwrap();
    let mut parameters = keys.remove("rope_scaling").unwrap();
    parameters["rope_theta"] = keys.remove("rope_theta").unwrap();
    parameters["rope_type"] = json!("yarn");
    keys.insert("rope_parameters".into(), parameters);
    json
}

#[test]
fn both_spellings_of_the_rotary_embedding_mean_the_same() {
    for name in ["v3.2", "r1"] {
        let expected = Config::from_json(&released(name)).unwrap();
        let mut saved = saved_by_transformers_5(released(name));
        for (key, value) in [
            ("head_dim", json!(64)),
            ("qk_head_dim", json!(192)),
            ("rope_interleave", json!(true)),
            ("partial_rotary_factor", json!(1.0)),
            ("dtype", json!("bfloat16")),
            ("output_router_logits", json!(false)),
            ("pad_token_id", Value::Null),
            ("llama_4_scaling", Value::Null),
            (
                "mlp_layer_types",
                json!((0..61).map(|layer| if layer < 3 { "dense" } else { "sparse" }).collect::<Vec<_>>()),
            ),
        ] {
            saved[key] = value;
        }
        assert_eq!(Config::from_json(&saved).unwrap(), expected);
        // Both spellings of a value must agree.
        saved["rope_theta"] = json!(10000.0);
        saved["rope_scaling"] = released(name)["rope_scaling"].clone();
        assert_eq!(Config::from_json(&saved).unwrap(), expected);
    }
}

#[test]
fn rotary_keys_that_are_not_computed_are_refused() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut json = saved_by_transformers_5(released("r1"));
        change(&mut json);
        Config::from_json(&json).unwrap_err().to_string()
    };
    for (key, value, complaint) in [
        ("rope_theta", Value::Null, "lacks `rope_theta`"),
        ("rope_type", json!("llama3"), "has both the type yarn and the type llama3"),
        ("attention_factor", json!(0.5), "`rope_scaling.attention_factor` is 0.5"),
        ("truncate", json!(false), "`rope_scaling.truncate` is false"),
        ("partial_rotary_factor", json!(0.25), "`partial_rotary_factor` is 0.25"),
        ("llama_4_scaling_beta", json!(0.1), "`rope_parameters.llama_4_scaling_beta` is not known"),
        ("full_attention", json!({}), "`rope_parameters.full_attention` is not known"),
        ("beta_fast", json!(0.5), "`beta_fast` of at least `beta_slow`"),
    ] {
        let error = refused(&|json| json["rope_parameters"][key] = value.clone());
        assert!(error.contains(complaint), "{key}: {error}");
    }
    for (key, value) in [
        ("rope_theta", json!(50000)),
        (
            "rope_scaling",
            json!({ "type": "yarn", "factor": 8, "original_max_position_embeddings": 4096, "mscale_all_dim": 1 }),
        ),
        ("rope_scaling", json!({ "type": "default" })),
    ] {
        let error = refused(&|json| json[key] = value.clone());
        assert!(error.contains(&format!("`{key}` and `rope_parameters` differ")), "{error}");
    }
    let error = refused(&|json| json["rope_parameters"] = json!(5));
    assert!(error.contains("`rope_parameters` is 5, but must be an object"), "{error}");
}

#[test]
fn rare_rotary_keys_of_the_same_meaning_are_read() {
    let mut json = saved_by_transformers_5(released("r1"));
    json["head_dim"] = json!(192);
    json["rope_parameters"]["partial_rotary_factor"] = json!(1.0 / 3.0);
    json["rope_parameters"]["attention_factor"] = json!(1.0);
    json["rope_parameters"]["beta_slow"] = json!(32);
    let config = Config::from_json(&json).unwrap();
    assert_eq!(config.rope_scaling.unwrap().beta_slow, 32.0);
    json["rope_parameters"] = json!({ "rope_theta": 50000 });
    let config = Config::from_json(&json).unwrap();
    assert_eq!((config.rope_theta, config.rope_scaling), (50000.0, None));
}
