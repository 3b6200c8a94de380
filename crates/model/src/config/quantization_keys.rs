//! The number formats of fp8 weights, as the tools in use describe them in `quantization_config`.
//! The shape of a weight's scales is read from the scales themselves.

use serde_json::Value;

use super::blocks::Quantization;
use super::error::ConfigError;
use super::keys::{ConfigKeys, unsupported};

const CONFIG_GROUPS: &str = "quantization_config.config_groups";

impl ConfigKeys<'_> {
    /// The quantization of the weights; `None` if they are plain numbers. `sparse`: the model has
    /// an indexer, and its release has scales that are powers of two.
    ///
    /// # Errors
    /// A method, a number format or a layout of scales that is not read.
    pub(super) fn quantization(&self, sparse: bool) -> Result<Option<Quantization>, ConfigError> {
        if let Some(packing) = self.get(weights::MANIFEST_KEY) {
            let scale_fmt = ConfigKeys(packing).read("scale_fmt", "a string", Value::as_str)?;
            return Ok(Some(Quantization { ue8m0: scale_fmt == Some("ue8m0") }));
        }
        // MLX writes its bits and group size under both names.
        if let Some(block) = self.get("quantization").filter(|block| block["bits"].is_number()) {
            let format = format!("an MLX conversion of {} bits", block["bits"]);
            return Err(ConfigError::ForeignFormat { key: "quantization", format });
        }
        let Some(block) = self.get("quantization_config") else { return Ok(None) };
        let keys = ConfigKeys(block);
        // Other tools round weights only; activations stay as the release has them.
        let of_release = Ok(Some(Quantization { ue8m0: sparse }));
        match keys.text("quant_method")?.as_str() {
            "fp8" => keys.fp8().map(Some),
            "fbgemm_fp8" => of_release,
            "compressed-tensors" => keys.check_compressed_tensors().and(of_release),
            "modelopt" if block["quant_algo"] == "FP8" => of_release,
            "modelopt" => foreign(named("modelopt", &block["quant_algo"])),
            "awq" => foreign("an AWQ conversion".into()),
            "gptq" => foreign("a GPTQ conversion".into()),
            other => foreign(format!("quantized as `{other}`")),
        }
    }

    /// The format of DeepSeek's releases and of transformers: scales for blocks, or for what their
    /// shapes say.
    fn fp8(&self) -> Result<Quantization, ConfigError> {
        self.require_value("fmt", "e4m3")?;
        match self.get("weight_block_size").map(Value::to_string) {
            Some(blocks) if blocks != "[128,128]" => {
                return unsupported("quantization_config.weight_block_size", &blocks, "only blocks of [128, 128] are");
            }
            _ => {}
        }
        match self.read("scale_fmt", "a string", Value::as_str)? {
            None => Ok(Quantization { ue8m0: false }),
            Some("ue8m0") => Ok(Quantization { ue8m0: true }),
            Some(other) => unsupported("quantization_config.scale_fmt", other, "only ue8m0 is, or none"),
        }
    }

    /// Checks that llm-compressor has stored fp8 weights, and has done nothing else to them.
    fn check_compressed_tensors(&self) -> Result<(), ConfigError> {
        match self.read("format", "a string", Value::as_str)? {
            Some("float-quantized" | "naive-quantized") => {}
            _ => return foreign(named("compressed-tensors", &self.0["format"])),
        }
        for key in ["sparsity_config", "transform_config"] {
            let is_empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
            let is_dense = |value: &Value| value["format"] == "dense";
            if let Some(value) = self.get(key).filter(|value| !is_empty(value) && !is_dense(value)) {
                let reason = "only plain fp8 weights are: `sparsity_config` and `transform_config` must be empty";
                return unsupported("quantization_config", &format!("one with `{key}` {value}"), reason);
            }
        }
        let groups = self.block("config_groups")?.ok_or(ConfigError::Missing("config_groups"))?;
        for group in groups.0.as_object().into_iter().flat_map(|groups| groups.values()) {
            check_group(&group["weights"])?;
        }
        Ok(())
    }
}

/// Checks the weights of a group of `config_groups`.
fn check_group(weights: &Value) -> Result<(), ConfigError> {
    let is = |key: &str, value: &Value, default: bool| weights.get(key).map_or(default, |found| found == value);
    let is_fp8 = is("num_bits", &8.into(), false)
        && is("type", &"float".into(), false)
        && is("symmetric", &true.into(), true)
        && is("dynamic", &false.into(), true);
    let has_scales_that_are_read = match weights["strategy"].as_str() {
        Some("tensor" | "channel") => true,
        Some("block") => weights["block_structure"] == serde_json::json!([128, 128]),
        _ => false,
    };
    if is_fp8 && has_scales_that_are_read {
        return Ok(());
    }
    let reason = "symmetric fp8 weights are, with scales for tensors, channels or blocks of [128, 128]";
    unsupported(CONFIG_GROUPS, &weights.to_string(), reason)
}

fn foreign<T>(format: String) -> Result<T, ConfigError> {
    Err(ConfigError::ForeignFormat { key: "quantization_config.quant_method", format })
}

/// A method and what it calls its format, if anything.
fn named(method: &str, format: &Value) -> String {
    match format.as_str() {
        Some(format) => format!("quantized as `{method}` ({format})"),
        None => format!("quantized as `{method}`"),
    }
}
