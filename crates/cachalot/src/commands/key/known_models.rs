//! A note about model ids of a key that no model has: a mistyped id would refuse every request.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;
use store::{Limits, Store};

use crate::config::Config;
use crate::suggestion::did_you_mean;

/// The ids of the local model, whichever it is.
const LOCAL_IDS: [&str; 4] = ["deepseek-chat", "deepseek-reasoner", "deepseek-v3.2-exp", "DeepSeek-V3.2-Exp-thinking"];

/// Prints a note about each id of `limits` that neither the configuration nor the store names.
///
/// # Errors
/// A store that cannot be read.
pub(super) async fn warn_of_unknown(store: &Store, config: &Config, limits: &Limits) -> Result<()> {
    let Some(models) = &limits.models else { return Ok(()) };
    let known = known_ids(config, &store.settings().await?.1);
    for model in models.iter().filter(|model| !known.has(model)) {
        let near = did_you_mean(model, known.ids.iter().map(String::as_str));
        let certainty = if known.is_complete { "no model has the id" } else { "no known model has the id" };
        eprintln!("note: {certainty} `{model}`{near}");
    }
    Ok(())
}

/// The ids that are known without a running server.
struct KnownIds {
    ids: BTreeSet<String>,
    /// Providers whose models only their own lists name.
    open_providers: Vec<String>,
    is_complete: bool,
}

impl KnownIds {
    fn has(&self, model: &str) -> bool {
        let is_open = |provider: &String| model.strip_prefix(provider.as_str()).is_some_and(|id| id.starts_with('/'));
        self.ids.contains(model) || self.open_providers.iter().any(is_open)
    }
}

fn known_ids(config: &Config, settings: &[store::Setting]) -> KnownIds {
    let mut ids: BTreeSet<String> = LOCAL_IDS.iter().map(|id| (*id).to_owned()).collect();
    let model = config.engine.model.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    ids.extend(model.map(|name| name.into_owned()));
    ids.extend(["fixture".to_owned(), "minnow".to_owned()]);
    ids.extend(config.aliases.keys().cloned());
    let mut providers: Vec<(String, Option<Vec<String>>, Vec<String>)> = Vec::new();
    for provider in &config.providers {
        providers.push((provider.name.clone(), provider.models.clone(), provider.rename.keys().cloned().collect()));
    }
    for setting in settings {
        match setting.kind.as_str() {
            "alias" => _ = ids.insert(setting.name.clone()),
            "provider" => {
                let value: Value = serde_json::from_str(&setting.value).unwrap_or_default();
                let models = serde_json::from_value(value["models"].clone()).unwrap_or_default();
                let renamed = value["rename"].as_object().map(|rename| rename.keys().cloned().collect());
                providers.push((setting.name.clone(), models, renamed.unwrap_or_default()));
            }
            _ => {}
        }
    }
    let mut open_providers = Vec::new();
    for (name, models, renamed) in providers {
        if models.is_none() {
            open_providers.push(name.clone());
        }
        for model in models.into_iter().flatten().chain(renamed) {
            ids.insert(format!("{name}/{model}"));
            ids.insert(model);
        }
    }
    let is_complete = open_providers.is_empty();
    KnownIds { ids, open_providers, is_complete }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_file_and_the_store_are_known() {
        let text =
            "[aliases]\nfast = 'deepseek-chat'\n[[providers]]\nname = 'acme'\nmodels = ['m']\nrename = { n = 'm' }";
        let config: Config = toml::from_str(text).unwrap();
        let setting = |kind: &str, name: &str, value: &str| store::Setting {
            kind: kind.into(),
            name: name.into(),
            value: value.into(),
        };
        let known = known_ids(&config, &[setting("alias", "slow", "\"m\"")]);
        for id in ["deepseek-chat", "fast", "slow", "m", "n", "acme/m"] {
            assert!(known.has(id), "{id}");
        }
        assert!(known.is_complete && !known.has("deepseek-chta") && !known.has("acme/x"));
        let open = known_ids(&config, &[setting("provider", "openai", "{}")]);
        assert!(!open.is_complete && open.has("openai/anything") && !open.has("anything"));
    }
}
