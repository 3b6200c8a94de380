use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use weights::{Bytes, Checkpoint, Error};

use super::*;
use crate::pack::{HeadPlan, PackFormat, PackFormats, PackPlan};

const V32: &str = include_str!("../../../../reference/configs/deepseek-v3.2.json");
const R1: &str = include_str!("../../../../reference/configs/deepseek-r1.json");

fn config(text: &str) -> Config {
    Config::from_json(&serde_json::from_str(text).unwrap()).unwrap()
}

#[test]
fn the_released_models_have_the_published_sizes() {
    let (v32, v3) = (count_parameters(&config(V32)), count_parameters(&config(R1)));
    assert_eq!(v3.total, 671_026_419_200);
    assert_eq!(v32.total, 671_877_944_064);
    assert_eq!(v32.total - v3.total, 61 * 13_959_424);
    assert_eq!((v3.mtp, v32.mtp), (11_610_068_224, 11_610_068_224 + 13_959_424));
    assert!((37e9..39e9).contains(&(v32.active as f64)), "{}", v32.active);
}

#[test]
fn a_token_reads_the_active_parameters_and_one_row_of_the_embedding() {
    let numbers = |tensor: &TensorSpec| tensor.shape.iter().map(|n| *n as u64).product::<u64>();
    let mut config = config(V32);
    let active = count_parameters(&config).active;
    assert_eq!(bytes_per_token(&config, numbers), active - 129_280 * 7168 + 7168);
    // A tied head reads the whole embedding.
    config.tie_word_embeddings = true;
    assert_eq!(count_parameters(&config).active, active - 129_280 * 7168);
    assert_eq!(bytes_per_token(&config, numbers), active - 129_280 * 7168);
}

/// The tensors of DeepSeek-V3.2 in its release, written by hand: name, format, shape.
fn released() -> Vec<(String, &'static str, Vec<usize>)> {
    let mut list = Vec::new();
    for layer in 0..=61 {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        for (rest, dtype, shape) in [
            ("input_layernorm.weight", "BF16", vec![7168]),
            ("post_attention_layernorm.weight", "BF16", vec![7168]),
            ("self_attn.q_a_proj.weight", "F8_E4M3", vec![1536, 7168]),
            ("self_attn.q_a_proj.weight_scale_inv", "F32", vec![12, 56]),
            ("self_attn.q_a_layernorm.weight", "BF16", vec![1536]),
            ("self_attn.q_b_proj.weight", "F8_E4M3", vec![24576, 1536]),
            ("self_attn.q_b_proj.weight_scale_inv", "F32", vec![192, 12]),
            ("self_attn.kv_a_proj_with_mqa.weight", "F8_E4M3", vec![576, 7168]),
            ("self_attn.kv_a_proj_with_mqa.weight_scale_inv", "F32", vec![5, 56]),
            ("self_attn.kv_a_layernorm.weight", "BF16", vec![512]),
            ("self_attn.kv_b_proj.weight", "F8_E4M3", vec![32768, 512]),
            ("self_attn.kv_b_proj.weight_scale_inv", "F32", vec![256, 4]),
            ("self_attn.o_proj.weight", "F8_E4M3", vec![7168, 16384]),
            ("self_attn.o_proj.weight_scale_inv", "F32", vec![56, 128]),
            ("self_attn.indexer.wq_b.weight", "F8_E4M3", vec![8192, 1536]),
            ("self_attn.indexer.wq_b.weight_scale_inv", "F32", vec![64, 12]),
            ("self_attn.indexer.wk.weight", "F8_E4M3", vec![128, 7168]),
            ("self_attn.indexer.wk.weight_scale_inv", "F32", vec![1, 56]),
            ("self_attn.indexer.k_norm.weight", "F32", vec![128]),
            ("self_attn.indexer.k_norm.bias", "F32", vec![128]),
            ("self_attn.indexer.weights_proj.weight", "BF16", vec![64, 7168]),
        ] {
            list.push((name(rest), dtype, shape));
        }
        let mut mlp = |prefix: &str, width: usize| {
            for (part, shape) in
                [("gate_proj", [width, 7168]), ("up_proj", [width, 7168]), ("down_proj", [7168, width])]
            {
                list.push((name(&format!("{prefix}.{part}.weight")), "F8_E4M3", shape.to_vec()));
                list.push((name(&format!("{prefix}.{part}.weight_scale_inv")), "F32", shape.map(|n| n / 128).to_vec()));
            }
        };
        if layer < 3 {
            mlp("mlp", 18432);
            continue;
        }
        (0..256).for_each(|expert| mlp(&format!("mlp.experts.{expert}"), 2048));
        mlp("mlp.shared_experts", 2048);
        list.push((name("mlp.gate.weight"), "BF16", vec![256, 7168]));
        list.push((name("mlp.gate.e_score_correction_bias"), "F32", vec![256]));
    }
    for (name, shape) in [
        ("model.embed_tokens.weight", vec![129_280, 7168]),
        ("model.norm.weight", vec![7168]),
        ("lm_head.weight", vec![129_280, 7168]),
        ("model.layers.61.enorm.weight", vec![7168]),
        ("model.layers.61.hnorm.weight", vec![7168]),
        ("model.layers.61.eh_proj.weight", vec![7168, 14336]),
        ("model.layers.61.embed_tokens.weight", vec![129_280, 7168]),
        ("model.layers.61.shared_head.norm.weight", vec![7168]),
        ("model.layers.61.shared_head.head.weight", vec![129_280, 7168]),
    ] {
        list.push((name.to_owned(), "BF16", shape));
    }
    list
}

const SHARDS: usize = 163;

fn shard_name(shard: usize) -> String {
    format!("model-{:05}-of-{SHARDS:06}.safetensors", shard + 1)
}

/// Writes a shard whose header is real and whose data is a hole of the right length.
fn write_sparse(path: &Path, tensors: &[(String, &'static str, Vec<usize>)]) {
    let mut header = Map::new();
    let mut end = 0;
    for (name, dtype, shape) in tensors {
        let size = match *dtype {
            "F32" => 4,
            "BF16" => 2,
            _ => 1,
        };
        let start = end;
        end += size * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// The release's folder: 163 shards of about equal numbers of tensors, scales wherever they fall.
fn write_release(dir: &Path) {
    let tensors = released();
    let mut weight_map = Map::new();
    for (shard, part) in tensors.chunks(tensors.len().div_ceil(SHARDS)).enumerate() {
        write_sparse(&dir.join(shard_name(shard)), part);
        weight_map.extend(part.iter().map(|(name, _, _)| (name.clone(), json!(shard_name(shard)))));
    }
    fs::write(dir.join("model.safetensors.index.json"), json!({ "weight_map": weight_map }).to_string()).unwrap();
    fs::write(dir.join("config.json"), V32).unwrap();
}

#[test]
fn the_real_layout_of_163_shards_is_what_the_config_implies() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    assert!(dir.path().join(shard_name(SHARDS - 1)).exists());
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let config = Config::from_json(checkpoint.config()).unwrap();
    verify(&config, &checkpoint).unwrap();

    // The numbers of the files themselves: every tensor but the scales, and the MTP
    // module's two copies.
    let mut counts = [0u64; 2];
    for name in checkpoint.names().filter(|name| !name.ends_with(weights::SCALE_SUFFIX)) {
        let mtp = name.starts_with("model.layers.61.");
        let copy = mtp && (name.ends_with("embed_tokens.weight") || name.ends_with("head.weight"));
        if !copy {
            let (tensor, _) = checkpoint.tensor(name).unwrap();
            counts[usize::from(mtp)] += tensor.shape.iter().product::<u64>();
        }
    }
    assert_eq!(counts, [671_877_944_064, 11_610_068_224 + 13_959_424]);
    let quantised = expected_tensors(&config).iter().filter(|tensor| tensor.scaled).count();
    assert_eq!(quantised, checkpoint.names().filter(|name| name.ends_with(weights::SCALE_SUFFIX)).count());
    assert_eq!(expected_tensors(&config).len() + quantised, checkpoint.names().count());

    // A matrix with a partial last row block, from a sparse shard of several gigabytes.
    let mat = checkpoint.mat("model.layers.60.self_attn.kv_a_proj_with_mqa.weight", 576, 7168).unwrap();
    assert_eq!(mat.row_scales(575).unwrap().len(), 56);

    fs::remove_file(dir.path().join(shard_name(77))).unwrap();
    let error = Checkpoint::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("`model-00078-of-000163.safetensors` is missing"), "{error}");
}

#[test]
fn the_real_layout_is_planned_without_reading_weights() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let config = Config::from_json(checkpoint.config()).unwrap();
    let formats = PackFormats { attention: PackFormat::Int8, ..PackFormats::all(PackFormat::Int4) };
    let head = HeadPlan::from_config(&checkpoint, &config, &formats).unwrap();
    let plan = PackPlan::new(&checkpoint, formats, head, None).unwrap();
    let sizes = plan.sizes();
    // int4 takes 20 bytes for 32 weights and 4 bytes for a row, int8 34 bytes and 4 bytes.
    let experts: u64 = 59 * 256 * (3 * 2048 * 7168 / 32 * 20 + 4 * (2048 + 2048 + 7168));
    assert_eq!((sizes[&TensorKind::Experts].tensors, sizes[&TensorKind::Experts].bytes), (59 * 256 * 3, experts));
    assert_eq!(sizes[&TensorKind::Embedding].bytes, 129_280 * (7168 / 32 * 20 + 4));
    assert_eq!(sizes[&TensorKind::Head].bytes, 129_280 * (7168 / 32 * 20 + 4));
    let projections: [(u64, u64); 5] = [(1536, 7168), (24576, 1536), (576, 7168), (32768, 512), (7168, 16384)];
    let attention: u64 = projections.iter().map(|(rows, cols)| rows * (cols / 32 * 34 + 4)).sum();
    assert_eq!(sizes[&TensorKind::Attention].bytes, 62 * attention);
    assert!(plan.shards.iter().all(|shard| shard.bytes <= 4 << 30), "files are bounded");
    assert_eq!(plan.fallbacks().count(), 0);
    // Norms, gates and index head weights are copied.
    let kept = &sizes[&TensorKind::Kept];
    assert_eq!(kept.source_bytes, kept.bytes);
}

/// A golden checkpoint's files with one change.
fn changed_header(change: impl Fn(&mut Map<String, Value>)) -> Result<(Config, Checkpoint), Error> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/v3-f32");
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, data].concat();
    let files: [(String, Bytes); 2] = [
        ("config.json".into(), fs::read(dir.join("config.json")).unwrap().into()),
        ("model.safetensors".into(), file.into()),
    ];
    let checkpoint = Checkpoint::from_files("changed", files)?;
    Ok((Config::from_json(checkpoint.config()).unwrap(), checkpoint))
}

fn verify_changed_header(change: impl Fn(&mut Map<String, Value>)) -> Result<(), Error> {
    let (config, checkpoint) = changed_header(change)?;
    verify(&config, &checkpoint)
}

/// Gives `tensor` another name.
fn rename_tensor(header: &mut Map<String, Value>, tensor: &str, name: &str) {
    let entry = header.remove(tensor).unwrap();
    header.insert(name.to_owned(), entry);
}

#[test]
fn a_checkpoint_that_is_not_of_its_config_is_refused_before_loading() {
    verify_changed_header(|_| {}).unwrap();
    let norm = "model.layers.1.self_attn.kv_a_layernorm.weight";

    let error = verify_changed_header(|header| rename_tensor(header, norm, "model.layers.1.extra.weight")).unwrap_err();
    assert!(matches!(&error, Error::MissingTensor { tensor } if tensor == norm), "{error}");

    let error = verify_changed_header(|header| header[norm]["shape"] = json!([8, 8])).unwrap_err();
    assert!(matches!(&error, Error::Shape { tensor, .. } if tensor == norm), "{error}");

    let error = verify_changed_header(|header| {
        header[norm]["dtype"] = json!("I32");
    })
    .unwrap_err();
    assert!(matches!(&error, Error::DType { tensor, dtype: "I32", .. } if tensor == norm), "{error}");

    // The routing bias may be missing, but a tensor that the model does not read is refused.
    let bias = "model.layers.1.mlp.gate.e_score_correction_bias";
    let error = verify_changed_header(|header| rename_tensor(header, bias, "model.layers.1.self_attn.o_proj.bias"))
        .unwrap_err();
    assert!(matches!(&error, Error::UnexpectedTensor { tensor, .. } if tensor.ends_with("o_proj.bias")), "{error}");
    for needed in ["model.layers.1.mlp.gate.k_scale.bias", "model.layers.2.mlp.gate.bias", "vision_tower.patch.weight"]
    {
        let error = verify_changed_header(|header| rename_tensor(header, bias, needed)).unwrap_err();
        assert!(matches!(&error, Error::UnexpectedTensor { tensor, .. } if tensor == needed), "{error}");
    }
}

#[test]
fn tensors_that_nobody_needs_are_skipped() {
    let bias = "model.layers.1.mlp.gate.e_score_correction_bias";
    for name in [
        "model.layers.1.self_attn.rotary_emb.inv_freq",
        "model.layers.1.self_attn.k_scale",
        "model.layers.1.self_attn.attn.v_scale",
        "model.layers.0.self_attn.o_proj.input_scale",
    ] {
        let (config, checkpoint) = changed_header(|header| rename_tensor(header, bias, name)).unwrap();
        verify(&config, &checkpoint).unwrap();
        assert_eq!(unneeded_tensors(&config, &checkpoint), [name]);
    }
    let (config, checkpoint) = changed_header(|_| {}).unwrap();
    assert!(unneeded_tensors(&config, &checkpoint).is_empty());
}

#[test]
fn an_mtp_module_that_the_config_does_not_count_is_ignored() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/v3-bf16");
    let mut weights = Vec::new();
    let packed = fs::File::open(dir.join("model.safetensors.gz")).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut weights).unwrap();
    let files: [(String, Bytes); 2] = [
        ("config.json".into(), fs::read(dir.join("config.json")).unwrap().into()),
        ("model.safetensors".into(), weights.into()),
    ];
    let checkpoint = Checkpoint::from_files("v3-bf16", files).unwrap();
    let mut config = Config::from_json(checkpoint.config()).unwrap();
    config.num_nextn_predict_layers = 0;
    verify(&config, &checkpoint).unwrap();
    let skipped = unneeded_tensors(&config, &checkpoint);
    let module = format!("model.layers.{}.", config.num_hidden_layers);
    assert!(skipped.len() > 20 && skipped.iter().all(|name| name.starts_with(&module)), "{skipped:?}");
    config.num_hidden_layers -= 1;
    let error = verify(&config, &checkpoint).unwrap_err();
    assert!(matches!(&error, Error::UnexpectedTensor { .. }), "other layers too many are still noticed: {error}");
}
