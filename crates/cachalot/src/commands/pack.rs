//! `cachalot pack`: stores a checkpoint in smaller number formats (`docs/packed-weights.md`).

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use indicatif::{BinaryBytes, HumanCount, ProgressBar, ProgressStyle};
use model::config::Config;
use model::pack::{HeadPlan, PackFormat, PackFormats, PackPlan, Packer};
use model::tensors::TensorKind;
use weights::{Checkpoint, Destination, PackedFolder};

use crate::byte_size::parse_bytes;
use crate::hub_model;
use crate::load::{available_threads, byte_bar};
use crate::model_source::ModelSource;

/// Store a checkpoint in smaller number formats. An interrupted run continues where it ended
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Checkpoint folder to read, any that cachalot can serve, or a model that `cachalot pull` has
    /// downloaded
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Folder to write: new, empty, or left by an interrupted run with the same options
    #[arg(value_name = "DST", required_unless_present = "dry_run")]
    destination: Option<PathBuf>,
    /// Number format of all matrices; norms, biases and gates stay as they are
    #[arg(long, value_enum, value_name = "FORMAT")]
    weights: Format,
    /// Number format of routed experts
    #[arg(long, value_enum, value_name = "FORMAT")]
    experts: Option<Format>,
    /// Number format of dense MLPs and shared experts
    #[arg(long, value_enum, value_name = "FORMAT")]
    mlp: Option<Format>,
    /// Number format of the attention's projections
    #[arg(long, value_enum, value_name = "FORMAT")]
    attention: Option<Format>,
    /// Number format of the indexer's projections
    #[arg(long, value_enum, value_name = "FORMAT")]
    indexer: Option<Format>,
    /// Number format of the embedding, and of the output head if that equals it
    #[arg(long, value_enum, value_name = "FORMAT")]
    embedding: Option<Format>,
    /// Number format of the output head, which is then stored apart from the embedding
    #[arg(long, value_enum, value_name = "FORMAT")]
    head: Option<Format>,
    /// Maximum size of a weights file [default: 45 MB for less than 1 GB in all, else 4GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    shard_size: Option<u64>,
    /// Threads that round weights [default: the CPUs this process may use]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the sizes and end, without reading the weights
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  cachalot pack ./DeepSeek-V3.2 --weights int4 --dry-run
  cachalot pack ./DeepSeek-V3.2 ./packed --weights int4 --attention int8";

/// Number formats of packed matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// 8 bits, with a scale for each 32 weights
    Int8,
    /// 4 bits, with a scale and an offset for each 32 weights
    Int4,
    Bf16,
    /// e4m3, with a scale for each block of 128 x 128
    Fp8,
}

impl Format {
    const fn pack_format(self) -> PackFormat {
        match self {
            Self::Int8 => PackFormat::Int8,
            Self::Int4 => PackFormat::Int4,
            Self::Bf16 => PackFormat::Bf16,
            Self::Fp8 => PackFormat::Fp8,
        }
    }
}

/// Packs, or prints the plan.
///
/// # Errors
/// A source that is damaged or incomplete; a folder that is not empty or belongs to another
/// packing; a full disk.
pub fn run(args: &Args) -> Result<()> {
    let threads = args.threads.unwrap_or_else(available_threads);
    ensure!((1..=1024).contains(&threads), "--threads takes 1 to 1024");
    let source = &args.source;
    let checkpoint = match ModelSource::of(Some(source))? {
        ModelSource::Hub(model) => hub_model::open_cached(&model)?,
        // Models inside the program are not packed: the name is that of a folder.
        _ => Checkpoint::open(source).with_context(|| format!("cannot open the checkpoint `{}`", source.display()))?,
    };
    let config = Config::from_json(checkpoint.config())?;
    let formats = args.formats();
    let plan = |head| PackPlan::new(&checkpoint, formats, head, args.shard_size);
    let destination = match &args.destination {
        Some(destination) if !args.dry_run => destination,
        _ => {
            let head = HeadPlan::from_config(&checkpoint, &config, &formats)?;
            return print_plan(&plan(head)?, &config);
        }
    };
    ensure!(!is_same_folder(source, destination), "SRC and DST are the same folder: give a new one");

    let bar = ProgressBar::new(config.vocab_size as u64).with_style(
        ProgressStyle::with_template("comparing embedding and head {bar:40} {eta}").expect("a valid template"),
    );
    let head = HeadPlan::compare(&checkpoint, &config, &formats, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    let plan = plan(head)?;
    let id = plan.id(&checkpoint);
    let mut folder = match PackedFolder::open(destination, &id, &args.describe())? {
        Destination::Unfinished(folder) => folder,
        Destination::Complete => return report_complete(destination),
    };
    print_plan(&plan, &config)?;
    if checkpoint.manifest().is_some() {
        let bar = byte_bar("verifying the source", checkpoint.bytes_total());
        checkpoint.verify_checksums(&mut |bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
    }
    let bar = byte_bar("verifying finished files", folder.finished_bytes());
    folder.verify_finished(&mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    let bar = byte_bar("packing", plan.source_bytes());
    let packer = Packer { checkpoint: &checkpoint, plan: &plan, plan_id: &id, threads };
    packer.run(folder, small_files(source, &checkpoint)?, &mut |done| bar.set_position(done))?;
    bar.finish_and_clear();
    print_line(&format!("packed into `{}`: `cachalot inspect --verify` checks it at any time", destination.display()))
}

impl Args {
    fn formats(&self) -> PackFormats {
        let of = |kind: Option<Format>| kind.unwrap_or(self.weights).pack_format();
        PackFormats {
            embedding: of(self.embedding),
            head: self.head.map(Format::pack_format),
            attention: of(self.attention),
            indexer: of(self.indexer),
            mlp: of(self.mlp),
            experts: of(self.experts),
        }
    }

    /// The options that determine the result, as they are written on the command line.
    fn describe(&self) -> String {
        let formats = [
            ("--weights", Some(self.weights)),
            ("--experts", self.experts),
            ("--mlp", self.mlp),
            ("--attention", self.attention),
            ("--indexer", self.indexer),
            ("--embedding", self.embedding),
            ("--head", self.head),
        ];
        let formats = formats.into_iter().filter_map(|(switch, format)| Some((switch, format?)));
        let mut words: Vec<String> =
            formats.map(|(switch, format)| format!("{switch} {}", format.pack_format().name())).collect();
        words.extend(self.shard_size.map(|bytes| format!("--shard-size {bytes}")));
        format!("{} {}", self.source.display(), words.join(" "))
    }
}

/// Ends a run that finds its work done.
fn report_complete(destination: &Path) -> Result<()> {
    let checkpoint = Checkpoint::open(destination)?;
    let bar = byte_bar("verifying finished files", checkpoint.bytes_total());
    checkpoint.verify_checksums(&mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    print_line(&format!("`{}` is complete already, and its checksums are right", destination.display()))
}

fn is_same_folder(a: &Path, b: &Path) -> bool {
    match (std::fs::canonicalize(a), std::fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Prints the sizes before and after by kind of weights.
fn print_plan(plan: &PackPlan, config: &Config) -> Result<()> {
    let mut lines = vec![format!("{:<12}{:>9}{:>14}{:>14}  format", "", "tensors", "source", "packed")];
    let mut total = (0, 0, 0);
    for (kind, size) in plan.sizes() {
        let format = plan.formats.of(kind).map_or("as it is", PackFormat::name);
        let tied = kind == TensorKind::Head && plan.head != HeadPlan::Own;
        let format = if tied { "bf16: rows that differ from the embedding" } else { format };
        lines.push(plan_line(kind.name(), size.tensors, size.source_bytes, size.bytes) + "  " + format);
        total = (total.0 + size.tensors, total.1 + size.source_bytes, total.2 + size.bytes);
    }
    lines.push(plan_line("total", total.0, total.1, total.2));
    let largest = plan.shards.iter().map(|shard| shard.bytes).max().unwrap_or_default();
    let files = match plan.shards.len() {
        1 => "1 file".to_owned(),
        n => format!("{} files, the largest", HumanCount(n as u64)),
    };
    lines.push(format!("{files} of {} bytes; {} bytes in all", HumanCount(largest), HumanCount(plan.bytes())));
    let fallbacks: Vec<&str> = plan.fallbacks().map(|tensor| tensor.name.as_str()).collect();
    if let Some(first) = fallbacks.first() {
        lines.push(format!(
            "{} matrices, such as `{first}`, are stored as bf16: their rows are not whole groups of 32",
            fallbacks.len()
        ));
    }
    match &plan.head {
        HeadPlan::Tied { .. } => lines.push("the output head is the embedding".to_owned()),
        HeadPlan::Own if plan.formats.head.is_none() && !config.tie_word_embeddings => {
            lines.push("the output head is a matrix of its own, unless it equals the embedding".to_owned());
        }
        HeadPlan::Own => lines.push("the output head is a matrix of its own".to_owned()),
    }
    print_line(&lines.join("\n"))
}

fn plan_line(name: &str, tensors: usize, source: u64, packed: u64) -> String {
    let tensors = HumanCount(tensors as u64).to_string();
    let (source, packed) = (BinaryBytes(source).to_string(), BinaryBytes(packed).to_string());
    format!("{name:<12}{tensors:>9}{source:>14}{packed:>14}")
}

fn print_line(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Names of small files that belong to a model, besides those that the program reads.
const COPIED: [&str; 4] = ["special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"];
/// Beginnings of the names of licences and notices.
const LICENCES: [&str; 3] = ["LICENSE", "LICENCE", "NOTICE"];
/// Maximum size of such a file.
const MAX_COPIED_BYTES: u64 = 64 << 20;

/// Tokenizer, generation settings and licences of the source.
fn small_files(source: &Path, checkpoint: &Checkpoint) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(source).with_context(|| format!("cannot read `{}`", source.display()))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if let Some(content) = checkpoint.file(&name) {
            files.push((name, content.to_vec()));
        } else if COPIED.contains(&name.as_str()) || LICENCES.iter().any(|begin| name.starts_with(begin)) {
            let path = entry.path();
            match files::read(&path, MAX_COPIED_BYTES) {
                Ok(content) => files.push((name, content)),
                Err(error) => bail!("cannot read `{}`: {error}", path.display()),
            }
        }
    }
    files.sort();
    Ok(files)
}
