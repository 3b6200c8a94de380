//! Connecting, and bringing the tables up to date.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection, Executor, SqlSafeStr};

use crate::StoreError;
use crate::id_file::IdFile;
use crate::identity;
use crate::sqlite_file;
use crate::usage::InsertStatements;

/// One more line, and one more file in `migrations/`, for every change of the tables. What was
/// released never changes.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "accounts", include_str!("../migrations/0001_accounts.sql")),
    (2, "jobs", include_str!("../migrations/0002_jobs.sql")),
    (3, "operating", include_str!("../migrations/0003_operating.sql")),
    (4, "identity", include_str!("../migrations/0004_identity.sql")),
    (5, "task_ids", include_str!("../migrations/0005_task_ids.sql")),
];

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: &str = "pragma busy_timeout = 10000";

/// How long it waits while the database is opened, before the operator hears of it.
const STARTUP_BUSY_TIMEOUT: &str = "pragma busy_timeout = 1000";

/// How long PostgreSQL may take to let a connection in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The tables, in one SQLite file or one PostgreSQL database.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: AnyPool,
    pub(crate) insert_statements: Arc<InsertStatements>,
    pub(crate) is_postgres: bool,
    /// Where the identity of the database is noted outside of it.
    pub(crate) id_file: Option<Arc<IdFile>>,
}

impl Store {
    /// Opens `sqlite:PATH` (made when it is missing) or `postgres://…`, and brings the tables up to
    /// date. Nothing is noted outside of it: a program that lets people in opens it by
    /// [`Store::open_in`].
    ///
    /// # Errors
    /// Another kind of URL, a database that cannot be reached, tables newer than this program.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        Self::connect(url, false, None).await
    }

    /// Opens it, and creates what is missing. With `serving`, a writer that holds an SQLite
    /// database is an error that is [busy](StoreError::is_busy).
    pub(crate) async fn connect(
        url: &str,
        for_serving: bool,
        id_file: Option<Arc<IdFile>>,
    ) -> Result<Self, StoreError> {
        let options = AnyPoolOptions::new().acquire_timeout(CONNECT_TIMEOUT);
        let (pool, is_postgres_url) = if let Some(path) = url.strip_prefix("sqlite:").map(Path::new) {
            sqlite_file::create_file(path)?;
            let url = sqlite_url(path, "rwc");
            prepare_sqlite(&url, for_serving).await.map_err(|error| error.explain_sqlite(path))?;
            // One connection: SQLite has one writer, and none waits for a lock that its
            // own process holds.
            let options = options.max_connections(1).after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(BUSY_TIMEOUT).await?;
                    connection.execute("pragma foreign_keys = on").await?;
                    Ok(())
                })
            });
            (options.connect(&url).await?, false)
        } else if is_postgres(url) {
            let pool = options.max_connections(8).connect(url).await?;
            migrator().run(&pool).await?;
            identity::ensure_identity(&mut *pool.acquire().await?).await?;
            (pool, true)
        } else {
            return Err(StoreError::invalid_url(url));
        };
        Ok(Self {
            pool,
            insert_statements: Arc::new(InsertStatements::new(is_postgres_url)),
            is_postgres: is_postgres_url,
            id_file,
        })
    }

    /// Ends the connections in order.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Brings an SQLite database up to date, outside the pool, which would try again and again
/// what cannot succeed.
async fn prepare_sqlite(url: &str, for_serving: bool) -> Result<(), StoreError> {
    let mut first = AnyConnection::connect(url).await?;
    first.execute(STARTUP_BUSY_TIMEOUT).await?;
    first.execute("pragma journal_mode = wal").await?;
    // `run` takes whatever connections come from, by a trait that is not general enough for a
    // future that is sent to another thread.
    migrator().run_direct(None, &mut first, false).await?;
    identity::ensure_identity(&mut first).await?;
    if for_serving {
        // Whoever holds it now would hold up the first records.
        first.execute("begin immediate").await?;
        first.execute("rollback").await?;
    }
    Ok(first.close().await?)
}

pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Connects to PostgreSQL outside the pool.
pub(crate) async fn connect_once(url: &str) -> Result<AnyConnection, StoreError> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, AnyConnection::connect(url)).await;
    Ok(connected.unwrap_or(Err(sqlx::Error::PoolTimedOut))?)
}

pub(crate) fn sqlite_url(path: &Path, mode: &str) -> String {
    format!("sqlite:{}?mode={mode}", path.to_string_lossy().replace('%', "%25").replace('?', "%3F"))
}

fn migrator() -> Migrator {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect())
}

/// Microseconds since 1970 (UTC).
pub fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
