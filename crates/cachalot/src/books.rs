//! The store and the prices, as the configuration and the command line name them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail, ensure};
use gateway::{Bookkeepers, Books, Leases, Prices};
use sha2::{Digest, Sha256};
use store::Store;

use crate::config::{Config, data_folder};

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
    let journal = match &config.store.journal {
        Some(folder) => folder.clone(),
        None => folder()?.join("journal"),
    };
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

fn url(config: &Config, asked: Option<&str>) -> Result<Option<String>> {
    let settings = &config.store;
    let url = match asked {
        Some(url) => Some(url.to_owned()),
        None => either("url", &settings.url, &settings.url_env)?,
    };
    let url = url.map_or_else(|| Ok(format!("sqlite:{}", folder()?.join("cachalot.db").display())), anyhow::Ok)?;
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

fn folder() -> Result<PathBuf> {
    data_folder().context("neither XDG_DATA_HOME nor HOME is set: say where keys and usage are kept with --store sqlite:PATH, or --store off")
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

/// The admin token: what the configuration names, else the one in the data folder, made there at the first start. `None` without a store,
/// where there is nothing to administer.
///
/// # Errors
/// A token that is too easy to guess, a folder that cannot be written.
pub fn admin_token(config: &Config, asked: Option<&str>) -> Result<Option<[u8; 32]>> {
    if let Some(variable) = &config.server.admin_token_env {
        return Ok(Some(Sha256::digest(crate::config::secret(variable, 32)?).into()));
    }
    let Some(url) = url(config, asked)? else { return Ok(None) };
    // Beside the database, or the journal of a database elsewhere.
    let beside = match (url.strip_prefix("sqlite:"), &config.store.journal) {
        (Some(path), _) => Path::new(path).parent().map(Path::to_owned),
        (None, Some(journal)) => journal.parent().map(Path::to_owned),
        (None, None) => Some(folder()?),
    };
    let path = beside.unwrap_or_default().join("admin-token");
    let token = match std::fs::read_to_string(&path) {
        Ok(token) => token,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let token = gateway::secret("sk-admin-");
            write_secret(&path, &token).with_context(|| format!("the admin token `{}`", path.display()))?;
            tracing::info!(path = %path.display(), "an admin token was made: it opens the admin API, and this file alone has it");
            token
        }
        Err(error) => return Err(error).with_context(|| format!("the admin token `{}`", path.display())),
    };
    ensure!(
        token.trim().len() >= 32,
        "the admin token in `{}` is too short: remove the file, and a new one is made",
        path.display()
    );
    Ok(Some(Sha256::digest(token.trim()).into()))
}

/// Writes a file that nobody else can read.
fn write_secret(path: &Path, secret: &str) -> std::io::Result<()> {
    use std::io::Write;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(path)?, "{secret}")
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
