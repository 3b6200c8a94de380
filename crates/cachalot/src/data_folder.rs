//! The data folder of a server, which holds the admin token and the identity of the store, and the
//! folder that the server locks. The two are the same unless the database is remote.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::key_config::secret_from_env;
use crate::paths;
use crate::store_url::store_url;

const ADMIN_TOKEN_FILE: &str = "admin-token";
pub(crate) const STORE_ID_FILE: &str = "store-id";
/// Maximum size of the admin token's file, in bytes.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// The local folders of a server, which depend on its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFolder {
    /// The folder of `admin-token` and `store-id`: that of the SQLite file, or the parent of the
    /// journal where the database is remote.
    pub path: PathBuf,
    /// The folder that a server locks: that of the SQLite file, or the journal where the database
    /// is remote. Several servers may share a remote database, but each has its own journal.
    pub lock_folder: PathBuf,
}

impl DataFolder {
    /// The data folder for the store of the configuration, else the default SQLite file; `None`
    /// when the store is off. Does not create the folders.
    ///
    /// # Errors
    /// Neither XDG_DATA_HOME nor HOME is set, where a default folder is needed. Settings of
    /// `[store]` that contradict each other, or a variable of theirs that is not set.
    pub fn resolve(config: &Config) -> Result<Option<Self>> {
        let Some(url) = store_url(config)? else { return Ok(None) };
        if let Some(path) = url.strip_prefix("sqlite:") {
            let folder = files::folder_of(Path::new(path));
            return Ok(Some(Self { lock_folder: folder.clone(), path: folder }));
        }
        let journal = journal_folder(config)?;
        Ok(Some(Self { path: files::folder_of(&journal), lock_folder: journal }))
    }

    /// Whether a server is known to have used the folder: its `admin-token` and the journal exist.
    /// A server with `admin_token_env` does not create that file, and is not recognized.
    pub(crate) fn has_been_used(&self, config: &Config) -> bool {
        self.path.join(ADMIN_TOKEN_FILE).exists() && journal_folder(config).is_ok_and(|journal| journal.exists())
    }

    /// Whether a server uses the folder or is meant to: the configuration names a journal, a file
    /// of a server exists, or the lock folder does. Meant for remote databases, whose lock folder
    /// is the journal.
    pub(crate) fn belongs_to_server(&self, config: &Config) -> bool {
        let exists = |name: &str| self.path.join(name).symlink_metadata().is_ok();
        config.store.journal.is_some() || exists(ADMIN_TOKEN_FILE) || exists(STORE_ID_FILE) || self.lock_folder.exists()
    }
}

/// Checks, where the store is off, that no `store-id` shows that there were accounts or keys:
/// without the store the server would serve every caller.
///
/// # Errors
/// A `store-id` in the data folder of the configured store or beside the configured journal; where
/// neither folder is known, in the user's data folder.
pub fn ensure_disabled_store_had_no_keys(config: &Config) -> Result<()> {
    let of_store = DataFolder::resolve(&config.with_store_of_file()).ok().flatten().map(|folder| folder.path);
    let of_journal = config.store.journal.as_ref().map(|journal| files::folder_of(journal));
    let configured = of_store.into_iter().chain(of_journal).collect::<Vec<_>>();
    let folders = if configured.is_empty() { paths::data_folder().into_iter().collect() } else { configured };
    match folders.iter().map(|folder| folder.join(STORE_ID_FILE)).find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => bail!(
            "the store is off, but `{}` shows that accounts or keys were made in it: without them every caller on this machine would be served. Start with the store, give this server one of its own (`--store sqlite:/PATH/cachalot.db`), or move that file away if the accounts and keys are no longer wanted",
            path.display()
        ),
        None => Ok(()),
    }
}

/// The folder of the journal: that of the configuration, else `journal` in the user's data folder.
///
/// # Errors
/// As [`paths::user_data_folder`], where the configuration does not name a journal.
pub fn journal_folder(config: &Config) -> Result<PathBuf> {
    match &config.store.journal {
        Some(folder) => Ok(folder.clone()),
        None => Ok(paths::user_data_folder()?.join("journal")),
    }
}

/// The SHA-256 of the admin token: that of [`admin_token_hash_from_env`], else that of the file in
/// `folder`. Generates the token and writes the file if it is missing. Without a folder the store
/// is off, and only a named token counts.
///
/// # Errors
/// As [`admin_token_hash_from_env`] and [`check_admin_token_file`]. A file that cannot be read or
/// created, or whose token is shorter than 32 bytes.
pub fn load_or_create_admin_token_hash(config: &Config, folder: Option<&DataFolder>) -> Result<Option<[u8; 32]>> {
    if let Some(token) = admin_token_hash_from_env(config)? {
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
            tracing::info!(
                path = %path.display(), "generated an admin token for the admin API; it is stored only in this file"
            );
            token
        }
        Err(error) => return Err(error).with_context(fault),
    };
    check_admin_token_file(config, Some(folder))?;
    ensure!(
        token.trim().len() >= 32,
        "the admin token in `{}` is too short: remove the file, and a new token is generated",
        path.display()
    );
    Ok(Some(Sha256::digest(token.trim()).into()))
}

/// The SHA-256 of the admin token in the environment variable that `admin_token_env` names; `None`
/// where the configuration does not name one.
///
/// # Errors
/// A variable that is not set, a token that is too easy to guess.
pub fn admin_token_hash_from_env(config: &Config) -> Result<Option<[u8; 32]>> {
    let Some(variable) = &config.server.admin_token_env else { return Ok(None) };
    Ok(Some(Sha256::digest(secret_from_env(variable, 32)?).into()))
}

/// The path of the generated admin token's file, which may be missing.
pub fn admin_token_path(folder: &DataFolder) -> PathBuf {
    folder.path.join(ADMIN_TOKEN_FILE)
}

/// Checks that only its owner can read or write the file of the admin token. Passes if the file is
/// missing or not used, because the store is off or the configuration names another token.
///
/// # Errors
/// A file that others can read or write, or that is not a regular file.
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
        "the admin token `{path}` can be read by others than its owner: run `chmod 600 {path}`. If somebody may have read it, remove the file instead, and a new token is generated",
        path = path.display()
    );
    Ok(())
}
