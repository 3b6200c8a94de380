//! The file of each tensor: the index of a sharded checkpoint, compared with the headers of
//! its shards.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::Error;
use crate::foreign_format::no_weights;
use crate::json::Pairs;
use crate::safetensors::{Header, TensorInfo};
use crate::source::{MappedFile, Source};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const INDEX_ENDING: &str = ".safetensors.index.json";

/// The shard and the description of every tensor.
#[derive(Default)]
pub(crate) struct TensorIndex {
    pub(crate) shards: Vec<Shard>,
    /// Maps a name to the position in `shards` and the description.
    pub(crate) tensors: HashMap<String, (usize, TensorInfo)>,
}

pub(crate) struct Shard {
    pub(crate) file: String,
    pub(crate) mapped: MappedFile,
}

/// Finds all tensors.
///
/// # Errors
/// The first problem of [`TensorScan`].
pub(crate) fn read(source: &Source) -> Result<TensorIndex, Error> {
    let mut found = TensorScan::default();
    found.scan(source)?;
    match found.problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(found.index),
    }
}

/// The tensors found so far, and the problems on the way.
#[derive(Default)]
pub(crate) struct TensorScan {
    pub(crate) index: TensorIndex,
    /// The number of tensors in the index; `None` without an index.
    pub(crate) indexed_tensors: Option<usize>,
    pub(crate) problems: Vec<Error>,
}

/// `*.safetensors.index.json`
#[derive(Deserialize)]
struct IndexFile {
    weight_map: Pairs<String>,
}

impl TensorScan {
    /// Reads the headers of all shards, or of the single file. A shard that is missing or corrupt
    /// is a problem, and the scan continues.
    ///
    /// # Errors
    /// A missing or corrupt index, a single file that is missing or has a corrupt header.
    pub(crate) fn scan(&mut self, source: &Source) -> Result<(), Error> {
        match find_index(source)? {
            Some(index) => self.scan_shards(source, &index),
            None if source.list(SINGLE)?.iter().any(|file| file == SINGLE) => self.add_file(source, SINGLE).map(|_| ()),
            None => Err(no_weights(source)),
        }
    }

    fn scan_shards(&mut self, source: &Source, index: &str) -> Result<(), Error> {
        let broken = |reason: String| Error::Index { file: index.to_string(), reason };
        let bytes = source.read(index)?.ok_or_else(|| Error::NoWeights { folder: source.location() })?;
        let IndexFile { weight_map: Pairs(pairs) } =
            serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
        self.indexed_tensors = Some(pairs.len());

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
        if let Err(problem) = header.check_length(file, mapped.file_bytes()) {
            self.problems.push(problem);
        }
        let shard = self.index.shards.len();
        let mut names = BTreeSet::new();
        for tensor in header.tensors {
            names.insert(tensor.name.clone());
            if let Some((first, tensor)) = self.index.tensors.insert(tensor.name.clone(), (shard, tensor)) {
                let first = self.index.shards[first].file.clone();
                self.problems.push(Error::Duplicate { tensor: tensor.name, first, second: file.into() });
            }
        }
        self.index.shards.push(Shard { file: file.into(), mapped });
        Ok(Some(names))
    }

    /// Adds the first tensor that only the index names and the first that only the file has.
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

/// The name of the index file. The standard name wins, even over a single file beside it.
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
