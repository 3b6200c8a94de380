//! The folder of a store on this machine: it holds the admin token, the identity of the store and
//! the lock of its server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::config::{Config, data_folder};
use crate::open_store;

const ADMIN_TOKEN_FILE: &str = "admin-token";
pub(crate) const STORE_ID_FILE: &str = "store-id";
/// Most bytes of a token's file.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// Where a store keeps what is local to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFolder {
    /// Beside the database, or beside the journal of a database elsewhere. Holds
    /// `admin-token` and `store-id`.
    pub path: PathBuf,
    /// The folder whose lock a server holds: that of the SQLite file, or the journal of a database
    /// elsewhere, which several servers share.
    pub lock_folder: PathBuf,
}

impl DataFolder {
    /// That of the store that the configuration and the command line name; `None` when
    /// the store is off.
    ///
    /// # Errors
    /// A folder that is not known because neither XDG_DATA_HOME nor HOME is set.
    pub fn resolve(config: &Config, store_flag: Option<&str>) -> Result<Option<Self>> {
        let Some(url) = open_store::store_url(config, store_flag)? else { return Ok(None) };
        if let Some(path) = url.strip_prefix("sqlite:") {
            let folder = files::folder_of(Path::new(path));
            return Ok(Some(Self { lock_folder: folder.clone(), path: folder }));
        }
        let journal = journal_folder(config)?;
        Ok(Some(Self { path: files::folder_of(&journal), lock_folder: journal }))
    }

    /// A server has worked here before.
    pub(crate) fn has_been_used(&self, config: &Config) -> bool {
        self.path.join(ADMIN_TOKEN_FILE).exists() && journal_folder(config).is_ok_and(|journal| journal.exists())
    }

    /// A server works here, or is to: the journal was put here on purpose, or there
    /// are files of one.
    pub(crate) fn belongs_to_server(&self, config: &Config) -> bool {
        let is_there = |name: &str| self.path.join(name).symlink_metadata().is_ok();
        config.store.journal.is_some()
            || is_there(ADMIN_TOKEN_FILE)
            || is_there(STORE_ID_FILE)
            || self.lock_folder.exists()
    }
}

/// Checks that no keys were made in the store that is to be off: without them everybody
/// would be let in.
///
/// # Errors
/// A `store-id` in the folder of the store that the configuration names, in that of its journal, or
/// in the user's data folder.
pub fn check_store_off(config: &Config) -> Result<()> {
    let of_store = DataFolder::resolve(config, None).ok().flatten().map(|folder| folder.path);
    let of_journal = config.store.journal.as_ref().map(|journal| files::folder_of(journal));
    // The user's own folder does not count where another one is named.
    let named = of_store.into_iter().chain(of_journal).collect::<Vec<_>>();
    let folders = if named.is_empty() { data_folder().into_iter().collect() } else { named };
    match folders.iter().map(|folder| folder.join(STORE_ID_FILE)).find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => bail!(
            "the store is off, but `{}` says that keys were made in it: without them everybody on this machine would be let in. Start with the store, or move that file away if its keys are to count no more",
            path.display()
        ),
        None => Ok(()),
    }
}

/// The folder of the journal.
///
/// # Errors
/// As [`user_folder`].
pub fn journal_folder(config: &Config) -> Result<PathBuf> {
    match &config.store.journal {
        Some(folder) => Ok(folder.clone()),
        None => Ok(user_data_folder()?.join("journal")),
    }
}

/// The user's data folder.
///
/// # Errors
/// Neither XDG_DATA_HOME nor HOME is set.
pub fn user_data_folder() -> Result<PathBuf> {
    data_folder().context("neither XDG_DATA_HOME nor HOME is set: say where keys and usage are kept with --store sqlite:PATH, or --store off")
}

/// The SHA-256 of the admin token: what the configuration names, else the one in the data folder,
/// which the first start makes. `None` without a store, where there is nothing to administer.
///
/// # Errors
/// A token that is too easy to guess or that others can read, a folder that cannot be written.
pub fn admin_token(config: &Config, folder: Option<&DataFolder>) -> Result<Option<[u8; 32]>> {
    if let Some(token) = named_admin_token(config)? {
        return Ok(Some(token));
    }
    let Some(folder) = folder else { return Ok(None) };
    let path = admin_token_path(folder);
    let fault = || format!("the admin token `{}`", path.display());
    let token = match files::read_text(&path, MAX_TOKEN_BYTES) {
        Ok(token) => token,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let token = gateway::generate_token("sk-admin-");
            files::create_private_folder(&folder.path).with_context(fault)?;
            files::create_private(&path, format!("{token}\n").as_bytes()).with_context(fault)?;
            tracing::info!(path = %path.display(), "an admin token was made: it opens the admin API, and this file alone has it");
            token
        }
        Err(error) => return Err(error).with_context(fault),
    };
    check_admin_token_file(config, Some(folder))?;
    ensure!(
        token.trim().len() >= 32,
        "the admin token in `{}` is too short: remove the file, and a new one is made",
        path.display()
    );
    Ok(Some(Sha256::digest(token.trim()).into()))
}

/// The SHA-256 of the admin token in the environment variable that the configuration names; `None`
/// where it names none.
///
/// # Errors
/// A variable that is not set, a token that is too easy to guess.
pub fn named_admin_token(config: &Config) -> Result<Option<[u8; 32]>> {
    let Some(variable) = &config.server.admin_token_env else { return Ok(None) };
    Ok(Some(Sha256::digest(crate::config::secret_from_env(variable, 32)?).into()))
}

/// The file of the admin token that the first start makes.
pub fn admin_token_path(folder: &DataFolder) -> PathBuf {
    folder.path.join(ADMIN_TOKEN_FILE)
}

/// Checks that nobody but its owner reads the admin token, if there is one.
///
/// # Errors
/// Others may read it.
pub fn check_admin_token_file(config: &Config, folder: Option<&DataFolder>) -> Result<()> {
    let Some(folder) = folder.filter(|_| config.server.admin_token_env.is_none()) else { return Ok(()) };
    let path = admin_token_path(folder);
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let fault = || format!("the admin token `{}`", path.display());
    files::check_regular(&path).with_context(fault)?;
    let open = files::is_open_to_others(&path).with_context(fault)?;
    ensure!(
        !open,
        "the admin token `{path}` can be read by others than its owner: run `chmod 600 {path}`. If somebody may have read it, remove the file instead, and a new one is made",
        path = path.display()
    );
    Ok(())
}
