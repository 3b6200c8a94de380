//! Files that callers keep at a provider: their owners, their providers and both of their ids.

use std::sync::Arc;

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::{Store, StoreError, TaskOwner};

/// A file that a provider keeps for a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// The id that callers use.
    pub id: String,
    /// The provider's id of the file.
    pub provider_id: String,
    /// The provider that keeps it.
    pub upstream: Arc<str>,
    /// The owner, as [`TaskOwner::to_text`] writes it.
    pub owner: String,
    pub purpose: String,
    pub filename: String,
    /// The length, as the provider counts it.
    pub bytes: i64,
    /// JSON: what a file for batches asks for. `None` for all other files.
    pub batch_input: Option<String>,
    /// Microseconds since 1970.
    pub created_at: i64,
}

/// A page of an owner's files.
#[derive(Clone, Debug)]
pub struct FilePage<'a> {
    /// Only files of this purpose.
    pub purpose: Option<&'a str>,
    /// The file that the page begins after.
    pub after: Option<&'a StoredFile>,
    /// The oldest file first.
    pub is_ascending: bool,
    pub limit: i64,
}

impl Store {
    /// Adds a file. Returns the row of the file, which is an older one if the owner has this file
    /// of the provider already.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn add_file(&self, file: &StoredFile) -> Result<StoredFile, StoreError> {
        let insert = sqlx::query(
            "insert into files (id, provider_id, upstream, owner, purpose, filename, bytes, batch_input, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (upstream, provider_id, owner) do nothing",
        );
        let insert = insert.bind(&file.id).bind(&file.provider_id).bind(&*file.upstream).bind(&file.owner);
        let insert = insert.bind(&file.purpose).bind(&file.filename).bind(file.bytes);
        insert.bind(file.batch_input.as_deref()).bind(file.created_at).execute(&self.pool).await?;
        let known = self.file_of_provider(&file.owner, &file.upstream, &file.provider_id).await?;
        Ok(known.unwrap_or_else(|| file.clone()))
    }

    /// The owner's file with this id.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn file(&self, owner: TaskOwner<'_>, id: &str) -> Result<Option<StoredFile>, StoreError> {
        let found = sqlx::query("select * from files where id = $1 and owner = $2").bind(id).bind(owner.to_text());
        Ok(found.fetch_optional(&self.pool).await?.as_ref().map(file_from_row).transpose()?)
    }

    /// The file of an owner that a provider calls `provider_id`.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn file_of_provider(
        &self,
        owner: &str,
        upstream: &str,
        provider_id: &str,
    ) -> Result<Option<StoredFile>, StoreError> {
        let found = sqlx::query("select * from files where upstream = $1 and provider_id = $2 and owner = $3");
        let found = found.bind(upstream).bind(provider_id).bind(owner).fetch_optional(&self.pool).await?;
        Ok(found.as_ref().map(file_from_row).transpose()?)
    }

    /// A page of an owner's files.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn files(&self, owner: TaskOwner<'_>, page: FilePage<'_>) -> Result<Vec<StoredFile>, StoreError> {
        let statement = if page.is_ascending {
            "select * from files where owner = $1 and (cast($2 as text) is null or purpose = $2)
                 and (created_at > $3 or (created_at = $3 and id > $4)) order by created_at, id limit $5"
        } else {
            "select * from files where owner = $1 and (cast($2 as text) is null or purpose = $2)
                 and (created_at < $3 or (created_at = $3 and id < $4)) order by created_at desc, id desc limit $5"
        };
        let start = if page.is_ascending { i64::MIN } else { i64::MAX };
        let (time, id) = page.after.map_or((start, ""), |file| (file.created_at, file.id.as_str()));
        let rows = sqlx::query(statement).bind(owner.to_text()).bind(page.purpose).bind(time).bind(id).bind(page.limit);
        let rows = rows.fetch_all(&self.pool).await?;
        Ok(rows.iter().map(file_from_row).collect::<Result<_, _>>()?)
    }

    /// Deletes the row of a file.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn delete_file(&self, file: &StoredFile) -> Result<(), StoreError> {
        sqlx::query("delete from files where id = $1").bind(&file.id).execute(&self.pool).await?;
        Ok(())
    }

    /// Whether another owner has the same file of the provider, as where a provider knows files by
    /// their content.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn is_file_shared(&self, file: &StoredFile) -> Result<bool, StoreError> {
        let others =
            sqlx::query("select id from files where upstream = $1 and provider_id = $2 and owner <> $3 limit 1");
        let others = others.bind(&*file.upstream).bind(&file.provider_id).bind(&file.owner);
        Ok(others.fetch_optional(&self.pool).await?.is_some())
    }
}

fn file_from_row(row: &AnyRow) -> Result<StoredFile, sqlx::Error> {
    Ok(StoredFile {
        id: row.try_get("id")?,
        provider_id: row.try_get("provider_id")?,
        upstream: row.try_get::<String, _>("upstream")?.into(),
        owner: row.try_get("owner")?,
        purpose: row.try_get("purpose")?,
        filename: row.try_get("filename")?,
        bytes: row.try_get("bytes")?,
        batch_input: row.try_get("batch_input")?,
        created_at: row.try_get("created_at")?,
    })
}
