//! Connecting, and bringing the tables up to date.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection, Executor, SqlSafeStr};

use crate::usage::Inserts;

/// One more line, and one more file in `migrations/`, for every change of the tables. What was released never changes.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "accounts", include_str!("../migrations/0001_accounts.sql")),
    (2, "jobs", include_str!("../migrations/0002_jobs.sql")),
    (3, "operating", include_str!("../migrations/0003_operating.sql")),
];

/// How long a statement waits for another process that writes.
const BUSY: &str = "pragma busy_timeout = 10000";

/// The tables, in one SQLite file or one PostgreSQL database.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: AnyPool,
    pub(crate) inserts: Arc<Inserts>,
    pub(crate) is_postgres: bool,
}

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database cannot be reached or used: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the tables of the database cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the folder `{0}` of the database cannot be made: {1}")]
    Folder(PathBuf, std::io::Error),
    #[error("`{0}` is no database: write sqlite:PATH or postgres://USER@HOST/NAME")]
    Url(String),
    #[error("the store refuses it: {0}")]
    Refused(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    NotFound(String),
}

impl Store {
    /// Opens `sqlite:PATH` (made when it is missing) or `postgres://…`, and brings the tables up to date.
    ///
    /// # Errors
    /// Another kind of URL, a database that cannot be reached, tables newer than this program.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let options = AnyPoolOptions::new().acquire_timeout(Duration::from_secs(10));
        let (pool, numbered) = if let Some(path) = url.strip_prefix("sqlite:") {
            make_folder(path)?;
            let url = format!("sqlite:{}?mode=rwc", path.replace('%', "%25").replace('?', "%3F"));
            // Outside the pool, which would try again and again what cannot succeed.
            let mut first = AnyConnection::connect(&url).await?;
            first.execute("pragma journal_mode = wal").await?;
            first.close().await?;
            // One connection: SQLite has one writer, and none waits for a lock that its own process holds.
            let options = options.max_connections(1).after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(BUSY).await?;
                    connection.execute("pragma foreign_keys = on").await?;
                    Ok(())
                })
            });
            (options.connect(&url).await?, false)
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            (options.max_connections(8).connect(url).await?, true)
        } else {
            // What stands before the first colon tells the kind, and holds no secret.
            return Err(StoreError::Url(url.split(':').next().unwrap_or_default().to_owned()));
        };
        migrator().run(&pool).await?;
        Ok(Self { pool, inserts: Arc::new(Inserts::new(numbered)), is_postgres: numbered })
    }

    /// Ends the connections in order.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn make_folder(path: &str) -> Result<(), StoreError> {
    match std::path::Path::new(path).parent() {
        Some(folder) => files::create_private_folder(folder).map_err(|error| StoreError::Folder(folder.into(), error)),
        None => Ok(()),
    }
}

fn migrator() -> Migrator {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect())
}

/// Microseconds since 1970 (UTC).
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
