//! The local model of `cachalot serve`: its switches, its prefix cache on disk, and the
//! start of its engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use engine::{DiskCacheOptions, Engine};
use gateway::Router;
use text::Encoding;

use crate::byte_size::parse_bytes;
use crate::cache_args::CacheArgs;
use crate::config::Config;
use crate::embedded_model::EmbeddedModel;
use crate::load::{self, ArithmeticDefaults, Loaded, ModelArgs};
use crate::paths::cache_folder;
use crate::warming_engine::WarmingEngine;

/// The local model and its engine
#[derive(clap::Args, Clone, Debug)]
pub struct EngineArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub cache_args: CacheArgs,
    /// Folder of the prefix cache on disk, which survives restarts, or `off` [default:
    /// cachalot/prefix in the user's cache folder]
    #[arg(long, value_name = "DIR|off")]
    pub disk_cache: Option<PathBuf>,
    /// Most bytes of the prefix cache on disk, such as 20GiB [default: 4GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub disk_cache_bytes: Option<u64>,
    /// Sampling seed of requests without one, so that the same request returns the same answer
    /// [default: a random seed for each request]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<i64>,
}

/// A local model that is mapped, and the options of its engine.
pub(crate) struct MappedModel {
    loaded: Loaded,
    encoding: Arc<Encoding>,
    options: engine::Options,
}

/// Maps the local model. Nothing is written.
///
/// # Errors
/// A checkpoint that cannot be loaded, switches that do not fit it or this machine.
pub(crate) async fn map_model(args: &EngineArgs, config: &Config) -> Result<MappedModel> {
    let (args, config) = (args.clone(), config.clone());
    tokio::task::spawn_blocking(move || {
        if args.model.model.is_none() {
            log_default_model();
        }
        let loaded = load::map_model(&args.model, ArithmeticDefaults::Fast)?;
        let encoding = load::encoding(&loaded.checkpoint, &args.model)?;
        let mut options = args.cache_args.engine_options(&loaded, &config)?;
        options.seed = args.seed.or(config.engine.seed);
        options.disk = disk_options(&args, &config, &loaded)?;
        Ok(MappedModel { loaded, encoding, options })
    })
    .await?
}

/// Logs which model is served without `--model`.
fn log_default_model() {
    match EmbeddedModel::default_model() {
        EmbeddedModel::Minnow => {
            tracing::info!("no --model: serving the embedded model Minnow, a demonstration and not an assistant");
        }
        EmbeddedModel::Fixture => tracing::info!(
            "no --model, and this build does not contain the model `minnow`: serving the fixture, a small model for tests whose answers make no sense"
        ),
    }
}

/// Starts the engine of a mapped model. Returns its routes and its fingerprint.
///
/// # Errors
/// A thread that cannot be started, a cache folder that cannot be used.
pub(crate) async fn start_engine(mapped: MappedModel) -> Result<(Router, String)> {
    tokio::task::spawn_blocking(move || {
        let MappedModel { loaded: Loaded { model, fingerprint, checkpoint }, encoding, options } = mapped;
        let info = model.info();
        tracing::info!(
            model = checkpoint.name(), model_type = info.model_type, encoding = %encoding.name(), attention = info.attention,
            compute = ?info.compute, kernels = info.isa, threads = info.threads, fingerprint, "model loaded"
        );
        let engine = Engine::start(model, encoding, options)?;
        let name = checkpoint.name();
        let thinks_by_default = !engine.supports_non_thinking();
        let router = Router::for_local_model(Arc::new(WarmingEngine::start(engine, checkpoint)?), &name, thinks_by_default);
        Ok((router, fingerprint))
    })
    .await?
}

/// The options of the prefix cache on disk; `None` when it is off.
fn disk_options(args: &EngineArgs, config: &Config, loaded: &Loaded) -> Result<Option<DiskCacheOptions>> {
    let flag = args.disk_cache.as_deref();
    if flag == Some(Path::new("off")) || (flag.is_none() && !config.cache.disk) {
        return Ok(None);
    }
    let Some(folder) = args.disk_cache.clone().or_else(|| config.cache.folder.clone()).or_else(cache_folder) else {
        tracing::warn!(
            "prefix cache on disk is off: neither XDG_CACHE_HOME nor HOME is set, and no folder is configured"
        );
        return Ok(None);
    };
    let configured = || parse_bytes(&config.cache.disk_bytes).map_err(|error| anyhow!("`disk_bytes`: {error}"));
    let bytes = args.disk_cache_bytes.map_or_else(configured, Ok)?;
    tracing::info!(folder = %folder.display(), mib = bytes >> 20, "prefix cache on disk enabled");
    Ok(Some(DiskCacheOptions { folder, max_bytes: bytes, fingerprint: load::cache_identity(loaded) }))
}
