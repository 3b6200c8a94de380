//! Errors of the store.

use std::path::{Path, PathBuf};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database cannot be reached or used: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the tables of the database cannot be migrated: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the folder `{0}` of the database cannot be created: {1}")]
    Folder(PathBuf, std::io::Error),
    #[error("`{0}` cannot be used: {1}")]
    File(PathBuf, std::io::Error),
    #[error(
        "the database `{0}` cannot be written: SQLite writes it and its folder (`-wal`, `-shm`) even to read it. Let this user write both"
    )]
    ReadOnly(PathBuf),
    #[error(
        "`{0}` cannot be used: {1}. Restore it from a backup and start with `cachalot serve --accept-restored-store`, or move it aside and start with an empty one by `cachalot serve --new-store`"
    )]
    Unusable(PathBuf, String),
    #[error(
        "the database ({0}) is missing or empty, but it was used here before: without its keys, requests without a key would be accepted. Restore it from a backup and start with `cachalot serve --accept-restored-store`, or start with an empty one by `cachalot serve --new-store`"
    )]
    DatabaseLost(String),
    #[error(
        "the database is older than it was: it has {seen} changes of keys and users, and `{file}` has {noted}. Keys that were revoked since would be valid again. If it was restored from a backup, start with `cachalot serve --accept-restored-store`"
    )]
    OlderDatabase { file: PathBuf, seen: i64, noted: i64 },
    #[error(
        "the database is not the one that `{file}` names, but {}. To use it from now on, start with `cachalot serve --accept-restored-store`; otherwise name the right one with --store, or start with an empty one by `cachalot serve --new-store`",
        if *.known { "another one" } else { "one without an identity, such as a backup from before the upgrade" }
    )]
    OtherDatabase { file: PathBuf, known: bool },
    #[error(
        "`{0}`, which has the identity of the database, cannot be used: {1}. If the database is the right one, `cachalot serve --accept-restored-store` writes a new file"
    )]
    IdFile(PathBuf, String),
    #[error("the change is made, but `{0}` cannot be updated: {1}")]
    IdFileNotUpdated(PathBuf, String),
    #[error(
        "--new-store is for a database that is lost or unusable, and this one is in order and has keys: start without it. To start with an empty one anyway, move the database and `store-id` away first"
    )]
    DatabaseIntact,
    #[error("--new-store needs an empty PostgreSQL database: create one, and name it with --store or in [store]")]
    DatabaseNotEmpty,
    #[error("`{0}` is not a database URL: write sqlite:PATH or postgres://USER@HOST/NAME")]
    InvalidUrl(String),
    #[error("the store refuses the input: {0}")]
    Refused(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    NotFound(String),
    #[error("the link is used up, expired or wrong")]
    LinkNotValid,
}

impl StoreError {
    /// The error of a URL whose scheme is not supported.
    pub(crate) fn invalid_url(url: &str) -> Self {
        // The part before the first colon is the scheme, which has no secret.
        Self::InvalidUrl(url.split(':').next().unwrap_or_default().to_owned())
    }

    /// Whether another process holds a lock on the SQLite database.
    pub fn is_busy(&self) -> bool {
        matches!(self.sqlite_code(), Some(5 | 6))
    }

    /// Whether the database is not the one that `store-id` names.
    pub fn is_other_database(&self) -> bool {
        matches!(self, Self::OtherDatabase { .. })
    }

    /// Replaces an error of SQLite by one that names the file and the cause.
    pub(crate) fn explain_sqlite(self, path: &Path) -> Self {
        match self.sqlite_code() {
            Some(8 | 14) => Self::ReadOnly(path.to_owned()),
            Some(11 | 26) => Self::Unusable(path.to_owned(), format!("it is damaged ({self})")),
            _ => self,
        }
    }

    /// SQLite's primary result code.
    fn sqlite_code(&self) -> Option<u32> {
        use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
        let (Self::Database(error) | Self::Migrate(Execute(error) | ExecuteMigration(error, _))) = self else {
            return None;
        };
        // PostgreSQL's codes have five characters.
        let code = error.as_database_error()?.code()?;
        Some(code.parse::<u32>().ok().filter(|_| code.len() < 5)? & 0xff)
    }
}
