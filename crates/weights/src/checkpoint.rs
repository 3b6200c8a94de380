//! A Hugging Face checkpoint folder: `config.json`, companions, and weights in one safetensors file
//! or in shards with an index.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use kernels::{Bytes, DType, Mat, SCALE_BLOCK};

use crate::Error;
use crate::safetensors::TensorInfo;
use crate::source::Source;
use crate::tensor_index::{self, TensorIndex};

/// The suffix of a weight's name in the name of its fp8 block scales.
pub const SCALE_SUFFIX: &str = "_scale_inv";

/// Small files beside the weights.
pub(crate) const COMPANIONS: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// Reads a companion file, if it exists.
///
/// # Errors
/// A `.json` file that is not a JSON object.
pub(crate) fn read_companion(source: &Source, file: &'static str) -> Result<Option<Bytes>, Error> {
    let Some(bytes) = source.read(file)? else { return Ok(None) };
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
        Ok(Self { name: source.name(), config, companions, index: tensor_index::read(source)? })
    }

    pub(crate) fn read_config(source: &Source) -> Result<serde_json::Value, Error> {
        let file = "config.json";
        let bytes = source.read(file)?.ok_or_else(|| Error::NoFile { folder: source.location(), file })?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Json { file: file.into(), reason: e.to_string() })
    }

    pub(crate) fn index(&self) -> &TensorIndex {
        &self.index
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
    /// its block scales.
    ///
    /// # Errors
    /// As [`Checkpoint::check`].
    pub fn mat(&self, name: &str, rows: usize, cols: usize) -> Result<Mat, Error> {
        let dtype = self.check(name, &[rows, cols])?;
        let mat = Mat::new(rows, cols, dtype, self.bytes(name));
        if dtype != DType::Fp8 {
            return Ok(mat);
        }
        let scales = self.bytes(&format!("{name}{SCALE_SUFFIX}"));
        let scales: Vec<f32> = scales.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Ok(mat.with_scales(scales))
    }

    /// The vector `[len]` as f32, for norms and biases.
    ///
    /// # Errors
    /// As [`Checkpoint::check`].
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        let dtype = self.check(name, &[len])?;
        Ok(Mat::new(1, len, dtype, self.bytes(name)).to_f32())
    }

    /// Checks that a weight exists, has the shape that the config implies and a format that the
    /// kernels support. Returns the format.
    ///
    /// # Errors
    /// A tensor that is missing, misshapen or of another format; an fp8 matrix without its scales
    /// `[ceil(rows / 128), ceil(cols / 128)]` in F32, or any other tensor with scales.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<DType, Error> {
        let (tensor, file) = self.expect_shape(name, shape)?;
        let tensor_name = || name.to_string();
        let file = || file.to_string();
        let accepted = if shape.len() == 2 { "F32, F16, BF16, F8_E4M3" } else { "F32, F16, BF16" };
        let dtype = match tensor.weight_dtype() {
            Some(DType::Fp8) if shape.len() != 2 => None,
            dtype => dtype,
        };
        let Some(dtype) = dtype else {
            return Err(Error::DType { tensor: tensor_name(), file: file(), dtype: tensor.dtype, accepted });
        };
        let scale = format!("{name}{SCALE_SUFFIX}");
        match (dtype, self.contains(&scale)) {
            (DType::Fp8, true) => self.check_scale(&scale, shape)?,
            (DType::Fp8, false) => return Err(Error::MissingScale { tensor: tensor_name(), file: file(), scale }),
            (_, true) => {
                return Err(Error::StrayScale { tensor: tensor_name(), file: file(), dtype: tensor.dtype, scale });
            }
            (_, false) => {}
        }
        Ok(dtype)
    }

    fn check_scale(&self, scale: &str, shape: &[usize]) -> Result<(), Error> {
        let blocks: Vec<usize> = shape.iter().map(|n| n.div_ceil(SCALE_BLOCK)).collect();
        let (tensor, file) = self.expect_shape(scale, &blocks)?;
        if tensor.weight_dtype() != Some(DType::F32) {
            return Err(Error::DType {
                tensor: scale.into(),
                file: file.into(),
                dtype: tensor.dtype,
                accepted: "F32 scales",
            });
        }
        Ok(())
    }

    fn expect_shape(&self, name: &str, shape: &[usize]) -> Result<(&TensorInfo, &str), Error> {
        let (tensor, file) = self.tensor(name).ok_or_else(|| Error::MissingTensor { tensor: name.into() })?;
        if !tensor.shape.iter().copied().eq(shape.iter().map(|n| *n as u64)) {
            let (found, expected) = (tensor.shape.clone(), shape.to_vec());
            return Err(Error::Shape { tensor: name.into(), file: file.into(), found, expected });
        }
        Ok((tensor, file))
    }

    fn bytes(&self, name: &str) -> Bytes {
        let (shard, tensor) = &self.index.tensors[name];
        self.index.shards[*shard].mapped.slice(tensor.range.start, tensor.range.end)
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
