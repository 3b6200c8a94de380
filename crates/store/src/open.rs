//! Opening a store that has a data folder: the database must be the one whose keys are noted in
//! `store-id`, for another one could let in whom this one does not know.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, Connection, Executor, Row};

use crate::id_file::{IdFile, IdFileContent};
use crate::identity::{self, StoreIdentity};
use crate::sqlite_file::{self, FileState};
use crate::{Store, StoreError};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions<'a> {
    /// `sqlite:PATH` or `postgres://...`.
    pub url: &'a str,
    /// The data folder, where `store-id` is kept. `None`: nothing is noted on this machine.
    pub data_folder: Option<&'a Path>,
    /// The folder has been used by a server before: a missing database is a lost one.
    pub previously_used: bool,
    pub restore_policy: RestorePolicy,
    /// Opened to serve: the tables of accounts are checked, and a writer that holds the
    /// database is waited for.
    pub for_serving: bool,
}

/// The operator's decision about a database that is not the one that `store-id` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestorePolicy {
    /// Refuse it.
    #[default]
    Refuse,
    /// It was restored from a backup: note it as it is.
    Accept,
    /// Set everything aside, and begin with an empty one.
    StartEmpty,
}

/// An opened store.
#[derive(Debug)]
pub struct OpenedStore {
    pub store: Store,
    /// Notes for the operator about a database that was restored or set aside.
    pub notes: Vec<String>,
}

/// The state before anything is created.
enum DatabaseState {
    Missing,
    /// A database of ours, of a version that has an identity or of one before.
    Existing(Option<StoreIdentity>),
    /// Something else, which is to be set aside.
    Unusable,
}

/// How long another process may hold the database before that is said, and how often
/// it is tried again.
const BUSY_TIMEOUT: &str = "pragma busy_timeout = 1000";
const RETRY_DELAY: Duration = Duration::from_millis(100);

impl Store {
    /// Opens a store, creates it where it is missing for the first time, and brings its tables up
    /// to date. A database that another process has locked is waited for, and the log says so.
    ///
    /// # Errors
    /// `Lost`, `Another`, `Older` or `IdFile` when it is not the database that `store-id` names;
    /// `Unusable` or `File` for a file that is not a database of ours or cannot be used; as
    /// [`Store::open`].
    pub async fn open_verified(options: StoreOptions<'_>) -> Result<OpenedStore, StoreError> {
        let mut logged = false;
        loop {
            let started = Instant::now();
            let attempt = try_open(&options).await.map_err(|error| match options.url.strip_prefix("sqlite:") {
                Some(path) => error.explain_sqlite(Path::new(path)),
                None => error,
            });
            match attempt {
                Err(error) if error.is_busy() => {
                    if started.elapsed() >= Duration::from_millis(900) && !std::mem::replace(&mut logged, true) {
                        tracing::warn!("the database is locked by another process: waiting until it is free");
                    }
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                opened => return opened,
            }
        }
    }
}

async fn try_open(options: &StoreOptions<'_>) -> Result<OpenedStore, StoreError> {
    sqlx::any::install_default_drivers();
    let file = options.data_folder.map(|folder| Arc::new(IdFile::in_folder(folder)));
    let recorded = file.as_ref().map_or(Ok(None), |file| file.read());
    let sqlite = options.url.strip_prefix("sqlite:").map(Path::new);
    let mut notes = Vec::new();
    let state = match (inspect(options, sqlite).await, options.restore_policy) {
        (Err(StoreError::Unusable(path, reason)), RestorePolicy::StartEmpty) => {
            notes.push(format!("the database `{}` is not used: {reason}", path.display()));
            DatabaseState::Unusable
        }
        (Err(StoreError::DatabaseLost(_)), RestorePolicy::StartEmpty) => DatabaseState::Unusable,
        (state, _) => state?,
    };
    let accepts_restored = match check_identity(options, &state, &recorded, file.as_deref()) {
        Ok(()) => false,
        Err(_) if options.restore_policy == RestorePolicy::Accept && matches!(state, DatabaseState::Existing(_)) => {
            true
        }
        Err(_) if options.restore_policy == RestorePolicy::StartEmpty => {
            move_aside(&state, sqlite, file.as_deref(), &mut notes)?;
            false
        }
        Err(error) => return Err(error),
    };
    let store = Store::connect(options.url, options.for_serving, file.clone()).await?;
    let mut connection = store.pool.acquire().await?;
    if options.for_serving && sqlite.is_some() {
        check_account_tables(&mut connection, sqlite).await?;
    }
    if let (true, Some(file)) = (accepts_restored, &file) {
        let noted = recorded.ok().flatten();
        accept_restored(&mut connection, file, noted, &mut notes).await?;
    } else if let Some(file) = &file
        && identity::has_keys(&mut connection).await?
        && let Some(now) = identity::read_identity(&mut connection).await?
    {
        if options.restore_policy == RestorePolicy::StartEmpty {
            return Err(StoreError::DatabaseIntact);
        }
        identity::update_id_file(file, move |file| file.record(&now, None)).await?;
    }
    drop(connection);
    if options.restore_policy == RestorePolicy::Accept && !accepts_restored {
        notes.push("the database is the one that was used last: there is nothing to accept, start without --accept-restored-store".into());
    }
    Ok(OpenedStore { store, notes })
}

/// Looks at the database, and creates nothing.
async fn inspect(options: &StoreOptions<'_>, sqlite: Option<&Path>) -> Result<DatabaseState, StoreError> {
    let Some(path) = sqlite else {
        if !crate::store::is_postgres(options.url) {
            return Err(StoreError::invalid_url(options.url));
        }
        let mut connection = crate::store::connect_once(options.url).await?;
        let state = read_identity(
            &mut connection,
            "select cast(count(*) as bigint) as n from information_schema.tables
             where table_name = $1 and table_schema = any (current_schemas(false))",
        );
        let state = state.await?;
        connection.close().await?;
        return Ok(state.map_or(DatabaseState::Missing, DatabaseState::Existing));
    };
    if let FileState::Missing { orphaned_wal: wal } = sqlite_file::inspect(path)? {
        return if wal {
            Err(StoreError::DatabaseLost(path.display().to_string()))
        } else {
            Ok(DatabaseState::Missing)
        };
    }
    let sqlite_error = |error: sqlx::Error| StoreError::from(error).explain_sqlite(path);
    let mut connection = AnyConnection::connect(&crate::store::sqlite_url(path, "rw")).await.map_err(sqlite_error)?;
    connection.execute(BUSY_TIMEOUT).await.map_err(sqlite_error)?;
    let query = "select cast(count(*) as bigint) as n from sqlite_master where type = 'table' and name = $1";
    let state = read_identity(&mut connection, query).await.map_err(|error| error.explain_sqlite(path))?;
    // Those of a first start that was cut short do not count.
    let all = "select cast(count(*) as bigint) as n from sqlite_master where tbl_name <> '_sqlx_migrations'";
    let objects: i64 = connection.fetch_one(all).await.map_err(sqlite_error)?.try_get("n")?;
    connection.close().await.map_err(sqlite_error)?;
    match state {
        Some(identity) => Ok(DatabaseState::Existing(identity)),
        None if objects == 0 => Ok(DatabaseState::Missing),
        None => Err(StoreError::Unusable(path.to_owned(), "it is the database of another program".into())),
    }
}

/// The identity of a database; `None` inside when it has none yet, and outside when it has no
/// tables of ours. `query` counts the tables of a name.
async fn read_identity(
    connection: &mut AnyConnection,
    query: &'static str,
) -> Result<Option<Option<StoreIdentity>>, StoreError> {
    let mut has = [false; 2];
    for (has, name) in has.iter_mut().zip(["keys", "store_identity"]) {
        *has = sqlx::query(query).bind(name).fetch_one(&mut *connection).await?.try_get::<i64, _>("n")? > 0;
    }
    let migrated = sqlx::query(query).bind("_sqlx_migrations").fetch_one(&mut *connection).await?;
    if migrated.try_get::<i64, _>("n")? == 0 || !has[0] {
        return Ok(None);
    }
    Ok(Some(if has[1] { identity::read_identity(connection).await? } else { None }))
}

/// Whether the database may be used without a word of the operator.
fn check_identity(
    options: &StoreOptions<'_>,
    state: &DatabaseState,
    noted: &Result<Option<IdFileContent>, StoreError>,
    file: Option<&IdFile>,
) -> Result<(), StoreError> {
    let path = || file.map(|file| file.path().to_owned()).unwrap_or_default();
    let noted = match noted {
        Ok(noted) => noted,
        Err(StoreError::IdFile(path, reason)) => return Err(StoreError::IdFile(path.clone(), reason.clone())),
        Err(error) => return Err(StoreError::IdFile(path(), error.to_string())),
    };
    match (noted, state) {
        (_, DatabaseState::Unusable) | (Some(_), DatabaseState::Missing) => {
            Err(StoreError::DatabaseLost(display_name(options.url)))
        }
        (None, DatabaseState::Missing) if options.previously_used => {
            Err(StoreError::DatabaseLost(display_name(options.url)))
        }
        (None, _) => Ok(()),
        (Some(noted), DatabaseState::Existing(Some(now))) if noted.identity.id == now.id => {
            let (seen, noted) = (now.changes, noted.identity.changes);
            if seen < noted { Err(StoreError::OlderDatabase { file: path(), seen, noted }) } else { Ok(()) }
        }
        // One without an identity is a backup from before it had one.
        (Some(_), DatabaseState::Existing(now)) => {
            Err(StoreError::OtherDatabase { file: path(), known: now.is_some() })
        }
    }
}

/// The database without its secrets.
fn display_name(url: &str) -> String {
    url.strip_prefix("sqlite:").unwrap_or("PostgreSQL").to_owned()
}

/// Makes room for a new database. Nothing is deleted.
fn move_aside(
    state: &DatabaseState,
    sqlite: Option<&Path>,
    file: Option<&IdFile>,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    if let Some(path) = sqlite {
        if let Some(aside) = sqlite_file::move_aside(path)? {
            notes.push(format!("the database that was there is kept as `{}`", aside.display()));
        }
    } else if matches!(state, DatabaseState::Existing(_)) {
        return Err(StoreError::DatabaseNotEmpty);
    }
    // Last: until here the next start is refused as this one was.
    if let Some(file) = file {
        let aside = sqlite_file::unused_name(file.path());
        if sqlite_file::rename_if_exists(file.path(), &aside)? {
            notes.push(format!("the note of its keys is kept as `{}`", aside.display()));
        }
    }
    notes.push("a new store is begun: nobody's former key is good any more".into());
    Ok(())
}

/// Notes a restored database as it is, and says what it lacks.
async fn accept_restored(
    connection: &mut AnyConnection,
    file: &Arc<IdFile>,
    noted: Option<IdFileContent>,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    let before = identity::read_identity(connection).await?.map_or(0, |identity| identity.changes);
    let counted = noted.as_ref().map_or(0, |noted| noted.identity.changes);
    let now = identity::accept_restored(connection, counted).await?;
    match noted {
        Some(noted) if noted.identity.id == now.id => {
            let missing_changes: Vec<_> = noted.recent_changes.iter().filter(|(number, _)| *number > before).collect();
            notes.push(format!(
                "the restored database is accepted: it lacks {} changes of keys and users that were made since the backup",
                counted - before
            ));
            notes.extend(missing_changes.iter().map(|(_, what)| format!("it lacks this change: {what}")));
            if (missing_changes.len() as i64) < counted - before {
                notes.push(format!(
                    "it lacks {} changes of which no more is known",
                    counted - before - missing_changes.len() as i64
                ));
            }
            notes.push("keys made since the backup are unknown, and keys revoked since it are good again: revoke them once more".into());
        }
        Some(_) => notes.push("another database is accepted: only its own keys are good from now on".into()),
        None => {
            notes.push("the database is accepted; what it lacks is not known, for `store-id` could not be read".into())
        }
    }
    let kept = sqlite_file::unused_name(file.path());
    if sqlite_file::rename_if_exists(file.path(), &kept)? {
        notes.push(format!("the former note is kept as `{}`", kept.display()));
    }
    identity::update_id_file(file, move |file| file.replace(&now, "a restored database was accepted")).await
}

/// Checks the tables that say who is let in: a row that cannot be found is a key
/// that is not revoked.
async fn check_account_tables(connection: &mut AnyConnection, path: Option<&Path>) -> Result<(), StoreError> {
    for check in [
        "pragma integrity_check('keys')",
        "pragma integrity_check('users')",
        "pragma integrity_check('store_identity')",
    ] {
        let rows = connection.fetch_all(check).await?;
        let found: String = rows.first().map_or(Ok("ok".into()), |row| row.try_get(0))?;
        if found != "ok" {
            let reason = format!("it is damaged: {found}");
            return Err(StoreError::Unusable(path.unwrap_or(Path::new("")).to_owned(), reason));
        }
    }
    Ok(())
}
