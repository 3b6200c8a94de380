//! `cachalot serve`: the local model and the gateway behind the HTTP APIs.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gateway::{Accounting, BackgroundTasks, Gateway, Prices, Router, Telemetry};
use server::ServerConfig;
use store::RestorePolicy;
use tokio::net::TcpListener;

use crate::active_config::ActiveConfig;
use crate::banner::Banner;
use crate::config::{Config, Profile, Switches};
use crate::data_folder::{self, DataFolder};
use crate::data_lock::DataLock;
use crate::hangup_signal::HangupSignal;
use crate::live_config::ConfigReloader;
use crate::local_engine::{EngineArgs, MappedModel, map_model, start_engine};
use crate::logging;
use crate::one_time_link;
use crate::open_store;
use crate::secrets;
use crate::server_settings::{server_config, shutdown_grace};
use crate::shutdown::ShutdownSignals;
use crate::store_args::add_store_switch;
use crate::terminal;

/// Serve the local model and remote providers over HTTP
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES, next_help_heading = "Server options")]
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
    /// How closely refusals and sampling follow DeepSeek's own service [default: lenient]
    #[arg(long, value_name = "PROFILE")]
    pub compat: Option<Profile>,
    /// Serve no web console
    #[arg(long)]
    pub no_console: bool,
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

const EXAMPLES: &str = "\
Examples:
  cachalot serve
  cachalot serve --model ./DeepSeek-V3.2 --context 32768 --threads 32
  cachalot serve --model none --config gateway.toml --env-file keys.env
  cachalot serve --listen 0.0.0.0:8000

Every switch of the model and the server has a setting in cachalot.toml, which
cachalot.example.toml lists.";

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
        let config = Config::load(args.config.as_deref())?.with_switches(args.switches());
        signals.set_grace(shutdown_grace(&config));
        let listen = &config.server.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| bind_error(listen, error))?;
        serve(args, &config, listener, signals.requested()).await
    });
    // A stuck task does not keep the process alive.
    runtime.shutdown_timeout(BLOCKING_TASK_TIMEOUT);
    served
}

/// Serves on `listener` until `shutdown` resolves. `/readyz` reports that the server is ready once
/// the weights are in memory. `config` has the switches of `args`.
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
    let Prepared { gateway, background_tasks, config, reloader, telemetry, banner, _data_lock } = prepared;
    if let Some(store) = gateway.accounting().store().filter(|_| config.console.enabled) {
        one_time_link::print_setup_link(store, address).await?;
    }
    tracing::info!("listening on http://{address}");
    if logging::is_for_people() {
        terminal::write_lines(|| eprintln!("{banner}"));
    }
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
    banner: Banner,
    /// Released when the server has ended.
    _data_lock: Option<DataLock>,
}

/// Checks the settings, opens the store and starts the engine. Nothing is written before all that
/// can be checked without a store is valid.
async fn prepare(args: &Args, config: &Config, address: SocketAddr) -> Result<Prepared> {
    // A SIGHUP during the start is handled after it.
    let hangup = HangupSignal::register();
    crate::check_certificates()?;
    let has_local_model = config.engine.model.as_deref() != Some(Path::new("none"));
    let server_config = server_config(config)?;
    let folder = DataFolder::resolve(config)?;
    // A folder that a server has used is locked before a large model is loaded in vain. A new one
    // is created after the checks.
    let used = folder.as_ref().filter(|folder| DataLock::is_known(&folder.lock_folder));
    let mut lock = acquire(used).await?;
    data_folder::check_admin_token_file(config, folder.as_ref())?;
    let mut active = ActiveConfig::from_file(config.clone(), &[])?;
    let named_token = data_folder::admin_token_hash_from_env(config)?;
    if open_store::is_new(config)? && (named_token.is_none() || folder.is_none()) {
        server_config.validate_listen_address(address, &Accounting::with_prices(Prices::default()))?;
    }
    let telemetry = Telemetry::start(config.telemetry.otlp.as_deref()).context("`[telemetry]`")?;
    let model = if has_local_model { Some(map_model(config).await?) } else { None };
    if lock.is_none() {
        lock = acquire(folder.as_ref()).await?;
    }
    let (accounting, background_tasks) = open_store::open_accounting(config, args.restore_policy()).await?;
    active.add_settings_of(accounting.store(), &[]).await?;
    ensure!(
        has_local_model || !active.providers.is_empty() || accounting.store().is_some(),
        "`--model none` serves no local model, and no provider is configured: add one to `[[providers]]`, give a checkpoint folder, or leave --model out"
    );
    if let Some(own) = active.providers.iter().find(|provider| provider.is_served_at(address)) {
        let name = own.upstream.name();
        bail!(
            "provider `{name}`: its base URL is the address of this server, {address}: give this server another port (--listen 127.0.0.1:8001), or the provider another `base_url`"
        );
    }
    let token = data_folder::load_or_create_admin_token_hash(config, folder.as_ref())?;
    let secrets = secrets::collect(config, folder.as_ref());
    // A generated token that nobody knows must not make a server on a public address count as
    // protected.
    ServerConfig { admin_token: named_token, ..server_config.clone() }.validate_listen_address(address, &accounting)?;
    if !has_local_model && active.providers.is_empty() {
        tracing::warn!(
            "neither a local model nor a provider is configured: requests are refused until the admin API adds a provider (docs/gateway.md)"
        );
    }
    server::install_metrics_recorder()?;
    let banner = Banner {
        address,
        has_console: server_config.console.enabled,
        model: model.as_ref().map(MappedModel::name),
        providers: active.providers.len(),
        data: folder.as_ref().map(|folder| folder.path.clone()),
    };
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
    Ok(Prepared { gateway, background_tasks, config, reloader, telemetry, banner, _data_lock: lock })
}

impl Args {
    /// The settings that the switches set.
    pub fn switches(&self) -> Switches<Config> {
        let mut switches = Switches::default();
        self.engine.add_switches(&mut switches);
        add_store_switch(&mut switches, self.store.clone());
        switches.add("server.listen", self.listen.clone(), |config, listen| config.server.listen = listen);
        switches.add("server.shutdown_grace_s", self.grace, |config, seconds| config.server.shutdown_grace_s = seconds);
        switches.add("compat.profile", self.compat, |config, profile| config.compat.profile = profile);
        let console = self.no_console.then_some(false);
        switches.add("console.enabled", console, |config, enabled| config.console.enabled = enabled);
        switches
    }

    /// The operator's decision about a database other than the one that was used last.
    fn restore_policy(&self) -> RestorePolicy {
        match (self.accept_restored_store, self.new_store) {
            (true, _) => RestorePolicy::Accept,
            (_, true) => RestorePolicy::StartEmpty,
            _ => RestorePolicy::Refuse,
        }
    }
}

fn bind_error(listen: &str, error: io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => ", where another program listens; `--listen 127.0.0.1:8001` takes another port",
        _ => "",
    };
    anyhow::Error::new(error).context(format!("cannot listen on `{listen}`{hint}"))
}

/// Locks the data folder, if there is one.
async fn acquire(folder: Option<&DataFolder>) -> Result<Option<DataLock>> {
    let Some(folder) = folder else { return Ok(None) };
    let folder = folder.lock_folder.clone();
    Ok(Some(tokio::task::spawn_blocking(move || DataLock::acquire(&folder)).await??))
}
