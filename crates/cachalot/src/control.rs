//! The configuration in force: the file and what the admin API keeps in the store, read again while the server runs. A name
//! that both have is the file's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arc_swap::ArcSwap;
use chat::{BoxFuture, Error};
use gateway::{Gateway, Prices, Router, Secret};
use serde_json::{Value, json};
use server::Keyring;
use server::admin::{Control, Kind, Origin, Row};
use store::{Setting, Store, StoreError};

use crate::config::{Config, ProviderSettings};
use crate::key_env::{KeyEnvs, NotAllowed};
use crate::provider::{self, Provider};
use crate::{books, secrets, serve};

/// How often the store is asked whether settings have changed.
const WATCH: Duration = Duration::from_secs(1);

/// Providers, aliases and prices of file and store together.
#[derive(Default)]
pub struct InForce {
    file: Config,
    settings: Vec<(Kind, Row)>,
    rules: KeyEnvs,
    pub providers: Vec<Provider>,
    aliases: Vec<(String, String)>,
    pub prices: Prices,
    /// Of the store's settings.
    version: i64,
}

impl InForce {
    /// Reads the store's settings and judges all. Providers that were `before` as they are now stay the same, with their connections.
    ///
    /// # Errors
    /// What is wrong with the file, a store that cannot be asked. What is wrong with a setting of the store is told in the log, and
    /// that setting is left out.
    pub async fn read(file: Config, store: Option<&Store>, before: &[Provider]) -> Result<Self> {
        let (version, stored) = match store {
            Some(store) => store.settings().await?,
            None => (0, Vec::new()),
        };
        let rules = provider::key_envs(&file)?;
        let mut in_force = Self { version, rules, prices: books::prices(&file)?, ..Self::default() };
        for settings in &file.providers {
            provider::add(&mut in_force.providers, settings, &in_force.rules, before)?;
            in_force.note(Kind::Provider, &settings.name, json!(settings), Origin::File);
        }
        for (alias, target) in &file.aliases {
            alias_name(alias).context("[aliases]")?;
            in_force.aliases.push((alias.clone(), target.clone()));
            in_force.note(Kind::Alias, alias, json!(target), Origin::File);
        }
        for setting in stored {
            if let Err(error) = in_force.stored(&setting, before) {
                tracing::error!(
                    kind = setting.kind,
                    name = setting.name,
                    error = format!("{error:#}"),
                    "a setting of the store is disabled"
                );
                in_force.disabled(setting, format!("{error:#}"));
            }
        }
        in_force.file = file;
        Ok(in_force)
    }

    fn stored(&mut self, setting: &Setting, before: &[Provider]) -> Result<()> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == setting.kind);
        let kind = kind.context("a later version has written it")?;
        let name = &setting.name;
        ensure!(!self.has(kind, name), "the configuration file has one of this name too, which counts");
        let value: Value = serde_json::from_str(&setting.value)?;
        match kind {
            Kind::Provider => {
                provider::add(&mut self.providers, &provider_settings(name, &value)?, &self.rules, before)?;
            }
            Kind::Alias => {
                alias_name(name)?;
                self.aliases.push((name.clone(), alias(&value)?.to_owned()));
            }
            Kind::Price => self.prices.extend(price(name, &value)?),
        }
        self.note(kind, name, value, Origin::Store);
        Ok(())
    }

    fn has(&self, kind: Kind, name: &str) -> bool {
        self.settings.iter().any(|(known, row)| *known == kind && row.name == name)
    }

    fn note(&mut self, kind: Kind, name: &str, value: Value, origin: Origin) {
        self.settings.push((kind, Row { name: name.to_owned(), value, origin, disabled: None }));
    }

    /// Lists a setting of the store that cannot be used, so that it can be seen and removed.
    fn disabled(&mut self, setting: Setting, reason: String) {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == setting.kind) else { return };
        if self.has(kind, &setting.name) {
            return;
        }
        let value = serde_json::from_str(&setting.value).unwrap_or(Value::String(setting.value));
        self.settings.push((kind, Row { name: setting.name, value, origin: Origin::Store, disabled: Some(reason) }));
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
            provider.add_to(&mut routes);
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

fn alias(value: &Value) -> Result<&str> {
    value.as_str().filter(|target| !target.is_empty()).context("an alias is the id of a model, as text")
}

fn alias_name(name: &str) -> Result<()> {
    ensure!(store::is_name(name), "{name:.64?} is no name of an alias: it has {}", store::NAME_RULE);
    Ok(())
}

fn price(name: &str, value: &Value) -> Result<Prices> {
    ensure!(
        store::is_model_id(name),
        "{name:.64?} is no name of a price: `provider:model`, without control characters"
    );
    let (provider, model) = name.split_once(':').context("the name of a price is `provider:model`")?;
    Ok(Prices::from_fields(provider, model, value.clone())?)
}

/// The configuration of a server that runs.
pub struct Running {
    gateway: Arc<Gateway>,
    local: Router,
    keys: Keyring,
    in_force: ArcSwap<InForce>,
    /// Known to the search for as long as the server runs.
    secrets: Mutex<Vec<Secret>>,
    /// Read again by one at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Running {
    /// Watches over a server that runs with `in_force`, and asks its providers for their models.
    pub fn start(gateway: Arc<Gateway>, local: Router, keys: Keyring, in_force: InForce, hangup: Hangup) -> Arc<Self> {
        in_force.providers.iter().for_each(|provider| provider.watch(&gateway));
        let in_force = ArcSwap::from_pointee(in_force);
        let (secrets, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        let running = Arc::new(Self { gateway, local, keys, in_force, secrets, turn });
        tokio::spawn(watch(Arc::downgrade(&running), hangup));
        running
    }

    /// Keeps secrets out of what providers say for as long as the server runs.
    pub fn keep(&self, secrets: Vec<Secret>) {
        // A list is extended whole.
        let mut kept = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets {
            if !kept.contains(&secret) {
                kept.push(secret);
            }
        }
    }

    async fn read_again(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let now = self.in_force.load_full();
        let file = match &now.file.source {
            Some(path) => Config::load(Some(path))?,
            None => now.file.clone(),
        };
        let keys = serve::keys(&file)?;
        // Those of keys that the file names anew. The others cannot change while the server runs, and are kept.
        let secrets = secrets::of(&file, None, None);
        let next = InForce::read(file, self.gateway.accounting().store(), &now.providers).await?;
        self.gateway.reload(next.routes(&self.local)?, next.prices.clone());
        self.keys.replace(&keys);
        self.keep(secrets);
        let is_new =
            |provider: &&Provider| !now.providers.iter().any(|old| Arc::ptr_eq(&old.upstream, &provider.upstream));
        next.providers.iter().filter(is_new).for_each(|provider| provider.watch(&self.gateway));
        tracing::info!(providers = next.providers.len(), "configuration read again");
        self.in_force.store(Arc::new(next));
        Ok(())
    }
}

/// Reads again when the store's settings have changed, or on SIGHUP. Ends with the server.
async fn watch(running: std::sync::Weak<Running>, mut hangup: Hangup) {
    let mut failed = None;
    let mut identity = IdentityWatch::default();
    loop {
        let asked = tokio::select! {
            () = tokio::time::sleep(WATCH) => false,
            () = hangup.came() => true,
        };
        let Some(running) = running.upgrade() else { return };
        let version = match running.gateway.accounting().store() {
            Some(store) => store.settings_version().await.ok(),
            None => None,
        };
        if let Some(store) = running.gateway.accounting().store() {
            identity.follow(store).await;
        }
        // What could not be read is not read again before it has changed.
        let changed = version.is_some_and(|version| version != running.in_force.load().version) && version != failed;
        if !asked && !changed {
            continue;
        }
        if let Err(error) = running.read_again().await {
            failed = version;
            tracing::error!(
                error = format!("{error:#}"),
                "the configuration cannot be used: the one before stays in force"
            );
        }
    }
}

/// Keeps `store-id` up to date with changes that other processes make in the database.
#[derive(Default)]
struct IdentityWatch {
    told: bool,
}

impl IdentityWatch {
    async fn follow(&mut self, store: &Store) {
        let fault = match store.sync_id_file().await {
            Ok(true) => return self.told = false,
            Ok(false) => "the database is another or an older one than at the start: the keys known so far stay in force, restart the server".into(),
            // An unreachable store is logged by the task that refreshes the keys.
            Err(StoreError::Database(_)) => return,
            Err(error) => format!("changes of keys are not noted outside of the database: {error}"),
        };
        if !std::mem::replace(&mut self.told, true) {
            tracing::error!("{fault}");
        }
    }
}

/// SIGHUP; never where there is none.
pub struct Hangup(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Hangup {
    /// Catches it from now on.
    pub fn catch() -> Self {
        #[cfg(unix)]
        {
            let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
            Self(signal.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be caught")).ok())
        }
        #[cfg(not(unix))]
        Self()
    }

    async fn came(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

impl Control for Running {
    fn config(&self) -> Value {
        let now = self.in_force.load();
        let Config { server, engine, cache, compat, store, .. } = &now.file;
        let keys: Vec<_> =
            server.keys.iter().map(|key| json!({"name": key.name, "models": key.models, "role": key.role})).collect();
        json!({
            "file": now.file.source,
            "server": {
                "listen": server.listen, "keys": keys, "hosts": server.hosts, "cors_origins": server.cors_origins,
                "grace_s": server.grace_s, "stream_keepalive_s": server.stream_keepalive_s,
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

    fn settings(&self, kind: Kind) -> Vec<Row> {
        let now = self.in_force.load();
        now.settings.iter().filter(|(known, _)| *known == kind).map(|(_, row)| row.clone()).collect()
    }

    fn check(&self, kind: Kind, name: &str, value: &Value) -> Result<(), Error> {
        let checked = match kind {
            Kind::Provider => provider_settings(name, value)
                .and_then(|settings| provider::add(&mut Vec::new(), &settings, &self.in_force.load().rules, &[])),
            Kind::Alias => alias(value).and_then(|target| {
                alias_name(name)?;
                let is_alias = self.in_force.load().aliases.iter().any(|(known, _)| known == name);
                ensure!(!self.gateway.has_model(name) || is_alias, "`{name}` is already the id of a model");
                ensure!(self.gateway.has_model(target), "`{target}` is no model here");
                Ok(())
            }),
            Kind::Price => price(name, value).map(drop),
        };
        checked.map_err(|error| refusal(&error))
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.read_again().await.map_err(|error| refusal(&error)) })
    }
}

/// A setting that cannot be used, as it is answered.
fn refusal(error: &anyhow::Error) -> Error {
    let code = error.downcast_ref::<NotAllowed>().map(|_| "key_env_not_allowed");
    Error { code, ..Error::invalid(format!("{error:#}")) }
}
