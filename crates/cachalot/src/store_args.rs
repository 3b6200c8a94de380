//! The switches of the commands that work on the store.

use std::path::PathBuf;

use anyhow::Result;
use store::Store;

use crate::config::{Config, Switches};
use crate::open_store;

/// Which store
#[derive(clap::Args, Clone, Debug)]
pub struct StoreArgs {
    /// Configuration file [default: ./cachalot.toml, else $XDG_CONFIG_HOME/cachalot/cachalot.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Database of keys and usage records: sqlite:PATH or postgres://... [default: cachalot.db in
    /// the user's data folder]
    #[arg(long, value_name = "URL", global = true)]
    pub store: Option<String>,
}

impl StoreArgs {
    /// The configuration, with the store of `--store`.
    ///
    /// # Errors
    /// A configuration that cannot be read.
    pub(crate) fn load_config(&self) -> Result<Config> {
        let mut switches = Switches::default();
        add_store_switch(&mut switches, self.store.clone());
        Ok(Config::load(self.config.as_deref())?.with_switches(switches))
    }

    /// Opens the store, runs `action` on it and closes it.
    ///
    /// # Errors
    /// A configuration or a store that cannot be used, and the errors of `action`.
    pub fn run_with_store<T>(&self, action: impl AsyncFnOnce(&Store, &Config) -> Result<T>) -> Result<T> {
        self.run_with_config(&self.load_config()?, action)
    }

    /// [`StoreArgs::run_with_store`] with a configuration that has been read.
    ///
    /// # Errors
    /// A store that cannot be used, and the errors of `action`.
    pub fn run_with_config<T>(
        &self,
        config: &Config,
        action: impl AsyncFnOnce(&Store, &Config) -> Result<T>,
    ) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            crate::shutdown::ignore_file_size_signal();
            let store = open_store::open_store(config).await?;
            let done = action(&store, config).await;
            store.close().await;
            done
        })
    }
}

/// Adds the switch `--store`, which also replaces a URL in the environment.
pub(crate) fn add_store_switch(switches: &mut Switches<Config>, store: Option<String>) {
    switches.add("store.url", store, |config, url| {
        config.store.url = Some(url.into());
        config.store.url_env = None;
    });
}
