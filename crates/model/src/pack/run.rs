//! Carries out a plan: reads the source row by row, rounds, and writes one file after the other.
//!
//! A few megabytes of rows are in memory at a time, for each thread; never a whole tensor.

use std::ops::Range;

use kernels::{Mat, SCALE_BLOCK};
use weights::{Checkpoint, PackedFolder, ShardWriter};

use super::encode::{EncodedRows, RefusedWeight, check_finite, encode};
use super::error::Error;
use super::head::{HeadPlan, HeadSource};
use super::plan::{PackPlan, PlannedShard, PlannedSource, PlannedTensor};
use crate::config::Config;

/// Weights that a thread reads at a time.
const STEP_WEIGHTS: usize = 1 << 20;
/// Bytes that are copied at a time.
const STEP_BYTES: usize = 8 << 20;

/// A packing that is being carried out.
pub struct Packer<'a> {
    pub checkpoint: &'a Checkpoint,
    pub plan: &'a PackPlan,
    /// The value of [`PackPlan::id`].
    pub plan_id: &'a str,
    /// The number of threads that round weights.
    pub threads: usize,
}

impl Packer<'_> {
    /// Writes every file that is not finished yet, then `small_files` and `config.json`. `progress`
    /// receives the bytes of the source that are done, of [`PackPlan::source_bytes`].
    ///
    /// # Errors
    /// A weight of the source that is not a finite number, or too large for its format; a full or
    /// failing disk.
    pub fn run(
        &self,
        mut folder: PackedFolder,
        small_files: Vec<(String, Vec<u8>)>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let config = Config::from_json(self.checkpoint.config())?;
        let mut done = 0;
        for shard in &self.plan.shards {
            let tensors = &self.plan.tensors[shard.tensors.clone()];
            if !folder.is_finished(&shard.file) {
                self.write_shard(&config, &mut folder, shard, &mut |bytes| progress(done + bytes))?;
            }
            done += tensors.iter().map(|tensor| tensor.source_bytes).sum::<u64>();
            progress(done);
        }
        let mut files = small_files;
        let config = self.plan.config(self.checkpoint.config(), self.plan_id, folder.shards());
        for (name, json) in [("model.safetensors.index.json", self.plan.index()), ("config.json", config)] {
            let text = serde_json::to_string_pretty(&json).expect("JSON has string keys only");
            files.push((name.to_owned(), (text + "\n").into_bytes()));
        }
        Ok(folder.complete(&files)?)
    }

    fn write_shard(
        &self,
        config: &Config,
        folder: &mut PackedFolder,
        shard: &PlannedShard,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let mut writer = folder.begin_shard(&shard.file, self.plan.layout(shard))?;
        let mut done = 0;
        for tensor in &self.plan.tensors[shard.tensors.clone()] {
            self.write_tensor(config, tensor, &mut writer, &mut |bytes| progress(done + bytes))?;
            done += tensor.source_bytes;
        }
        Ok(folder.finish_shard(&shard.file, writer)?)
    }

    fn write_tensor(
        &self,
        config: &Config,
        tensor: &PlannedTensor,
        writer: &mut ShardWriter,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let Some(source) = RowSource::open(self.checkpoint, config, &tensor.source)? else {
            let HeadPlan::Tied { own_rows } = &self.plan.head else { return Ok(()) };
            let ids: Vec<u8> = own_rows.iter().flat_map(|id| id.to_le_bytes()).collect();
            return Ok(writer.append(&tensor.name, &ids)?);
        };
        let (rows, cols) = source.shape();
        let part_rows = (STEP_WEIGHTS / cols.max(1)).next_multiple_of(SCALE_BLOCK);
        for start in (0..rows).step_by(self.threads.max(1) * part_rows) {
            let parts = (start..rows).step_by(part_rows).take(self.threads.max(1));
            let parts: Vec<Range<usize>> = parts.map(|first| first..(first + part_rows).min(rows)).collect();
            for (part, encoded) in parts.iter().zip(self.encode_parts(tensor, &source, &parts)) {
                for (output, bytes) in tensor.outputs.iter().zip(encoded?) {
                    writer.append(&output.name, &bytes)?;
                }
                progress(tensor.source_bytes * part.end as u64 / rows as u64);
            }
            tensor.source.forget(self.checkpoint, config);
        }
        if tensor.format.is_none() {
            self.copy(config, tensor, writer)?;
        }
        Ok(())
    }

    /// Reads and rounds parts of a tensor, each on a thread of its own. A tensor that is copied is
    /// only checked.
    fn encode_parts(
        &self,
        tensor: &PlannedTensor,
        source: &RowSource<'_>,
        parts: &[Range<usize>],
    ) -> Vec<Result<EncodedRows, Error>> {
        let encode_part = |rows: &Range<usize>| {
            let (_, cols) = source.shape();
            let mut values = vec![0.0; rows.len() * cols];
            values.chunks_mut(cols).zip(rows.clone()).for_each(|(out, row)| source.row(row, out));
            let not_finite = |RefusedWeight { row, column, value }| Error::NotFinite {
                tensor: tensor.name.clone(),
                row: rows.start + row,
                column,
                value,
            };
            check_finite(&values, cols).map_err(not_finite)?;
            let Some(format) = tensor.format else { return Ok(EncodedRows::new()) };
            let overflow = |RefusedWeight { row, column, value }| Error::Overflow {
                tensor: tensor.name.clone(),
                row: rows.start + row,
                column,
                value,
                format: format.name(),
            };
            encode(format.dtype(), self.plan.ue8m0, cols, &values).map_err(overflow)
        };
        match parts {
            [part] => vec![encode_part(part)],
            _ => std::thread::scope(|scope| {
                let workers: Vec<_> = parts.iter().map(|part| scope.spawn(|| encode_part(part))).collect();
                workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
            }),
        }
    }

    /// Copies the tensors of a weight as they are.
    fn copy(&self, config: &Config, tensor: &PlannedTensor, writer: &mut ShardWriter) -> Result<(), Error> {
        for output in &tensor.outputs {
            for bytes in self.checkpoint.bytes(&output.name).chunks(STEP_BYTES) {
                writer.append(&output.name, bytes)?;
                tensor.source.forget(self.checkpoint, config);
            }
        }
        Ok(())
    }
}

/// The rows of a tensor of the source.
enum RowSource<'a> {
    Mat(Mat),
    Vector(Vec<f32>),
    Head { head: Box<HeadSource>, rows: Option<&'a [u32]>, shape: (usize, usize) },
}

impl<'a> RowSource<'a> {
    /// Opens a source; `None` for the ids of rows, which are not weights.
    fn open(checkpoint: &Checkpoint, config: &Config, source: &'a PlannedSource) -> Result<Option<Self>, Error> {
        Ok(Some(match source {
            PlannedSource::Tensor { name, shape } => match shape[..] {
                [rows, cols] => Self::Mat(checkpoint.mat(name, rows, cols)?),
                _ => Self::Vector(checkpoint.vector(name, shape[0])?),
            },
            PlannedSource::Head { rows } => {
                let n = rows.as_ref().map_or(config.vocab_size, Vec::len);
                let head = Box::new(HeadSource::open(checkpoint, config)?);
                Self::Head { head, rows: rows.as_deref(), shape: (n, config.hidden_size) }
            }
            PlannedSource::RowIds => return Ok(None),
        }))
    }

    /// Rows and columns.
    fn shape(&self) -> (usize, usize) {
        match self {
            Self::Mat(mat) => (mat.rows(), mat.cols()),
            Self::Vector(values) => (1, values.len()),
            Self::Head { shape, .. } => *shape,
        }
    }

    /// Writes row `row` to `out`.
    fn row(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::Mat(mat) => mat.row(row, out),
            Self::Vector(values) => out.copy_from_slice(values),
            Self::Head { head, rows: None, .. } => head.row(row, out),
            Self::Head { head, rows: Some(ids), .. } => head.row(ids[row] as usize, out),
        }
    }
}

impl PlannedSource {
    /// Returns the memory of what was read.
    fn forget(&self, checkpoint: &Checkpoint, config: &Config) {
        match self {
            Self::Tensor { name, .. } => checkpoint.forget(name),
            Self::Head { .. } => HeadSource::forget(checkpoint, config),
            Self::RowIds => {}
        }
    }
}
