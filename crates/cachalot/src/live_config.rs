//! Reloads the configuration of a running server: on SIGHUP, on request of the admin API, and when
//! another server changes the settings in the store.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Result;
use arc_swap::ArcSwap;
use chat::{BoxFuture, Error};
use gateway::{Gateway, ProviderTest, Router, Secret};
use parking_lot::Mutex;
use serde_json::Value;
use server::Keyring;
use server::admin::{ConfigController, SettingEntry, SettingKind};
use store::{Store, StoreError};

use crate::active_config::ActiveConfig;
use crate::config::Config;
use crate::config_report;
use crate::configured_provider::ConfiguredProvider;
use crate::hangup_signal::HangupSignal;
use crate::key_config::key_configs;
use crate::key_env_rules::KeyEnvError;
use crate::secrets;

/// Time between two checks whether the settings in the store have changed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The configuration of a running server.
pub struct ConfigReloader {
    gateway: Arc<Gateway>,
    local: Router,
    keys: Keyring,
    /// The configuration at the start, whose settings of the engine and the like are in force until
    /// the end.
    started_with: Config,
    active: ArcSwap<ActiveConfig>,
    /// Secrets that are redacted in the messages of providers for as long as the server runs.
    secrets: Mutex<Vec<Secret>>,
    /// Held during a reload: one at a time.
    reload_lock: tokio::sync::Mutex<()>,
}

impl ConfigReloader {
    /// Starts to watch for changes of the `active` configuration, and to poll its providers.
    pub fn start(
        gateway: Arc<Gateway>,
        local: Router,
        keys: Keyring,
        active: ActiveConfig,
        hangup: HangupSignal,
    ) -> Arc<Self> {
        active.providers.iter().for_each(|provider| provider.start_polling(&gateway));
        let reloader = Arc::new(Self {
            gateway,
            local,
            keys,
            started_with: active.file.clone(),
            active: ArcSwap::from_pointee(active),
            secrets: Mutex::default(),
            reload_lock: tokio::sync::Mutex::default(),
        });
        tokio::spawn(watch_for_changes(Arc::downgrade(&reloader), hangup));
        reloader
    }

    /// Redacts these secrets in the messages of providers for as long as the server runs.
    pub fn keep_secrets(&self, secrets: Vec<Secret>) {
        let mut kept = self.secrets.lock();
        for secret in secrets {
            if !kept.contains(&secret) {
                kept.push(secret);
            }
        }
    }

    async fn reload_now(&self) -> Result<()> {
        let _reload_lock = self.reload_lock.lock().await;
        let now = self.active.load_full();
        let file = match &now.file.file {
            Some(file) => Config::load(Some(&file.path))?.with_switches(now.file.switches.clone()),
            None => now.file.clone(),
        };
        let keys = key_configs(&file)?;
        // The keys of the file may have changed. The other secrets stay the same while the server
        // runs, and are kept already.
        let secrets = secrets::collect(&file, None);
        let next = ActiveConfig::load(file, self.gateway.accounting().store(), &now.providers).await?;
        self.gateway.reload(next.routes(&self.local)?, next.prices.clone());
        self.keys.replace(&keys);
        self.keep_secrets(secrets);
        let is_new = |provider: &&ConfiguredProvider| {
            !now.providers.iter().any(|old| Arc::ptr_eq(&old.upstream, &provider.upstream))
        };
        next.providers.iter().filter(is_new).for_each(|provider| provider.start_polling(&self.gateway));
        tracing::info!(providers = next.providers.len(), "configuration reloaded");
        self.active.store(Arc::new(next));
        Ok(())
    }
}

/// Reloads when the settings in the store have changed, or on SIGHUP. Ends with the server.
async fn watch_for_changes(reloader: Weak<ConfigReloader>, mut hangup: HangupSignal) {
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
        // Settings that could not be loaded are not tried again before they change.
        let changed =
            version.is_some_and(|version| version != reloader.active.load().settings_version) && version != failed;
        if !requested && !changed {
            continue;
        }
        if let Err(error) = reloader.reload_now().await {
            failed = version;
            tracing::error!(
                error = crate::with_causes(&error),
                "failed to reload the configuration; the previous one stays active"
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
            Ok(false) => "the database is another or an older one than at the start: the keys known so far stay valid, restart the server".into(),
            // An unreachable store is logged by the task that refreshes the keys.
            Err(StoreError::Database(_)) => return,
            Err(error) => format!("failed to record changes of keys outside of the database: {error}"),
        };
        if !std::mem::replace(&mut self.logged, true) {
            tracing::error!("{fault}");
        }
    }
}

impl ConfigController for ConfigReloader {
    fn config(&self) -> Result<Value, Error> {
        config_report::report(&self.started_with, &self.active.load())
            .map_err(|error| Error::internal(format!("the configuration cannot be shown: {error}")))
    }

    fn settings(&self, kind: SettingKind) -> Vec<SettingEntry> {
        self.active.load().settings(kind)
    }

    fn check(&self, kind: SettingKind, name: &str, value: &Value) -> Result<(), Error> {
        if kind == SettingKind::Provider && value.get("preset").is_some() {
            return Err(Error::invalid(
                "The admin API has no field `preset`: it uses the former name, which /admin/openapi.json lists",
            ));
        }
        let checked = self.active.load().check(kind, name, value, |id| self.gateway.has_model(id));
        checked.map_err(|error| invalid_setting(&error))
    }

    fn reload(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.reload_now().await.map_err(|error| invalid_setting(&error)) })
    }

    fn test_provider(&self, name: String) -> BoxFuture<'_, Result<ProviderTest, Error>> {
        let active = self.active.load_full();
        Box::pin(async move { active.test_provider(&name).await })
    }
}

/// The error response for a setting that is not valid.
fn invalid_setting(error: &anyhow::Error) -> Error {
    let code = error.downcast_ref::<KeyEnvError>().map(|_| "key_env_not_allowed");
    Error { code, ..Error::invalid(crate::with_causes(error)) }
}
