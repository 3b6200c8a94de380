//! The store and the prices, as the configuration and the command line name them.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail, ensure};
use gateway::{Accounting, AccountingError, BackgroundTasks, Prices, RedisLeases};
use store::{RestorePolicy, Store, StoreOptions};

use crate::config::Config;
use crate::data_folder::{self, DataFolder};

/// The prices built in. They are read once, not at each change of the others.
static BUILTIN_PRICES: LazyLock<Prices> = LazyLock::new(|| {
    let read = |text| Prices::parse(text).expect("a test reads the files built in");
    let mut prices = read(include_str!("../../../prices.hosted.toml"));
    prices.extend(read(include_str!("../../../prices.toml")));
    prices
});

/// Opens keys and records; without a store when that is off. Prices come with the routes
/// that they are of.
///
/// # Errors
/// A store or a Redis that cannot be used, a database that is not the one that was used last.
pub async fn open_accounting(
    config: &Config,
    store_flag: Option<&str>,
    restored: RestorePolicy,
) -> Result<(Arc<Accounting>, Option<BackgroundTasks>)> {
    let prices = Prices::default();
    let (Some(url), Some(folder)) = (store_url(config, store_flag)?, DataFolder::resolve(config, store_flag)?) else {
        data_folder::check_store_off(config)?;
        ensure!(restored == RestorePolicy::Refuse, "the store is off: there is none to accept or to begin anew");
        return Ok((Arc::new(Accounting::with_prices(prices)), None));
    };
    let opening = StoreOptions {
        url: &url,
        data_folder: Some(&folder.path),
        previously_used: folder.has_been_used(config),
        restore_policy: restored,
        for_serving: true,
    };
    let opened =
        Store::open_verified(opening).await.with_context(|| format!("the store `{}`", redact_credentials(&url)))?;
    opened.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let (store, journal) = (opened.store, data_folder::journal_folder(config)?);
    let (books, background_tasks) = loop {
        let leases = match redis_url(config)? {
            Some(url) => Some(RedisLeases::connect(&url).await?),
            None => None,
        };
        match Accounting::open(store.clone(), &journal, prices.clone(), leases).await {
            Err(AccountingError::Store(error)) if error.is_busy() => {
                tracing::warn!("the database is locked by another process: waiting until it is free");
            }
            opened => break opened?,
        }
    };
    // Also where the rows of all keys were removed by hand.
    if store.ever_had_keys().await? {
        books.keys.require_key();
    }
    Ok((books, Some(background_tasks)))
}

/// The store alone, for the commands that read or change it.
///
/// # Errors
/// As [`open`]; also when the store is off.
pub async fn open_store(config: &Config, store_flag: Option<&str>) -> Result<Store> {
    let Some(url) = store_url(config, store_flag)? else {
        bail!("the store is off: give --store, or set `url` in [store]")
    };
    let is_local = url.starts_with("sqlite:");
    // A machine that only administers a database elsewhere notes nothing.
    let folder = match DataFolder::resolve(config, store_flag) {
        Ok(folder) => folder.filter(|folder| is_local || folder.belongs_to_server(config)),
        Err(_) if !is_local => None,
        Err(error) => return Err(error),
    };
    let path = folder.as_ref().map(|folder| folder.path.as_path());
    let used = folder.as_ref().is_some_and(|folder| folder.has_been_used(config));
    let opening = StoreOptions {
        url: &url,
        data_folder: path,
        previously_used: used,
        restore_policy: RestorePolicy::Refuse,
        for_serving: false,
    };
    let opened = match Store::open_verified(opening).await {
        Err(error) if error.is_other_database() && !is_local && config.store.journal.is_none() => {
            eprintln!("note: this database is not the one that a server on this machine uses");
            Store::open_verified(StoreOptions { data_folder: None, ..opening }).await
        }
        opened => opened,
    };
    Ok(opened.with_context(|| format!("the store `{}`", redact_credentials(&url)))?.store)
}

/// The URL of the store; `None` when it is off.
///
/// # Errors
/// Settings that contradict each other, a variable or a folder that is not set.
pub(crate) fn store_url(config: &Config, store_flag: Option<&str>) -> Result<Option<String>> {
    let settings = &config.store;
    let url = match store_flag {
        Some(url) => Some(url.to_owned()),
        None => value_or_env("url", &settings.url, &settings.url_env)?,
    };
    let url = url.map_or_else(
        || Ok(format!("sqlite:{}", data_folder::user_data_folder()?.join("cachalot.db").display())),
        anyhow::Ok,
    )?;
    Ok((url != "off").then_some(url))
}

/// Whether the store is off, or a SQLite database that has never been made: there
/// are no keys in it.
///
/// # Errors
/// As [`store_url`].
pub(crate) fn is_new(config: &Config, store_flag: Option<&str>) -> Result<bool> {
    let Some(url) = store_url(config, store_flag)? else { return Ok(true) };
    let Some(path) = url.strip_prefix("sqlite:").map(Path::new) else { return Ok(false) };
    let store_id = files::folder_of(path).join(data_folder::STORE_ID_FILE);
    Ok([path, &store_id].iter().all(|path| path.symlink_metadata().is_err()))
}

/// Where limits are kept that several servers share.
pub(crate) fn redis_url(config: &Config) -> Result<Option<String>> {
    value_or_env("redis", &config.store.redis, &config.store.redis_env)
}

/// A setting of [store], or what the environment variable holds that is named instead.
fn value_or_env(setting: &str, value: &Option<String>, variable: &Option<String>) -> Result<Option<String>> {
    match (value, variable) {
        (Some(_), Some(_)) => bail!("[store] takes either `{setting}` or `{setting}_env`"),
        (None, Some(variable)) => std::env::var(variable)
            .map(Some)
            .with_context(|| format!("[store] {setting}_env: the environment variable `{variable}` is not set")),
        (value, None) => Ok(value.clone()),
    }
}

/// The prices built in and those of the file that the configuration names.
///
/// # Errors
/// A file that cannot be read.
pub fn load_prices(config: &Config) -> Result<Prices> {
    let mut prices = BUILTIN_PRICES.clone();
    if let Some(path) = &config.gateway.prices {
        let context = || format!("the prices `{}`", path.display());
        prices.extend(
            Prices::parse(&files::read_text(path, crate::MAX_INPUT_BYTES).with_context(context)?)
                .with_context(context)?,
        );
    }
    Ok(prices)
}

/// A URL without what stands between its `//` and its `@`.
fn redact_credentials(url: &str) -> String {
    match (url.find("//"), url.rfind('@')) {
        (Some(from), Some(to)) if from < to => format!("{}***{}", &url[..from + 2], &url[to..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_without_its_secret() {
        assert_eq!(redact_credentials("postgres://me:secret@host/db"), "postgres://***@host/db");
        assert_eq!(redact_credentials("postgres://me:se@cret@host/db"), "postgres://***@host/db");
        assert_eq!(redact_credentials("sqlite:/a/b.db"), "sqlite:/a/b.db");
    }

    #[test]
    fn the_built_in_prices_can_be_read() {
        assert!(load_prices(&Config::default()).unwrap().find(gateway::LOCAL, "any model").is_some());
    }
}
