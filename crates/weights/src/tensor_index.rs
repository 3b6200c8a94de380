//! Which tensor is in which file: the index of a sharded checkpoint held against the
//! headers of its shards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;

use crate::checkpoint::{COMPANIONS, read_companion};
use crate::json::Pairs;
use crate::safetensors::{Header, TensorInfo};
use crate::source::{MappedFile, Source};
use crate::{Checkpoint, Error};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const INDEX_ENDING: &str = ".safetensors.index.json";

/// Where every tensor is.
#[derive(Default)]
pub(crate) struct TensorIndex {
    pub(crate) shards: Vec<Shard>,
    /// Name to its shard and its description.
    pub(crate) tensors: HashMap<String, (usize, TensorInfo)>,
}

pub(crate) struct Shard {
    pub(crate) file: String,
    pub(crate) mapped: MappedFile,
}

/// What a folder holds, described as far as it goes: files may be missing or truncated.
pub struct CheckpointSummary {
    pub config: serde_json::Value,
    /// Every tensor whose header could be read, sorted by name.
    pub tensors: Vec<TensorInfo>,
    /// Tensors the index names; `None` without an index.
    pub indexed_tensors: Option<usize>,
    /// What keeps the checkpoint from being loaded.
    pub problems: Vec<Error>,
}

impl CheckpointSummary {
    /// Looks at a checkpoint folder without needing its weights to be complete.
    ///
    /// # Errors
    /// Only when there is no readable `config.json`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let source = Source::Folder(dir.to_path_buf());
        let config = Checkpoint::read_config(&source)?;
        let mut found = TensorScan::default();
        if let Err(problem) = found.scan(&source) {
            found.problems.push(problem);
        }
        found.problems.extend(COMPANIONS.iter().filter_map(|file| read_companion(&source, file).err()));
        Ok(Self {
            config,
            tensors: sorted_tensors(&found.table),
            indexed_tensors: found.indexed,
            problems: found.problems,
        })
    }

    /// The same of a checkpoint that is open, and therefore complete.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Self {
        Self {
            config: checkpoint.config().clone(),
            tensors: sorted_tensors(checkpoint.table()),
            indexed_tensors: None,
            problems: Vec::new(),
        }
    }
}

fn sorted_tensors(table: &TensorIndex) -> Vec<TensorInfo> {
    let mut tensors: Vec<TensorInfo> = table.tensors.values().map(|(_, tensor)| tensor.clone()).collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

/// Finds all tensors, and complains about the first thing that is wrong.
pub(crate) fn read(source: &Source) -> Result<TensorIndex, Error> {
    let mut found = TensorScan::default();
    found.scan(source)?;
    match found.problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(found.table),
    }
}

#[derive(Default)]
struct TensorScan {
    table: TensorIndex,
    indexed: Option<usize>,
    problems: Vec<Error>,
}

/// `*.safetensors.index.json`
#[derive(Deserialize)]
struct IndexFile {
    weight_map: Pairs<String>,
}

impl TensorScan {
    fn scan(&mut self, source: &Source) -> Result<(), Error> {
        match find_index(source)? {
            Some(index) => self.scan_shards(source, &index),
            None if source.list(SINGLE)?.iter().any(|file| file == SINGLE) => self.add_file(source, SINGLE).map(|_| ()),
            None => Err(Error::NoWeights { folder: source.location() }),
        }
    }

    fn scan_shards(&mut self, source: &Source, index: &str) -> Result<(), Error> {
        let broken = |reason: String| Error::Index { file: index.to_string(), reason };
        let bytes = source.read(index)?.ok_or_else(|| Error::NoWeights { folder: source.location() })?;
        let IndexFile { weight_map: Pairs(pairs) } =
            serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
        self.indexed = Some(pairs.len());

        let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (tensor, file) in &pairs {
            if !is_plain_name(file) {
                return Err(broken(format!("`{tensor}` is said to be in `{file}`, which is not a file name")));
            }
            files.entry(file).or_default().insert(tensor);
        }
        for (file, expected) in files {
            match self.add_file(source, file) {
                Ok(Some(names)) => self.compare_with_index(index, file, &expected, &names),
                Ok(None) => {
                    let tensor = expected.first().map_or_else(String::new, |name| name.to_string());
                    self.problems.push(Error::MissingShard { file: file.into(), index: index.into(), tensor });
                }
                Err(problem) => self.problems.push(problem),
            }
        }
        Ok(())
    }

    /// Adds the tensors of one file and returns their names; `None` when the file is missing.
    fn add_file(&mut self, source: &Source, file: &str) -> Result<Option<BTreeSet<String>>, Error> {
        let Some(mapped) = source.map(file)? else { return Ok(None) };
        let header = Header::parse(file, mapped.bytes())?;
        if let Err(problem) = header.check_length(file, mapped.bytes().len() as u64) {
            self.problems.push(problem);
        }
        let (shard, mut names) = (self.table.shards.len(), BTreeSet::new());
        for tensor in header.tensors {
            names.insert(tensor.name.clone());
            if let Some((first, tensor)) = self.table.tensors.insert(tensor.name.clone(), (shard, tensor)) {
                let first = self.table.shards[first].file.clone();
                self.problems.push(Error::Duplicate { tensor: tensor.name, first, second: file.into() });
            }
        }
        self.table.shards.push(Shard { file: file.into(), mapped });
        Ok(Some(names))
    }

    fn compare_with_index(&mut self, index: &str, file: &str, expected: &BTreeSet<&str>, found: &BTreeSet<String>) {
        let words = |tensor: &str| (tensor.to_string(), file.to_string(), index.to_string());
        let missing = expected.iter().find(|name| !found.contains(**name));
        let extra = found.iter().find(|name| !expected.contains(name.as_str()));
        self.problems.extend(missing.map(|name| words(name)).map(|(tensor, file, index)| Error::NotInShard {
            tensor,
            file,
            index,
        }));
        self.problems.extend(extra.map(|name| words(name)).map(|(tensor, file, index)| Error::NotInIndex {
            tensor,
            file,
            index,
        }));
    }
}

/// The index to follow. One of the usual name wins, also over a single file beside it.
fn find_index(source: &Source) -> Result<Option<String>, Error> {
    let mut files = source.list(INDEX_ENDING)?;
    if files.iter().any(|file| file == INDEX) {
        return Ok(Some(INDEX.into()));
    }
    match files.len() {
        0 | 1 => Ok(files.pop()),
        _ => Err(Error::SeveralIndices { folder: source.location(), files }),
    }
}

/// Whether the name stays in the checkpoint's folder.
fn is_plain_name(file: &str) -> bool {
    !file.is_empty() && file != "." && file != ".." && !file.contains(['/', '\\', '\0'])
}
