//! The local model of `cachalot serve`: its switches, its prefix cache on disk, and the
//! start of its engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use engine::{DiskCacheOptions, Engine, Profile, ValidationRules};
use gateway::Router;
use text::{Encoding, EncodingName};

use crate::byte_size::parse_bytes;
use crate::cache_args::CacheArgs;
use crate::config::{self, Config, Switches};
use crate::embedded_model::EmbeddedModel;
use crate::load::{self, ArithmeticDefaults, Loaded, ModelArgs};
use crate::paths::cache_folder;
use crate::warming_engine::WarmingEngine;

/// The local model and its engine
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Model options")]
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

impl EngineArgs {
    /// Adds the switches that were given.
    pub(crate) fn add_switches(&self, switches: &mut Switches<Config>) {
        let Self { model: model_args, cache_args, disk_cache, disk_cache_bytes, seed } = self.clone();
        let ModelArgs { model, compute, cache, index, attention, threads, allow_mmap_larger_than_memory, encoding } =
            model_args;
        let CacheArgs { context, cache_memory } = cache_args;
        switches.add("engine.model", model, |config, model| config.engine.model = Some(model));
        switches.add("engine.compute", compute, |config, format| config.engine.compute = Some(format));
        switches.add("engine.cache", cache, |config, format| config.engine.cache = Some(format));
        switches.add("engine.index", index, |config, format| config.engine.index = Some(format));
        switches.add("engine.attention", attention, |config, path| config.engine.attention = Some(path));
        switches.add("engine.threads", threads, |config, threads| config.engine.threads = Some(threads));
        switches.add(
            "engine.allow_mmap_larger_than_memory",
            allow_mmap_larger_than_memory.then_some(true),
            |config, allowed| config.engine.allow_mmap_larger_than_memory = allowed,
        );
        switches.add("engine.encoding", encoding, |config, name| config.engine.encoding = Some(name));
        switches.add("engine.context", context, |config, tokens| config.engine.context = Some(tokens));
        let bytes = cache_memory.map(|bytes| bytes.to_string());
        switches.add("engine.cache_memory", bytes, |config, bytes| config.engine.cache_memory = Some(bytes));
        switches.add("engine.seed", seed, |config, seed| config.engine.seed = Some(seed));
        let folder = disk_cache.clone().filter(|folder| folder.as_path() != Path::new("off"));
        switches.add("cache.disk", disk_cache.map(|_| folder.is_some()), |config, on| config.cache.disk = on);
        switches.add("cache.folder", folder, |config, folder| config.cache.folder = Some(folder));
        let bytes = disk_cache_bytes.map(|bytes| bytes.to_string());
        switches.add("cache.disk_bytes", bytes, |config, bytes| config.cache.disk_bytes = bytes);
    }
}

/// The arguments that say the same as these settings.
fn model_args(settings: &config::Engine) -> ModelArgs {
    let config::Engine {
        model,
        compute,
        cache,
        index,
        attention,
        threads,
        allow_mmap_larger_than_memory,
        encoding,
        ..
    } = settings.clone();
    ModelArgs { model, compute, cache, index, attention, threads, allow_mmap_larger_than_memory, encoding }
}

/// The same for the size of the cache.
///
/// # Errors
/// A `cache_memory` that is not a number of bytes.
fn cache_args(settings: &config::Engine) -> Result<CacheArgs> {
    let cache_memory = settings.cache_memory.as_deref().map(parse_bytes).transpose();
    let cache_memory = cache_memory.map_err(|error| anyhow!("`cache_memory` in [engine]: {error}"))?;
    Ok(CacheArgs { context: settings.context, cache_memory })
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
/// A checkpoint that cannot be loaded, settings that do not fit it or this machine.
pub(crate) async fn map_model(config: &Config) -> Result<MappedModel> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || {
        let (model_args, cache_args) = (model_args(&config.engine), cache_args(&config.engine)?);
        if model_args.model.is_none() {
            log_default_model();
        }
        let loaded = load::map_model(&model_args, ArithmeticDefaults::Fast)?;
        let encoding = load::encoding(&loaded.checkpoint, &model_args)?;
        let mut options = cache_args.engine_options(&loaded, &config)?;
        options.seed = config.engine.seed;
        options.disk = disk_options(&config, &loaded)?;
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
        let encoding_name = encoding.name();
        let engine = Engine::start(model, encoding, options)?;
        let name = checkpoint.name();
        let thinks_by_default = !engine.supports_non_thinking();
        let rules = engine.validation_rules().clone();
        let mut router =
            Router::for_local_model(Arc::new(WarmingEngine::start(engine, checkpoint)?), &name, thinks_by_default);
        if rules.profile == Profile::Lenient {
            router.unlist(|id| id != name && is_of_another_release(id, encoding_name, &rules));
        }
        Ok((router, fingerprint))
    })
    .await?
}

/// Whether the id of the family names a release or a mode that the loaded model does not have.
fn is_of_another_release(id: &str, encoding: EncodingName, rules: &ValidationRules) -> bool {
    let is_v32 = matches!(encoding, EncodingName::V32 | EncodingName::V32Exp);
    match id.to_lowercase().as_str() {
        "deepseek-chat" => !rules.supports_non_thinking,
        "deepseek-reasoner" => !rules.supports_thinking,
        id => id.starts_with("deepseek-v3.2") && !is_v32,
    }
}

impl MappedModel {
    /// The name of the model.
    pub(crate) fn name(&self) -> String {
        self.loaded.checkpoint.name().to_string()
    }
}

/// The options of the prefix cache on disk; `None` when it is off.
fn disk_options(config: &Config, loaded: &Loaded) -> Result<Option<DiskCacheOptions>> {
    if !config.cache.disk {
        return Ok(None);
    }
    let Some(folder) = config.cache.folder.clone().or_else(cache_folder) else {
        tracing::warn!(
            "prefix cache on disk is off: neither XDG_CACHE_HOME nor HOME is set, and no folder is configured"
        );
        return Ok(None);
    };
    let bytes = parse_bytes(&config.cache.disk_bytes).map_err(|error| anyhow!("`disk_bytes`: {error}"))?;
    tracing::info!(folder = %folder.display(), mib = bytes >> 20, "prefix cache on disk enabled");
    Ok(Some(DiskCacheOptions { folder, max_bytes: bytes, fingerprint: load::cache_identity(loaded) }))
}
