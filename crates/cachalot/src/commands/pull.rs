//! `cachalot pull`: downloads a model from a hub into the cache that other tools share.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hub::{
    DownloadEvent, DownloadOptions, DownloadPlan, Glob, HubCache, HubClient, ModelRef, Repository, Selection, download,
    select,
};
use indicatif::BinaryBytes;

use crate::hub_model::{client_and_cache, config};
use crate::pull_progress::PullProgress;
use crate::{model_fit, model_names};

/// Download a model from a Hugging Face compatible hub into the cache that other tools share
///
/// Interrupted downloads continue where they were. HF_ENDPOINT names another hub, HF_TOKEN the
/// token for gated and private models, HF_HOME or HF_HUB_CACHE the folder of the cache.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the model on the hub, and a branch, tag or commit of it
    #[arg(value_name = "ORG/NAME[@REVISION]")]
    model: String,
    /// Download only the files that match, such as '*.json'; may be given several times [default:
    /// all files, but weights in one format only]
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Files that are downloaded at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    jobs: usize,
    /// Print what would be downloaded, and whether the disk has room for it
    #[arg(long)]
    dry_run: bool,
    /// Compare files that are there already with their checksums
    #[arg(long)]
    verify: bool,
    /// Download a model that cannot run on this machine
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  cachalot pull deepseek-ai/DeepSeek-V3.2 --dry-run
  cachalot pull deepseek-ai/DeepSeek-V3.2
  cachalot pull deepseek-ai/DeepSeek-V3.2 --include '*.json'";

/// Threads that receive, hash and write.
const MAX_THREADS: usize = 8;

/// Downloads a model, and prints the folder with its files.
///
/// # Errors
/// A model that cannot be had or cannot run here, a disk that is too small, a hub that cannot be
/// reached. The same command continues after any of them.
pub fn run(args: &Args) -> Result<()> {
    ensure!((1..=64).contains(&args.jobs), "--jobs takes 1 to 64");
    let model = parse_model(&args.model)?;
    let (client, cache) = client_and_cache()?;
    let threads = crate::load::available_threads().clamp(2, MAX_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let pulled = runtime.block_on(pull(args, &model, &client, &cache));
    // Whatever still reads or writes ends with the process.
    runtime.shutdown_background();
    pulled
}

/// Reads the name of a model. Names of other programs are explained.
///
/// # Errors
/// A name that is not that of a model on a hub.
pub(crate) fn parse_model(text: &str) -> Result<ModelRef> {
    text.parse().map_err(|error| match model_names::explain(text) {
        Some(explanation) => anyhow!("`{text}` {explanation}"),
        None => anyhow::Error::from(error),
    })
}

async fn pull(args: &Args, model: &ModelRef, client: &HubClient, cache: &HubCache) -> Result<()> {
    if client.sends_token_in_clear() {
        eprintln!(
            "warning: HF_TOKEN is sent to `{}` without encryption: HF_ENDPOINT is an http address",
            client.host()
        );
    }
    let repository = client.repository(model).await.map_err(|error| with_provider_hint(error, model))?;
    let include: Vec<Glob> = args.include.iter().map(|glob| glob.parse()).collect::<Result<_, _>>()?;
    let selection = select(&repository, &include, &args.include.join(", "))?;
    let plan = DownloadPlan::new(cache, model, &repository, &selection.files)?;
    print_plan(&plan, &selection);
    let obstacle = obstacle(client, &repository, &selection).await?;
    let space = plan.check_space(cache);
    if args.dry_run {
        if let Some(obstacle) = obstacle {
            eprintln!("{obstacle}");
        }
        space?;
        return Ok(());
    }
    match obstacle {
        Some(obstacle) if !args.force => bail!("{obstacle}\nhint: `--force` downloads it anyway"),
        Some(obstacle) => eprintln!("warning: {obstacle}"),
        None => {}
    }
    space?;
    let progress = Arc::new(PullProgress::new(&plan));
    let report = progress.clone();
    let options = DownloadOptions { jobs: args.jobs, verify: args.verify };
    let plan = Arc::new(plan);
    let downloaded = tokio::select! {
        downloaded = download(client, cache, plan, options, Arc::new(move |event: DownloadEvent<'_>| report.report(event))) => downloaded,
        pressed = tokio::signal::ctrl_c() => {
            pressed.context("cannot wait for Ctrl-C")?;
            progress.finish();
            bail!("stopped; {}: the same command continues", progress.summary());
        }
    };
    progress.finish();
    let folder =
        downloaded.map_err(|error| anyhow!("{error}\nhint: {}: the same command continues", progress.summary()))?;
    eprintln!("all files are complete, and their checksums are right");
    if args.include.is_empty() {
        eprintln!("hint: cachalot serve --model {model}");
    }
    println!("{}", folder.display());
    Ok(())
}

/// The reason why the model cannot run here, if weights are selected.
async fn obstacle(client: &HubClient, repository: &Repository, selection: &Selection<'_>) -> Result<Option<String>> {
    let is_weights = |path: &str| [".safetensors", ".gguf", ".bin"].iter().any(|ending| path.ends_with(ending));
    if !selection.files.iter().any(|file| is_weights(&file.path)) {
        return Ok(None);
    }
    let config = config(client, repository).await?;
    Ok(model_fit::obstacle(repository, config.as_ref()))
}

fn with_provider_hint(error: hub::Error, model: &ModelRef) -> anyhow::Error {
    match (&error, model_names::provider_hint(model.id.org())) {
        (hub::Error::NoModel { .. }, Some(hint)) => anyhow!("{error}\nhint: {hint}"),
        _ => error.into(),
    }
}

fn print_plan(plan: &DownloadPlan, selection: &Selection<'_>) {
    let commit = &plan.repository.commit[..12];
    eprintln!("{} at {commit}: {} files, {}", plan.model, plan.files(), BinaryBytes(plan.bytes_total()));
    if plan.bytes_present() > 0 {
        let (present, missing) = (BinaryBytes(plan.bytes_present()), BinaryBytes(plan.bytes_missing()));
        eprintln!("{present} are here already, {missing} are missing");
    }
    let (files, bytes) = selection.left_out;
    if files > 0 {
        let bytes = BinaryBytes(bytes);
        eprintln!("left out: the same weights in other formats ({files} files, {bytes}); --include '*' takes all");
    }
}
