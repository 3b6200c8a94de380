//! Opening of a store with a data folder: the database must be the one that `store-id` names,
//! because keys that are revoked in this one may be valid in another.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, Executor, Row};

use crate::database_state::{DatabaseState, check_identity, inspect};
use crate::id_file::{IdFile, IdFileContent};
use crate::{Store, StoreError, identity, sqlite_file};

/// Options for opening a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions<'a> {
    /// `sqlite:PATH` or `postgres://...`.
    pub url: &'a str,
    /// The data folder with `store-id`. `None`: the identity of the database is not kept.
    pub data_folder: Option<&'a Path>,
    /// A server has used the data folder before, so a missing database is a lost one.
    pub previously_used: bool,
    pub restore_policy: RestorePolicy,
    /// The store is opened by a server: the tables of keys and users are checked, and a writer that
    /// holds the database is waited for.
    pub for_serving: bool,
}

/// The decision of the operator about a database that is not the one that `store-id` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestorePolicy {
    /// Refuse the database.
    #[default]
    Refuse,
    /// Accept the database, which was restored from a backup.
    Accept,
    /// Move everything aside, and start with an empty database.
    StartEmpty,
}

/// An opened store.
#[derive(Debug)]
pub struct OpenedStore {
    pub store: Store,
    /// Messages for the operator about a database that was restored or moved aside.
    pub notes: Vec<String>,
}

/// The delay before a locked database is opened again.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The duration of an attempt from which the wait is logged: a little less than the busy timeout.
const LOGGED_WAIT: Duration = Duration::from_millis(900);

impl Store {
    /// Opens a store, creates it when it is missing for the first time, and migrates its tables.
    /// Waits, with a log line, for a database that another process has locked.
    ///
    /// # Errors
    /// `DatabaseLost`, `OtherDatabase`, `OlderDatabase` or `IdFile` when the database is not the
    /// one that `store-id` names; `Unusable` or `File` for a file that is not a database of this
    /// program or cannot be used; otherwise as [`Store::open`].
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
                    if started.elapsed() >= LOGGED_WAIT && !std::mem::replace(&mut logged, true) {
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
    let state = match (inspect(options.url, sqlite).await, options.restore_policy) {
        (Err(StoreError::Unusable(path, reason)), RestorePolicy::StartEmpty) => {
            notes.push(format!("the database `{}` is not used: {reason}", path.display()));
            DatabaseState::Unusable
        }
        (Err(StoreError::DatabaseLost(_)), RestorePolicy::StartEmpty) => DatabaseState::Unusable,
        (state, _) => state?,
    };
    let accepts_restored =
        match check_identity(options.url, options.previously_used, &state, &recorded, file.as_deref()) {
            Ok(()) => false,
            Err(_)
                if options.restore_policy == RestorePolicy::Accept && matches!(state, DatabaseState::Existing(_)) =>
            {
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
        accept_restored(&mut connection, file, recorded.ok().flatten(), &mut notes).await?;
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

/// Moves the database and `store-id` aside. Nothing is deleted.
fn move_aside(
    state: &DatabaseState,
    sqlite: Option<&Path>,
    file: Option<&IdFile>,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    if let Some(path) = sqlite {
        if let Some(aside) = sqlite_file::move_aside(path)? {
            notes.push(format!("the former database is kept as `{}`", aside.display()));
        }
    } else if matches!(state, DatabaseState::Existing(_)) {
        return Err(StoreError::DatabaseNotEmpty);
    }
    // `store-id` is last: until it is moved, the next start is refused as this one was.
    if let Some(file) = file {
        let aside = sqlite_file::unused_name(file.path());
        if sqlite_file::rename_if_exists(file.path(), &aside)? {
            notes.push(format!("its `store-id` is kept as `{}`", aside.display()));
        }
    }
    notes.push("a new store is created: the former keys are not valid any more".into());
    Ok(())
}

/// Records the identity of a restored database, and lists the changes that it lacks.
async fn accept_restored(
    connection: &mut AnyConnection,
    file: &Arc<IdFile>,
    recorded: Option<IdFileContent>,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    let before = identity::read_identity(connection).await?.map_or(0, |identity| identity.changes);
    let recorded_changes = recorded.as_ref().map_or(0, |recorded| recorded.identity.changes);
    let now = identity::accept_restored(connection, recorded_changes).await?;
    match recorded {
        Some(recorded) if recorded.identity.id == now.id => {
            let missing_changes: Vec<_> =
                recorded.recent_changes.iter().filter(|(number, _)| *number > before).collect();
            notes.push(format!(
                "the restored database is accepted: it lacks {} changes of keys and users that were made since the backup",
                recorded_changes - before
            ));
            notes.extend(missing_changes.iter().map(|(_, what)| format!("it lacks this change: {what}")));
            if (missing_changes.len() as i64) < recorded_changes - before {
                notes.push(format!(
                    "it lacks {} changes whose details are not known",
                    recorded_changes - before - missing_changes.len() as i64
                ));
            }
            notes.push("keys created since the backup are unknown, and keys revoked since it are valid again: revoke them once more".into());
        }
        Some(_) => notes.push("another database is accepted: only its own keys are valid from now on".into()),
        None => notes.push(
            "the database is accepted; the changes that it lacks are not known, because `store-id` could not be read"
                .into(),
        ),
    }
    let kept = sqlite_file::unused_name(file.path());
    if sqlite_file::rename_if_exists(file.path(), &kept)? {
        notes.push(format!("the former `store-id` is kept as `{}`", kept.display()));
    }
    identity::update_id_file(file, move |file| file.replace(&now, "a restored database was accepted")).await
}

/// Checks the tables that decide about access, because a damaged index could hide that a key is
/// revoked.
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
