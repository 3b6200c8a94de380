//! A Hugging Face checkpoint folder: `config.json`, companions, and weights in one safetensors file
//! or in shards with an index.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use kernels::{Bytes, DType, Mat, PACKED_GROUP, PackError, Packed, Packing};

use crate::Error;
use crate::foreign_format::{check_folder, is_lfs_pointer, no_config};
use crate::fp8_scales::Fp8Scales;
use crate::manifest::{Manifest, STATE};
use crate::matrix_parts::{
    FACTOR_SUFFIX, FP8_SCALE_SUFFIXES, GROUP_OFFSET_SUFFIX, GROUP_SCALE_SUFFIX, companions, part_suffixes, stored_shape,
};
use crate::safetensors::TensorInfo;
use crate::source::Source;
use crate::tensor_index::{self, TensorIndex};

/// Small files beside the weights.
pub(crate) const COMPANIONS: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// Reads a companion file, if it exists.
///
/// # Errors
/// A `.json` file that is not a JSON object.
pub(crate) fn read_companion(source: &Source, file: &'static str) -> Result<Option<Bytes>, Error> {
    let Some(bytes) = source.read(file)? else { return Ok(None) };
    if is_lfs_pointer(&bytes) {
        return Err(Error::LfsPointer { file: file.into() });
    }
    if file.ends_with(".json") {
        let object = serde_json::from_slice::<HashMap<String, serde::de::IgnoredAny>>(&bytes);
        object.map_err(|error| Error::Json { file: file.into(), reason: error.to_string() })?;
    }
    Ok(Some(bytes))
}

/// An open checkpoint. All headers have been checked; weights are not read yet.
pub struct Checkpoint {
    name: String,
    config: serde_json::Value,
    companions: BTreeMap<&'static str, Bytes>,
    index: TensorIndex,
    manifest: Option<Manifest>,
}

impl Checkpoint {
    /// Opens the folder `dir` and maps its weights, read-only.
    ///
    /// # Errors
    /// A file that is missing, unreadable, truncated or corrupt, or shards that do not
    /// fit their index.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::from_source(&Source::Folder(dir.to_path_buf()))
    }

    /// Opens a checkpoint from files in memory, by their names in a folder; see
    /// [`crate::static_bytes`] for files built into the program.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_files(name: &str, files: impl IntoIterator<Item = (String, Bytes)>) -> Result<Self, Error> {
        Self::from_source(&Source::Memory { name: name.into(), files: files.into_iter().collect() })
    }

    fn from_source(source: &Source) -> Result<Self, Error> {
        let config = Self::read_config(source)?;
        let mut companions = BTreeMap::new();
        for file in COMPANIONS {
            companions.extend(read_companion(source, file)?.map(|bytes| (file, bytes)));
        }
        let manifest = Manifest::from_config(&config)?;
        let index = tensor_index::read(source)?;
        if let Some(manifest) = &manifest {
            manifest.check(&index)?;
        }
        Ok(Self { name: source.name(), config, companions, index, manifest })
    }

    pub(crate) fn read_config(source: &Source) -> Result<serde_json::Value, Error> {
        let file = "config.json";
        if let Source::Folder(dir) = source {
            check_folder(dir)?;
        }
        let bytes = source.read(file)?.ok_or_else(|| no_config(source));
        let bytes = match bytes {
            Err(_) if source.read(STATE)?.is_some() => {
                return Err(Error::Unfinished { folder: source.location() });
            }
            bytes => bytes?,
        };
        if is_lfs_pointer(&bytes) {
            return Err(Error::LfsPointer { file: file.into() });
        }
        serde_json::from_slice(&bytes).map_err(|e| Error::Json { file: file.into(), reason: e.to_string() })
    }

    pub(crate) fn index(&self) -> &TensorIndex {
        &self.index
    }

    /// The description of a packed checkpoint; `None` for any other.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The name of the folder.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// `config.json`
    pub fn config(&self) -> &serde_json::Value {
        &self.config
    }

    /// A companion file: `tokenizer.json`, `tokenizer_config.json`, `generation_config.json` or
    /// `chat_template.jinja`.
    pub fn file(&self, name: &str) -> Option<Bytes> {
        self.companions.get(name).cloned()
    }

    /// Names of all tensors, unordered.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.tensors.keys().map(String::as_str)
    }

    /// Whether the checkpoint has a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.index.tensors.contains_key(name)
    }

    /// The description of a tensor, and the name of its file.
    pub fn tensor(&self, name: &str) -> Option<(&TensorInfo, &str)> {
        self.index.tensors.get(name).map(|(shard, tensor)| (tensor, self.index.shards[*shard].file.as_str()))
    }

    /// Size of all tensors in bytes.
    pub fn bytes_total(&self) -> u64 {
        self.index.tensors.values().map(|(_, tensor)| tensor.bytes()).sum()
    }

    /// The weight `[rows, cols]`; its bytes stay in the mapped file. An fp8 weight includes
    /// its scales, a packed weight its scales, offsets and factors.
    ///
    /// # Errors
    /// As [`Checkpoint::check`]; an fp8 scale that is not a finite number; packed weights with a
    /// factor that is not a power of two.
    pub fn mat(&self, name: &str, rows: usize, cols: usize) -> Result<Mat, Error> {
        let dtype = self.check(name, &[rows, cols])?;
        let bytes = self.bytes(name);
        let part = |suffix: &str| self.bytes(&format!("{name}{suffix}"));
        let packing = match dtype {
            DType::F32 | DType::F16 | DType::Bf16 => return Ok(Mat::new(rows, cols, dtype, bytes)),
            DType::Fp8 => {
                let scales = self.fp8_scales(name, rows, cols)?;
                return scales.add_to(Mat::new(rows, cols, dtype, bytes), &self.bytes(&scales.tensor.name));
            }
            DType::Int8 => Packing::Int8,
            DType::Int4 => Packing::Int4,
        };
        let offsets = if packing.has_offsets() { part(GROUP_OFFSET_SUFFIX) } else { Vec::new().into() };
        let parts = Packed { quants: bytes, scales: part(GROUP_SCALE_SUFFIX), offsets, factors: part(FACTOR_SUFFIX) };
        Mat::packed(rows, cols, packing, parts).map_err(|error| self.packed_error(name, &error))
    }

    fn packed_error(&self, name: &str, error: &PackError) -> Error {
        let file = self.tensor(name).map_or_else(String::new, |(_, file)| file.to_owned());
        Error::Packed { tensor: name.into(), file, reason: error.to_string() }
    }

    /// The vector `[len]` as f32, for norms and biases.
    ///
    /// # Errors
    /// As [`Checkpoint::check`].
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        let dtype = self.check(name, &[len])?;
        Ok(Mat::new(1, len, dtype, self.bytes(name)).to_f32())
    }

    /// The ids of rows in the I32 vector `name`: strictly ascending, and less than `rows`.
    ///
    /// # Errors
    /// A tensor that is missing, not a vector, of another format, or with other numbers.
    pub fn row_ids(&self, name: &str, rows: usize) -> Result<Vec<u32>, Error> {
        let (tensor, file) = self.tensor(name).ok_or_else(|| Error::MissingTensor { tensor: name.into() })?;
        let refused = |reason| Error::RowIds { tensor: name.into(), file: file.into(), reason };
        if tensor.dtype != "I32" || tensor.shape.len() != 1 {
            return Err(refused(format!("it is {} of shape {:?}, not an I32 vector", tensor.dtype, tensor.shape)));
        }
        let ids: Vec<i32> = self.bytes(name).as_chunks::<4>().0.iter().map(|id| i32::from_le_bytes(*id)).collect();
        if let Some(id) = ids.iter().find(|id| !usize::try_from(**id).is_ok_and(|id| id < rows)) {
            return Err(refused(format!("{id} is not a row of a matrix of {rows} rows")));
        }
        if !ids.is_sorted_by(|a, b| a < b) {
            return Err(refused("its ids are not in ascending order".into()));
        }
        Ok(ids.into_iter().map(|id| id as u32).collect())
    }

    /// Checks that a weight exists, has the shape that the config implies and a format that the
    /// kernels support. Returns the format.
    ///
    /// # Errors
    /// A tensor that is missing, misshapen or of another format; a matrix without the scales that
    /// its format needs, or with fp8 scales that it does not need; packed weights whose rows are
    /// not groups of 32.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<DType, Error> {
        let (tensor, file) = self.tensor(name).ok_or_else(|| Error::MissingTensor { tensor: name.into() })?;
        let is_matrix = shape.len() == 2;
        let dtype = tensor.weight_dtype().filter(|dtype| is_matrix || companions(*dtype).is_empty());
        let Some(dtype) = dtype else {
            // The shape is named first: a tensor of another model has often both.
            self.expect_shape(name, shape)?;
            let accepted = if is_matrix { "F32, F16, BF16, F8_E4M3, packed I8 and U8" } else { "F32, F16, BF16" };
            return Err(Error::DType { tensor: name.into(), file: file.into(), dtype: tensor.dtype, accepted });
        };
        self.expect_shape(name, &stored_shape(dtype, shape))?;
        if let (DType::Fp8, [rows, cols]) = (dtype, shape) {
            self.fp8_scales(name, *rows, *cols)?;
        }
        for part in companions(dtype).iter().filter(|_| dtype != DType::Fp8) {
            let scale = format!("{name}{}", part.suffix);
            if !self.contains(&scale) {
                let (tensor, dtype, file) = (name.to_owned(), tensor.dtype, file.to_owned());
                return Err(Error::MissingScale { tensor, file, dtype, scale });
            }
            let (found, file) = self.expect_shape(&scale, &part.shape(shape[0], shape[1]))?;
            if found.dtype != part.dtype {
                let (dtype, file) = (found.dtype, file.to_owned());
                return Err(Error::DType { tensor: scale, file, dtype, accepted: part.accepted() });
            }
        }
        let stray = FP8_SCALE_SUFFIXES.into_iter().filter(|suffix| !part_suffixes(dtype).contains(suffix));
        if let Some(scale) = stray.map(|suffix| format!("{name}{suffix}")).find(|scale| self.contains(scale)) {
            let (tensor, dtype, file) = (name.to_owned(), tensor.dtype, file.to_owned());
            return Err(Error::StrayScale { tensor, file, dtype, scale });
        }
        match (dtype, shape) {
            (DType::Int8 | DType::Int4, [_, cols]) if !cols.is_multiple_of(PACKED_GROUP) => {
                Err(self.packed_error(name, &PackError::Width { cols: *cols }))
            }
            _ => Ok(dtype),
        }
    }

    /// The scales of an fp8 weight.
    fn fp8_scales(&self, name: &str, rows: usize, cols: usize) -> Result<Fp8Scales<'_>, Error> {
        let file = self.tensor(name).map_or("", |(_, file)| file);
        let only_blocks = self.config["quantization_config"]["weight_block_size"].is_array();
        Fp8Scales::find(&self.index, (name, file), [rows, cols], only_blocks)
    }

    /// The tensors that store a weight: itself, and its scales as far as its format has them.
    /// Empty if the weight is missing.
    pub fn parts(&self, name: &str) -> Vec<&TensorInfo> {
        let Some((tensor, _)) = self.tensor(name) else { return Vec::new() };
        let suffixes = tensor.weight_dtype().map_or_else(Vec::new, part_suffixes);
        let beside = suffixes.into_iter().filter_map(|suffix| self.tensor(&format!("{name}{suffix}")));
        std::iter::once(tensor).chain(beside.map(|(tensor, _)| tensor)).collect()
    }

    fn expect_shape(&self, name: &str, shape: &[usize]) -> Result<(&TensorInfo, &str), Error> {
        let (tensor, file) = self.tensor(name).ok_or_else(|| Error::MissingTensor { tensor: name.into() })?;
        if !tensor.shape.iter().copied().eq(shape.iter().map(|n| *n as u64)) {
            let (found, expected) = (tensor.shape.clone(), shape.to_vec());
            return Err(Error::Shape { tensor: name.into(), file: file.into(), found, expected });
        }
        Ok((tensor, file))
    }

    /// The bytes of a tensor as they are in its file.
    ///
    /// # Panics
    /// When there is no tensor of that name.
    pub fn bytes(&self, name: &str) -> Bytes {
        let (shard, tensor) = &self.index.tensors[name];
        self.index.shards[*shard].mapped.slice(tensor.range.start, tensor.range.end)
    }

    /// Lets the system reclaim the memory of a tensor and its scales, for a reader that needs each
    /// weight once. They are read from the file again if they are used again.
    pub fn forget(&self, name: &str) {
        for part in self.parts(name) {
            let (shard, tensor) = &self.index.tensors[&part.name];
            self.index.shards[*shard].mapped.forget(&tensor.range);
        }
    }

    /// Passes the data that identifies the weights to `update`, for a hash: names, formats and
    /// shapes of all tensors, and bytes of them.
    ///
    /// A small checkpoint contributes all bytes. A large one would take too long to read; it
    /// contributes 4 KiB each of up to 2,048 tensors.
    pub fn fingerprint(&self, update: &mut dyn FnMut(&[u8])) {
        const SMALL: u64 = 256 << 20;
        const PIECE: usize = 4096;
        const PIECES: usize = 2048;
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        let every = names.len().div_ceil(PIECES);
        for (index, name) in names.into_iter().enumerate() {
            let (tensor, _) = self.tensor(name).expect("it is one of the names");
            update(format!("{name} {} {:?}\n", tensor.dtype, tensor.shape).as_bytes());
            let bytes = self.bytes(name);
            if self.bytes_total() <= SMALL {
                update(&bytes);
            } else if index % every == 0 {
                let start = (bytes.len() / 2).min(bytes.len().saturating_sub(PIECE));
                update(&bytes[start..bytes.len().min(start + PIECE)]);
            }
        }
    }

    /// Reads all weights once, so that the first use does not wait for the disk. `progress`
    /// receives the number of bytes so far, of [`Checkpoint::bytes_total`].
    pub fn prefault(&self, progress: &mut dyn FnMut(u64)) {
        const STEP: usize = 32 << 20;
        const PAGE: usize = 4096;
        let mut done = 0;
        for (shard, file) in self.index.shards.iter().enumerate() {
            let tensors =
                || self.index.tensors.values().filter(|(at, _)| *at == shard).map(|(_, tensor)| &tensor.range);
            // A file without tensors consists of its header only.
            let Some(start) = tensors().map(|range| range.start).min() else { continue };
            let bytes = file.mapped.bytes();
            for from in (start as usize..bytes.len()).step_by(STEP) {
                let part = &bytes[from..bytes.len().min(from + STEP)];
                // Advises one step ahead, so that the disk works while this step is read.
                let ahead = (from + part.len()).min(bytes.len());
                file.mapped.will_need(ahead, STEP.min(bytes.len() - ahead));
                std::hint::black_box(part.iter().step_by(PAGE).fold(0u8, |sum, byte| sum ^ byte));
                done += part.len() as u64;
                progress(done);
            }
        }
    }
}
