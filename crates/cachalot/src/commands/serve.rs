//! `cachalot serve`: the engine behind the DeepSeek API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use engine::{DiskCacheOptions, Engine};
use gateway::{Accounting, BackgroundTasks, Gateway, Prices, Router, Telemetry};
use server::{KeepAlive, KeyConfig, ServerConfig};
use store::{RestorePolicy, Role};
use text::Encoding;
use tokio::net::TcpListener;

use crate::config::{Config, cache_folder, parse_bytes};
use crate::data_folder::{self, DataFolder};
use crate::data_lock::DataLock;
use crate::inflight_limits;
use crate::live_config::{ActiveConfig, ConfigReloader, HangupSignal};
use crate::load::{self, ArithmeticDefaults, Loaded, ModelArgs};
use crate::open_store;
use crate::secrets;
use crate::shutdown::ShutdownSignals;
use crate::system_memory;
use crate::warming_engine::WarmingEngine;

/// Serve the local model and the gateway over HTTP
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub cache_args: CacheArgs,
    /// Folder for prompts that are kept across restarts, or `off` [default: the
    /// user's cache folder]
    #[arg(long, value_name = "DIR|off")]
    pub disk_cache: Option<PathBuf>,
    /// Most bytes of that folder, such as 20GiB [default: 4GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub disk_cache_bytes: Option<u64>,
    /// The seed of requests that name none: what is asked again is answered the same [default: each
    /// gets one of its own]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<i64>,
    /// Address to listen on [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Where keys and usage are kept: sqlite:PATH, postgres://... or off [default: cachalot.db in
    /// the user's data folder]
    #[arg(long, value_name = "URL|off")]
    pub store: Option<String>,
    /// Configuration file [default: ./cachalot.toml, else $XDG_CONFIG_HOME/cachalot/cachalot.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Seconds that running answers get after Ctrl-C or SIGTERM [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub grace: Option<u64>,
    /// Use a database that was restored from a backup or replaced, and say what it lacks
    #[arg(long, conflicts_with = "new_store")]
    pub accept_restored_store: bool,
    /// Keep aside a database that is lost or cannot be used, and begin with an empty one
    #[arg(long)]
    pub new_store: bool,
}

/// How much conversation fits
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct CacheArgs {
    /// Most tokens of prompt and answer together [default: the model's, at most 131072, as far as
    /// the cache reaches]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Memory for the cache, such as 8GiB [default: a quarter of what is free]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub cache_memory: Option<u64>,
}

/// Threads for what takes its time: each takes a stack, and what it works on.
const BLOCKING_THREADS: usize = 64;

/// The official service's limit, and ours.
const MAX_CONTEXT: usize = 131_072;

/// Time that blocking tasks get to end in after everything else has ended.
const BLOCKING_TASK_TIMEOUT: Duration = Duration::from_secs(1);

pub fn run(args: &Args) -> Result<()> {
    // Before anything that takes time: a signal that comes now stops the server in order.
    let signals = ShutdownSignals::register()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let config = Config::load(args.config.as_deref())?;
        signals.set_grace(shutdown_grace(args, &config));
        let listen = args.listen.clone().unwrap_or_else(|| config.server.listen.clone());
        let listener = TcpListener::bind(&listen).await.with_context(|| format!("cannot listen on `{listen}`"))?;
        serve(args, &config, listener, signals.requested()).await
    });
    // A task that is stuck does not keep the process alive.
    runtime.shutdown_timeout(BLOCKING_TASK_TIMEOUT);
    served
}

/// Serves on `listener` until `shutdown` resolves. `/readyz` says no until the weights
/// have been read once.
pub async fn serve(
    args: &Args,
    config: &Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let address = listener.local_addr()?;
    let mut shutdown = Box::pin(shutdown);
    let prepared = tokio::select! {
        biased;
        () = &mut shutdown => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
        prepared = prepare(args, config, address) => prepared?,
    };
    let Prepared { gateway, background_tasks, config, reloader, telemetry, _data_lock: _lock } = prepared;
    tracing::info!("listening on http://{address}");
    let served = server::serve_with(listener, gateway, config, Some(reloader), shutdown).await;
    if let Some(keepers) = background_tasks {
        keepers.finish().await;
    }
    if let Some(telemetry) = telemetry {
        telemetry.finish().await;
    }
    served?;
    tracing::info!("stopped");
    Ok(())
}

/// All that a server needs.
struct Prepared {
    gateway: Arc<Gateway>,
    background_tasks: Option<BackgroundTasks>,
    config: ServerConfig,
    reloader: Arc<ConfigReloader>,
    telemetry: Option<Telemetry>,
    /// Given back when the server has ended.
    _data_lock: Option<DataLock>,
}

async fn prepare(args: &Args, config: &Config, address: SocketAddr) -> Result<Prepared> {
    // From now on SIGHUP is remembered.
    let hangup = HangupSignal::register();
    crate::check_certificates()?;
    let local = args.model.model.as_deref() != Some(Path::new("none"));
    let store_flag = args.store.as_deref();
    let server_config = server_config(args, config)?;
    let folder = DataFolder::resolve(config, store_flag)?;
    // A folder that a server has used is locked before a large model is loaded in vain. A new one
    // is not made before everything that can be checked without a store has been.
    let used = folder.as_ref().filter(|folder| DataLock::is_known(&folder.lock_folder));
    let mut lock = acquire(used).await?;
    data_folder::check_admin_token_file(config, folder.as_ref())?;
    let file_config = ActiveConfig::load(config.clone(), None, &[]).await?;
    let named_token = data_folder::named_admin_token(config)?;
    if open_store::is_new(config, store_flag)? && (named_token.is_none() || folder.is_none()) {
        server_config.validate_listen_address(address, &Accounting::with_prices(Prices::default()))?;
    }
    let telemetry = Telemetry::start(config.telemetry.otlp.as_deref()).context("`[telemetry]`")?;
    let model = if local { Some(load_model(args, config).await?) } else { None };
    if lock.is_none() {
        lock = acquire(folder.as_ref()).await?;
    }
    let (books, background_tasks) = open_store::open_accounting(config, store_flag, args.restored_policy()).await?;
    let active = ActiveConfig::load(config.clone(), books.store(), &file_config.providers).await?;
    ensure!(
        local || !active.providers.is_empty() || books.store().is_some(),
        "`--model none` serves no local model, and no provider is configured: add one to `[[providers]]`, give a checkpoint folder, or leave --model out"
    );
    let token = data_folder::admin_token(config, folder.as_ref())?;
    let secrets = secrets::collect(config, store_flag, folder.as_ref());
    // A generated token that nobody knows must not make a server on a public address
    // count as protected.
    ServerConfig { admin_token: named_token, ..server_config.clone() }.validate_listen_address(address, &books)?;
    let server_config = ServerConfig { admin_token: token, ..server_config };
    if !local && active.providers.is_empty() {
        tracing::warn!(
            "there is no local model and no provider: nothing is answered until one is added (docs/gateway.md, the admin API)"
        );
    }
    server::install_metrics_recorder()?;
    let (local, fingerprint) = match model {
        Some(model) => start_engine(model).await?,
        None => Default::default(),
    };
    let gateway = Arc::new(Gateway::new(Router::default(), books));
    gateway.reload(active.routes(&local)?, active.prices.clone());
    let reloader = ConfigReloader::start(gateway.clone(), local, server_config.keys.clone(), active, hangup);
    reloader.keep_secrets(secrets);
    gateway.spawn_task_poller();
    let system_fingerprint = fingerprint.unwrap_or(server_config.system_fingerprint);
    let tracer = telemetry.as_ref().map(Telemetry::tracer);
    let config = ServerConfig { system_fingerprint, tracer, ..server_config };
    Ok(Prepared { gateway, background_tasks, config, reloader, telemetry, _data_lock: lock })
}

impl Args {
    /// The operator's decision about a database that is not the one that was used last.
    fn restored_policy(&self) -> RestorePolicy {
        match (self.accept_restored_store, self.new_store) {
            (true, _) => RestorePolicy::Accept,
            (_, true) => RestorePolicy::StartEmpty,
            _ => RestorePolicy::Refuse,
        }
    }
}

/// Locks the data folder, if there is one.
async fn acquire(folder: Option<&DataFolder>) -> Result<Option<DataLock>> {
    let Some(folder) = folder else { return Ok(None) };
    let locked = folder.lock_folder.clone();
    Ok(Some(tokio::task::spawn_blocking(move || DataLock::acquire(&locked)).await??))
}

/// A local model that is mapped, and the options of its engine.
struct MappedModel {
    loaded: Loaded,
    encoding: Arc<Encoding>,
    options: engine::Options,
}

/// Maps the local model. Nothing is written.
async fn load_model(args: &Args, config: &Config) -> Result<MappedModel> {
    let (args, config) = (args.clone(), config.clone());
    tokio::task::spawn_blocking(move || {
        if args.model.model.is_none() {
            tracing::info!("no --model: serving the small embedded model, a demonstration and not an assistant");
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

/// Starts the engine of the local model. Returns its routes and its fingerprint.
async fn start_engine(mapped: MappedModel) -> Result<(Router, Option<String>)> {
    tokio::task::spawn_blocking(move || {
        let MappedModel { loaded: Loaded { model, fingerprint, checkpoint }, encoding, options } = mapped;
        let info = model.info();
        tracing::info!(
            model = checkpoint.name(), model_type = info.model_type, encoding = %encoding.name(), attention = info.attention,
            compute = ?info.compute, kernels = info.isa, threads = info.threads, fingerprint, "model loaded"
        );
        let engine = Engine::start(model, encoding, options)?;
        let (name, plain) = (checkpoint.name(), engine.supports_non_thinking());
        let routes = Router::for_local_model(Arc::new(WarmingEngine::start(engine, checkpoint)?), &name, !plain);
        Ok((routes, Some(fingerprint)))
    })
    .await?
}

/// Where prompts are kept across restarts; `None` when they are not.
fn disk_options(args: &Args, config: &Config, loaded: &Loaded) -> Result<Option<DiskCacheOptions>> {
    let flag = args.disk_cache.as_deref();
    if flag == Some(Path::new("off")) || (flag.is_none() && !config.cache.disk) {
        return Ok(None);
    }
    let Some(folder) = args.disk_cache.clone().or_else(|| config.cache.folder.clone()).or_else(cache_folder) else {
        tracing::warn!(
            "prompts are not cached on disk: neither XDG_CACHE_HOME nor HOME is set, and no folder is configured"
        );
        return Ok(None);
    };
    let configured = || parse_bytes(&config.cache.disk_bytes).map_err(|error| anyhow!("`disk_bytes`: {error}"));
    let bytes = args.disk_cache_bytes.map_or_else(configured, Ok)?;
    tracing::info!(folder = %folder.display(), mib = bytes >> 20, "prompts are cached on disk");
    Ok(Some(DiskCacheOptions { folder, max_bytes: bytes, fingerprint: load::cache_identity(loaded) }))
}

impl CacheArgs {
    /// Cache pages and context for this model on this machine.
    ///
    /// # Errors
    /// A context beyond the model's, a cache larger than the memory beside the weights, or too
    /// small for any conversation.
    pub fn engine_options(&self, loaded: &Loaded, config: &Config) -> Result<engine::Options> {
        let info = loaded.model.info();
        // The system counts mapped weights as memory it can take back; they are
        // wanted where they are.
        let free = system_memory::available().saturating_sub(loaded.checkpoint.bytes_total());
        let bytes = self.cache_memory.unwrap_or(free / 4);
        ensure!(
            bytes <= free,
            "--cache-memory {bytes} is more than the {free} bytes of memory that are free beside the weights"
        );
        let requested_context = self.context.unwrap_or(MAX_CONTEXT.min(info.context));
        ensure!(
            requested_context <= info.context,
            "--context {requested_context} is more than the model's {} positions",
            info.context
        );
        // No more pages than all running requests can fill.
        let max_pages = requested_context.div_ceil(model::PAGE_ROWS).saturating_mul(config.engine.max_running.max(1));
        let pages = ((bytes / info.page_bytes as u64) as usize).min(max_pages);
        let cache_positions = pages * model::PAGE_ROWS;
        if cache_positions < 2 * model::PAGE_ROWS {
            bail!(
                "a cache of {bytes} bytes holds {pages} pages of {} bytes, too few for a conversation: raise --cache-memory",
                info.page_bytes
            );
        }
        if self.context.is_some() && cache_positions < requested_context {
            bail!(
                "--context {requested_context} needs {} bytes of cache, but it has {bytes}: raise --cache-memory",
                requested_context.div_ceil(model::PAGE_ROWS) * info.page_bytes
            );
        }
        let context = requested_context.min(cache_positions);
        tracing::info!(context, cache_tokens = cache_positions, cache_mib = (pages * info.page_bytes) >> 20, "cache");
        Ok(engine::Options {
            cache_pages: pages,
            context,
            queue: config.engine.queue,
            max_running: config.engine.max_running,
            batch_tokens: config.engine.batch_tokens,
            profile: config.compat.profile.into(),
            ..engine::Options::default()
        })
    }
}

/// The keys of the configuration file.
///
/// # Errors
/// A key that is not there or too easy to guess, a role that is none.
pub fn key_configs(config: &Config) -> Result<Vec<KeyConfig>> {
    let key = |key: &crate::config::Key| -> Result<KeyConfig> {
        let name = &key.name;
        ensure!(store::is_name(name), "the name {name:.64?} of a key in [server] is none: it has {}", store::NAME_RULE);
        let odd = key.models.iter().flatten().find(|model| !store::is_model_id(model));
        ensure!(odd.is_none(), "key `{name}`: {odd:?} is no id of a model");
        let role = key.role.as_deref().map_or(Some(Role::Member), Role::parse);
        let role = role.with_context(|| format!("key `{name}`: `role` is member, viewer or admin"))?;
        Ok(KeyConfig { name: name.clone(), sha256: key.digest()?, models: key.models.clone(), role })
    };
    config.server.keys.iter().map(key).collect()
}

/// A day, in seconds.
const MAX_GRACE_S: u64 = 86_400;

fn shutdown_grace(args: &Args, config: &Config) -> Duration {
    // More is refused with the other settings.
    Duration::from_secs(args.grace.unwrap_or(config.server.shutdown_grace_s).min(MAX_GRACE_S))
}

fn server_config(args: &Args, config: &Config) -> Result<ServerConfig> {
    let settings = &config.server;
    validate_engine(&config.engine)?;
    let grace_s = args.grace.unwrap_or(settings.shutdown_grace_s);
    ensure!(grace_s <= MAX_GRACE_S, "`grace_s` takes 0 to {MAX_GRACE_S} seconds, not {grace_s}");
    let stream = keep_alive_duration("stream_keepalive_s", settings.stream_keepalive_s)?;
    let reply = keep_alive_duration("reply_keepalive_s", settings.reply_keepalive_s)?;
    if let Some(origin) = settings.cors_origins.iter().find(|origin| !origin.contains("://")) {
        bail!("`cors_origins` takes origins such as `https://example.org`, not `{origin}`");
    }
    let defaults = ServerConfig::default();
    Ok(ServerConfig {
        keys: key_configs(config)?.into(),
        allowed_hosts: settings.hosts.clone(),
        inflight: inflight_limits::limits(settings, defaults.body_limit)?,
        cors_origins: settings.cors_origins.clone(),
        keep_alive: KeepAlive { stream_first: stream, stream_every: stream, json_first: reply, ..KeepAlive::default() },
        shutdown_grace: shutdown_grace(args, config),
        // The engine itself gives up what it does not begin within ten minutes. A prompt that is
        // being read may take longer.
        queue_timeout: defaults.total_timeout,
        ..defaults
    })
}

/// The numbers of [engine], none of which may be none or beyond any memory.
fn validate_engine(engine: &crate::config::Engine) -> Result<()> {
    for (setting, number) in
        [("queue", engine.queue), ("max_running", engine.max_running), ("batch_tokens", engine.batch_tokens)]
    {
        ensure!((1..=1 << 20).contains(&number), "`{setting}` in [engine] takes 1 to 1048576, not {number}");
    }
    Ok(())
}

/// A time between two signs of life.
fn keep_alive_duration(setting: &str, seconds: u64) -> Result<Duration> {
    ensure!((1..=86_400).contains(&seconds), "`{setting}` takes 1 to 86400 seconds, not {seconds}");
    Ok(Duration::from_secs(seconds))
}
