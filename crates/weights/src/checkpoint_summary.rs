//! A description of a checkpoint folder that may be incomplete, as `cachalot inspect` shows it.

use std::path::Path;

use crate::checkpoint::{COMPANIONS, Checkpoint, read_companion};
use crate::error::Error;
use crate::safetensors::TensorInfo;
use crate::source::Source;
use crate::tensor_index::{TensorIndex, TensorScan};

/// The content of a checkpoint folder, as far as it can be read: files may be missing or truncated.
pub struct CheckpointSummary {
    /// `config.json`
    pub config: serde_json::Value,
    /// Every tensor whose header could be read, sorted by name.
    pub tensors: Vec<TensorInfo>,
    /// The number of tensors in the index; `None` without an index.
    pub indexed_tensors: Option<usize>,
    /// The reasons why the checkpoint cannot be loaded.
    pub problems: Vec<Error>,
}

impl CheckpointSummary {
    /// Reads the folder `dir`; its weights may be incomplete.
    ///
    /// # Errors
    /// A `config.json` that is missing or not valid JSON.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let source = Source::Folder(dir.to_path_buf());
        let config = Checkpoint::read_config(&source)?;
        let mut scan = TensorScan::default();
        if let Err(problem) = scan.scan(&source) {
            scan.problems.push(problem);
        }
        scan.problems.extend(COMPANIONS.iter().filter_map(|file| read_companion(&source, file).err()));
        let tensors = sorted_tensors(&scan.index);
        Ok(Self { config, tensors, indexed_tensors: scan.indexed_tensors, problems: scan.problems })
    }

    /// Describes an open checkpoint, which is complete.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Self {
        Self {
            config: checkpoint.config().clone(),
            tensors: sorted_tensors(checkpoint.index()),
            indexed_tensors: None,
            problems: Vec::new(),
        }
    }
}

fn sorted_tensors(index: &TensorIndex) -> Vec<TensorInfo> {
    let mut tensors: Vec<TensorInfo> = index.tensors.values().map(|(_, tensor)| tensor.clone()).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}
