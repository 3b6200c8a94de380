//! The JSON files of a packed checkpoint: `config.json` and the index of its weights files.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use weights::{MANIFEST_KEY, MANIFEST_VERSION, Manifest, ShardRecord};

use super::format::PackFormat;
use super::head::HeadPlan;
use super::plan::PackPlan;
use crate::tensors::TensorKind;

impl PackPlan {
    /// `config.json` of the result.
    pub(crate) fn config(&self, source: &Value, plan: &str, shards: &BTreeMap<String, ShardRecord>) -> Value {
        let mut config = source.clone();
        config["tie_word_embeddings"] = json!(self.head != HeadPlan::Own);
        let formats: Vec<PackFormat> = TensorKind::ALL.into_iter().filter_map(|kind| self.formats.of(kind)).collect();
        let block = if formats.iter().any(|format| matches!(format, PackFormat::Int8 | PackFormat::Int4)) {
            // Other programs refuse a method that they do not know.
            json!({ "quant_method": "cachalot" })
        } else if formats.contains(&PackFormat::Fp8) {
            let mut block = json!({
                "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]
            });
            if self.ue8m0 {
                block["scale_fmt"] = json!("ue8m0");
            }
            block
        } else {
            Value::Null
        };
        if let Some(members) = config.as_object_mut() {
            members.shift_remove("quantization_config");
            if !block.is_null() {
                members.insert("quantization_config".into(), block);
            }
        }
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            formats: self.formats.names(),
            scale_fmt: self.ue8m0.then(|| "ue8m0".to_owned()),
            plan: plan.to_owned(),
            shards: shards.clone(),
        };
        config[MANIFEST_KEY] = manifest.to_json();
        config
    }

    /// `model.safetensors.index.json` of the result.
    pub(crate) fn index(&self) -> Value {
        let mut weight_map = Map::new();
        let mut total = 0;
        for shard in &self.shards {
            for output in self.tensors[shard.tensors.clone()].iter().flat_map(|tensor| &tensor.outputs) {
                weight_map.insert(output.name.clone(), json!(shard.file));
                total += output.bytes();
            }
        }
        json!({ "metadata": { "total_size": total }, "weight_map": weight_map })
    }
}
