//! The store and the prices, as the configuration and the command line name them.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail, ensure};
use gateway::{Accounting, AccountingError, BackgroundTasks, Prices, RedisLeases};
use store::{RestorePolicy, Store, StoreOptions};

use crate::config::Config;
use crate::folder::{self, DataFolder};

/// The prices built in. They are read once, not at each change of the others.
static PRICES: LazyLock<Prices> = LazyLock::new(|| {
    let read = |text| Prices::parse(text).expect("a test reads the files built in");
    let mut prices = read(include_str!("../../../prices.hosted.toml"));
    prices.extend(read(include_str!("../../../prices.toml")));
    prices
});

/// Opens keys and records; without a store when that is off. Prices come with the routes that they are of.
///
/// # Errors
/// A store or a Redis that cannot be used, a database that is not the one that was used last.
pub async fn open(
    config: &Config,
    asked: Option<&str>,
    restored: RestorePolicy,
) -> Result<(Arc<Accounting>, Option<BackgroundTasks>)> {
    let prices = Prices::default();
    let (Some(url), Some(folder)) = (url(config, asked)?, DataFolder::of(config, asked)?) else {
        folder::check_off(config)?;
        ensure!(restored == RestorePolicy::Refuse, "the store is off: there is none to accept or to begin anew");
        return Ok((Arc::new(Accounting::with_prices(prices)), None));
    };
    let opening = StoreOptions {
        url: &url,
        data_folder: Some(&folder.path),
        previously_used: folder.is_used(config),
        restore_policy: restored,
        for_serving: true,
    };
    let opened =
        Store::open_verified(opening).await.with_context(|| format!("the store `{}`", without_secret(&url)))?;
    opened.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let (store, journal) = (opened.store, folder::journal(config)?);
    let (books, keepers) = loop {
        let leases = match redis(config)? {
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
    Ok((books, Some(keepers)))
}

/// The store alone, for the commands that read or change it.
///
/// # Errors
/// As [`open`]; also when the store is off.
pub async fn store_of(config: &Config, asked: Option<&str>) -> Result<Store> {
    let Some(url) = url(config, asked)? else { bail!("the store is off: give --store, or set `url` in [store]") };
    let is_local = url.starts_with("sqlite:");
    // A machine that only administers a database elsewhere notes nothing.
    let folder = match DataFolder::of(config, asked) {
        Ok(folder) => folder.filter(|folder| is_local || folder.is_of_a_server(config)),
        Err(_) if !is_local => None,
        Err(error) => return Err(error),
    };
    let path = folder.as_ref().map(|folder| folder.path.as_path());
    let used = folder.as_ref().is_some_and(|folder| folder.is_used(config));
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
    Ok(opened.with_context(|| format!("the store `{}`", without_secret(&url)))?.store)
}

/// The URL of the store; `None` when it is off.
///
/// # Errors
/// Settings that contradict each other, a variable or a folder that is not set.
pub(crate) fn url(config: &Config, asked: Option<&str>) -> Result<Option<String>> {
    let settings = &config.store;
    let url = match asked {
        Some(url) => Some(url.to_owned()),
        None => either("url", &settings.url, &settings.url_env)?,
    };
    let url =
        url.map_or_else(|| Ok(format!("sqlite:{}", folder::user_folder()?.join("cachalot.db").display())), anyhow::Ok)?;
    Ok((url != "off").then_some(url))
}

/// Where limits are kept that several servers share.
pub(crate) fn redis(config: &Config) -> Result<Option<String>> {
    either("redis", &config.store.redis, &config.store.redis_env)
}

/// A setting of [store], or what the environment variable holds that is named instead.
fn either(setting: &str, value: &Option<String>, variable: &Option<String>) -> Result<Option<String>> {
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
pub fn prices(config: &Config) -> Result<Prices> {
    let mut prices = PRICES.clone();
    if let Some(path) = &config.gateway.prices {
        let context = || format!("the prices `{}`", path.display());
        prices.extend(
            Prices::parse(&files::read_text(path, crate::MOST_INPUT_BYTES).with_context(context)?)
                .with_context(context)?,
        );
    }
    Ok(prices)
}

/// A URL without what stands between its `//` and its `@`.
fn without_secret(url: &str) -> String {
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
        assert_eq!(without_secret("postgres://me:secret@host/db"), "postgres://***@host/db");
        assert_eq!(without_secret("postgres://me:se@cret@host/db"), "postgres://***@host/db");
        assert_eq!(without_secret("sqlite:/a/b.db"), "sqlite:/a/b.db");
    }

    #[test]
    fn the_built_in_prices_can_be_read() {
        assert!(prices(&Config::default()).unwrap().find(gateway::LOCAL, "any model").is_some());
    }
}
