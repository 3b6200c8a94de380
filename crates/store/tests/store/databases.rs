//! New databases for tests: on SQLite, and on PostgreSQL when `CACHALOT_TEST_POSTGRES` names a
//! server on which databases may be created.

use std::path::Path;

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use store::Store;

/// The URL of a new database in a folder that may be missing.
pub(crate) fn sqlite_url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("cachalot.db").display())
}

/// A new database on the PostgreSQL server.
pub(crate) struct Postgres {
    pub(crate) url: String,
    name: String,
    admin: AnyConnection,
}

impl Postgres {
    /// `None`, with a message, when no server is named.
    pub(crate) async fn create() -> Option<Self> {
        let Ok(server) = std::env::var("CACHALOT_TEST_POSTGRES") else {
            eprintln!("skipped on PostgreSQL: CACHALOT_TEST_POSTGRES is not set");
            return None;
        };
        sqlx::any::install_default_drivers();
        let name = format!("cachalot_test_{}", uuid::Uuid::new_v4().simple());
        let mut admin = AnyConnection::connect(&server).await.unwrap();
        admin.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
        let (base, _) = server.rsplit_once('/').expect("postgres://USER@HOST/NAME");
        Some(Self { url: format!("{base}/{name}"), name, admin })
    }

    /// Removes the database, even if connections are open.
    pub(crate) async fn remove(mut self) {
        let remove = format!("drop database {} with (force)", self.name);
        self.admin.execute(AssertSqlSafe(remove)).await.unwrap();
    }
}

/// Runs `test` on a new database of each kind, with its URL.
pub(crate) async fn on_each_database(test: impl AsyncFn(Store, &str)) {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite_url(folder.path());
    test(Store::open(&url).await.unwrap(), &url).await;

    let Some(postgres) = Postgres::create().await else { return };
    let store = Store::open(&postgres.url).await.unwrap();
    test(store.clone(), &postgres.url).await;
    store.close().await;
    postgres.remove().await;
}
