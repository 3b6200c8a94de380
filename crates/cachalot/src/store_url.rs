//! The URLs of the store and of Redis, as the configuration and the environment name them.

use anyhow::{Context, Result, bail};

use crate::config::{Config, SecretText};
use crate::paths::user_data_folder;

/// The URL of the store; `None` when it is off.
///
/// # Errors
/// Settings that contradict each other, a variable or a folder that is not set.
pub(crate) fn store_url(config: &Config) -> Result<Option<String>> {
    let url = match value_or_env("url", &config.store.url, &config.store.url_env)? {
        Some(url) => url,
        None => format!("sqlite:{}", user_data_folder()?.join("cachalot.db").display()),
    };
    Ok((url != "off").then_some(url))
}

/// The URL of the Redis that holds the limits several servers share; `None` where each server
/// counts by itself.
///
/// # Errors
/// Settings that contradict each other, a variable that is not set.
pub(crate) fn redis_url(config: &Config) -> Result<Option<String>> {
    value_or_env("redis", &config.store.redis, &config.store.redis_env)
}

/// The value of a setting of `[store]`, or of the environment variable that `{setting}_env` names.
fn value_or_env(setting: &str, value: &Option<SecretText>, variable: &Option<String>) -> Result<Option<String>> {
    match (value, variable) {
        (Some(_), Some(_)) => bail!("[store] takes either `{setting}` or `{setting}_env`"),
        (None, Some(variable)) => std::env::var(variable)
            .map(Some)
            .with_context(|| format!("[store] {setting}_env: the environment variable `{variable}` is not set")),
        (value, None) => Ok(value.as_ref().map(|value| value.expose().to_owned())),
    }
}

/// The URL with `***` in place of user and password.
pub(crate) fn redact_credentials(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(from), Some(to)) if from < to => format!("{}***{}", &url[..from + 2], &url[to..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secret() {
        assert_eq!(redact_credentials("postgres://me:secret@host/db"), "postgres://***@host/db");
        assert_eq!(redact_credentials("postgres://me:se@cret@host/db"), "postgres://***@host/db");
        assert_eq!(redact_credentials("sqlite:/a/b.db"), "sqlite:/a/b.db");
    }
}
