//! The active configuration: the file together with the settings that the admin API keeps in the
//! store. Where both have a name, the file wins.

use anyhow::{Context, Result, ensure};
use chat::{Error, ErrorKind};
use gateway::{ModelRows, Prices, ProviderTest, Router};
use serde_json::{Value, json};
use server::admin::{SettingEntry, SettingKind, SettingSource};
use store::{Setting, Store};

use crate::config::{Config, ProviderSettings};
use crate::configured_provider::{self, ConfiguredProvider, MissingKeyError};
use crate::key_env_rules::KeyEnvRules;
use crate::prices;

/// Providers, aliases and prices of the file and the store.
#[derive(Default)]
pub struct ActiveConfig {
    pub(crate) file: Config,
    settings: Vec<(SettingKind, SettingEntry)>,
    key_env_rules: KeyEnvRules,
    pub providers: Vec<ConfiguredProvider>,
    aliases: Vec<(String, String)>,
    pub prices: Prices,
    model_rows: ModelRows,
    /// The version of the store's settings.
    pub(crate) settings_version: i64,
}

impl ActiveConfig {
    /// Combines the settings of the store with those of `file`. A provider that is unchanged since
    /// `previous` stays the same, with its connections.
    ///
    /// # Errors
    /// A setting that is not valid; a store that cannot be read.
    pub async fn load(file: Config, store: Option<&Store>, previous: &[ConfiguredProvider]) -> Result<Self> {
        let mut active = Self::from_file(file, previous)?;
        active.add_settings_of(store, previous).await?;
        Ok(active)
    }

    /// The settings of `file`. A provider whose key is not set is logged and disabled.
    ///
    /// # Errors
    /// A setting that is not valid.
    pub(crate) fn from_file(file: Config, previous: &[ConfiguredProvider]) -> Result<Self> {
        let key_env_rules = configured_provider::key_env_rules(&file)?;
        let prices = prices::load_prices(&file)?;
        let model_rows = ModelRows::with_configured(&file.models).context("[[models]]")?;
        let mut active = Self { key_env_rules, prices, model_rows, ..Self::default() };
        for settings in &file.providers {
            let added =
                configured_provider::add_provider(&mut active.providers, settings, &active.key_env_rules, previous);
            active.list_setting(SettingKind::Provider, &settings.name, json!(settings), SettingSource::File);
            match added {
                // The other providers, and the local model, do not need this key.
                Err(error) if error.is::<MissingKeyError>() => active.disable_last(crate::with_causes(&error)),
                added => added?,
            }
        }
        for (alias, target) in &file.aliases {
            validate_alias_name(alias).context("[aliases]")?;
            active.aliases.push((alias.clone(), target.clone()));
            active.list_setting(SettingKind::Alias, alias, json!(target), SettingSource::File);
        }
        active.file = file;
        Ok(active)
    }

    /// Adds the settings of the store. One that is not valid is logged and disabled.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub(crate) async fn add_settings_of(
        &mut self,
        store: Option<&Store>,
        previous: &[ConfiguredProvider],
    ) -> Result<()> {
        let Some(store) = store else { return Ok(()) };
        let (version, stored) = store.settings().await?;
        self.settings_version = version;
        for setting in stored {
            if let Err(error) = self.add_stored(&setting, previous) {
                let error = crate::with_causes(&error);
                tracing::error!(kind = setting.kind, name = setting.name, error, "stored setting disabled");
                self.list_disabled(setting, error);
            }
        }
        Ok(())
    }

    fn add_stored(&mut self, setting: &Setting, previous: &[ConfiguredProvider]) -> Result<()> {
        let kind = setting_kind(setting).context("it was written by a later version of cachalot")?;
        let name = &setting.name;
        ensure!(!self.has_setting(kind, name), "the configuration file has one of this name too, which wins");
        let value: Value = serde_json::from_str(&setting.value)?;
        match kind {
            SettingKind::Provider => {
                let settings = parse_provider(name, &value)?;
                configured_provider::add_provider(&mut self.providers, &settings, &self.key_env_rules, previous)?;
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
        self.settings.iter().any(|(known, entry)| *known == kind && entry.name == name)
    }

    fn list_setting(&mut self, kind: SettingKind, name: &str, value: Value, source: SettingSource) {
        self.settings.push((
            kind,
            SettingEntry { name: name.to_owned(), value, source, disabled_reason: None, last_error: None },
        ));
    }

    /// Disables the setting of the file that was listed last.
    fn disable_last(&mut self, reason: String) {
        tracing::warn!(reason, "provider disabled until its key is set and the server is restarted");
        if let Some((_, entry)) = self.settings.last_mut() {
            entry.disabled_reason = Some(reason);
        }
    }

    /// Lists a setting of the store that is disabled, so that an operator sees and removes it.
    fn list_disabled(&mut self, setting: Setting, reason: String) {
        let Some(kind) = setting_kind(&setting) else { return };
        if self.has_setting(kind, &setting.name) {
            return;
        }
        let value = serde_json::from_str(&setting.value).unwrap_or(Value::String(setting.value));
        self.settings.push((
            kind,
            SettingEntry {
                name: setting.name,
                value,
                source: SettingSource::Store,
                disabled_reason: Some(reason),
                last_error: None,
            },
        ));
    }

    /// All settings of a kind, in the order of file and store.
    pub(crate) fn settings(&self, kind: SettingKind) -> Vec<SettingEntry> {
        let of_kind = self.settings.iter().filter(|(known, _)| *known == kind).map(|(_, entry)| entry.clone());
        let is_provider = kind == SettingKind::Provider;
        of_kind
            .map(|entry| {
                let provider = self.providers.iter().find(|provider| **provider.upstream.name() == *entry.name);
                let last_error = provider.filter(|_| is_provider).and_then(ConfiguredProvider::last_error);
                SettingEntry { last_error, ..entry }
            })
            .collect()
    }

    /// Tests a provider. A disabled one is not called.
    ///
    /// # Errors
    /// `NotFound`; `RateLimited` while another test of it runs.
    pub(crate) async fn test_provider(&self, name: &str) -> Result<ProviderTest, Error> {
        let mut known = self.settings.iter().filter(|(kind, _)| *kind == SettingKind::Provider);
        let Some((_, entry)) = known.find(|(_, entry)| entry.name == name) else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no provider `{name:.64}`")));
        };
        let provider = self.providers.iter().find(|provider| **provider.upstream.name() == *name);
        match (provider, &entry.disabled_reason) {
            (Some(provider), None) => provider.upstream.test().await,
            (_, reason) => {
                Ok(ProviderTest::not_tested(name, reason.clone().unwrap_or_else(|| "it is disabled".into())))
            }
        }
    }

    /// The routes to the local model and to all providers whose models are known.
    ///
    /// # Errors
    /// An alias of the file whose target does not exist.
    pub fn routes(&self, local: &Router) -> Result<Router> {
        let mut router = local.clone();
        router.set_policy(self.file.gateway.routing);
        router.set_model_rows(self.model_rows.clone());
        router.expose_provider(self.file.gateway.expose_provider);
        router.allow_overdraft(self.file.gateway.overdraft);
        for provider in &self.providers {
            provider.add_to_router(&mut router);
        }
        let all_known = self.providers.iter().all(|provider| provider.models.is_some())
            && self.settings.iter().all(|(_, entry)| entry.disabled_reason.is_none());
        for (alias, target) in &self.aliases {
            let from_file = self.file.aliases.contains_key(alias);
            if all_known && from_file {
                router.add_alias(alias, target)?;
            } else {
                router.alias_when_available(alias, target);
            }
        }
        Ok(router)
    }

    /// Checks a setting that the admin API is about to store. `has_model` returns whether the
    /// gateway has a model or an alias of this id.
    ///
    /// # Errors
    /// A value or a name that is not valid.
    pub(crate) fn check(
        &self,
        kind: SettingKind,
        name: &str,
        value: &Value,
        has_model: impl Fn(&str) -> bool,
    ) -> Result<()> {
        match kind {
            SettingKind::Provider => {
                let settings = parse_provider(name, value)?;
                configured_provider::add_provider(&mut Vec::new(), &settings, &self.key_env_rules, &[])
            }
            SettingKind::Alias => {
                let target = parse_alias(value)?;
                validate_alias_name(name)?;
                let is_alias = self.aliases.iter().any(|(known, _)| known == name);
                ensure!(!has_model(name) || is_alias, "`{name}` is already the id of a model");
                ensure!(has_model(target), "`{target}` is not a model of this server");
                Ok(())
            }
            SettingKind::Price => parse_price(name, value).map(drop),
        }
    }
}

/// The kind of a stored setting; `None` for a kind that this version does not know.
fn setting_kind(setting: &Setting) -> Option<SettingKind> {
    SettingKind::ALL.into_iter().find(|kind| kind.as_str() == setting.kind)
}

fn parse_provider(name: &str, value: &Value) -> Result<ProviderSettings> {
    let mut value = value.clone();
    ensure!(value.is_object(), "a provider is an object");
    ensure!(value.get("name").is_none_or(|own| own == name), "its `name` differs from the name in the path");
    value["name"] = name.into();
    Ok(serde_json::from_value(value)?)
}

fn parse_alias(value: &Value) -> Result<&str> {
    value.as_str().filter(|target| !target.is_empty()).context("an alias is the id of a model, as text")
}

fn validate_alias_name(name: &str) -> Result<()> {
    ensure!(store::is_name(name), "{name:.64?} is not a valid name of an alias: it has {}", store::NAME_RULE);
    Ok(())
}

fn parse_price(name: &str, value: &Value) -> Result<Prices> {
    ensure!(
        store::is_model_id(name),
        "{name:.64?} is not a valid name of a price: `provider:model`, without control characters"
    );
    let (provider, model) = name.split_once(':').context("the name of a price is `provider:model`")?;
    Ok(Prices::from_fields(provider, model, value.clone())?)
}
