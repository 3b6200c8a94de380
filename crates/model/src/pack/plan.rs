//! The plan of a packing: every tensor of the result, its source and its format, and the files that
//! they are stored in. It follows from config and headers alone.

use std::collections::BTreeMap;
use std::ops::Range;

use kernels::DType;
use sha2::{Digest, Sha256};
use weights::{Checkpoint, MANIFEST_VERSION, OutputTensor, ShardLayout, matrix_tensors};

use super::error::Error;
use super::format::{PackFormat, PackFormats};
use super::head::HeadPlan;
use crate::config::Config;
use crate::tensors::{self, HEAD, HEAD_ROW_IDS, HEAD_ROWS, TensorKind, TensorSpec};

/// The size of a file where the whole checkpoint is small: below what common hosts of repositories
/// warn about.
const SMALL_SHARD: u64 = 45_000_000;
/// The size of a file of a large checkpoint.
const LARGE_SHARD: u64 = 4 << 30;
/// A larger checkpoint is large.
const SMALL_CHECKPOINT: u64 = 1_000_000_000;

/// The plan of a packing.
#[derive(Clone, Debug)]
pub struct PackPlan {
    pub formats: PackFormats,
    pub head: HeadPlan,
    /// Every tensor, in the order of the files.
    pub tensors: Vec<PlannedTensor>,
    /// The files.
    pub shards: Vec<PlannedShard>,
    /// `scale_fmt` of the result.
    pub(crate) ue8m0: bool,
}

/// A tensor of the source, or its matrix, and the tensors that store it.
#[derive(Clone, Debug)]
pub struct PlannedTensor {
    /// The name without suffixes.
    pub name: String,
    pub kind: TensorKind,
    pub source: PlannedSource,
    /// `None`: a copy.
    pub format: Option<PackFormat>,
    pub outputs: Vec<OutputTensor>,
    /// Bytes that are read.
    pub source_bytes: u64,
}

/// The place from which the values of a tensor are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedSource {
    /// The tensor of that name and shape.
    Tensor { name: String, shape: Vec<usize> },
    /// The output head, which may be tied; all rows, or those of these tokens.
    Head { rows: Option<Vec<u32>> },
    /// The tokens of [`HeadPlan::Tied`].
    RowIds,
}

/// A file of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedShard {
    pub file: String,
    /// The tensors of [`PackPlan::tensors`] in it.
    pub tensors: Range<usize>,
    /// Length of the file.
    pub bytes: u64,
}

/// The size of a kind of tensors, before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindSize {
    /// Number of matrices and vectors.
    pub tensors: usize,
    pub source_bytes: u64,
    pub bytes: u64,
}

impl PackPlan {
    /// Plans the packing of a checkpoint. `shard_bytes` is the largest size of a file; `None`: 45
    /// MB for a small checkpoint, 4 GiB for a large one, and more if a single matrix needs it.
    ///
    /// # Errors
    /// A checkpoint that does not match its config, a matrix that does not fit into a shard.
    pub fn new(
        checkpoint: &Checkpoint,
        formats: PackFormats,
        head: HeadPlan,
        shard_bytes: Option<u64>,
    ) -> Result<Self, Error> {
        let config = Config::from_json(checkpoint.config())?;
        tensors::verify(&config, checkpoint)?;
        let mut planned = Vec::new();
        for spec in tensors::expected_tensors(&config) {
            // The MTP module's copies of embedding and head are not used.
            let is_unused_copy = spec.mtp && spec.optional && spec.shape.len() == 2;
            if spec.name == HEAD {
                planned.extend(head_tensors(checkpoint, &config, &formats, &head, &spec)?);
            } else if !is_unused_copy && checkpoint.contains(&spec.name) {
                planned.push(PlannedTensor::of_spec(checkpoint, &spec, formats.of(spec.kind))?);
            }
        }
        let shards = split(&planned, shard_bytes)?;
        Ok(Self { formats, head, tensors: planned, shards, ue8m0: config.ue8m0() })
    }

    /// Sizes by kind.
    pub fn sizes(&self) -> BTreeMap<TensorKind, KindSize> {
        let mut sizes: BTreeMap<TensorKind, KindSize> = BTreeMap::new();
        for tensor in &self.tensors {
            let size = sizes.entry(tensor.kind).or_default();
            size.tensors += 1;
            size.source_bytes += tensor.source_bytes;
            size.bytes += tensor.bytes();
        }
        sizes
    }

    /// Length of all files together.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }

    /// Bytes that are read from the source.
    pub fn source_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.source_bytes).sum()
    }

    /// The matrices that are stored as bf16 because their rows are not whole groups of 32 weights.
    pub fn fallbacks(&self) -> impl Iterator<Item = &PlannedTensor> {
        self.tensors.iter().filter(|tensor| {
            let chosen = self.formats.of(tensor.kind);
            tensor.format == Some(PackFormat::Bf16)
                && chosen.is_some_and(|format| format != PackFormat::Bf16)
                && tensor.name != HEAD_ROWS
        })
    }

    /// A hash of the source and of everything that determines the files: 64 hex digits.
    pub fn id(&self, checkpoint: &Checkpoint) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{MANIFEST_VERSION} {}\n", env!("CARGO_PKG_VERSION")));
        hash.update(checkpoint.config().to_string());
        hash.update(format!("{:?} {:?} {:?}\n", self.formats, self.head, self.shards));
        checkpoint.fingerprint(&mut |bytes| hash.update(bytes));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The layout of a file.
    pub(crate) fn layout(&self, shard: &PlannedShard) -> ShardLayout {
        layout(&self.tensors[shard.tensors.clone()])
    }
}

impl PlannedTensor {
    fn of_spec(checkpoint: &Checkpoint, spec: &TensorSpec, format: Option<PackFormat>) -> Result<Self, Error> {
        let stored = checkpoint.check(&spec.name, &spec.shape)?;
        let parts = checkpoint.parts(&spec.name);
        let format = match (format, &spec.shape[..]) {
            (Some(format), [_, cols]) => Some(format.for_columns(*cols)).filter(|format| format.dtype() != stored),
            _ => None,
        };
        let copies = || parts.iter().map(|part| OutputTensor::from(*part)).collect();
        Ok(Self {
            name: spec.name.clone(),
            kind: spec.kind,
            source: PlannedSource::Tensor { name: spec.name.clone(), shape: spec.shape.clone() },
            format,
            outputs: format
                .map_or_else(copies, |format| matrix_tensors(&spec.name, format.dtype(), spec.shape[0], spec.shape[1])),
            source_bytes: parts.iter().map(|part| part.bytes()).sum(),
        })
    }

    /// Bytes of the result.
    pub fn bytes(&self) -> u64 {
        self.outputs.iter().map(OutputTensor::bytes).sum()
    }
}

/// The tensors of the output head, which `spec` describes as a matrix of its own.
fn head_tensors(
    checkpoint: &Checkpoint,
    config: &Config,
    formats: &PackFormats,
    head: &HeadPlan,
    spec: &TensorSpec,
) -> Result<Vec<PlannedTensor>, Error> {
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let kind = TensorKind::Head;
    match head {
        HeadPlan::Own if !config.tie_word_embeddings => {
            Ok(vec![PlannedTensor::of_spec(checkpoint, spec, formats.of(kind))?])
        }
        HeadPlan::Own => {
            let format = formats.of(kind).expect("the head has a format").for_columns(hidden);
            Ok(vec![PlannedTensor {
                name: HEAD.into(),
                kind,
                source: PlannedSource::Head { rows: None },
                format: Some(format),
                outputs: matrix_tensors(HEAD, format.dtype(), vocab, hidden),
                source_bytes: (vocab * hidden * 2) as u64,
            }])
        }
        HeadPlan::Tied { own_rows } if own_rows.is_empty() => Ok(Vec::new()),
        HeadPlan::Tied { own_rows } => {
            let ids = OutputTensor { name: HEAD_ROW_IDS.into(), dtype: "I32", shape: vec![own_rows.len()] };
            Ok(vec![
                PlannedTensor {
                    name: HEAD_ROWS.into(),
                    kind,
                    source: PlannedSource::Head { rows: Some(own_rows.clone()) },
                    format: Some(PackFormat::Bf16),
                    outputs: matrix_tensors(HEAD_ROWS, DType::Bf16, own_rows.len(), hidden),
                    source_bytes: (own_rows.len() * hidden * 2) as u64,
                },
                PlannedTensor {
                    name: HEAD_ROW_IDS.into(),
                    kind,
                    source: PlannedSource::RowIds,
                    format: None,
                    outputs: vec![ids],
                    source_bytes: 0,
                },
            ])
        }
    }
}

/// Distributes the tensors over files, in order.
fn split(tensors: &[PlannedTensor], shard_bytes: Option<u64>) -> Result<Vec<PlannedShard>, Error> {
    let total: u64 = tensors.iter().map(PlannedTensor::bytes).sum();
    let default = if total <= SMALL_CHECKPOINT { SMALL_SHARD } else { LARGE_SHARD };
    let limit = shard_bytes.unwrap_or(default);
    let mut starts = Vec::new();
    let mut bytes = 0;
    for (i, tensor) in tensors.iter().enumerate() {
        let alone = layout(std::slice::from_ref(tensor)).file_bytes();
        if shard_bytes.is_some() && alone > limit {
            return Err(Error::ShardSize { tensor: tensor.name.clone(), bytes: alone, limit });
        }
        // Headers do not grow by more than a file of the tensor alone needs.
        if starts.is_empty() || bytes + alone > limit {
            starts.push(i);
            bytes = 0;
        }
        bytes += alone;
    }
    let ends = starts.iter().skip(1).copied().chain([tensors.len()]);
    let ranges: Vec<Range<usize>> = starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect();
    let shard = |(i, range): (usize, &Range<usize>)| PlannedShard {
        file: format!("model-{:05}-of-{:05}.safetensors", i + 1, ranges.len()),
        bytes: layout(&tensors[range.clone()]).file_bytes(),
        tensors: range.clone(),
    };
    Ok(ranges.iter().enumerate().map(shard).collect())
}

fn layout(tensors: &[PlannedTensor]) -> ShardLayout {
    let outputs: Vec<OutputTensor> = tensors.iter().flat_map(|tensor| tensor.outputs.clone()).collect();
    ShardLayout::new(&outputs)
}
