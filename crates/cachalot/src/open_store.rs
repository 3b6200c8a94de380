//! Opens the store that the configuration or the command line names.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use gateway::{Accounting, AccountingError, BackgroundTasks, Prices, RedisLeases};
use store::{RestorePolicy, Store, StoreOptions};

use crate::config::Config;
use crate::data_folder::{self, DataFolder};
use crate::store_url::{redact_credentials, redis_url, store_url};

/// Opens the accounting of a server: keys, usage records and shared limits. Without a store when it
/// is off. Prices are set later, together with the routes that they belong to.
///
/// # Errors
/// A store or a Redis that cannot be used, a database other than the one that was used last.
pub async fn open_accounting(
    config: &Config,
    restore_policy: RestorePolicy,
) -> Result<(Arc<Accounting>, Option<BackgroundTasks>)> {
    let prices = Prices::default();
    let (Some(url), Some(folder)) = (store_url(config)?, DataFolder::resolve(config)?) else {
        data_folder::ensure_disabled_store_had_no_keys(config)?;
        ensure!(
            restore_policy == RestorePolicy::Refuse,
            "the store is off: --accept-restored-store and --new-store need one"
        );
        return Ok((Arc::new(Accounting::with_prices(prices)), None));
    };
    let options = StoreOptions {
        url: &url,
        data_folder: Some(&folder.path),
        previously_used: folder.has_been_used(config),
        restore_policy,
        for_serving: true,
    };
    let opened =
        Store::open_verified(options).await.with_context(|| format!("the store `{}`", redact_credentials(&url)))?;
    opened.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let store = opened.store;
    let journal = data_folder::journal_folder(config)?;
    let (accounting, background_tasks) = loop {
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
    accounting.keep_attempts(config.store.attempts_days);
    // Also where the rows of all keys were removed by hand.
    if store.ever_had_keys().await? {
        accounting.keys.require_key();
    }
    Ok((accounting, Some(background_tasks)))
}

/// Opens the store alone, for the commands that read or change it.
///
/// # Errors
/// As [`open_accounting`]; also when the store is off.
pub async fn open_store(config: &Config) -> Result<Store> {
    let Some(url) = store_url(config)? else { bail!("the store is off: give --store, or set `url` in [store]") };
    let is_local = url.starts_with("sqlite:");
    // A machine that only administers a remote database keeps no identity of it.
    let folder = match DataFolder::resolve(config) {
        Ok(folder) => folder.filter(|folder| is_local || folder.belongs_to_server(config)),
        Err(_) if !is_local => None,
        Err(error) => return Err(error),
    };
    let options = StoreOptions {
        url: &url,
        data_folder: folder.as_ref().map(|folder| folder.path.as_path()),
        previously_used: folder.as_ref().is_some_and(|folder| folder.has_been_used(config)),
        restore_policy: RestorePolicy::Refuse,
        for_serving: false,
    };
    let opened = match Store::open_verified(options).await {
        Err(error) if error.is_other_database() && !is_local && config.store.journal.is_none() => {
            eprintln!("note: this database is not the one that a server on this machine uses");
            Store::open_verified(StoreOptions { data_folder: None, ..options }).await
        }
        opened => opened,
    };
    Ok(opened.with_context(|| format!("the store `{}`", redact_credentials(&url)))?.store)
}

/// Whether the store cannot contain keys: it is off, or a SQLite database of a data folder that no
/// server has used.
///
/// # Errors
/// As [`store_url`] and [`DataFolder::resolve`].
pub(crate) fn is_new(config: &Config) -> Result<bool> {
    let Some(url) = store_url(config)? else { return Ok(true) };
    let Some(path) = url.strip_prefix("sqlite:").map(Path::new) else { return Ok(false) };
    let store_id = files::folder_of(path).join(data_folder::STORE_ID_FILE);
    let used = DataFolder::resolve(config)?.is_some_and(|folder| folder.has_been_used(config));
    Ok(!used && [path, &store_id].iter().all(|path| path.symlink_metadata().is_err()))
}
