//! The files of a tiny checkpoint in the Hugging Face layout, as bytes.

use serde_json::{Map, Value, json};

use crate::rng::SeededRng;
use crate::tokenizer_json;

/// The storage format of the matrices. Beside FP8, norms and the gate are BF16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    F32,
    Bf16,
    /// 128x128 blocks with power-of-two scales.
    Fp8,
}

/// The output head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A matrix of its own.
    Own,
    /// Stored, and equal to the embedding except for the first `own_rows` rows.
    Copied { own_rows: usize },
    /// `tie_word_embeddings`, without a matrix.
    Tied,
}

/// The parameters of a tiny model.
#[derive(Clone, Copy, Debug)]
pub struct TinyCheckpoint {
    pub seed: u64,
    /// `deepseek_v32` with an indexer that keeps 16 positions, else `deepseek_v3`.
    pub sparse: bool,
    pub format: Format,
    /// Whether there is a multi-token-prediction module.
    pub mtp: bool,
    /// The number of weight files; several have an index.
    pub shards: usize,
    /// The value of `max_position_embeddings`.
    pub context: usize,
    pub head: Head,
}

impl Default for TinyCheckpoint {
    fn default() -> Self {
        Self { seed: 1, sparse: true, format: Format::Bf16, mtp: true, shards: 1, context: 4096, head: Head::Own }
    }
}

const VOCAB: usize = 512;
const HIDDEN: usize = 160;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const EXPERTS: usize = 8;
const Q_LORA: usize = 96;
const KV_LORA: usize = 64;
const NOPE: usize = 32;
const ROPE: usize = 16;
const V: usize = 24;
const INDEX_HEADS: usize = 4;
const INDEX_DIM: usize = 32;

impl TinyCheckpoint {
    /// The files by name: `config.json`, the weights, `tokenizer.json` and
    /// `generation_config.json`.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![
            ("config.json".to_owned(), self.config().to_string().into_bytes()),
            ("tokenizer.json".to_owned(), tokenizer_json()),
            (
                "generation_config.json".to_owned(),
                json!({ "temperature": 1.0, "top_p": 0.95 }).to_string().into_bytes(),
            ),
        ];
        let tensors = self.tensors();
        if self.shards <= 1 {
            files.push(("model.safetensors".to_owned(), safetensors(&tensors)));
            return files;
        }
        let mut weight_map = Map::new();
        for (i, part) in tensors.chunks(tensors.len().div_ceil(self.shards)).enumerate() {
            let name = format!("model-{:05}-of-{:06}.safetensors", i + 1, self.shards);
            weight_map.extend(part.iter().map(|tensor| (tensor.name.clone(), json!(name))));
            files.push((name, safetensors(part)));
        }
        files.push((
            "model.safetensors.index.json".to_owned(),
            json!({ "weight_map": weight_map }).to_string().into_bytes(),
        ));
        files
    }

    /// The `config.json`, with the keys of a release.
    pub fn config(&self) -> Value {
        let mut config = json!({
            "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": VOCAB, "hidden_size": HIDDEN,
            "intermediate_size": 288, "moe_intermediate_size": 32, "num_hidden_layers": LAYERS, "first_k_dense_replace": 1,
            "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "n_routed_experts": EXPERTS, "n_shared_experts": 1,
            "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "q_lora_rank": Q_LORA, "kv_lora_rank": KV_LORA,
            "qk_nope_head_dim": NOPE, "qk_rope_head_dim": ROPE, "v_head_dim": V, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
            "scoring_func": "sigmoid", "topk_method": "noaux_tc", "moe_layer_freq": 1, "hidden_act": "silu", "rms_norm_eps": 1e-6,
            "attention_bias": false, "tie_word_embeddings": self.head == Head::Tied, "rope_theta": 10000, "max_position_embeddings": self.context,
            "rope_scaling": { "type": "yarn", "factor": 40, "original_max_position_embeddings": 256, "beta_fast": 32, "beta_slow": 1,
                "mscale": 1.0, "mscale_all_dim": 1.0 },
            "num_nextn_predict_layers": usize::from(self.mtp), "bos_token_id": 0, "eos_token_id": 1,
        });
        if self.sparse {
            config["architectures"] = json!(["DeepseekV32ForCausalLM"]);
            config["model_type"] = json!("deepseek_v32");
            config["index_n_heads"] = json!(INDEX_HEADS);
            config["index_head_dim"] = json!(INDEX_DIM);
            config["index_topk"] = json!(16);
        }
        if self.format == Format::Fp8 {
            config["quantization_config"] = json!({ "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                "weight_block_size": [128, 128], "scale_fmt": "ue8m0" });
        }
        config
    }

    fn tensors(&self) -> Vec<Tensor> {
        let mut list = TensorList { tiny: self, tensors: Vec::new() };
        list.matrix("model.embed_tokens.weight", VOCAB, HIDDEN, false);
        (0..LAYERS).for_each(|layer| list.layer(layer, layer > 0));
        list.norm("model.norm.weight", HIDDEN);
        list.head();
        if self.mtp {
            let prefix = format!("model.layers.{LAYERS}");
            list.layer(LAYERS, true);
            list.norm(&format!("{prefix}.enorm.weight"), HIDDEN);
            list.norm(&format!("{prefix}.hnorm.weight"), HIDDEN);
            list.matrix(&format!("{prefix}.eh_proj.weight"), HIDDEN, 2 * HIDDEN, false);
            list.norm(&format!("{prefix}.shared_head.norm.weight"), HIDDEN);
        }
        list.tensors
    }
}

struct Tensor {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

struct TensorList<'a> {
    tiny: &'a TinyCheckpoint,
    tensors: Vec<Tensor>,
}

impl TensorList<'_> {
    fn layer(&mut self, layer: usize, moe: bool) {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        self.norm(&name("input_layernorm.weight"), HIDDEN);
        self.norm(&name("post_attention_layernorm.weight"), HIDDEN);
        self.matrix(&name("self_attn.q_a_proj.weight"), Q_LORA, HIDDEN, true);
        self.norm(&name("self_attn.q_a_layernorm.weight"), Q_LORA);
        self.matrix(&name("self_attn.q_b_proj.weight"), HEADS * (NOPE + ROPE), Q_LORA, true);
        self.matrix(&name("self_attn.kv_a_proj_with_mqa.weight"), KV_LORA + ROPE, HIDDEN, true);
        self.norm(&name("self_attn.kv_a_layernorm.weight"), KV_LORA);
        self.matrix(&name("self_attn.kv_b_proj.weight"), HEADS * (NOPE + V), KV_LORA, true);
        self.matrix(&name("self_attn.o_proj.weight"), HIDDEN, HEADS * V, true);
        if self.tiny.sparse {
            self.matrix(&name("self_attn.indexer.wq_b.weight"), INDEX_HEADS * INDEX_DIM, Q_LORA, true);
            self.matrix(&name("self_attn.indexer.wk.weight"), INDEX_DIM, HIDDEN, true);
            self.norm(&name("self_attn.indexer.k_norm.weight"), INDEX_DIM);
            self.vector(&name("self_attn.indexer.k_norm.bias"), INDEX_DIM, 0.0);
            self.matrix(&name("self_attn.indexer.weights_proj.weight"), INDEX_HEADS, HIDDEN, false);
        }
        if !moe {
            return self.mlp(&name("mlp"), 288);
        }
        self.matrix(&name("mlp.gate.weight"), EXPERTS, HIDDEN, false);
        self.vector(&name("mlp.gate.e_score_correction_bias"), EXPERTS, 0.0);
        (0..EXPERTS).for_each(|expert| self.mlp(&name(&format!("mlp.experts.{expert}")), 32));
        self.mlp(&name("mlp.shared_experts"), 32);
    }

    /// Adds the output head.
    fn head(&mut self) {
        const NAME: &str = "lm_head.weight";
        match self.tiny.head {
            Head::Own => self.matrix(NAME, VOCAB, HIDDEN, false),
            Head::Tied => {}
            Head::Copied { own_rows } => {
                self.matrix(NAME, VOCAB, HIDDEN, false);
                let row = self.tensors[0].bytes.len() / VOCAB;
                let (embedding, others) = self.tensors.split_at_mut(1);
                let head = others.last_mut().expect("the head was just added");
                head.bytes[own_rows * row..].copy_from_slice(&embedding[0].bytes[own_rows * row..]);
            }
        }
    }

    fn mlp(&mut self, prefix: &str, width: usize) {
        self.matrix(&format!("{prefix}.gate_proj.weight"), width, HIDDEN, true);
        self.matrix(&format!("{prefix}.up_proj.weight"), width, HIDDEN, true);
        self.matrix(&format!("{prefix}.down_proj.weight"), HIDDEN, width, true);
    }

    fn norm(&mut self, name: &str, len: usize) {
        self.vector(name, len, 1.0);
    }

    /// Adds a vector of numbers within 0.1 of `mean`, in the format of the releases: F32,
    /// or BF16 for norms.
    fn vector(&mut self, name: &str, len: usize, mean: f32) {
        let mut rng = SeededRng::new(self.tiny.seed, name);
        let values: Vec<f32> = (0..len).map(|_| mean + rng.symmetric(0.1)).collect();
        let plain = self.tiny.format == Format::F32 || mean == 0.0;
        self.push(name, vec![len], if plain { Format::F32 } else { Format::Bf16 }, &values);
    }

    /// Adds a matrix that preserves the variance of its input. `quantized`: it is FP8
    /// if the format is.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize, quantized: bool) {
        let mut rng = SeededRng::new(self.tiny.seed, name);
        if self.tiny.format == Format::Fp8 && quantized {
            return self.fp8(name, rows, cols, &mut rng);
        }
        let bound = (3.0 / cols as f32).sqrt();
        let values: Vec<f32> = (0..rows * cols).map(|_| rng.symmetric(bound)).collect();
        let format = if self.tiny.format == Format::F32 { Format::F32 } else { Format::Bf16 };
        self.push(name, vec![rows, cols], format, &values);
    }

    fn push(&mut self, name: &str, shape: Vec<usize>, format: Format, values: &[f32]) {
        let (dtype, bytes) = match format {
            Format::F32 => ("F32", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            // Truncated, not rounded: the weights are random anyway.
            _ => ("BF16", values.iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect()),
        };
        self.tensors.push(Tensor { name: name.to_owned(), dtype, shape, bytes });
    }

    /// Adds an FP8 matrix of bytes that are uniform over the finite e4m3 numbers up to 15 (0x57).
    /// Their mean square is about 16, which the scale compensates.
    fn fp8(&mut self, name: &str, rows: usize, cols: usize, rng: &mut SeededRng) {
        let byte = |rng: &mut SeededRng| {
            let bits = rng.next_u64();
            (bits % 0x58) as u8 | ((bits >> 32) as u8 & 0x80)
        };
        let bytes = (0..rows * cols).map(|_| byte(rng)).collect();
        self.tensors.push(Tensor { name: name.to_owned(), dtype: "F8_E4M3", shape: vec![rows, cols], bytes });
        // The scales of blocks differ by a factor of two, so that a wrong scale is noticed.
        let exact = (1.0 / cols as f32).sqrt() / 4.0;
        let blocks = vec![rows.div_ceil(128), cols.div_ceil(128)];
        let scale = |rng: &mut SeededRng| exp2_floor(exact) * (1 + rng.next_u64() % 2) as f32;
        let scales: Vec<f32> = (0..blocks[0] * blocks[1]).map(|_| scale(rng)).collect();
        self.push(&format!("{name}_scale_inv"), blocks, Format::F32, &scales);
    }
}

/// The largest power of two that is at most `value`.
fn exp2_floor(value: f32) -> f32 {
    f32::from_bits(value.to_bits() & 0x7f80_0000)
}

/// A safetensors file of these tensors, in this order. The header is padded so that the data begins
/// at a multiple of 8 bytes.
fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = Map::new();
    let mut end = 0;
    for Tensor { name, dtype, shape, bytes } in tensors {
        let start = end;
        end += bytes.len();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    tensors.iter().for_each(|tensor| file.extend(&tensor.bytes));
    file
}
