//! The section `[engine]`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use text::EncodingName;

use super::path_text;
use crate::load::{AttentionArg, ComputeFormat, IndexerFormat, LatentFormat};

/// `[engine]`: the local model, its queue and its batches.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// As `--model`.
    #[serde(serialize_with = "path_text::serialize")]
    pub model: Option<PathBuf>,
    /// As `--context`.
    pub context: Option<usize>,
    /// As `--cache-memory`, such as `8GiB`.
    pub cache_memory: Option<String>,
    /// As `--compute`.
    pub compute: Option<ComputeFormat>,
    /// As `--cache`.
    pub cache: Option<LatentFormat>,
    /// As `--index`.
    pub index: Option<IndexerFormat>,
    /// As `--attention`.
    pub attention: Option<AttentionArg>,
    /// As `--threads`.
    pub threads: Option<usize>,
    /// As `--allow-mmap-larger-than-memory`.
    pub allow_mmap_larger_than_memory: bool,
    /// As `--encoding`.
    #[serde(deserialize_with = "read_encoding", serialize_with = "write_encoding")]
    pub encoding: Option<EncodingName>,
    /// Requests that may wait; more are answered 503.
    pub queue: usize,
    /// Requests answered side by side.
    pub max_running: usize,
    /// Prompt tokens read in one step beside the running answers.
    pub batch_tokens: usize,
    /// The sampling seed of requests without one; a random seed for each when absent.
    pub seed: Option<i64>,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            model: None,
            context: None,
            cache_memory: None,
            compute: None,
            cache: None,
            index: None,
            attention: None,
            threads: None,
            allow_mmap_larger_than_memory: false,
            encoding: None,
            queue: 256,
            max_running: 64,
            batch_tokens: 256,
            seed: None,
        }
    }
}

fn read_encoding<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EncodingName>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    name.map(|name| name.parse().map_err(serde::de::Error::custom)).transpose()
}

fn write_encoding<S: Serializer>(encoding: &Option<EncodingName>, serializer: S) -> Result<S::Ok, S::Error> {
    encoding.map(EncodingName::as_str).serialize(serializer)
}
