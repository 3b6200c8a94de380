//! `cachalot inspect`: describes a checkpoint, its memory needs, and whether it fits this machine.
//! Reads `config.json`, the index and file headers; the weights themselves may still be missing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hub::{DownloadPlan, ModelRef, select};
use indicatif::{BinaryBytes, HumanCount};
use model::config::Config;
use model::tensors::{self, ParameterCounts, TensorKind, TensorSpec};
use model::{CacheFormat, IndexFormat, Options, position_bytes};
use weights::{Checkpoint, CheckpointSummary};

use crate::hub_model::{self, RemoteModel, client_and_cache};
use crate::load::{self, available_threads, byte_bar};
use crate::model_source::ModelSource;
use crate::{memory_bandwidth, system_memory};

/// Describe a checkpoint, its memory needs, and whether it fits this machine
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Checkpoint folder in the Hugging Face layout; a model on a hub, which need not be
    /// downloaded; or one inside the program: `minnow` or `fixture` [default: minnow; in a build
    /// without it, fixture]
    #[arg(value_name = "DIR|ORG/NAME[@REVISION]|NAME")]
    model: Option<PathBuf>,
    /// Read all weights of a packed checkpoint and compare them with their checksums
    #[arg(long)]
    verify: bool,
}

const EXAMPLES: &str = "\
Examples:
  cachalot inspect
  cachalot inspect ./DeepSeek-V3.2
  cachalot inspect deepseek-ai/DeepSeek-V3.2";

/// Prints the report. A checkpoint that is not complete yet is not an error.
///
/// # Errors
/// A configuration that cannot be read, recommended sampling parameters out of range. After the
/// report: files that are present and damaged, or tensors that do not match the configuration.
pub fn run(args: &Args) -> Result<()> {
    match ModelSource::of(args.model.as_deref())? {
        ModelSource::Embedded(model) => {
            let checkpoint = model.checkpoint()?;
            print_report(&CheckpointSummary::from_checkpoint(&checkpoint), None)?;
            if args.verify { verify(&checkpoint) } else { Ok(()) }
        }
        ModelSource::Folder(dir) => inspect_folder(&dir, args.verify),
        ModelSource::Hub(model) => inspect_hub(&model, args.verify),
    }
}

fn inspect_folder(dir: &Path, verify_checksums: bool) -> Result<()> {
    let summary = CheckpointSummary::open(dir).with_context(|| format!("cannot inspect `{}`", dir.display()))?;
    let config = Config::from_json(&summary.config)?;
    // Tensors can be compared with the config only when all headers could be read.
    let tensor_error = if summary.problems.is_empty() {
        let checkpoint = Checkpoint::open(dir)?;
        load::sampling_defaults(&checkpoint)?;
        tensors::verify(&config, &checkpoint).err()
    } else {
        None
    };
    // A missing shard may still be downloading; a file that is present and damaged is an error.
    let is_broken = |problem: &&weights::Error| {
        !matches!(problem, weights::Error::MissingShard { .. } | weights::Error::NoWeights { .. })
    };
    let unusable = tensor_error.as_ref().map(ToString::to_string);
    let broken = summary.problems.iter().find(is_broken).map(ToString::to_string).or(unusable);
    print_report(&summary, tensor_error)?;
    if let Some(problem) = broken {
        bail!("the checkpoint `{}` cannot be used: {problem}", dir.display());
    }
    if verify_checksums { verify(&Checkpoint::open(dir)?) } else { Ok(()) }
}

/// Describes a model of the cache; if it is not there, by what the hub says about it.
fn inspect_hub(model: &ModelRef, verify_checksums: bool) -> Result<()> {
    match hub_model::cache()?.snapshot(model) {
        Ok(snapshot) => return inspect_folder(&snapshot, verify_checksums),
        Err(hub::Error::NotCached { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let (client, cache) = client_and_cache()?;
    ensure!(!verify_checksums, "--verify reads weights, and `{model}` is not in the cache");
    let RemoteModel { repository, summary } = hub_model::describe(&client, model)?;
    print_report(&summary, None)?;
    let selection = select(&repository, &[], "")?;
    let plan = DownloadPlan::new(&cache, model, &repository, &selection.files)?;
    let size = BinaryBytes(plan.bytes_missing());
    let room = plan.check_space(&cache).err().map_or_else(|| "the disk has room for it".to_owned(), |e| e.to_string());
    writeln!(std::io::stdout(), "download      {size}, by `cachalot pull {model}`: {room}")?;
    Ok(())
}

fn print_report(summary: &CheckpointSummary, tensor_error: Option<weights::Error>) -> Result<()> {
    let config = Config::from_json(&summary.config)?;
    let available = system_memory::available();
    let threads = available_threads();
    let memory_rate = MemoryRate { threads, bytes_per_second: memory_bandwidth::measure(threads) };
    let report = Report { config: &config, summary, tensor_error, available, memory_rate }.to_string();
    Ok(std::io::stdout().write_all(report.as_bytes())?)
}

/// Compares the weights with their checksums.
fn verify(checkpoint: &Checkpoint) -> Result<()> {
    let bar = byte_bar("verifying", checkpoint.bytes_total());
    checkpoint.verify_checksums(&mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    let files = checkpoint.manifest().map_or(0, |manifest| manifest.shards.len());
    Ok(writeln!(std::io::stdout(), "verified      all checksums are right (files: {files})")?)
}

/// The rate at which a machine reads memory.
#[derive(Clone, Copy)]
struct MemoryRate {
    threads: usize,
    bytes_per_second: f64,
}

/// The text that the command prints.
struct Report<'a> {
    config: &'a Config,
    summary: &'a CheckpointSummary,
    /// The first difference between the tensors and the config. `None` also where they were not
    /// compared, because the checkpoint has problems or is inside the program.
    tensor_error: Option<weights::Error>,
    /// Bytes of memory that can be allocated without swapping.
    available: u64,
    memory_rate: MemoryRate,
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_architecture(f)?;
        writeln!(f)?;
        let weights_bytes = self.write_weights(f)?;
        writeln!(f)?;
        self.write_cache(f, weights_bytes)?;
        writeln!(f)?;
        self.memory_fit(f, weights_bytes)?;
        self.write_rate(f)
    }
}

impl Report<'_> {
    fn write_architecture(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let config = self.config;
        let ParameterCounts { total, active, mtp } = tensors::count_parameters(config);
        writeln!(f, "architecture  {}", config.model_type)?;
        let dense = config.first_k_dense_replace.min(config.num_hidden_layers);
        writeln!(
            f,
            "layers        {} ({dense} dense, {} mixture of experts)",
            config.num_hidden_layers,
            config.num_hidden_layers - dense
        )?;
        let (experts, used, shared) = (config.n_routed_experts, config.num_experts_per_tok, config.n_shared_experts);
        writeln!(f, "experts       {experts}, of which a token uses {used}, and {shared} shared")?;
        match &config.indexer {
            Some(index) => writeln!(
                f,
                "attention     sparse: the best {} positions by {} index heads",
                HumanCount(index.topk as u64),
                index.n_heads
            )?,
            None => writeln!(f, "attention     dense")?,
        }
        writeln!(f, "context       {} positions", HumanCount(config.max_position_embeddings as u64))?;
        writeln!(f, "parameters    {} in all, {} used by a token", HumanCount(total), HumanCount(active))?;
        match config.num_nextn_predict_layers {
            0 => writeln!(f, "MTP module    none"),
            _ => writeln!(f, "MTP module    {} more parameters", HumanCount(mtp)),
        }
    }

    /// Writes the formats and sizes of the tensors that were found, and the problems. Returns the
    /// bytes of the complete weights, which are estimated if there are problems.
    fn write_weights(&self, f: &mut Formatter<'_>) -> Result<u64, fmt::Error> {
        let mut formats: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for weight in self.summary.weights() {
            for tensor in &weight.tensors {
                let format = if weight.is_packed() { weight.format } else { tensor.dtype };
                let (tensors, bytes) = formats.entry(format).or_default();
                (*tensors, *bytes) = (*tensors + 1, *bytes + tensor.bytes());
            }
        }
        let found: u64 = formats.values().map(|(_, bytes)| bytes).sum();
        writeln!(
            f,
            "weights       {:>9} tensors {:>20} bytes",
            HumanCount(self.summary.tensors.len() as u64).to_string(),
            HumanCount(found).to_string()
        )?;
        for (dtype, (tensors, bytes)) in &formats {
            let (tensors, exact) = (HumanCount(*tensors).to_string(), HumanCount(*bytes).to_string());
            writeln!(f, "  {dtype:<12}{tensors:>9}         {exact:>20}        {}", BinaryBytes(*bytes))?;
        }
        if let Some(manifest) = &self.summary.manifest {
            let formats: Vec<String> =
                manifest.formats.iter().map(|(kind, format)| format!("{kind} {format}")).collect();
            writeln!(f, "  packed      {}", formats.join(", "))?;
        }
        if let Some(fault) = &self.tensor_error {
            writeln!(f, "  not usable: {fault}")?;
        }
        let problems = &self.summary.problems;
        let Some(first) = problems.first() else { return Ok(found) };
        writeln!(f, "  not complete: {first}")?;
        if problems.len() > 1 {
            writeln!(f, "  and {} more problems", problems.len() - 1)?;
        }
        if let Some(indexed) = self.summary.indexed_tensors {
            writeln!(f, "  the index names {} tensors", HumanCount(indexed as u64))?;
        }
        let whole = self.estimated_weight_bytes().max(found);
        writeln!(f, "  complete, they will take about {}", BinaryBytes(whole))?;
        Ok(whole)
    }

    /// Bytes of all tensors: those of a packed checkpoint as recorded, others in the formats of the
    /// releases.
    fn estimated_weight_bytes(&self) -> u64 {
        match &self.summary.manifest {
            Some(manifest) => manifest.shards.values().map(|shard| shard.bytes).sum(),
            None => tensors::expected_tensors(self.config).iter().map(|tensor| self.estimated_bytes(tensor)).sum(),
        }
    }

    /// Bytes of a tensor in the formats of the releases. If the config has a quantization, scaled
    /// tensors are fp8 with an f32 scale per block of 128 x 128. All others count as bf16.
    fn estimated_bytes(&self, tensor: &TensorSpec) -> u64 {
        let sides = |block: u64| tensor.shape.iter().map(|n| (*n as u64).div_ceil(block)).product::<u64>();
        let is_tied_head = self.config.tie_word_embeddings && tensor.kind == TensorKind::Head;
        match self.config.quantization.is_some() && tensor.scaled {
            _ if is_tied_head => 0,
            true => sides(1) + 4 * sides(128),
            false => 2 * sides(1),
        }
    }

    /// Writes the bytes of weights that a token reads, and the rate of tokens that memory allows.
    /// Where weights are missing, they are estimated.
    fn write_rate(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let stored: HashMap<&str, u64> =
            self.summary.weights().iter().map(|weight| (weight.name, weight.bytes())).collect();
        let bytes = |tensor: &TensorSpec| {
            stored.get(tensor.name.as_str()).copied().unwrap_or_else(|| self.estimated_bytes(tensor))
        };
        let read = tensors::bytes_per_token(self.config, bytes);
        let MemoryRate { threads, bytes_per_second } = self.memory_rate;
        let rate = bytes_per_second / read.max(1) as f64;
        let rate = if rate < 10.0 { format!("{rate:.1}") } else { HumanCount(rate as u64).to_string() };
        writeln!(
            f,
            "decoding      reads {} of weights a token: at most {rate} tokens/s at {:.1} GB/s ({threads} threads)",
            BinaryBytes(read),
            bytes_per_second / 1e9
        )
    }

    /// Writes the size of each cache format, and the number of positions that fit into the memory
    /// which the weights leave. Each position includes its row for the MTP module.
    fn write_cache(&self, f: &mut Formatter<'_>, weights_bytes: u64) -> fmt::Result {
        let (main, mtp) = (self.config.num_hidden_layers, self.config.num_nextn_predict_layers.min(1));
        writeln!(f, "cache         bytes a token  with MTP  positions that fit beside the weights")?;
        let formats = if self.config.indexer.is_some() { &FORMATS[..] } else { &FORMATS[..3] };
        for &(switches, cache, index) in formats {
            let one = position_bytes(self.config, &Options { cache, index, ..Options::exact(1) });
            let (bytes, with_mtp) = ((one * main) as u64, (one * (main + mtp)) as u64);
            let positions_that_fit = self.available.saturating_sub(weights_bytes) / with_mtp;
            let contexts = positions_that_fit / self.config.max_position_embeddings as u64;
            let (bytes, with_mtp) = (HumanCount(bytes).to_string(), HumanCount(with_mtp).to_string());
            write!(f, "  {switches:<24}{bytes:>9}{with_mtp:>10}  {}", HumanCount(positions_that_fit))?;
            match contexts {
                0 => writeln!(f)?,
                _ => writeln!(f, " ({} whole contexts)", HumanCount(contexts))?,
            }
        }
        Ok(())
    }

    /// Writes whether the weights fit into memory, and the longest context with a bf16 cache.
    fn memory_fit(&self, f: &mut Formatter<'_>, weights_bytes: u64) -> fmt::Result {
        let (needed, available) = (BinaryBytes(weights_bytes), BinaryBytes(self.available));
        if weights_bytes >= self.available {
            return writeln!(
                f,
                "this machine  has {available} of memory free: it does not fit, the weights alone need {needed}"
            );
        }
        let one = position_bytes(self.config, &Options { cache: CacheFormat::Bf16, ..Options::exact(1) });
        let with_mtp = one * (self.config.num_hidden_layers + self.config.num_nextn_predict_layers.min(1));
        let positions_that_fit = (self.available - weights_bytes) / with_mtp as u64;
        let context = HumanCount(positions_that_fit.min(self.config.max_position_embeddings as u64));
        let fits = if self.summary.problems.is_empty() { "it fits" } else { "once complete it will fit" };
        writeln!(
            f,
            "this machine  has {available} of memory free: {fits}, with a bf16 cache up to a context of {context} positions"
        )
    }
}

/// The cache formats, each with the switches that choose it. The last one is only for models with
/// an indexer.
const FORMATS: [(&str, CacheFormat, IndexFormat); 4] = [
    ("--cache f32", CacheFormat::F32, IndexFormat::F32),
    ("--cache bf16", CacheFormat::Bf16, IndexFormat::F32),
    ("--cache fp8", CacheFormat::Fp8, IndexFormat::F32),
    ("--cache fp8 --index fp8", CacheFormat::Fp8, IndexFormat::Fp8),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
    }

    fn report(dir: &Path, available: u64) -> String {
        let summary = CheckpointSummary::open(dir).unwrap();
        let config = Config::from_json(&summary.config).unwrap();
        let memory_rate = MemoryRate { threads: 2, bytes_per_second: 24.6e9 };
        Report { config: &config, summary: &summary, tensor_error: None, available, memory_rate }.to_string()
    }

    #[test]
    fn a_checkpoint_is_described() {
        insta::assert_snapshot!(report(&folder("tests/golden/v32-fp8"), 12 << 20));
    }

    #[test]
    fn the_full_model_is_described_before_its_weights_are_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(folder("reference/configs/deepseek-v3.2.json"), dir.path().join("config.json")).unwrap();
        let index = r#"{"weight_map": {"model.norm.weight": "model-00163-of-000163.safetensors"}}"#;
        std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
        insta::assert_snapshot!(report(dir.path(), 768 << 30));
    }
}
