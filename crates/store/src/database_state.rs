//! The state of a database before it is opened, and the check of its identity.

use std::path::Path;

use sqlx::{AnyConnection, Connection, Executor, Row};

use crate::id_file::{IdFile, IdFileContent, StoreIdentity};
use crate::sqlite_file::{self, FileState};
use crate::{StoreError, connect, identity};

/// The time that the inspection waits for another process that holds the database.
const BUSY_TIMEOUT: &str = "pragma busy_timeout = 1000";

/// The state of a database before anything is created.
pub(crate) enum DatabaseState {
    /// There is no database, or an empty one.
    Missing,
    /// A database of this program. Those of early versions have no identity.
    Existing(Option<StoreIdentity>),
    /// Anything else, which the operator wants to be moved aside.
    Unusable,
}

/// Inspects the database without creating anything. `sqlite` is the path of an SQLite database.
///
/// # Errors
/// `DatabaseLost` for a write-ahead log without its database; `Unusable` for a file that is not a
/// database of this program; a database that cannot be reached.
pub(crate) async fn inspect(url: &str, sqlite: Option<&Path>) -> Result<DatabaseState, StoreError> {
    let Some(path) = sqlite else {
        if !connect::is_postgres_url(url) {
            return Err(StoreError::invalid_url(url));
        }
        let mut connection = connect::connect_once(url).await?;
        let state = read_identity(
            &mut connection,
            "select cast(count(*) as bigint) as n from information_schema.tables
             where table_name = $1 and table_schema = any (current_schemas(false))",
        );
        let state = state.await?;
        connection.close().await?;
        return Ok(state.map_or(DatabaseState::Missing, DatabaseState::Existing));
    };
    if let FileState::Missing { orphaned_wal } = sqlite_file::check_file(path)? {
        return if orphaned_wal {
            Err(StoreError::DatabaseLost(path.display().to_string()))
        } else {
            Ok(DatabaseState::Missing)
        };
    }
    let sqlite_error = |error: sqlx::Error| StoreError::from(error).explain_sqlite(path);
    let mut connection = AnyConnection::connect(&connect::sqlite_url(path, "rw")).await.map_err(sqlite_error)?;
    connection.execute(BUSY_TIMEOUT).await.map_err(sqlite_error)?;
    let query = "select cast(count(*) as bigint) as n from sqlite_master where type = 'table' and name = $1";
    let state = read_identity(&mut connection, query).await.map_err(|error| error.explain_sqlite(path))?;
    // The table of an interrupted first start does not count.
    let count = "select cast(count(*) as bigint) as n from sqlite_master where tbl_name <> '_sqlx_migrations'";
    let objects: i64 = connection.fetch_one(count).await.map_err(sqlite_error)?.try_get("n")?;
    connection.close().await.map_err(sqlite_error)?;
    match state {
        Some(identity) => Ok(DatabaseState::Existing(identity)),
        None if objects == 0 => Ok(DatabaseState::Missing),
        None => Err(StoreError::Unusable(path.to_owned(), "it is the database of another program".into())),
    }
}

/// The identity of a database: `None` for a database without the tables of this program,
/// `Some(None)` for one of an early version, which has no identity. `query` counts the
/// tables with a name.
async fn read_identity(
    connection: &mut AnyConnection,
    query: &'static str,
) -> Result<Option<Option<StoreIdentity>>, StoreError> {
    let mut has_table = [false; 2];
    for (has_table, name) in has_table.iter_mut().zip(["keys", "store_identity"]) {
        *has_table = sqlx::query(query).bind(name).fetch_one(&mut *connection).await?.try_get::<i64, _>("n")? > 0;
    }
    let migrated = sqlx::query(query).bind("_sqlx_migrations").fetch_one(&mut *connection).await?;
    if migrated.try_get::<i64, _>("n")? == 0 || !has_table[0] {
        return Ok(None);
    }
    Ok(Some(if has_table[1] { identity::read_identity(connection).await? } else { None }))
}

/// Checks that the database is the one that `store-id` names. `previously_used`: a server has used
/// the data folder before, so a missing database is a lost one.
///
/// # Errors
/// `DatabaseLost`, `OlderDatabase`, `OtherDatabase` or `IdFile`: the operator must decide.
pub(crate) fn check_identity(
    url: &str,
    previously_used: bool,
    state: &DatabaseState,
    recorded: &Result<Option<IdFileContent>, StoreError>,
    file: Option<&IdFile>,
) -> Result<(), StoreError> {
    let path = || file.map(|file| file.path().to_owned()).unwrap_or_default();
    let recorded = match recorded {
        Ok(recorded) => recorded,
        Err(StoreError::IdFile(path, reason)) => return Err(StoreError::IdFile(path.clone(), reason.clone())),
        Err(error) => return Err(StoreError::IdFile(path(), error.to_string())),
    };
    match (recorded, state) {
        (_, DatabaseState::Unusable) | (Some(_), DatabaseState::Missing) => {
            Err(StoreError::DatabaseLost(display_name(url)))
        }
        (None, DatabaseState::Missing) if previously_used => Err(StoreError::DatabaseLost(display_name(url))),
        (None, _) => Ok(()),
        (Some(recorded), DatabaseState::Existing(Some(now))) if recorded.identity.id == now.id => {
            let seen = now.changes;
            let noted = recorded.identity.changes;
            if seen < noted { Err(StoreError::OlderDatabase { file: path(), seen, noted }) } else { Ok(()) }
        }
        // A database without an identity is a backup of an early version.
        (Some(_), DatabaseState::Existing(now)) => {
            Err(StoreError::OtherDatabase { file: path(), known: now.is_some() })
        }
    }
}

/// The name of the database without its secrets.
fn display_name(url: &str) -> String {
    url.strip_prefix("sqlite:").unwrap_or("PostgreSQL").to_owned()
}
