//! The configuration in force: the file and what the admin API keeps in the store, read again while
//! the server runs. A name that both have is the file's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arc_swap::ArcSwap;
use chat::{BoxFuture, Error};
use gateway::{Gateway, Prices, Router, Secret};
use serde_json::{Value, json};
use server::Keyring;
use server::admin::{ConfigController, SettingEntry, SettingKind, SettingSource};
use store::{Setting, Store, StoreError};

use crate::commands::serve;
use crate::config::{Config, ProviderSettings};
use crate::configured_provider::{self, ConfiguredProvider};
use crate::key_env_rules::{KeyEnvError, KeyEnvRules};
use crate::open_store;
use crate::secrets;

/// How often the store is asked whether settings have changed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Providers, aliases and prices of file and store together.
#[derive(Default)]
pub struct ActiveConfig {
    file: Config,
    settings: Vec<(SettingKind, SettingEntry)>,
    key_env_rules: KeyEnvRules,
    pub providers: Vec<ConfiguredProvider>,
    aliases: Vec<(String, String)>,
    pub prices: Prices,
    /// Of the store's settings.
    settings_version: i64,
}

impl ActiveConfig {
    /// Reads the store's settings and judges all. Providers that were `before` as they are now stay
    /// the same, with their connections.
    ///
    /// # Errors
    /// What is wrong with the file, a store that cannot be asked. What is wrong with a setting of
    /// the store is told in the log, and that setting is left out.
    pub async fn load(file: Config, store: Option<&Store>, before: &[ConfiguredProvider]) -> Result<Self> {
        let (settings_version, stored) = match store {
            Some(store) => store.settings().await?,
            None => (0, Vec::new()),
        };
        let key_env_rules = configured_provider::key_env_rules(&file)?;
        let mut active =
            Self { settings_version, key_env_rules, prices: open_store::load_prices(&file)?, ..Self::default() };
        for settings in &file.providers {
            configured_provider::add_provider(&mut active.providers, settings, &active.key_env_rules, before)?;
            active.list_setting(SettingKind::Provider, &settings.name, json!(settings), SettingSource::File);
        }
        for (alias, target) in &file.aliases {
            validate_alias_name(alias).context("[aliases]")?;
            active.aliases.push((alias.clone(), target.clone()));
            active.list_setting(SettingKind::Alias, alias, json!(target), SettingSource::File);
        }
        for setting in stored {
            if let Err(error) = active.add_stored(&setting, before) {
                tracing::error!(
                    kind = setting.kind,
                    name = setting.name,
                    error = crate::with_causes(&error),
                    "a setting of the store is disabled"
                );
                active.list_disabled(setting, crate::with_causes(&error));
            }
        }
        active.file = file;
        Ok(active)
    }

    fn add_stored(&mut self, setting: &Setting, before: &[ConfiguredProvider]) -> Result<()> {
        let kind = SettingKind::ALL.into_iter().find(|kind| kind.as_str() == setting.kind);
        let kind = kind.context("a later version has written it")?;
        let name = &setting.name;
        ensure!(!self.has_setting(kind, name), "the configuration file has one of this name too, which counts");
        let value: Value = serde_json::from_str(&setting.value)?;
        match kind {
            SettingKind::Provider => {
                configured_provider::add_provider(
                    &mut self.providers,
                    &provider_settings(name, &value)?,
                    &self.key_env_rules,
                    before,
                )?;
            }
            SettingKind::Alias => {
                validate_alias_name(name)?;
                self.aliases.push((name.clone(), parse_alias(&value)?.to_owned()));
            }
            SettingKind::Price => self.prices.extend(parse_price(name, &value)?),
        }
        self.list_setting(kind, name, value, SettingSource::Store);
        Ok(())
    }

    fn has_setting(&self, kind: SettingKind, name: &str) -> bool {
        self.settings.iter().any(|(known, row)| *known == kind && row.name == name)
    }

    fn list_setting(&mut self, kind: SettingKind, name: &str, value: Value, source: SettingSource) {
        self.settings.push((kind, SettingEntry { name: name.to_owned(), value, source, disabled_reason: None }));
    }

    /// Lists a setting of the store that cannot be used, so that it can be seen and removed.
    fn list_disabled(&mut self, setting: Setting, reason: String) {
        let Some(kind) = SettingKind::ALL.into_iter().find(|kind| kind.as_str() == setting.kind) else { return };
        if self.has_setting(kind, &setting.name) {
            return;
        }
        let value = serde_json::from_str(&setting.value).unwrap_or(Value::String(setting.value));
        self.settings.push((
            kind,
            SettingEntry { name: setting.name, value, source: SettingSource::Store, disabled_reason: Some(reason) },
        ));
    }

    /// The routes to the local model, and to all providers whose models are known.
    ///
    /// # Errors
    /// An alias of the file that leads nowhere.
    pub fn routes(&self, local: &Router) -> Result<Router> {
        let mut routes = local.clone();
        routes.set_policy(self.file.gateway.routing);
        routes.expose_provider(self.file.gateway.expose_provider);
        routes.allow_overdraft(self.file.gateway.overdraft);
        for provider in &self.providers {
            provider.add_to_router(&mut routes);
        }
        let all_known = self.providers.iter().all(|provider| provider.models.is_some());
        for (alias, target) in &self.aliases {
            let from_file = self.file.aliases.contains_key(alias);
            if all_known && from_file {
                routes.add_alias(alias, target)?;
            } else {
                routes.alias_when_available(alias, target);
            }
        }
        Ok(routes)
    }
}

fn provider_settings(name: &str, value: &Value) -> Result<ProviderSettings> {
    let mut value = value.clone();
    ensure!(value.is_object(), "a provider is an object");
    ensure!(value.get("name").is_none_or(|own| own == name), "its `name` is another one");
    value["name"] = name.into();
    Ok(serde_json::from_value(value)?)
}

fn parse_alias(value: &Value) -> Result<&str> {
    value.as_str().filter(|target| !target.is_empty()).context("an alias is the id of a model, as text")
}

fn validate_alias_name(name: &str) -> Result<()> {
    ensure!(store::is_name(name), "{name:.64?} is no name of an alias: it has {}", store::NAME_RULE);
    Ok(())
}

fn parse_price(name: &str, value: &Value) -> Result<Prices> {
    ensure!(
        store::is_model_id(name),
        "{name:.64?} is no name of a price: `provider:model`, without control characters"
    );
    let (provider, model) = name.split_once(':').context("the name of a price is `provider:model`")?;
    Ok(Prices::from_fields(provider, model, value.clone())?)
}

/// The configuration of a server that runs.
pub struct ConfigReloader {
    gateway: Arc<Gateway>,
    local: Router,
    keys: Keyring,
    active: ArcSwap<ActiveConfig>,
    /// Known to the search for as long as the server runs.
    secrets: Mutex<Vec<Secret>>,
    /// Read again by one at a time.
    reload_lock: tokio::sync::Mutex<()>,
}

impl ConfigReloader {
    /// Watches over a server that runs with `in_force`, and asks its providers for their models.
    pub fn start(
        gateway: Arc<Gateway>,
        local: Router,
        keys: Keyring,
        active: ActiveConfig,
        hangup: HangupSignal,
    ) -> Arc<Self> {
        active.providers.iter().for_each(|provider| provider.start_polling(&gateway));
        let active = ArcSwap::from_pointee(active);
        let (secrets, reload_lock) = (Mutex::default(), tokio::sync::Mutex::default());
        let reloader = Arc::new(Self { gateway, local, keys, active, secrets, reload_lock });
        tokio::spawn(watch_for_changes(Arc::downgrade(&reloader), hangup));
        reloader
    }

    /// Keeps secrets out of what providers say for as long as the server runs.
    pub fn keep_secrets(&self, secrets: Vec<Secret>) {
        // A list is extended whole.
        let mut kept = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets {
            if !kept.contains(&secret) {
                kept.push(secret);
            }
        }
    }

    async fn reload_now(&self) -> Result<()> {
        let _reload_lock = self.reload_lock.lock().await;
        let now = self.active.load_full();
        let file = match &now.file.source {
            Some(path) => Config::load(Some(path))?,
            None => now.file.clone(),
        };
        let keys = serve::key_configs(&file)?;
        // Those of keys that the file names anew. The others cannot change while the server
        // runs, and are kept.
        let secrets = secrets::collect(&file, None, None);
        let next = ActiveConfig::load(file, self.gateway.accounting().store(), &now.providers).await?;
        self.gateway.reload(next.routes(&self.local)?, next.prices.clone());
        self.keys.replace(&keys);
        self.keep_secrets(secrets);
        let is_new = |provider: &&ConfiguredProvider| {
            !now.providers.iter().any(|old| Arc::ptr_eq(&old.upstream, &provider.upstream))
        };
        next.providers.iter().filter(is_new).for_each(|provider| provider.start_polling(&self.gateway));
        tracing::info!(providers = next.providers.len(), "configuration read again");
        self.active.store(Arc::new(next));
        Ok(())
    }
}

/// Reads again when the store's settings have changed, or on SIGHUP. Ends with the server.
async fn watch_for_changes(reloader: std::sync::Weak<ConfigReloader>, mut hangup: HangupSignal) {
    let mut failed = None;
    let mut identity = StoreIdentityWatch::default();
    loop {
        let requested = tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => false,
            () = hangup.received() => true,
        };
        let Some(reloader) = reloader.upgrade() else { return };
        let version = match reloader.gateway.accounting().store() {
            Some(store) => store.settings_version().await.ok(),
            None => None,
        };
        if let Some(store) = reloader.gateway.accounting().store() {
            identity.check(store).await;
        }
        // What could not be read is not read again before it has changed.
        let changed =
            version.is_some_and(|version| version != reloader.active.load().settings_version) && version != failed;
        if !requested && !changed {
            continue;
        }
        if let Err(error) = reloader.reload_now().await {
            failed = version;
            tracing::error!(
                error = crate::with_causes(&error),
                "the configuration cannot be used: the one before stays in force"
            );
        }
    }
}

/// Keeps `store-id` up to date with changes that other processes make in the database.
#[derive(Default)]
struct StoreIdentityWatch {
    logged: bool,
}

impl StoreIdentityWatch {
    async fn check(&mut self, store: &Store) {
        let fault = match store.sync_id_file().await {
            Ok(true) => return self.logged = false,
            Ok(false) => "the database is another or an older one than at the start: the keys known so far stay in force, restart the server".into(),
            // An unreachable store is logged by the task that refreshes the keys.
            Err(StoreError::Database(_)) => return,
            Err(error) => format!("changes of keys are not noted outside of the database: {error}"),
        };
        if !std::mem::replace(&mut self.logged, true) {
            tracing::error!("{fault}");
        }
    }
}

/// SIGHUP; never where there is none.
pub struct HangupSignal(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl HangupSignal {
    /// Catches it from now on.
    pub fn register() -> Self {
        #[cfg(unix)]
        {
            let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
            Self(signal.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be caught")).ok())
        }
        #[cfg(not(unix))]
        Self()
    }

    async fn received(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

impl ConfigController for ConfigReloader {
    fn config(&self) -> Value {
        let now = self.active.load();
        let Config { server, engine, cache, compat, store, .. } = &now.file;
        let keys: Vec<_> =
            server.keys.iter().map(|key| json!({"name": key.name, "models": key.models, "role": key.role})).collect();
        json!({
            "file": now.file.source,
            "server": {
                "listen": server.listen, "keys": keys, "hosts": server.hosts, "cors_origins": server.cors_origins,
                "grace_s": server.shutdown_grace_s, "stream_keepalive_s": server.stream_keepalive_s,
                "reply_keepalive_s": server.reply_keepalive_s,
            },
            "engine": {"queue": engine.queue, "max_running": engine.max_running, "batch_tokens": engine.batch_tokens, "seed": engine.seed},
            "cache": {"disk": cache.disk, "folder": cache.folder, "disk_bytes": cache.disk_bytes},
            "compat": {"profile": format!("{:?}", compat.profile).to_lowercase()},
            // Their URLs may hold passwords.
            "store": {"journal": store.journal, "shared_limits": store.redis.is_some() || store.redis_env.is_some()},
            "gateway": {
                "prices": now.file.gateway.prices, "routing": format!("{:?}", now.file.gateway.routing).to_lowercase(),
                "expose_provider": now.file.gateway.expose_provider, "overdraft": now.file.gateway.overdraft.to_string(), "key_envs": now.file.gateway.key_envs,
            },
        })
    }

    fn settings(&self, kind: SettingKind) -> Vec<SettingEntry> {
        let now = self.active.load();
        now.settings.iter().filter(|(known, _)| *known == kind).map(|(_, row)| row.clone()).collect()
    }

    fn check(&self, kind: SettingKind, name: &str, value: &Value) -> Result<(), Error> {
        let checked = match kind {
            SettingKind::Provider => provider_settings(name, value).and_then(|settings| {
                configured_provider::add_provider(&mut Vec::new(), &settings, &self.active.load().key_env_rules, &[])
            }),
            SettingKind::Alias => parse_alias(value).and_then(|target| {
                validate_alias_name(name)?;
                let is_alias = self.active.load().aliases.iter().any(|(known, _)| known == name);
                ensure!(!self.gateway.has_model(name) || is_alias, "`{name}` is already the id of a model");
                ensure!(self.gateway.has_model(target), "`{target}` is no model here");
                Ok(())
            }),
            SettingKind::Price => parse_price(name, value).map(drop),
        };
        checked.map_err(|error| invalid_setting(&error))
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.reload_now().await.map_err(|error| invalid_setting(&error)) })
    }
}

/// A setting that cannot be used, as it is answered.
fn invalid_setting(error: &anyhow::Error) -> Error {
    let code = error.downcast_ref::<KeyEnvError>().map(|_| "key_env_not_allowed");
    Error { code, ..Error::invalid(crate::with_causes(error)) }
}
