//! A description of a checkpoint folder that may be incomplete, as `cachalot inspect` shows it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use kernels::{Bytes, DType};

use crate::checkpoint::{COMPANIONS, Checkpoint, read_companion};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::matrix_parts::part_suffixes;
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
    /// The description of a packed checkpoint.
    pub manifest: Option<Manifest>,
    /// The reasons why the checkpoint cannot be loaded.
    pub problems: Vec<Error>,
}

/// A weight, and the tensors that store it.
pub struct StoredWeight<'a> {
    pub name: &'a str,
    /// `int8` or `int4` for packed weights, else the name of the number format.
    pub format: &'static str,
    /// The numbers first, then scales.
    pub tensors: Vec<&'a TensorInfo>,
}

impl StoredWeight<'_> {
    /// Whether it is stored as int8 or int4.
    pub fn is_packed(&self) -> bool {
        self.format != self.tensors[0].dtype
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes()).sum()
    }
}

impl CheckpointSummary {
    /// Reads the folder `dir`; its weights may be incomplete.
    ///
    /// # Errors
    /// A `config.json` that is missing or not valid JSON.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::from_source(&Source::Folder(dir.to_path_buf()))
    }

    /// Describes a checkpoint whose large files are not here: `files` are the small ones, and
    /// `headers` the beginnings of safetensors files, each at least with its header, and their
    /// lengths. A header that is missing is a problem of the checkpoint.
    ///
    /// # Errors
    /// As [`CheckpointSummary::open`].
    pub fn from_headers(
        name: &str,
        files: BTreeMap<String, Bytes>,
        headers: BTreeMap<String, (Bytes, u64)>,
    ) -> Result<Self, Error> {
        Self::from_source(&Source::Headers { name: name.into(), files, headers })
    }

    fn from_source(source: &Source) -> Result<Self, Error> {
        let config = Checkpoint::read_config(source)?;
        let mut scan = TensorScan::default();
        if let Err(problem) = scan.scan(source) {
            scan.problems.push(problem);
        }
        let manifest = Manifest::from_config(&config).unwrap_or_else(|problem| {
            scan.problems.push(problem);
            None
        });
        // Missing files are problems already, and have no length to compare.
        if let Some(manifest) = manifest.as_ref().filter(|_| scan.problems.is_empty()) {
            scan.problems.extend(manifest.check(&scan.index).err());
        }
        scan.problems.extend(COMPANIONS.iter().filter_map(|file| read_companion(source, file).err()));
        let tensors = sorted_tensors(&scan.index);
        Ok(Self { config, tensors, indexed_tensors: scan.indexed_tensors, manifest, problems: scan.problems })
    }

    /// Describes an open checkpoint, which is complete.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Self {
        Self {
            config: checkpoint.config().clone(),
            tensors: sorted_tensors(checkpoint.index()),
            indexed_tensors: None,
            manifest: checkpoint.manifest().cloned(),
            problems: Vec::new(),
        }
    }

    /// The weights, each with its scales, sorted by name.
    pub fn weights(&self) -> Vec<StoredWeight<'_>> {
        let by_name: HashMap<&str, &TensorInfo> =
            self.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut weights = Vec::new();
        let mut scales = HashSet::new();
        for tensor in &self.tensors {
            let dtype = tensor.weight_dtype();
            let suffixes = dtype.map_or_else(Vec::new, part_suffixes).into_iter();
            let names = suffixes.map(|suffix| format!("{}{suffix}", tensor.name));
            let found: Vec<&TensorInfo> = names.filter_map(|name| by_name.get(name.as_str()).copied()).collect();
            scales.extend(found.iter().map(|scale| scale.name.as_str()));
            let format = match dtype {
                Some(DType::Int8) if !found.is_empty() => "int8",
                Some(DType::Int4) if !found.is_empty() => "int4",
                _ => tensor.dtype,
            };
            let tensors = std::iter::once(tensor).chain(found).collect();
            weights.push(StoredWeight { name: &tensor.name, format, tensors });
        }
        weights.retain(|weight| !scales.contains(weight.name));
        weights
    }
}

fn sorted_tensors(index: &TensorIndex) -> Vec<TensorInfo> {
    let mut tensors: Vec<TensorInfo> = index.tensors.values().map(|(_, tensor)| tensor.clone()).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}
