//! The folder of a store on this machine: it holds the admin token, the identity of the store and the lock of its server.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::books;
use crate::config::{Config, data_folder};

/// Most bytes of a token's file.
const TOKEN_BYTES: u64 = 64 << 10;

/// Where a store keeps what is local to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFolder {
    /// Beside the database, or beside the journal of a database elsewhere. Holds `admin-token` and `store-id`.
    pub path: PathBuf,
    /// The folder whose lock a server holds: that of the SQLite file, or the journal of a database elsewhere, which several
    /// servers share.
    pub locked: PathBuf,
}

impl DataFolder {
    /// That of the store that the configuration and the command line name; `None` when the store is off.
    ///
    /// # Errors
    /// A folder that is not known because neither XDG_DATA_HOME nor HOME is set.
    pub fn of(config: &Config, asked: Option<&str>) -> Result<Option<Self>> {
        let Some(url) = books::url(config, asked)? else { return Ok(None) };
        if let Some(path) = url.strip_prefix("sqlite:") {
            let folder = files::folder_of(Path::new(path));
            return Ok(Some(Self { locked: folder.clone(), path: folder }));
        }
        let journal = journal(config)?;
        Ok(Some(Self { path: files::folder_of(&journal), locked: journal }))
    }
}

/// The folder of the journal.
///
/// # Errors
/// As [`user_folder`].
pub fn journal(config: &Config) -> Result<PathBuf> {
    match &config.store.journal {
        Some(folder) => Ok(folder.clone()),
        None => Ok(user_folder()?.join("journal")),
    }
}

/// The user's data folder.
///
/// # Errors
/// Neither XDG_DATA_HOME nor HOME is set.
pub fn user_folder() -> Result<PathBuf> {
    data_folder().context("neither XDG_DATA_HOME nor HOME is set: say where keys and usage are kept with --store sqlite:PATH, or --store off")
}

/// The SHA-256 of the admin token: what the configuration names, else the one in the data folder, which the first start makes.
/// `None` without a store, where there is nothing to administer.
///
/// # Errors
/// A token that is too easy to guess or that others can read, a folder that cannot be written.
pub fn admin_token(config: &Config, folder: Option<&DataFolder>) -> Result<Option<[u8; 32]>> {
    if let Some(variable) = &config.server.admin_token_env {
        return Ok(Some(Sha256::digest(crate::config::secret(variable, 32)?).into()));
    }
    let Some(folder) = folder else { return Ok(None) };
    let path = folder.path.join("admin-token");
    let fault = || format!("the admin token `{}`", path.display());
    let token = match files::read_text(&path, TOKEN_BYTES) {
        Ok(token) => token,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let token = gateway::secret("sk-admin-");
            files::create_private_folder(&folder.path).with_context(fault)?;
            files::create(&path, format!("{token}\n").as_bytes()).with_context(fault)?;
            tracing::info!(path = %path.display(), "an admin token was made: it opens the admin API, and this file alone has it");
            token
        }
        Err(error) => return Err(error).with_context(fault),
    };
    check_private(&path)?;
    ensure!(
        token.trim().len() >= 32,
        "the admin token in `{}` is too short: remove the file, and a new one is made",
        path.display()
    );
    Ok(Some(Sha256::digest(token.trim()).into()))
}

/// Checks that nobody else reads the file of a secret.
fn check_private(path: &Path) -> Result<()> {
    let open = files::is_open_to_others(path).with_context(|| format!("the admin token `{}`", path.display()))?;
    ensure!(
        !open,
        "the admin token `{path}` can be read by others than its owner: run `chmod 600 {path}`, or remove the file if somebody may have read it, and a new one is made",
        path = path.display()
    );
    Ok(())
}
