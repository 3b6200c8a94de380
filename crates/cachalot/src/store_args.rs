//! The switches of the commands that work on the store.

use std::path::PathBuf;

use anyhow::Result;
use store::Store;

use crate::config::Config;
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
    /// Opens the store, runs `action` on it and closes it.
    ///
    /// # Errors
    /// A configuration or a store that cannot be used, and the errors of `action`.
    pub fn run_with_store<T>(&self, action: impl AsyncFnOnce(&Store) -> Result<T>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            crate::shutdown::ignore_file_size_signal();
            let store = open_store::open_store(&Config::load(self.config.as_deref())?, self.store.as_deref()).await?;
            let done = action(&store).await;
            store.close().await;
            done
        })
    }
}
