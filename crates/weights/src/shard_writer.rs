//! Writes one safetensors file, tensor by tensor and piece by piece, without holding it in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::manifest::ShardRecord;
use crate::safetensors::{TensorInfo, dtype_bits};
use crate::{Error, checksum};

/// The ending of a file that is being written.
pub(crate) const UNFINISHED: &str = ".unfinished";
/// Tensors begin at a multiple of this offset, as a cache line of a mapped file does.
const ALIGNMENT: usize = 64;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputTensor {
    pub name: String,
    /// The name of the number format in safetensors headers, such as `BF16`.
    pub dtype: &'static str,
    pub shape: Vec<usize>,
}

impl OutputTensor {
    /// Size in bytes.
    ///
    /// # Panics
    /// When the format is not one of safetensors.
    pub fn bytes(&self) -> u64 {
        let bits = dtype_bits(self.dtype).expect("a number format of safetensors");
        (self.shape.iter().map(|n| *n as u64).product::<u64>() * bits).div_ceil(8)
    }
}

impl From<&TensorInfo> for OutputTensor {
    /// A tensor that is copied.
    fn from(tensor: &TensorInfo) -> Self {
        let shape = tensor.shape.iter().map(|n| *n as usize).collect();
        Self { name: tensor.name.clone(), dtype: tensor.dtype, shape }
    }
}

/// The header of a file and the place of each tensor in it.
#[derive(Clone, Debug)]
pub struct ShardLayout {
    header: Vec<u8>,
    /// Byte ranges in the file.
    tensors: BTreeMap<String, Range<u64>>,
    file_bytes: u64,
}

impl ShardLayout {
    /// Lays out the tensors: those with wide numbers first, so that every number is aligned.
    pub fn new(tensors: &[OutputTensor]) -> Self {
        let mut order: Vec<&OutputTensor> = tensors.iter().collect();
        order.sort_by_key(|tensor| std::cmp::Reverse(dtype_bits(tensor.dtype)));
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!({ "format": "pt" }));
        let mut end = 0;
        for tensor in &order {
            let start = end;
            end += tensor.bytes();
            let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end] });
            header.insert(tensor.name.clone(), entry);
        }
        let text = Value::Object(header).to_string();
        let padded = (8 + text.len()).next_multiple_of(ALIGNMENT);
        let mut header = ((padded - 8) as u64).to_le_bytes().to_vec();
        header.extend(text.as_bytes());
        header.resize(padded, b' ');
        let mut at = padded as u64;
        let mut ranges = BTreeMap::new();
        for tensor in order {
            let range = at..at + tensor.bytes();
            at = range.end;
            ranges.insert(tensor.name.clone(), range);
        }
        Self { header, tensors: ranges, file_bytes: at }
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

/// A weights file that is being written under a temporary name.
pub struct ShardWriter {
    file: File,
    path: PathBuf,
    unfinished: PathBuf,
    file_bytes: u64,
    /// The part of each tensor that is not written yet.
    missing: BTreeMap<String, Range<u64>>,
}

impl ShardWriter {
    /// Begins the file `name` in `folder`, and replaces an unfinished one.
    ///
    /// # Errors
    /// A folder that cannot be written, a full disk.
    pub(crate) fn create(folder: &Path, name: &str, layout: ShardLayout) -> Result<Self, Error> {
        let (path, unfinished) = (folder.join(name), folder.join(format!("{name}{UNFINISHED}")));
        let begin = || {
            let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&unfinished)?;
            file.write_all(&layout.header)?;
            Ok(file)
        };
        let file = begin().map_err(|source| Error::Write { path: unfinished.clone(), source })?;
        Ok(Self { file, path, unfinished, file_bytes: layout.file_bytes, missing: layout.tensors })
    }

    /// Appends `bytes` to a tensor.
    ///
    /// # Errors
    /// A full disk.
    ///
    /// # Panics
    /// When the file has no such tensor, or the tensor is shorter.
    pub fn append(&mut self, tensor: &str, bytes: &[u8]) -> Result<(), Error> {
        let missing = self.missing.get_mut(tensor).expect("a tensor of the layout");
        assert!(bytes.len() as u64 <= missing.end - missing.start, "`{tensor}` is longer than its shape");
        let seek = self.file.seek(SeekFrom::Start(missing.start));
        seek.and_then(|_| self.file.write_all(bytes)).map_err(|source| self.write_error(source))?;
        let missing = self.missing.get_mut(tensor).expect("it was found before");
        missing.start += bytes.len() as u64;
        Ok(())
    }

    /// Flushes the file to disk, computes its checksum from what the file now contains, and gives
    /// the file its name.
    ///
    /// # Errors
    /// A full or failing disk.
    ///
    /// # Panics
    /// When a tensor is not complete.
    pub fn finish(mut self) -> Result<ShardRecord, Error> {
        if let Some((tensor, _)) = self.missing.iter().find(|(_, missing)| !missing.is_empty()) {
            panic!("`{tensor}` is not complete");
        }
        let synced = self.file.sync_all().and_then(|()| self.file.seek(SeekFrom::Start(0)));
        let sha256 = synced.and_then(|_| checksum::of_reader(&mut self.file, &mut |_| {}));
        let sha256 = sha256.map_err(|source| self.write_error(source))?;
        fs::rename(&self.unfinished, &self.path).map_err(|source| self.write_error(source))?;
        files::sync_folder(&files::folder_of(&self.path)).map_err(|source| self.write_error(source))?;
        Ok(ShardRecord { bytes: self.file_bytes, sha256 })
    }

    fn write_error(&self, source: std::io::Error) -> Error {
        Error::Write { path: self.unfinished.clone(), source }
    }
}
