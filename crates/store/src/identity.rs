//! The identity of the database: its id, and the number of changes of its keys, users and
//! passwords. The copy in `store-id` is updated before a change is reported as done.

use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Row, Transaction};

use crate::id_file::{IdFile, StoreIdentity};
use crate::{Store, StoreError};

impl Store {
    /// The identity of the database.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn identity(&self) -> Result<StoreIdentity, StoreError> {
        let row = sqlx::query("select id, changes from store_identity where one = 1").fetch_one(&self.pool).await?;
        Ok(identity_from_row(&row)?)
    }

    /// Whether a key or a password ever existed, in this database or, according to `store-id`, in
    /// an earlier one. Then requests without a key are refused.
    ///
    /// # Errors
    /// A database or a `store-id` that cannot be read.
    pub async fn ever_had_keys(&self) -> Result<bool, StoreError> {
        let recorded = match &self.id_file {
            Some(file) => file.read()?.is_some(),
            None => false,
        };
        Ok(recorded || has_keys(&mut *self.pool.acquire().await?).await?)
    }

    /// Updates `store-id` with the changes of other processes. Returns false when the database is
    /// no longer the one that was opened: it has another id, or fewer changes than before.
    ///
    /// # Errors
    /// A database that cannot be read, or a file that cannot be written.
    pub async fn sync_id_file(&self) -> Result<bool, StoreError> {
        let Some(file) = &self.id_file else { return Ok(true) };
        let now = self.identity().await?;
        match file.last_known() {
            Some(known) if known == now => return Ok(true),
            Some(known) if known.id != now.id || known.changes > now.changes => return Ok(false),
            Some(_) => {}
            None if !has_keys(&mut *self.pool.acquire().await?).await? => return Ok(true),
            None => {}
        }
        update_id_file(file, move |file| file.record(&now, None)).await?;
        Ok(true)
    }

    /// Commits a change of keys or users, and records it in `store-id`. `what`
    /// describes the change.
    ///
    /// # Errors
    /// `IdFileNotUpdated` when the change is committed and the file cannot be written.
    pub(crate) async fn commit_change(
        &self,
        mut transaction: Transaction<'_, Any>,
        what: String,
    ) -> Result<(), StoreError> {
        // Last in the transaction, because all writers of keys and users lock this row.
        let increment =
            sqlx::query("update store_identity set changes = changes + 1 where one = 1 returning id, changes");
        let now = identity_from_row(&increment.fetch_one(&mut *transaction).await?)?;
        let any_keys = match &self.id_file {
            Some(_) => has_keys(&mut transaction).await?,
            None => false,
        };
        transaction.commit().await?;
        match &self.id_file {
            Some(file) if any_keys => {
                update_id_file(file, move |file| file.record(&now, Some(&what))).await.map_err(|error| match error {
                    StoreError::IdFile(path, reason) => StoreError::IdFileNotUpdated(path, reason),
                    error => error,
                })
            }
            _ => Ok(()),
        }
    }
}

/// Gives the database an identity if it has none.
pub(crate) async fn ensure_identity(connection: &mut AnyConnection) -> Result<(), StoreError> {
    if read_identity(connection).await?.is_some() {
        return Ok(());
    }
    // In a database of an earlier version, each key counts as one change.
    let insert = sqlx::query(
        "insert into store_identity (one, id, changes)
         select 1, $1, cast(count(*) as bigint) from keys where true on conflict (one) do nothing",
    );
    insert.bind(uuid::Uuid::new_v4().to_string()).execute(&mut *connection).await?;
    Ok(())
}

/// The identity of a database that has the table `store_identity`.
pub(crate) async fn read_identity(connection: &mut AnyConnection) -> Result<Option<StoreIdentity>, StoreError> {
    let found = sqlx::query("select id, changes from store_identity where one = 1");
    Ok(found.fetch_optional(connection).await?.as_ref().map(identity_from_row).transpose()?)
}

/// Continues with a restored database: its count of changes is set above all that were recorded.
pub(crate) async fn accept_restored(
    connection: &mut AnyConnection,
    recorded_changes: i64,
) -> Result<StoreIdentity, StoreError> {
    let update = sqlx::query(
        "update store_identity set changes = case when changes < $1 then $1 else changes end + 1 where one = 1 returning id, changes",
    );
    Ok(identity_from_row(&update.bind(recorded_changes).fetch_one(connection).await?)?)
}

/// Whether the database has a key, revoked or not, or a password.
pub(crate) async fn has_keys(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "select cast(count(*) as bigint) as keys from (select id from keys where id = (select min(id) from keys)
             union all select user_id from passwords where user_id = (select min(user_id) from passwords)) k",
    );
    Ok(row.fetch_one(connection).await?.try_get::<i64, _>("keys")? > 0)
}

/// Updates the file on a blocking thread.
pub(crate) async fn update_id_file(
    file: &Arc<IdFile>,
    update: impl FnOnce(&IdFile) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let file = file.clone();
    let written = tokio::task::spawn_blocking(move || update(&file)).await;
    written.unwrap_or_else(|panic| Err(StoreError::Database(sqlx::Error::Protocol(panic.to_string()))))
}

fn identity_from_row(row: &AnyRow) -> Result<StoreIdentity, sqlx::Error> {
    Ok(StoreIdentity { id: row.try_get("id")?, changes: row.try_get("changes")? })
}
