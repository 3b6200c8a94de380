//! Providers elsewhere: the rows built in, those of the configuration, and `cachalot provider`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gateway::{Gateway, Router, RoutingPreference, Secret, Upstream, UpstreamConfig, UpstreamModel};
use serde::Deserialize;
use wire::upstream::Dialect;

use crate::commands::key::StoreArgs;
use crate::config::{Config, ProviderSettings};
use crate::key_env_rules::KeyEnvRules;
use crate::litellm;

const BUILTIN_PROVIDERS_TOML: &str = include_str!("../../../providers.toml");
/// How often a provider is asked for its list of models; sooner when it could not be asked.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(600);
const DISCOVERY_RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// How often an engine is asked how busy it is; less often when it does not say.
const METRICS_INTERVAL: Duration = Duration::from_secs(2);
const METRICS_RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// Show the providers that are known, and ask those configured for their models
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub store_args: StoreArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// List the providers built in
    List,
    /// Ask every configured provider for its models
    Check,
    /// Print a configuration out of LiteLLM's config.yaml
    Import {
        /// The file
        file: PathBuf,
    },
}

/// A provider built in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BuiltinProvider {
    name: String,
    base_url: String,
    dialect: Dialect,
    key_env: Option<String>,
    #[serde(default)]
    private: bool,
    metrics: Option<String>,
    status: String,
}

/// A provider of the configuration, ready to be asked.
#[derive(Clone, Debug)]
pub struct ConfiguredProvider {
    pub upstream: Arc<Upstream>,
    pub rank: RoutingPreference,
    /// `None`: those of its own list.
    pub models: Option<Vec<String>>,
    /// What its own list said last.
    discovered_models: Arc<Mutex<Vec<String>>>,
    settings: ProviderSettings,
    key: Option<Secret>,
}

fn builtin_providers() -> &'static [BuiltinProvider] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        provider: Vec<BuiltinProvider>,
    }
    static READ: LazyLock<Vec<BuiltinProvider>> = LazyLock::new(|| {
        toml::from_str::<File>(BUILTIN_PROVIDERS_TOML).expect("a test reads the file built in").provider
    });
    &READ
}

/// A provider of this name is built in.
pub fn is_builtin(name: &str) -> bool {
    builtin_providers().iter().any(|row| row.name == name)
}

/// The provider built in of this name asks for no key.
pub fn needs_no_key(name: &str) -> bool {
    builtin_providers().iter().any(|row| row.name == name && row.key_env.is_none())
}

/// The variable that usually holds the key of the provider built in of this name.
pub fn key_env_of(name: &str) -> Option<&'static str> {
    builtin_providers().iter().find(|row| row.name == name)?.key_env.as_deref()
}

/// The providers of the configuration file.
///
/// # Errors
/// An unknown name without an address of its own, a key that is not set, an address
/// that cannot be used.
pub fn configured(config: &Config) -> Result<Vec<ConfiguredProvider>> {
    let (rules, mut providers) = (key_env_rules(config)?, Vec::new());
    for settings in &config.providers {
        add_provider(&mut providers, settings, &rules, &[])?;
    }
    Ok(providers)
}

/// Which variable may be sent to which address.
///
/// # Errors
/// An entry of `key_envs` that cannot be used.
pub fn key_env_rules(config: &Config) -> Result<KeyEnvRules> {
    KeyEnvRules::from_config(
        config,
        builtin_providers().iter().filter_map(|row| Some((row.key_env.as_deref()?, row.base_url.as_str()))),
    )
}

/// Adds a provider: the one among those `before` that has the same settings and the same key, with
/// its connections, else a new one.
///
/// # Errors
/// As [`configured`]; a name that one among `providers` has.
pub fn add_provider(
    providers: &mut Vec<ConfiguredProvider>,
    settings: &ProviderSettings,
    rules: &KeyEnvRules,
    previous: &[ConfiguredProvider],
) -> Result<()> {
    let provider =
        build_provider(settings, rules, previous).with_context(|| format!("provider `{}`", settings.name))?;
    ensure!(
        providers.iter().all(|other| other.upstream.name() != provider.upstream.name()),
        "two providers are called `{}`: give one another `name`, and `row` for the row it is of",
        settings.name
    );
    providers.push(provider);
    Ok(())
}

fn build_provider(
    settings: &ProviderSettings,
    rules: &KeyEnvRules,
    previous: &[ConfiguredProvider],
) -> Result<ConfiguredProvider> {
    let preset = builtin_providers().iter().find(|row| row.name == *settings.preset.as_ref().unwrap_or(&settings.name));
    let name = &settings.name;
    ensure!(
        name != gateway::LOCAL && !name.contains(['/', ' ']) && store::is_name(name),
        "a provider's name has {}; it has no slash and no space, and `local` is the local engine",
        store::NAME_RULE
    );
    let ids = settings.models.iter().flatten().chain(settings.rename.values());
    if let Some(invalid) = ids.into_iter().find(|id| !store::is_model_id(id)) {
        bail!("{invalid:.64?} is no id of a model");
    }
    if let Some(invalid) = settings.rename.keys().find(|id| !store::is_name(id)) {
        bail!("{invalid:.64?} is no id of your own: it has {}", store::NAME_RULE);
    }
    let Some(base_url) = settings.base_url.as_ref().or(preset.map(|row| &row.base_url)) else {
        bail!("no such provider is built in (`cachalot provider list` shows them): give its `base_url` and `dialect`");
    };
    let dialect = settings.dialect.or(preset.map(|row| row.dialect)).context("its `dialect` is missing")?;
    let key = match settings.key_env.as_ref().or(preset.and_then(|row| row.key_env.as_ref())) {
        Some(variable) => {
            // Before the variable is looked for: whether there is one is not told either.
            rules.check(variable, base_url)?;
            let key = std::env::var(variable).ok().filter(|key| !key.trim().is_empty());
            Some(Secret::new(key.with_context(|| format!("the environment variable `{variable}` is not set"))?.trim()))
        }
        None => None,
    };
    if let Some(same) = previous.iter().find(|other| other.settings == *settings && other.key == key) {
        return Ok(same.clone());
    }
    let private = settings.private.unwrap_or_else(|| preset.is_some_and(|row| row.private));
    let metrics = settings.metrics.as_ref().or(preset.and_then(|row| row.metrics.as_ref()));
    let config = UpstreamConfig {
        name: name.clone(),
        preset: preset.map(|row| row.name.clone()),
        base_url: base_url.clone(),
        dialect,
        key: key.clone(),
        private,
        metrics: metrics.filter(|path| !path.is_empty()).cloned(),
    };
    let rank = RoutingPreference { priority: settings.priority, weight: settings.weight };
    ensure!(rank.weight > 0, "`weight` is at least 1");
    let upstream = Upstream::new(config)?;
    let upstream = match settings.timeout_s {
        Some(seconds @ 1..=3600) => upstream.with_first_byte_timeout(Duration::from_secs(seconds)),
        Some(seconds) => bail!("`timeout_s` takes 1 to 3600 seconds, not {seconds}"),
        None => upstream,
    };
    Ok(ConfiguredProvider {
        upstream: Arc::new(upstream),
        rank,
        models: settings.models.clone(),
        discovered_models: Arc::default(),
        settings: settings.clone(),
        key,
    })
}

impl ConfiguredProvider {
    /// Adds the models that the configuration names, else those that its own list had last.
    pub fn add_to_router(&self, routes: &mut Router) {
        let models = self.models.clone().unwrap_or_else(|| self.discovered_models().clone());
        routes.add_upstream(&self.upstream, &upstream_models(models, &self.settings.rename), self.rank);
    }

    /// Asks it for what it says of itself, now and later, for as long as it is in force.
    pub fn start_polling(&self, gateway: &Arc<Gateway>) {
        self.discover_models(gateway);
        if self.upstream.has_metrics() {
            tokio::spawn(poll_metrics(Arc::downgrade(&self.upstream)));
        }
    }

    /// Asks it for its models, and offers them. Does nothing where the configuration names them.
    fn discover_models(&self, gateway: &Arc<Gateway>) {
        if self.models.is_some() {
            return;
        }
        let Self { upstream, rank, discovered_models: listed, settings, .. } = self;
        let (gateway, upstream, rank, listed, rename) =
            (Arc::downgrade(gateway), Arc::downgrade(upstream), *rank, listed.clone(), settings.rename.clone());
        tokio::spawn(async move {
            loop {
                let Some(polled) = upstream.upgrade() else { return };
                let models = polled.models().await;
                drop(polled);
                // It may have been removed meanwhile.
                let (Some(gateway), Some(upstream)) = (gateway.upgrade(), upstream.upgrade()) else { return };
                let pause = match models {
                    Ok(models) => {
                        tracing::info!(provider = &**upstream.name(), models = models.len(), "models offered");
                        // Noted first: routes that are made again meanwhile have them too.
                        listed.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&models);
                        gateway.add_upstream(&upstream, &upstream_models(models, &rename), rank);
                        DISCOVERY_INTERVAL
                    }
                    Err(error) => {
                        tracing::warn!(provider = &**upstream.name(), %error, "its models are not known");
                        DISCOVERY_RETRY_INTERVAL
                    }
                };
                drop((gateway, upstream));
                tokio::time::sleep(pause).await;
            }
        });
    }

    fn discovered_models(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // It is replaced whole.
        self.discovered_models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Models by the provider's names, and those that the configuration has another id for.
fn upstream_models(models: Vec<String>, rename: &BTreeMap<String, String>) -> Vec<UpstreamModel> {
    let renamed = rename.iter().map(|(id, name)| UpstreamModel { id: id.clone(), upstream_name: name.clone() });
    models.into_iter().filter(|model| !rename.contains_key(model)).map(UpstreamModel::from).chain(renamed).collect()
}

/// Asks an engine how busy it is, for as long as it is in force.
async fn poll_metrics(upstream: Weak<Upstream>) {
    let mut logged = false;
    loop {
        let Some(engine) = upstream.upgrade() else { return };
        let pause = match engine.poll_metrics().await {
            Ok(()) => {
                logged = false;
                METRICS_INTERVAL
            }
            Err(error) => {
                if !std::mem::replace(&mut logged, true) {
                    tracing::warn!(provider = &**engine.name(), %error, "how busy it is is not known: only requests from here count");
                }
                METRICS_RETRY_INTERVAL
            }
        };
        drop(engine);
        tokio::time::sleep(pause).await;
    }
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::List => {
            writeln!(io::stdout(), "{:<14} {:<10} {:<22} {:<10} base URL", "provider", "dialect", "key from", "tried")?;
            for row in builtin_providers() {
                let dialect = format!("{:?}", row.dialect).to_lowercase();
                let key = row.key_env.as_deref().unwrap_or("-");
                writeln!(io::stdout(), "{:<14} {dialect:<10} {key:<22} {:<10} {}", row.name, row.status, row.base_url)?;
            }
            Ok(())
        }
        Command::Import { file } => {
            let text = files::read_text(file, crate::MAX_INPUT_BYTES)
                .with_context(|| format!("cannot read `{}`", file.display()))?;
            let imported = litellm::import(&text).with_context(|| format!("`{}`", file.display()))?;
            Ok(write!(io::stdout(), "{imported}")?)
        }
        Command::Check => check_providers(&Config::load(args.store_args.config.as_deref())?),
    }
}

fn check_providers(config: &Config) -> Result<()> {
    crate::check_certificates()?;
    let providers = configured(config)?;
    ensure!(!providers.is_empty(), "no provider is configured: `[[providers]]` in cachalot.toml adds one");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut failed = 0;
    for provider in providers {
        let name = provider.upstream.name();
        match runtime.block_on(provider.upstream.models()) {
            Ok(models) => writeln!(io::stdout(), "{name}: {} models: {}", models.len(), models.join(", "))?,
            Err(error) => {
                failed += 1;
                writeln!(io::stdout(), "{name}: {error}")?;
            }
        }
    }
    ensure!(failed == 0, "{failed} of the providers did not answer");
    Ok(())
}

#[cfg(test)]
mod tests;
