//! Connecting to a database, and migrating its tables.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, Connection, Executor, SqlSafeStr};

use crate::id_file::IdFile;
use crate::insert_statements::InsertStatements;
use crate::usage_sums::SumStatements;
use crate::{Store, StoreError, identity, sqlite_file};

/// The migrations. A change of the tables adds a line here and a file in `migrations/`; released
/// migrations never change.
const MIGRATIONS: [(i64, &str, &str); 11] = [
    (1, "accounts", include_str!("../migrations/0001_accounts.sql")),
    (2, "jobs", include_str!("../migrations/0002_jobs.sql")),
    (3, "operating", include_str!("../migrations/0003_operating.sql")),
    (4, "identity", include_str!("../migrations/0004_identity.sql")),
    (5, "task_ids", include_str!("../migrations/0005_task_ids.sql")),
    (6, "sign_in", include_str!("../migrations/0006_sign_in.sql")),
    (7, "usage_sums", include_str!("../migrations/0007_usage_sums.sql")),
    (8, "budgets", include_str!("../migrations/0008_budgets.sql")),
    (9, "cache_writes", include_str!("../migrations/0009_cache_writes.sql")),
    (10, "extra_counts", include_str!("../migrations/0010_extra_counts.sql")),
    (11, "files", include_str!("../migrations/0011_files.sql")),
];

/// The time that a statement waits for another process that writes.
const BUSY_TIMEOUT: &str = "pragma busy_timeout = 10000";

/// The same while the database is opened. It is shorter, so that the log soon names the cause of
/// the wait.
const STARTUP_BUSY_TIMEOUT: &str = "pragma busy_timeout = 1000";

/// The time in which PostgreSQL must accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Store {
    /// Opens `sqlite:PATH` (created when it is missing) or `postgres://…`, and migrates the tables.
    /// The identity of the database is not checked: a server opens it with
    /// [`Store::open_verified`].
    ///
    /// # Errors
    /// Another kind of URL, a database that cannot be reached, tables newer than this program.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        Self::connect(url, false, None).await
    }

    /// Opens a database, and creates what is missing. With `for_serving`, a writer that holds an
    /// SQLite database is an error that is [busy](StoreError::is_busy).
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) async fn connect(
        url: &str,
        for_serving: bool,
        id_file: Option<Arc<IdFile>>,
    ) -> Result<Self, StoreError> {
        let options = AnyPoolOptions::new().acquire_timeout(CONNECT_TIMEOUT);
        let (pool, is_postgres) = if let Some(path) = url.strip_prefix("sqlite:").map(Path::new) {
            sqlite_file::create_file(path)?;
            let url = sqlite_url(path, "rwc");
            prepare_sqlite(&url, for_serving).await.map_err(|error| error.explain_sqlite(path))?;
            // One connection: SQLite has one writer at a time, and a connection must not wait for a
            // lock that another one of this process holds.
            let options = options.max_connections(1).after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(BUSY_TIMEOUT).await?;
                    connection.execute("pragma foreign_keys = on").await?;
                    Ok(())
                })
            });
            (options.connect(&url).await?, false)
        } else if is_postgres_url(url) {
            let pool = options.max_connections(8).connect(url).await?;
            migrator().run(&pool).await?;
            identity::ensure_identity(&mut *pool.acquire().await?).await?;
            (pool, true)
        } else {
            return Err(StoreError::invalid_url(url));
        };
        Ok(Self {
            pool,
            insert_statements: Arc::new(InsertStatements::new(is_postgres)),
            sum_statements: Arc::new(SumStatements::new(is_postgres)),
            is_postgres,
            id_file,
        })
    }

    /// Closes the connections after their running statements.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Migrates an SQLite database outside the pool, because the pool would retry what cannot succeed.
async fn prepare_sqlite(url: &str, for_serving: bool) -> Result<(), StoreError> {
    let mut connection = AnyConnection::connect(url).await?;
    connection.execute(STARTUP_BUSY_TIMEOUT).await?;
    connection.execute("pragma journal_mode = wal").await?;
    // `Migrator::run` takes connections by a trait that is not general enough for a future that is
    // sent to another thread.
    migrator().run_direct(None, &mut connection, false).await?;
    identity::ensure_identity(&mut connection).await?;
    if for_serving {
        // A process that holds the write lock now would delay the first records.
        connection.execute("begin immediate").await?;
        connection.execute("rollback").await?;
    }
    Ok(connection.close().await?)
}

pub(crate) fn is_postgres_url(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Connects to PostgreSQL outside the pool.
pub(crate) async fn connect_once(url: &str) -> Result<AnyConnection, StoreError> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, AnyConnection::connect(url)).await;
    Ok(connected.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
}

/// The URL of an SQLite file for sqlx. `mode` is `rw` or `rwc`.
pub(crate) fn sqlite_url(path: &Path, mode: &str) -> String {
    format!("sqlite:{}?mode={mode}", path.to_string_lossy().replace('%', "%25").replace('?', "%3F"))
}

fn migrator() -> Migrator {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect())
}
