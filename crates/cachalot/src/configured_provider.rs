//! A provider of the configuration: its upstream, and the polling of its models and metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gateway::{Gateway, Router, RoutingPreference, Secret, Upstream, UpstreamConfig, UpstreamModel};
use parking_lot::Mutex;
use url::{Host, Url};
use wire::model_rules::ModelRow;

use crate::builtin_providers::{BuiltinProvider, CloudService, builtin_providers};
use crate::cloud_service::{ACCESS_KEY_ENV, read_key, service_of};
use crate::config::{Config, ProviderSettings};
use crate::key_env_rules::KeyEnvRules;
use crate::suggestion::nearest;

/// Time between two requests for a provider's list of models, and the time after a failed one.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(600);
const DISCOVERY_RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Time between two requests for an engine's metrics, and the time after a failed one.
const METRICS_INTERVAL: Duration = Duration::from_secs(2);
const METRICS_RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// A provider of the configuration, ready for requests.
#[derive(Clone, Debug)]
pub struct ConfiguredProvider {
    pub upstream: Arc<Upstream>,
    pub preference: RoutingPreference,
    /// The models that the configuration names; `None` for those of the provider's own list.
    pub models: Option<Vec<String>>,
    /// The provider's own list, as it was received last.
    discovered_models: Arc<Mutex<Vec<String>>>,
    /// The reason why the last request for that list failed.
    discovery_error: Arc<Mutex<Option<String>>>,
    settings: ProviderSettings,
    key: Option<Secret>,
}

/// An environment variable with the API key of a provider that is not set.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable `{0}` is not set")]
pub struct MissingKeyError(String);

/// The providers of the configuration file.
///
/// # Errors
/// An unknown name without a `base_url`, a key that is not set, a `base_url` that cannot be used.
pub fn configured(config: &Config) -> Result<Vec<ConfiguredProvider>> {
    let rules = key_env_rules(config)?;
    let mut providers = Vec::new();
    for settings in &config.providers {
        add_provider(&mut providers, settings, &rules, &[])?;
    }
    Ok(providers)
}

/// The rules for which environment variable may be sent to which base URL.
///
/// # Errors
/// An entry of `key_envs` that cannot be used.
pub fn key_env_rules(config: &Config) -> Result<KeyEnvRules> {
    let allowed = |builtin: &'static BuiltinProvider| Some((builtin.key_env.as_deref()?, builtin.base_url.as_str()));
    // The addresses of clouds are those of this file.
    let of_cloud = config.providers.iter().flat_map(|settings| {
        let builtin = preset_of(settings).filter(|builtin| builtin.service.is_some());
        let service = settings.service.or(builtin.and_then(|builtin| builtin.service));
        let variables = [
            builtin.and_then(|builtin| builtin.key_env.as_deref()),
            settings.access_key_env.as_deref().or((service == Some(CloudService::Bedrock)).then_some(ACCESS_KEY_ENV)),
            settings.session_token_env.as_deref(),
        ];
        variables.into_iter().flatten().filter_map(|variable| Some((variable, settings.base_url.as_deref()?)))
    });
    KeyEnvRules::from_config(config, builtin_providers().iter().filter_map(allowed).chain(of_cloud))
}

/// Adds a provider: the one of `previous` with the same settings and the same key, which keeps its
/// connections, else a new one.
///
/// # Errors
/// As [`configured`]; a name that another one of `providers` has.
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
        "two providers are called `{}`: give one another `name`, and `preset` for the built-in provider it is an instance of",
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
    validate_names(settings)?;
    let preset = preset_of(settings);
    let Some(base_url) = settings.base_url.as_ref().or(preset.map(|builtin| &builtin.base_url)) else {
        let name = settings.preset.as_ref().unwrap_or(&settings.name);
        let near = nearest(name, builtin_providers().iter().map(|builtin| builtin.name.as_str()));
        let near = near.map_or(String::new(), |near| format!("did you mean `{near}`? Otherwise "));
        bail!(
            "no such provider is built in (`cachalot provider list` shows them): {near}give its `base_url` and `dialect`"
        );
    };
    if let Some(builtin) = preset.filter(|builtin| builtin.service.is_some() && settings.base_url.is_none()) {
        bail!("give its `base_url`: `{}`, with your names for those in capitals", builtin.base_url);
    }
    let service = settings.service.or(preset.and_then(|builtin| builtin.service));
    let dialect = settings.dialect.or(preset.map(|builtin| builtin.dialect)).context("its `dialect` is missing")?;
    let key = match settings.key_env.as_ref().or(preset.and_then(|builtin| builtin.key_env.as_ref())) {
        Some(variable) => {
            // Checked before the variable is read: the error must not reveal whether it is set.
            rules.check(variable, base_url)?;
            let key = std::env::var(variable).ok().filter(|key| !key.trim().is_empty());
            let key = key.ok_or_else(|| MissingKeyError(variable.clone()))?;
            Some(Secret::new(read_key(service, key.trim())?.trim()))
        }
        None => None,
    };
    if let Some(same) = previous.iter().find(|other| other.settings == *settings && other.key == key) {
        return Ok(same.clone());
    }
    let private = settings.private.unwrap_or_else(|| preset.is_some_and(|builtin| builtin.private));
    let metrics = settings.metrics.as_ref().or(preset.and_then(|builtin| builtin.metrics.as_ref()));
    let read_variable = |variable: &str| {
        rules.check(variable, base_url)?;
        let value = std::env::var(variable).ok().filter(|value| !value.trim().is_empty());
        Ok(Secret::new(value.ok_or_else(|| MissingKeyError(variable.to_owned()))?.trim()))
    };
    let cloud = service_of(settings, service, key.as_ref(), private, base_url, read_variable)?;
    let config = UpstreamConfig {
        name: settings.name.clone(),
        preset: preset.map(|builtin| builtin.name.clone()),
        base_url: base_url.clone(),
        dialect,
        // The keys of the other clouds sign, and are never sent.
        key: key.clone().filter(|_| matches!(service, None | Some(CloudService::Azure))),
        private,
        metrics: metrics.filter(|path| !path.is_empty()).cloned(),
    };
    let preference = RoutingPreference { priority: settings.priority, weight: settings.weight };
    ensure!(preference.weight > 0, "`weight` is at least 1");
    let body_row = ModelRow { set: settings.set.clone(), drop: settings.drop.clone(), ..ModelRow::default() };
    let upstream =
        Upstream::new(config)?.with_headers(&settings.headers)?.with_query(&settings.query)?.with_body_row(body_row)?;
    let upstream = match cloud {
        Some(service) => upstream.with_service(service)?,
        None => upstream,
    };
    let upstream = match settings.timeout_s {
        Some(seconds @ 1..=3600) => upstream.with_first_byte_timeout(Duration::from_secs(seconds)),
        Some(seconds) => bail!("`timeout_s` takes 1 to 3600 seconds, not {seconds}"),
        None => upstream,
    };
    Ok(ConfiguredProvider {
        upstream: Arc::new(upstream),
        preference,
        models: settings.models.clone(),
        discovered_models: Arc::default(),
        discovery_error: Arc::default(),
        settings: settings.clone(),
        key,
    })
}

/// The built-in provider that a block names.
fn preset_of(settings: &ProviderSettings) -> Option<&'static BuiltinProvider> {
    let name = settings.preset.as_ref().unwrap_or(&settings.name);
    builtin_providers().iter().find(|builtin| builtin.name == *name)
}

/// Checks the name of a provider and the ids of its models.
fn validate_names(settings: &ProviderSettings) -> Result<()> {
    let name = &settings.name;
    ensure!(
        name != gateway::LOCAL && !name.contains(['/', ' ']) && store::is_name(name),
        "a provider's name has {}; it contains neither a slash nor a space, and `local` is the local engine",
        store::NAME_RULE
    );
    let mut ids = settings.models.iter().flatten().chain(settings.rename.values());
    if let Some(invalid) = ids.find(|id| !store::is_model_id(id)) {
        bail!("{invalid:.64?} is not a valid model id");
    }
    if let Some(invalid) = settings.rename.keys().find(|id| !store::is_name(id)) {
        bail!("{invalid:.64?} in `rename` is not a valid id: it has {}", store::NAME_RULE);
    }
    Ok(())
}

impl ConfiguredProvider {
    /// Whether requests to the provider would come back to a server that listens on `address`, as
    /// those to an engine on the usual port do when this server has it.
    pub(crate) fn is_served_at(&self, address: SocketAddr) -> bool {
        let preset = preset_of(&self.settings);
        let base_url = self.settings.base_url.as_ref().or(preset.map(|builtin| &builtin.base_url));
        let Some(url) = base_url.and_then(|url| Url::parse(url).ok()) else { return false };
        let is_own_host = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback() || ip == address.ip(),
            Some(Host::Ipv6(ip)) => ip.is_loopback() || ip == address.ip(),
            None => false,
        };
        is_own_host && url.port_or_known_default() == Some(address.port())
    }

    /// Adds the models that the configuration names, else those that were discovered last.
    pub fn add_to_router(&self, router: &mut Router) {
        let models = self.models.clone().unwrap_or_else(|| self.discovered_models.lock().clone());
        let is_undiscovered = self.models.is_none() && models.is_empty();
        router.add_upstream(&self.upstream, &upstream_models(models, &self.settings.rename), self.preference);
        if is_undiscovered {
            router.await_models(self.upstream.name());
        }
    }

    /// The reason why its models could not be listed; `None` since they could.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.discovery_error.lock().clone()
    }

    /// Polls its models and metrics for as long as the provider is part of the configuration.
    pub fn start_polling(&self, gateway: &Arc<Gateway>) {
        self.discover_models(gateway);
        if self.upstream.has_metrics() {
            tokio::spawn(poll_metrics(Arc::downgrade(&self.upstream)));
        }
    }

    /// Requests the provider's list of models and adds them to the routes, again and again. Does
    /// nothing where the configuration names the models.
    fn discover_models(&self, gateway: &Arc<Gateway>) {
        if self.models.is_some() {
            return;
        }
        let provider = self.clone();
        let upstream = Arc::downgrade(&provider.upstream);
        let gateway = Arc::downgrade(gateway);
        let ConfiguredProvider { preference, discovered_models, discovery_error, settings, .. } = provider;
        tokio::spawn(async move {
            loop {
                let Some(polled) = upstream.upgrade() else { return };
                let models = polled.models().await;
                drop(polled);
                // The provider may have been removed meanwhile.
                let (Some(gateway), Some(upstream)) = (gateway.upgrade(), upstream.upgrade()) else { return };
                let pause = match models {
                    Ok(models) => {
                        tracing::info!(provider = &**upstream.name(), models = models.len(), "models discovered");
                        *discovery_error.lock() = None;
                        // Stored first: a router that is built meanwhile has them too.
                        discovered_models.lock().clone_from(&models);
                        gateway.add_upstream(&upstream, &upstream_models(models, &settings.rename), preference);
                        DISCOVERY_INTERVAL
                    }
                    Err(error) => {
                        tracing::warn!(provider = &**upstream.name(), %error, "failed to list the provider's models");
                        *discovery_error.lock() = Some(error.to_string());
                        DISCOVERY_RETRY_INTERVAL
                    }
                };
                drop((gateway, upstream));
                tokio::time::sleep(pause).await;
            }
        });
    }
}

/// The offered models: those under the provider's own ids, and those that `rename` gives an id.
fn upstream_models(models: Vec<String>, rename: &BTreeMap<String, String>) -> Vec<UpstreamModel> {
    let renamed = rename.iter().map(|(id, name)| UpstreamModel { id: id.clone(), upstream_name: name.clone() });
    models.into_iter().filter(|model| !rename.contains_key(model)).map(UpstreamModel::from).chain(renamed).collect()
}

/// Requests an engine's metrics for as long as it is part of the configuration.
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
                    tracing::warn!(
                        provider = &**engine.name(), %error,
                        "engine metrics unavailable; routing uses only requests sent by this gateway"
                    );
                }
                METRICS_RETRY_INTERVAL
            }
        };
        drop(engine);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
