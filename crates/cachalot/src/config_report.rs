//! The configuration in force, as `GET /admin/config` shows it: each setting with its origin.

use serde_json::{Map, Value, json};
use server::admin::{SettingEntry, SettingKind, SettingSource};

use crate::active_config::ActiveConfig;
use crate::config::{Config, SecretText};

/// The settings that a reload of the file changes. All others are read at the start only.
const RELOADED: [&str; 6] = [
    "server.keys",
    "gateway.routing",
    "gateway.expose_provider",
    "gateway.overdraft",
    "gateway.prices",
    "gateway.key_envs",
];

/// Reports the configuration of a server that was started with `started`. Secrets are left out.
///
/// # Errors
/// A setting that cannot be written as JSON.
pub(crate) fn report(started: &Config, active: &ActiveConfig) -> serde_json::Result<Value> {
    let file = active.file.file.as_ref();
    let mut report = json!({"file": file.map(|file| json!({"path": file.path.to_string_lossy(), "read_at": file.read_at.div_euclid(1_000_000)}))});
    let (at_start, now) = (serde_json::to_value(started)?, serde_json::to_value(&active.file)?);
    for (section, settings) in at_start.as_object().into_iter().flatten() {
        let settings = settings.as_object().into_iter().flatten();
        let entries = settings.map(|(name, value)| {
            let setting = format!("{section}.{name}");
            (name.clone(), setting_json(&setting, started, value, &active.file, &now[section][name]))
        });
        report[section] = Value::Object(entries.collect());
    }
    for (section, kind) in [("providers", SettingKind::Provider), ("aliases", SettingKind::Alias)] {
        let entries = active.settings(kind).into_iter().map(|entry| (entry.name.clone(), entry_json(entry)));
        report[section] = Value::Object(entries.collect::<Map<_, _>>());
    }
    Ok(report)
}

/// A setting with the values that it had at the start and has in the file that was read last.
fn setting_json(setting: &str, started: &Config, at_start: &Value, file: &Config, now: &Value) -> Value {
    if RELOADED.contains(&setting) {
        return json!({"value": now, "from": origin(file, setting), "at_start": false});
    }
    // Values of environment variables are not shown: addresses may contain a password.
    let shown = |value: &Value, config| match is_from_environment(config, setting) {
        true => json!(SecretText::SET),
        false => value.clone(),
    };
    let mut json = json!({"value": shown(at_start, started), "from": origin(started, setting), "at_start": true});
    if now != at_start || secret(started, setting) != secret(file, setting) {
        json["next"] = shown(now, file);
    }
    json
}

/// The secret of a setting, all of which look the same as JSON.
fn secret<'a>(config: &'a Config, setting: &str) -> Option<&'a SecretText> {
    match setting {
        "store.url" => config.store.url.as_ref(),
        "store.redis" => config.store.redis.as_ref(),
        _ => None,
    }
}

/// The place that sets a setting.
fn origin(config: &Config, setting: &str) -> &'static str {
    if config.switches.has(setting) {
        "command line"
    } else if config.file.as_ref().is_some_and(|file| file.has(setting)) {
        "file"
    } else if is_from_environment(config, setting) {
        "environment"
    } else {
        "default"
    }
}

/// Whether a setting that neither the command line nor the file has is in the environment.
fn is_from_environment(config: &Config, setting: &str) -> bool {
    match setting {
        "store.url" => config.store.url.is_none() && config.store.url_env.is_some(),
        "store.redis" => config.store.redis.is_none() && config.store.redis_env.is_some(),
        "telemetry.otlp" => config.telemetry.otlp.is_none() && gateway::Telemetry::is_in_environment(),
        _ => false,
    }
}

/// A provider or an alias.
fn entry_json(entry: SettingEntry) -> Value {
    let from = match entry.source {
        SettingSource::File => "file",
        SettingSource::Store => "store",
    };
    json!({"value": entry.value, "from": from, "at_start": false})
}
