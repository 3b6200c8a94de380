//! `cachalot serve`: the local model and the gateway behind the HTTP APIs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway::{Accounting, BackgroundTasks, Gateway, Prices, Router, Telemetry};
use server::ServerConfig;
use store::RestorePolicy;
use tokio::net::TcpListener;

use crate::active_config::ActiveConfig;
use crate::config::Config;
use crate::data_folder::{self, DataFolder};
use crate::data_lock::DataLock;
use crate::hangup_signal::HangupSignal;
use crate::live_config::ConfigReloader;
use crate::local_engine::{EngineArgs, map_model, start_engine};
use crate::open_store;
use crate::secrets;
use crate::server_settings::{server_config, shutdown_grace};
use crate::shutdown::ShutdownSignals;

/// Serve the local model and remote providers over HTTP
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Address to listen on [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Database of keys and usage records: sqlite:PATH, postgres://... or off [default: cachalot.db
    /// in the user's data folder]
    #[arg(long, value_name = "URL|off")]
    pub store: Option<String>,
    /// Configuration file [default: ./cachalot.toml, else $XDG_CONFIG_HOME/cachalot/cachalot.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Seconds that open responses get after Ctrl-C or SIGTERM [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub grace: Option<u64>,
    /// Accept a database that was restored from a backup or replaced, and log what it lacks
    #[arg(long, conflicts_with = "new_store")]
    pub accept_restored_store: bool,
    /// Set aside a database that is lost or damaged, and start with an empty one
    #[arg(long)]
    pub new_store: bool,
}

/// Threads for blocking work. Each one needs memory for its stack and its work.
const BLOCKING_THREADS: usize = 64;

/// The time that blocking tasks get to end after everything else has ended.
const BLOCKING_TASK_TIMEOUT: Duration = Duration::from_secs(1);

pub fn run(args: &Args) -> Result<()> {
    // Before anything that takes time, so that a signal during the start is an orderly shutdown.
    let signals = ShutdownSignals::register()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let config = Config::load(args.config.as_deref())?;
        signals.set_grace(shutdown_grace(args.grace, &config));
        let listen = args.listen.clone().unwrap_or_else(|| config.server.listen.clone());
        let listener = TcpListener::bind(&listen).await.with_context(|| format!("cannot listen on `{listen}`"))?;
        serve(args, &config, listener, signals.requested()).await
    });
    // A stuck task does not keep the process alive.
    runtime.shutdown_timeout(BLOCKING_TASK_TIMEOUT);
    served
}

/// Serves on `listener` until `shutdown` resolves. `/readyz` reports that the server is ready once
/// the weights are in memory.
///
/// # Errors
/// Settings, a store or a model that cannot be used.
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
            tracing::info!("stopped before startup finished");
            return Ok(());
        }
        prepared = prepare(args, config, address) => prepared?,
    };
    let Prepared { gateway, background_tasks, config, reloader, telemetry, _data_lock } = prepared;
    tracing::info!("listening on http://{address}");
    let served = server::serve_with(listener, gateway, config, Some(reloader), shutdown).await;
    if let Some(tasks) = background_tasks {
        tasks.finish().await;
    }
    if let Some(telemetry) = telemetry {
        telemetry.finish().await;
    }
    served?;
    tracing::info!("stopped");
    Ok(())
}

/// Everything that a server needs.
struct Prepared {
    gateway: Arc<Gateway>,
    background_tasks: Option<BackgroundTasks>,
    config: ServerConfig,
    reloader: Arc<ConfigReloader>,
    telemetry: Option<Telemetry>,
    /// Released when the server has ended.
    _data_lock: Option<DataLock>,
}

/// Checks the settings, opens the store and starts the engine. Nothing is written before all that
/// can be checked without a store is valid.
async fn prepare(args: &Args, config: &Config, address: SocketAddr) -> Result<Prepared> {
    // A SIGHUP during the start is handled after it.
    let hangup = HangupSignal::register();
    crate::check_certificates()?;
    let has_local_model = args.engine.model.model.as_deref() != Some(Path::new("none"));
    let store_flag = args.store.as_deref();
    let server_config = server_config(args.grace, config)?;
    let folder = DataFolder::resolve(config, store_flag)?;
    // A folder that a server has used is locked before a large model is loaded in vain. A new one
    // is created after the checks.
    let used = folder.as_ref().filter(|folder| DataLock::is_known(&folder.lock_folder));
    let mut lock = acquire(used).await?;
    data_folder::check_admin_token_file(config, folder.as_ref())?;
    let file_config = ActiveConfig::load(config.clone(), None, &[]).await?;
    let named_token = data_folder::admin_token_hash_from_env(config)?;
    if open_store::is_new(config, store_flag)? && (named_token.is_none() || folder.is_none()) {
        server_config.validate_listen_address(address, &Accounting::with_prices(Prices::default()))?;
    }
    let telemetry = Telemetry::start(config.telemetry.otlp.as_deref()).context("`[telemetry]`")?;
    let model = if has_local_model { Some(map_model(&args.engine, config).await?) } else { None };
    if lock.is_none() {
        lock = acquire(folder.as_ref()).await?;
    }
    let (accounting, background_tasks) = open_store::open_accounting(config, store_flag, args.restore_policy()).await?;
    let active = ActiveConfig::load(config.clone(), accounting.store(), &file_config.providers).await?;
    ensure!(
        has_local_model || !active.providers.is_empty() || accounting.store().is_some(),
        "`--model none` serves no local model, and no provider is configured: add one to `[[providers]]`, give a checkpoint folder, or leave --model out"
    );
    let token = data_folder::load_or_create_admin_token_hash(config, folder.as_ref())?;
    let secrets = secrets::collect(config, store_flag, folder.as_ref());
    // A generated token that nobody knows must not make a server on a public address count as
    // protected.
    ServerConfig { admin_token: named_token, ..server_config.clone() }.validate_listen_address(address, &accounting)?;
    if !has_local_model && active.providers.is_empty() {
        tracing::warn!(
            "neither a local model nor a provider is configured: requests are refused until the admin API adds a provider (docs/gateway.md)"
        );
    }
    server::install_metrics_recorder()?;
    let (local, system_fingerprint) = match model {
        Some(model) => start_engine(model).await?,
        None => (Router::default(), server_config.system_fingerprint.clone()),
    };
    let gateway = Arc::new(Gateway::new(Router::default(), accounting));
    gateway.reload(active.routes(&local)?, active.prices.clone());
    let reloader = ConfigReloader::start(gateway.clone(), local, server_config.keys.clone(), active, hangup);
    reloader.keep_secrets(secrets);
    gateway.spawn_task_poller();
    let tracer = telemetry.as_ref().map(Telemetry::tracer);
    let config = ServerConfig { admin_token: token, system_fingerprint, tracer, ..server_config };
    Ok(Prepared { gateway, background_tasks, config, reloader, telemetry, _data_lock: lock })
}

impl Args {
    /// The operator's decision about a database other than the one that was used last.
    fn restore_policy(&self) -> RestorePolicy {
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
    let folder = folder.lock_folder.clone();
    Ok(Some(tokio::task::spawn_blocking(move || DataLock::acquire(&folder)).await??))
}
