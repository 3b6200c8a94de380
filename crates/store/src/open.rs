//! Opening a store that has a data folder: the database must be the one whose keys are noted in `store-id`, for another one could let
//! in whom this one does not know.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, Connection, Executor, Row};

use crate::id_file::{IdFile, Noted};
use crate::identity::{self, Identity};
use crate::sqlite::{self, Found};
use crate::{Store, StoreError};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// `sqlite:PATH` or `postgres://...`.
    pub url: &'a str,
    /// The data folder, where `store-id` is kept. `None`: nothing is noted on this machine.
    pub folder: Option<&'a Path>,
    /// The folder has been used by a server before: a missing database is a lost one.
    pub used: bool,
    pub restored: Restored,
    /// Opened to serve: the tables of accounts are checked, and a writer that holds the database is waited for.
    pub serving: bool,
}

/// The operator's decision about a database that is not the one that `store-id` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restored {
    /// Refuse it.
    #[default]
    Refuse,
    /// It was restored from a backup: note it as it is.
    Accept,
    /// Set everything aside, and begin with an empty one.
    BeginAnew,
}

/// An opened store.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// Notes for the operator about a database that was restored or set aside.
    pub notes: Vec<String>,
}

/// The state before anything is created.
enum State {
    Missing,
    /// A database of ours, of a version that has an identity or of one before.
    There(Option<Identity>),
    /// Something else, which is to be set aside.
    Unusable,
}

/// How long another process may hold the database before that is said, and how often it is tried again.
const BUSY: &str = "pragma busy_timeout = 1000";
const AGAIN: Duration = Duration::from_millis(100);

impl Store {
    /// Opens a store, creates it where it is missing for the first time, and brings its tables up to date. A database that another
    /// process has locked is waited for, and the log says so.
    ///
    /// # Errors
    /// `Lost`, `Another`, `Older` or `IdFile` when it is not the database that `store-id` names; `Unusable` or `File` for a file that is
    /// not a database of ours or cannot be used; as [`Store::open`].
    pub async fn open_in(opening: Opening<'_>) -> Result<Opened, StoreError> {
        let mut told = false;
        loop {
            let begun = Instant::now();
            let attempt = attempt(&opening).await.map_err(|error| match opening.url.strip_prefix("sqlite:") {
                Some(path) => error.of_sqlite(Path::new(path)),
                None => error,
            });
            match attempt {
                Err(error) if error.is_busy() => {
                    if begun.elapsed() >= Duration::from_millis(900) && !std::mem::replace(&mut told, true) {
                        tracing::warn!("the database is locked by another process: waiting until it is free");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return opened,
            }
        }
    }
}

async fn attempt(opening: &Opening<'_>) -> Result<Opened, StoreError> {
    sqlx::any::install_default_drivers();
    let file = opening.folder.map(|folder| Arc::new(IdFile::of(folder)));
    let noted = file.as_ref().map_or(Ok(None), |file| file.read());
    let sqlite = opening.url.strip_prefix("sqlite:").map(Path::new);
    let mut notes = Vec::new();
    let state = match (look(opening, sqlite).await, opening.restored) {
        (Err(StoreError::Unusable(path, reason)), Restored::BeginAnew) => {
            notes.push(format!("the database `{}` is not used: {reason}", path.display()));
            State::Unusable
        }
        (Err(StoreError::Lost(_)), Restored::BeginAnew) => State::Unusable,
        (state, _) => state?,
    };
    let adopts = match decide(opening, &state, &noted, file.as_deref()) {
        Ok(()) => false,
        Err(_) if opening.restored == Restored::Accept && matches!(state, State::There(_)) => true,
        Err(_) if opening.restored == Restored::BeginAnew => {
            set_aside(&state, sqlite, file.as_deref(), &mut notes)?;
            false
        }
        Err(error) => return Err(error),
    };
    let store = Store::connect(opening.url, opening.serving, file.clone()).await?;
    let mut connection = store.pool.acquire().await?;
    if opening.serving && sqlite.is_some() {
        check_accounts(&mut connection, sqlite).await?;
    }
    if let (true, Some(file)) = (adopts, &file) {
        let noted = noted.ok().flatten();
        adopt(&mut connection, file, noted, &mut notes).await?;
    } else if let Some(file) = &file
        && identity::has_keys(&mut connection).await?
        && let Some(now) = identity::find(&mut connection).await?
    {
        if opening.restored == Restored::BeginAnew {
            return Err(StoreError::InOrder);
        }
        identity::write(file, move |file| file.note(&now, None)).await?;
    }
    drop(connection);
    if opening.restored == Restored::Accept && !adopts {
        notes.push("the database is the one that was used last: there is nothing to accept, start without --accept-restored-store".into());
    }
    Ok(Opened { store, notes })
}

/// Looks at the database, and creates nothing.
async fn look(opening: &Opening<'_>, sqlite: Option<&Path>) -> Result<State, StoreError> {
    let Some(path) = sqlite else {
        if !crate::store::is_postgres(opening.url) {
            return Err(StoreError::url(opening.url));
        }
        let mut connection = crate::store::connect_once(opening.url).await?;
        let state = tables(
            &mut connection,
            "select cast(count(*) as bigint) as n from information_schema.tables
             where table_name = $1 and table_schema = any (current_schemas(false))",
        );
        let state = state.await?;
        connection.close().await?;
        return Ok(state.map_or(State::Missing, State::There));
    };
    if let Found::Nothing { wal } = sqlite::look(path)? {
        return if wal { Err(StoreError::Lost(path.display().to_string())) } else { Ok(State::Missing) };
    }
    let explained = |error: sqlx::Error| StoreError::from(error).of_sqlite(path);
    let mut connection = AnyConnection::connect(&crate::store::sqlite_url(path, "rw")).await.map_err(explained)?;
    connection.execute(BUSY).await.map_err(explained)?;
    let query = "select cast(count(*) as bigint) as n from sqlite_master where type = 'table' and name = $1";
    let state = tables(&mut connection, query).await.map_err(|error| error.of_sqlite(path))?;
    // Those of a first start that was cut short do not count.
    let all = "select cast(count(*) as bigint) as n from sqlite_master where tbl_name <> '_sqlx_migrations'";
    let objects: i64 = connection.fetch_one(all).await.map_err(explained)?.try_get("n")?;
    connection.close().await.map_err(explained)?;
    match state {
        Some(identity) => Ok(State::There(identity)),
        None if objects == 0 => Ok(State::Missing),
        None => Err(StoreError::Unusable(path.to_owned(), "it is the database of another program".into())),
    }
}

/// The identity of a database; `None` inside when it has none yet, and outside when it has no tables of ours. `query` counts the tables
/// of a name.
async fn tables(connection: &mut AnyConnection, query: &'static str) -> Result<Option<Option<Identity>>, StoreError> {
    let mut has = [false; 2];
    for (has, name) in has.iter_mut().zip(["keys", "store_identity"]) {
        *has = sqlx::query(query).bind(name).fetch_one(&mut *connection).await?.try_get::<i64, _>("n")? > 0;
    }
    let migrated = sqlx::query(query).bind("_sqlx_migrations").fetch_one(&mut *connection).await?;
    if migrated.try_get::<i64, _>("n")? == 0 || !has[0] {
        return Ok(None);
    }
    Ok(Some(if has[1] { identity::find(connection).await? } else { None }))
}

/// Whether the database may be used without a word of the operator.
fn decide(
    opening: &Opening<'_>,
    state: &State,
    noted: &Result<Option<Noted>, StoreError>,
    file: Option<&IdFile>,
) -> Result<(), StoreError> {
    let path = || file.map(|file| file.path().to_owned()).unwrap_or_default();
    let noted = match noted {
        Ok(noted) => noted,
        Err(StoreError::IdFile(path, reason)) => return Err(StoreError::IdFile(path.clone(), reason.clone())),
        Err(error) => return Err(StoreError::IdFile(path(), error.to_string())),
    };
    match (noted, state) {
        (_, State::Unusable) | (Some(_), State::Missing) => Err(StoreError::Lost(named(opening.url))),
        (None, State::Missing) if opening.used => Err(StoreError::Lost(named(opening.url))),
        (None, _) => Ok(()),
        (Some(noted), State::There(Some(now))) if noted.identity.id == now.id => {
            let (seen, noted) = (now.changes, noted.identity.changes);
            if seen < noted { Err(StoreError::Older { file: path(), seen, noted }) } else { Ok(()) }
        }
        // One without an identity is a backup from before it had one.
        (Some(_), State::There(now)) => Err(StoreError::Another { file: path(), known: now.is_some() }),
    }
}

/// The database without its secrets.
fn named(url: &str) -> String {
    url.strip_prefix("sqlite:").unwrap_or("PostgreSQL").to_owned()
}

/// Makes room for a new database. Nothing is deleted.
fn set_aside(
    state: &State,
    sqlite: Option<&Path>,
    file: Option<&IdFile>,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    if let Some(path) = sqlite {
        if let Some(aside) = sqlite::set_aside(path)? {
            notes.push(format!("the database that was there is kept as `{}`", aside.display()));
        }
    } else if matches!(state, State::There(_)) {
        return Err(StoreError::NotEmpty);
    }
    // Last: until here the next start is refused as this one was.
    if let Some(file) = file {
        let aside = sqlite::unused_name(file.path());
        if sqlite::rename(file.path(), &aside)? {
            notes.push(format!("the note of its keys is kept as `{}`", aside.display()));
        }
    }
    notes.push("a new store is begun: nobody's former key is good any more".into());
    Ok(())
}

/// Notes a restored database as it is, and says what it lacks.
async fn adopt(
    connection: &mut AnyConnection,
    file: &Arc<IdFile>,
    noted: Option<Noted>,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    let before = identity::find(connection).await?.map_or(0, |identity| identity.changes);
    let counted = noted.as_ref().map_or(0, |noted| noted.identity.changes);
    let now = identity::adopt(connection, counted).await?;
    match noted {
        Some(noted) if noted.identity.id == now.id => {
            let lost: Vec<_> = noted.recent.iter().filter(|(number, _)| *number > before).collect();
            notes.push(format!(
                "the restored database is accepted: it lacks {} changes of keys and users that were made since the backup",
                counted - before
            ));
            notes.extend(lost.iter().map(|(_, what)| format!("it lacks this change: {what}")));
            if (lost.len() as i64) < counted - before {
                notes.push(format!(
                    "it lacks {} changes of which no more is known",
                    counted - before - lost.len() as i64
                ));
            }
            notes.push("keys made since the backup are unknown, and keys revoked since it are good again: revoke them once more".into());
        }
        Some(_) => notes.push("another database is accepted: only its own keys are good from now on".into()),
        None => {
            notes.push("the database is accepted; what it lacks is not known, for `store-id` could not be read".into())
        }
    }
    let kept = sqlite::unused_name(file.path());
    if sqlite::rename(file.path(), &kept)? {
        notes.push(format!("the former note is kept as `{}`", kept.display()));
    }
    identity::write(file, move |file| file.replace(&now, "a restored database was accepted")).await
}

/// Checks the tables that say who is let in: a row that cannot be found is a key that is not revoked.
async fn check_accounts(connection: &mut AnyConnection, path: Option<&Path>) -> Result<(), StoreError> {
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
