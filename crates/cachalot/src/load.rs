//! The switches for checkpoint, arithmetic and threads that several subcommands share, and the
//! loading of a model by them.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use engine::SamplingDefaults;
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use model::config::Config;
use model::tensors::{self, TensorSpec};
use model::{AttentionPath, CacheFormat, Compute, IndexFormat, Model, Options};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use text::{Encoding, EncodingName, Tokenizer};
use weights::Checkpoint;

use crate::model_source::ModelSource;
use crate::system_memory;
use crate::terminal;

/// Bytes that a disk reads in a second: those of an NVMe disk. For the estimate in a warning.
const ASSUMED_DISK_RATE: f64 = 3e9;

/// Checkpoint and arithmetic of the model
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Model options")]
pub struct ModelArgs {
    /// Checkpoint folder in the Hugging Face layout; a model that `cachalot pull` has downloaded;
    /// or one inside the program: `minnow`, or `fixture`, the small one of the tests. `serve` also
    /// accepts `none`, for a gateway alone [default: minnow; in a build without it, fixture]
    #[arg(long, value_name = "DIR|ORG/NAME|NAME")]
    pub model: Option<PathBuf>,
    /// Number format of matrix products; sums, norms, softmax and the gate are always f32 [default:
    /// bf16; f32 for `score`]
    #[arg(long, value_enum)]
    pub compute: Option<ComputeFormat>,
    /// Number format of cached latents [default: bf16; f32 for `score`]
    #[arg(long, value_enum)]
    pub cache: Option<LatentFormat>,
    /// Number format of the indexer; `fp8` rounds as DeepSeek's own code does [default: f32]
    #[arg(long, value_enum)]
    pub index: Option<IndexerFormat>,
    /// `dense` attends to every cached position instead of the indexer's selection, for comparison
    /// [default: sparse]
    #[arg(long, value_enum)]
    pub attention: Option<AttentionArg>,
    /// Compute threads [default: the CPUs this process may use]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Start with weights that are larger than the memory. They are read from disk again and again,
    /// which is slow
    #[arg(long)]
    pub allow_mmap_larger_than_memory: bool,
    /// Prompt encoding [default: detected from the checkpoint]
    #[arg(long, value_name = "v3|r1|v3.1|v3.2-exp|v3.2")]
    pub encoding: Option<EncodingName>,
}

/// Number formats of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ComputeFormat {
    F32,
    Bf16,
}

/// Number formats of cached latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LatentFormat {
    F32,
    Bf16,
    Fp8,
}

/// Number formats of the indexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IndexerFormat {
    F32,
    Fp8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AttentionArg {
    Sparse,
    Dense,
}

/// The defaults of the arithmetic switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithmeticDefaults {
    /// f32 throughout, to compare numbers.
    Exact,
    /// bf16 products and cache, for speed.
    Fast,
}

/// A model ready to run.
pub struct Loaded {
    pub model: Box<dyn Model>,
    /// `fp_` and ten hex digits that identify weights, build and arithmetic.
    pub fingerprint: String,
    pub checkpoint: Checkpoint,
}

impl ModelArgs {
    /// The model options of the switches.
    ///
    /// # Errors
    /// A number of threads out of range.
    pub fn options(&self, defaults: ArithmeticDefaults) -> Result<Options> {
        let exact = defaults == ArithmeticDefaults::Exact;
        let compute = match self.compute.unwrap_or(if exact { ComputeFormat::F32 } else { ComputeFormat::Bf16 }) {
            ComputeFormat::F32 => Compute::F32,
            ComputeFormat::Bf16 => Compute::Bf16,
        };
        let cache = match self.cache.unwrap_or(if exact { LatentFormat::F32 } else { LatentFormat::Bf16 }) {
            LatentFormat::F32 => CacheFormat::F32,
            LatentFormat::Bf16 => CacheFormat::Bf16,
            LatentFormat::Fp8 => CacheFormat::Fp8,
        };
        let index = match self.index.unwrap_or(IndexerFormat::F32) {
            IndexerFormat::F32 => IndexFormat::F32,
            IndexerFormat::Fp8 => IndexFormat::Fp8,
        };
        let attention = match self.attention.unwrap_or(AttentionArg::Sparse) {
            AttentionArg::Sparse => AttentionPath::Sparse,
            AttentionArg::Dense => AttentionPath::Dense,
        };
        let threads = self.threads.unwrap_or_else(available_threads);
        ensure!((1..=1024).contains(&threads), "--threads takes 1 to 1024");
        Ok(Options { compute, cache, index, attention, threads, isa: None })
    }

    /// Opens the checkpoint: its config and headers, without the weights.
    ///
    /// # Errors
    /// A folder that is not a checkpoint, a model that this build does not contain, or one that has
    /// not been downloaded.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        ModelSource::of(self.model.as_deref())?.checkpoint()
    }
}

/// The CPUs that this process may use.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Loads the model and reads its weights into memory, with a progress bar.
///
/// # Errors
/// As [`map_model`].
pub fn model(args: &ModelArgs, defaults: ArithmeticDefaults) -> Result<Loaded> {
    let loaded = map_model(args, defaults)?;
    preload_weights(&loaded.checkpoint);
    Ok(loaded)
}

/// Loads the model. Its weights are mapped, and read when they are first used.
///
/// # Errors
/// A checkpoint that cannot be opened or does not match its config, weights larger than the memory
/// unless `args` allow that.
pub fn map_model(args: &ModelArgs, defaults: ArithmeticDefaults) -> Result<Loaded> {
    let options = args.options(defaults)?;
    let checkpoint = args.checkpoint()?;
    if !fits_memory(&checkpoint) {
        check_larger_than_memory(args, &checkpoint)?;
    }
    let model = model::load(&checkpoint, &options)?;
    log_unneeded_tensors(&checkpoint)?;
    let fingerprint = fingerprint(&checkpoint, &options);
    Ok(Loaded { model, fingerprint, checkpoint })
}

/// Names in the log the tensors that the model does not need.
fn log_unneeded_tensors(checkpoint: &Checkpoint) -> Result<()> {
    let skipped = tensors::unneeded_tensors(&Config::from_json(checkpoint.config())?, checkpoint);
    if let Some(first) = skipped.first() {
        tracing::info!(tensors = skipped.len(), first, "skipped tensors that the model does not need");
    }
    Ok(())
}

/// Whether all weights can be in memory at the same time.
pub fn fits_memory(checkpoint: &Checkpoint) -> bool {
    checkpoint.bytes_total() <= system_memory::total()
}

/// Accepts weights that are larger than the memory if `args` allow it, with a warning that says
/// what each token reads from disk.
fn check_larger_than_memory(args: &ModelArgs, checkpoint: &Checkpoint) -> Result<()> {
    let (needed, total) = (checkpoint.bytes_total(), system_memory::total());
    let sizes = format!(
        "the weights of `{}` take {} and this machine has {} of memory",
        checkpoint.name(),
        BinaryBytes(needed),
        BinaryBytes(total)
    );
    ensure!(
        args.allow_mmap_larger_than_memory,
        "{sizes}: run it on a larger one, or a smaller checkpoint here\n\
         hint: `--allow-mmap-larger-than-memory` reads them from disk as they are needed, which is slow"
    );
    let config = Config::from_json(checkpoint.config())?;
    let stored = |tensor: &TensorSpec| checkpoint.parts(&tensor.name).iter().map(|part| part.bytes()).sum();
    // Of the weights that a token reads, as many are in memory as of all weights.
    let missing = (needed - total) as f64 / needed as f64;
    let from_disk = (tensors::bytes_per_token(&config, stored) as f64 * missing) as u64;
    tracing::warn!(
        "{sizes}: each token reads about {} from disk, which takes {:.1} s at {} GB/s",
        BinaryBytes(from_disk),
        from_disk as f64 / ASSUMED_DISK_RATE,
        ASSUMED_DISK_RATE / 1e9
    );
    Ok(())
}

/// The tokenizer and prompt format of a checkpoint, with the end tokens of its
/// `generation_config.json`.
///
/// # Errors
/// A missing or invalid `tokenizer.json`, or one without the tokens of the encoding; end tokens
/// that it does not have.
pub fn encoding(checkpoint: &Checkpoint, args: &ModelArgs) -> Result<Arc<Encoding>> {
    let tokenizer = checkpoint.file("tokenizer.json");
    let tokenizer =
        tokenizer.context("the checkpoint has no `tokenizer.json`: copy it from the release beside the weights")?;
    let tokenizer = Tokenizer::from_json(&tokenizer).context("`tokenizer.json` of the checkpoint")?;
    let model_type = checkpoint.config()["model_type"].as_str().unwrap_or_default();
    let name = args.encoding.unwrap_or_else(|| Encoding::detect(&tokenizer, model_type));
    let encoding = Encoding::new(tokenizer, name)?;
    let context = || format!("the checkpoint `{}`", checkpoint.name());
    let end_tokens = match checkpoint.file("generation_config.json") {
        Some(file) => engine::end_tokens(&file).with_context(context)?,
        None => Vec::new(),
    };
    Ok(Arc::new(encoding.with_end_tokens(end_tokens).with_context(context)?))
}

/// The sampling parameters that the checkpoint recommends; none without a `generation_config.json`.
///
/// # Errors
/// A `generation_config.json` with a value out of range.
pub fn sampling_defaults(checkpoint: &Checkpoint) -> Result<SamplingDefaults> {
    let Some(file) = checkpoint.file("generation_config.json") else { return Ok(SamplingDefaults::default()) };
    SamplingDefaults::from_generation_config(&file).with_context(|| format!("the checkpoint `{}`", checkpoint.name()))
}

/// Reads the mapped weights once, so that the first answer does not wait for the disk. Weights
/// larger than the memory are not read: the last of them would drive out the first.
pub fn preload_weights(checkpoint: &Checkpoint) {
    if !fits_memory(checkpoint) {
        return;
    }
    let bar = byte_bar("loading weights", checkpoint.bytes_total());
    checkpoint.prefault(&mut |done| bar.set_position(done));
    bar.finish_and_clear();
}

/// A progress bar of `bytes` bytes that shows the rate.
pub fn byte_bar(action: &str, bytes: u64) -> ProgressBar {
    let template = format!("{action} {{bar:40}} {{bytes}}/{{total_bytes}} {{binary_bytes_per_sec}} {{eta}}");
    let style = ProgressStyle::with_template(&template).expect("a valid template");
    terminal::draw(ProgressBar::new(bytes).with_style(style))
}

/// A hash of everything besides tokens that the rows of the cache depend on: weights, build, number
/// formats, kernels.
pub fn cache_identity(loaded: &Loaded) -> [u8; 32] {
    let info = loaded.model.info();
    let mut hash = Sha256::new();
    hash.update(&loaded.fingerprint);
    hash.update(format!("{} {} {:?} {}", info.isa, info.attention, info.compute, info.page_bytes));
    loaded.checkpoint.fingerprint(&mut |bytes| hash.update(bytes));
    hash.finalize().into()
}

fn fingerprint(checkpoint: &Checkpoint, options: &Options) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(checkpoint.config().to_string());
    hash.update(format!("{} {}", checkpoint.name(), checkpoint.bytes_total()));
    hash.update(format!("{:?} {:?} {:?} {:?}", options.compute, options.cache, options.index, options.attention));
    let digest = hash.finalize();
    let hex: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("fp_{hex}")
}
