//! The store and the prices, as the configuration and the command line name them.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail};
use gateway::{Bookkeepers, Books, Leases, Prices};
use store::Store;

use crate::config::Config;
use crate::folder;

/// The prices built in. They are read once, not at each change of the others.
static PRICES: LazyLock<Prices> = LazyLock::new(|| {
    let read = |text| Prices::read(text).expect("a test reads the files built in");
    let mut prices = read(include_str!("../../../prices.hosted.toml"));
    prices.extend(read(include_str!("../../../prices.toml")));
    prices
});

/// Opens keys and records; without a store when that is off. Prices come with the routes that they are of.
///
/// # Errors
/// A store or a Redis that cannot be used.
pub async fn open(config: &Config, asked: Option<&str>) -> Result<(Arc<Books>, Option<Bookkeepers>)> {
    let prices = Prices::default();
    let Some(url) = url(config, asked)? else { return Ok((Arc::new(Books::priced(prices)), None)) };
    let store = store(&url).await?;
    let journal = folder::journal(config)?;
    let leases = match redis(config)? {
        Some(url) => Some(Leases::connect(&url).await?),
        None => None,
    };
    let (books, keepers) = Books::open(store, &journal, prices, leases).await?;
    Ok((books, Some(keepers)))
}

/// The store alone, for the commands that read or change it.
///
/// # Errors
/// As [`open`]; also when the store is off.
pub async fn store_of(config: &Config, asked: Option<&str>) -> Result<Store> {
    match url(config, asked)? {
        Some(url) => store(&url).await,
        None => bail!("the store is off: give --store, or set `url` in [store]"),
    }
}

async fn store(url: &str) -> Result<Store> {
    Store::open(url).await.with_context(|| format!("the store `{}`", without_secret(url)))
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
fn redis(config: &Config) -> Result<Option<String>> {
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
        prices.extend(Prices::read(&std::fs::read_to_string(path).with_context(context)?).with_context(context)?);
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
