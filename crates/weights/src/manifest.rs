//! The block `cachalot_packing` in the `config.json` of a packed checkpoint
//! (`docs/packed-weights.md`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::tensor_index::TensorIndex;

/// The version of the folder format that this program writes, and the latest that it reads.
pub const MANIFEST_VERSION: u64 = 1;
/// The key of the block in `config.json`.
pub const MANIFEST_KEY: &str = "cachalot_packing";
/// The file that records what is finished, while a folder is not complete.
pub(crate) const STATE: &str = "cachalot-pack.json";

/// The description of a packed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the folder format.
    pub version: u64,
    /// The format of each kind of weights, as it was chosen. A matrix that a format does not fit is
    /// stored in another one; the tensors themselves decide.
    pub formats: BTreeMap<String, String>,
    /// `ue8m0` if activations and cache rows are rounded to fp8 with power-of-two scales.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_fmt: Option<String>,
    /// A hash of the source and of everything that determines the files.
    pub plan: String,
    /// Every weights file by name.
    pub shards: BTreeMap<String, ShardRecord>,
}

/// Length and checksum of a weights file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole file, 64 hex digits.
    pub sha256: String,
}

impl Manifest {
    /// Reads the block of a `config.json`; `None` if there is none.
    ///
    /// # Errors
    /// A block of a later version, or one that lacks a member.
    pub fn from_config(config: &Value) -> Result<Option<Self>, Error> {
        let Some(block) = config.get(MANIFEST_KEY).filter(|block| !block.is_null()) else { return Ok(None) };
        match block.get("version").and_then(Value::as_u64) {
            Some(1..=MANIFEST_VERSION) => {}
            found => {
                let found = found.map_or_else(|| "unknown".to_owned(), |version| version.to_string());
                return Err(Error::PackingVersion { found, supported: MANIFEST_VERSION });
            }
        }
        let packing = Self::deserialize(block).map_err(|error| Error::Packing { reason: error.to_string() })?;
        Ok(Some(packing))
    }

    /// The block as JSON.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("the block has string keys only")
    }

    /// The first file that is not recorded, is missing, or has another length than recorded.
    pub(crate) fn check(&self, index: &TensorIndex) -> Result<(), Error> {
        for shard in &index.shards {
            let file = || shard.file.clone();
            let found = shard.mapped.bytes().len() as u64;
            match self.shards.get(&shard.file) {
                None => return Err(Error::Packing { reason: format!("it does not name `{}`", shard.file) }),
                Some(record) if record.bytes != found => {
                    return Err(Error::ShardLength { file: file(), found, needed: record.bytes });
                }
                Some(_) => {}
            }
        }
        match self.shards.keys().find(|file| !index.shards.iter().any(|shard| shard.file == **file)) {
            Some(file) => Err(Error::Packing { reason: format!("the index does not name its file `{file}`") }),
            None => Ok(()),
        }
    }
}
