//! The rotary embedding of a `config.json`: `rope_theta` and `rope_scaling`, or the block
//! `rope_parameters`, in which transformers 5 writes both.

use serde_json::Value;

use super::blocks::Yarn;
use super::error::ConfigError;
use super::keys::{ConfigKeys, unsupported};
use super::known_keys::check_known;

/// The keys of a block that are read.
const BLOCK_KEYS: [&str; 12] = [
    "type",
    "rope_type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "attention_factor",
    "truncate",
    "partial_rotary_factor",
];

/// Reads the base of the frequencies and their scaling, in either spelling.
///
/// # Errors
/// A key that is missing, of the wrong type, unknown, or of an unsupported value; spellings that
/// contradict each other.
pub(super) fn read_rope(keys: &ConfigKeys<'_>) -> Result<(f64, Option<Yarn>), ConfigError> {
    if !keys.flag("rope_interleave", true)? {
        return unsupported("rope_interleave", "false", "the releases rotate neighbouring numbers");
    }
    check_rotated_width(keys, keys)?;
    let outer_theta = keys.optional_number("rope_theta")?;
    let scaling = keys.block("rope_scaling")?.map(|block| read_block("rope_scaling", keys, &block)).transpose()?;
    let Some(block) = keys.block("rope_parameters")? else {
        return Ok((outer_theta.ok_or(ConfigError::Missing("rope_theta"))?, scaling.flatten()));
    };
    let inner_theta = block.optional_number("rope_theta")?;
    let parameters = read_block("rope_parameters", keys, &block)?;
    let differs = |key| ConfigError::Contradiction(format!("`{key}` and `rope_parameters` differ"));
    match (outer_theta, inner_theta) {
        (Some(outer), Some(inner)) if outer != inner => return Err(differs("rope_theta")),
        _ => {}
    }
    if scaling.is_some_and(|scaling| scaling != parameters) {
        return Err(differs("rope_scaling"));
    }
    Ok((inner_theta.or(outer_theta).ok_or(ConfigError::Missing("rope_theta"))?, parameters))
}

/// Reads the block `name`; `None` where it leaves the frequencies as they are.
fn read_block(name: &str, config: &ConfigKeys<'_>, block: &ConfigKeys<'_>) -> Result<Option<Yarn>, ConfigError> {
    check_known(block.0, &[&BLOCK_KEYS], &format!("{name}."))?;
    check_rotated_width(config, block)?;
    let kind = |key| block.read(key, "a string", Value::as_str);
    let kind = match (kind("type")?, kind("rope_type")?) {
        (Some(old), Some(new)) if old != new => {
            return Err(ConfigError::Contradiction(format!("`{name}` has both the type {old} and the type {new}")));
        }
        (Some(kind), _) | (None, Some(kind)) => kind,
        (None, None) if block.get("factor").is_none() => "default",
        (None, None) => return Err(ConfigError::Missing("rope_type")),
    };
    match kind {
        "default" => Ok(None),
        "yarn" => read_yarn(name, block).map(Some),
        _ => unsupported("rope_scaling.type", kind, "only yarn is"),
    }
}

fn read_yarn(name: &str, block: &ConfigKeys<'_>) -> Result<Yarn, ConfigError> {
    let number = |key, default| Ok(block.optional_number(key)?.unwrap_or(default));
    let yarn = Yarn {
        factor: block.number("factor")?,
        original_max_position_embeddings: block.size("original_max_position_embeddings")?,
        beta_fast: number("beta_fast", 32.0)?,
        beta_slow: number("beta_slow", 1.0)?,
        mscale: number("mscale", 1.0)?,
        mscale_all_dim: number("mscale_all_dim", 0.0)?,
    };
    let contradiction = |what: &str| Err(ConfigError::Contradiction(format!("`{name}` needs {what}")));
    if yarn.factor < 1.0 || yarn.original_max_position_embeddings == 0 {
        return contradiction("a factor of at least 1 and an original length");
    }
    if !(yarn.beta_slow > 0.0 && yarn.beta_fast >= yarn.beta_slow) {
        return contradiction("a `beta_fast` of at least `beta_slow`, and both positive");
    }
    if yarn.mscale != yarn.mscale_all_dim {
        let reason = "it must equal `mscale_all_dim`, as in every release";
        return unsupported("rope_scaling.mscale", &yarn.mscale.to_string(), reason);
    }
    let attention_factor = number("attention_factor", 1.0)?;
    if attention_factor != 1.0 {
        let reason = "only 1 is, which `mscale` and `mscale_all_dim` of the releases give";
        return unsupported("rope_scaling.attention_factor", &attention_factor.to_string(), reason);
    }
    if !block.flag("truncate", true)? {
        return unsupported("rope_scaling.truncate", "false", "the releases round the range of corrected frequencies");
    }
    Ok(yarn)
}

/// Checks that the part of a head that `partial_rotary_factor` rotates is `qk_rope_head_dim`.
fn check_rotated_width(config: &ConfigKeys<'_>, keys: &ConfigKeys<'_>) -> Result<(), ConfigError> {
    let factor = keys.optional_number("partial_rotary_factor")?.unwrap_or(1.0);
    let rope_width = config.size("qk_rope_head_dim")?;
    let head_width = config.size_or("head_dim", rope_width)?;
    if factor == 1.0 || (head_width as f64 * factor) as usize == rope_width {
        return Ok(());
    }
    let reason = "all of `qk_rope_head_dim` is rotated";
    unsupported("partial_rotary_factor", &factor.to_string(), reason)
}
