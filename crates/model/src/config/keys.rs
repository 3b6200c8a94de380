//! Typed access to the keys of a `config.json`, and to the blocks inside it.

use serde_json::Value;

use super::blocks::IndexerConfig;
use super::error::ConfigError;

pub(super) fn unsupported<T>(key: &'static str, found: &str, reason: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::Unsupported { key, found: found.to_owned(), reason })
}

/// The keys of a JSON object; null counts as absent.
pub(super) struct ConfigKeys<'a>(pub(super) &'a Value);

impl<'a> ConfigKeys<'a> {
    pub(super) fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn read<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let wrong = |value: &Value| ConfigError::Type { key, found: value.to_string(), expected };
        self.get(key).map(|value| read(value).ok_or_else(|| wrong(value))).transpose()
    }

    pub(super) fn optional_size(&self, key: &'static str) -> Result<Option<usize>, ConfigError> {
        // Positions up to 2^24 are exact in f32; all other sizes of the family are far smaller.
        let read = |value: &Value| value.as_u64().filter(|size| *size <= 1 << 24).map(|size| size as usize);
        self.read(key, "a whole number from 0 to 2^24", read)
    }

    pub(super) fn size(&self, key: &'static str) -> Result<usize, ConfigError> {
        self.optional_size(key)?.ok_or(ConfigError::Missing(key))
    }

    pub(super) fn size_or(&self, key: &'static str, default: usize) -> Result<usize, ConfigError> {
        Ok(self.optional_size(key)?.unwrap_or(default))
    }

    /// A block of keys.
    pub(super) fn block(&self, key: &'static str) -> Result<Option<ConfigKeys<'a>>, ConfigError> {
        self.read(key, "an object", |value| value.is_object().then_some(ConfigKeys(value)))
    }

    pub(super) fn optional_number(&self, key: &'static str) -> Result<Option<f64>, ConfigError> {
        self.read(key, "a number", Value::as_f64)
    }

    pub(super) fn number(&self, key: &'static str) -> Result<f64, ConfigError> {
        self.optional_number(key)?.ok_or(ConfigError::Missing(key))
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.read(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub(super) fn text(&self, key: &'static str) -> Result<String, ConfigError> {
        Ok(self.read(key, "a string", Value::as_str)?.ok_or(ConfigError::Missing(key))?.to_owned())
    }

    /// Checks a key that may be absent and has only one supported value.
    pub(super) fn require_value(&self, key: &'static str, value: &'static str) -> Result<(), ConfigError> {
        match self.read(key, "a string", Value::as_str)? {
            Some(found) if found != value => unsupported(key, found, "no released model of the family has it"),
            _ => Ok(()),
        }
    }

    pub(super) fn check_architecture(&self, sparse: bool) -> Result<(), ConfigError> {
        let known = if sparse { "DeepseekV32ForCausalLM" } else { "DeepseekV3ForCausalLM" };
        let list = self
            .read("architectures", "a list of strings", Value::as_array)?
            .ok_or(ConfigError::Missing("architectures"))?;
        if list.iter().any(|name| name.as_str() == Some(known)) {
            return Ok(());
        }
        let found = Value::from(list.clone()).to_string();
        unsupported(
            "architectures",
            &found,
            "deepseek_v3 needs DeepseekV3ForCausalLM, deepseek_v32 DeepseekV32ForCausalLM",
        )
    }

    pub(super) fn indexer(&self) -> Result<IndexerConfig, ConfigError> {
        Ok(IndexerConfig {
            n_heads: self.size("index_n_heads")?,
            head_dim: self.size("index_head_dim")?,
            topk: self.size("index_topk")?,
            rope_interleave: self.flag("indexer_rope_interleave", false)?,
        })
    }
}
