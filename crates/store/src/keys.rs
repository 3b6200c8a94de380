//! API keys. The store has the SHA-256 of a key, not the key itself.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row};

use crate::amounts::read_spent;
use crate::projects::project_from_row;
use crate::{Project, Store, StoreError, User, now_micros};

/// A key in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    pub project_id: String,
    /// The user of the key. A key without a user has the role of a member.
    pub user_id: Option<String>,
    /// Unique among the keys that are not revoked.
    pub name: String,
    /// SHA-256 of the key, 64 hex digits.
    pub hash: String,
    /// The last four characters of the key, for display.
    pub tail: String,
    pub limits: Limits,
    /// The amount spent, in nano-dollars.
    pub spent: i64,
    pub created_at: i64,
    pub revoked_at: Option<i64>,
    /// The time of the last change. Each change of the row has a later time.
    pub changed_at: i64,
}

/// The limits of a key. `None`: unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The only models that the key may use.
    pub models: Option<Vec<String>>,
    /// The only addresses from which the key may be used, such as `10.0.0.0/8` or `2001:db8::1`.
    pub networks: Option<Vec<String>>,
    /// The total amount that the key may spend, in nano-dollars.
    pub budget: Option<i64>,
    pub requests_per_minute: Option<i64>,
    pub tokens_per_minute: Option<i64>,
    /// Requests that run at the same time.
    pub concurrency: Option<i64>,
    pub expires_at: Option<i64>,
}

/// A key, its project, and the number of requests of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOverview {
    pub key: Key,
    pub project: Project,
    /// The requests of all keys of the project.
    pub requests: i64,
}

/// A key to be added.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    pub project: &'a Project,
    pub user: Option<&'a User>,
    pub name: &'a str,
    /// SHA-256 of the key, 64 hex digits.
    pub hash: &'a str,
    /// The last four characters of the key.
    pub tail: &'a str,
    pub limits: Limits,
}

impl Store {
    /// Adds a key.
    ///
    /// # Errors
    /// `Conflict` when another key has the name; `IdFile` when `store-id` cannot be written, after
    /// which the key does not exist.
    pub async fn add_key(&self, new: NewKey<'_>) -> Result<Key, StoreError> {
        let id = uuid::Uuid::now_v7().to_string();
        let NewKey { project, user, name, hash, tail, limits } = new;
        let insert = sqlx::query(
            "insert into keys (id, project_id, name, hash, tail, models, networks, budget, requests_per_minute,
                               tokens_per_minute, concurrency, expires_at, created_at, changed_at, user_id)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14) on conflict do nothing",
        )
        .bind(&id)
        .bind(&project.id)
        .bind(name)
        .bind(hash)
        .bind(tail);
        let mut transaction = self.pool.begin().await?;
        let added = bind_limits(insert, &limits)
            .bind(now_micros())
            .bind(user.map(|user| &user.id))
            .execute(&mut *transaction)
            .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!(
                "there is a key `{name}` already: revoke it, or choose another name"
            )));
        }
        if let Err(error) = self.commit_change(transaction, format!("key `{name}` added")).await {
            if let StoreError::IdFileNotUpdated(path, reason) = error {
                // The key was never returned, so it can be deleted.
                sqlx::query("delete from keys where id = $1").bind(&id).execute(&self.pool).await?;
                return Err(StoreError::IdFile(path, reason));
            }
            return Err(error);
        }
        self.key(&id).await
    }

    /// All keys including revoked ones, the oldest first.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn keys(&self) -> Result<Vec<Key>, StoreError> {
        self.keys_changed(0).await
    }

    /// The keys that were changed at `since` or later.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn keys_changed(&self, since: i64) -> Result<Vec<Key>, StoreError> {
        let rows = sqlx::query("select * from keys where changed_at >= $1 order by id").bind(since);
        Ok(rows.fetch_all(&self.pool).await?.iter().map(key_from_row).collect::<Result<_, _>>()?)
    }

    /// The key with this id, or the one with this name that is not revoked.
    ///
    /// # Errors
    /// `NotFound`; a database that cannot be read.
    pub async fn key(&self, name: &str) -> Result<Key, StoreError> {
        let found = sqlx::query("select * from keys where id = $1 or (name = $1 and revoked_at is null) order by id");
        let row = found.bind(name).fetch_optional(&self.pool).await?;
        row.as_ref().map(key_from_row).transpose()?.ok_or_else(|| key_not_found(name))
    }

    /// The key with this id, its project, and the requests of the project.
    ///
    /// # Errors
    /// `NotFound`; a database that cannot be read.
    pub async fn key_overview(&self, id: &str) -> Result<KeyOverview, StoreError> {
        let key = self.key(id).await?;
        let project = self.project_of_key(&key).await?;
        let requests = self.requests_of_project(&project.name).await?;
        Ok(KeyOverview { key, project, requests })
    }

    /// The project that pays for a key.
    async fn project_of_key(&self, key: &Key) -> Result<Project, StoreError> {
        let row = sqlx::query("select * from projects where id = $1").bind(&key.project_id).fetch_one(&self.pool);
        Ok(project_from_row(&row.await?)?)
    }

    /// Sets the limits of the key with this name or id.
    ///
    /// # Errors
    /// `NotFound` when there is none that is not revoked; a database or a `store-id` that cannot
    /// be written.
    pub async fn set_key_limits(&self, name: &str, limits: &Limits) -> Result<Key, StoreError> {
        let update = sqlx::query(
            "update keys set models = $1, networks = $2, budget = $3, requests_per_minute = $4, tokens_per_minute = $5,
                 concurrency = $6, expires_at = $7, changed_at = case when changed_at < $8 then $8 else changed_at + 1 end
             where (name = $9 or id = $9) and revoked_at is null",
        );
        let mut transaction = self.pool.begin().await?;
        let updated = bind_limits(update, limits).bind(now_micros()).bind(name).execute(&mut *transaction).await?;
        if updated.rows_affected() == 0 {
            return Err(key_not_found(name));
        }
        self.commit_change(transaction, format!("key `{name}` changed")).await?;
        self.key(name).await
    }

    /// Revokes the key with this name or id.
    ///
    /// # Errors
    /// `NotFound` when there is none that is not revoked; a database or a `store-id` that cannot
    /// be written.
    pub async fn revoke_key(&self, name: &str) -> Result<(), StoreError> {
        let update = sqlx::query(
            "update keys set revoked_at = $1, changed_at = case when changed_at < $1 then $1 else changed_at + 1 end
             where (name = $2 or id = $2) and revoked_at is null",
        );
        // `store-id` lists the change by the name of the key, for the operator of a
        // restored database.
        let key = self.key(name).await?;
        let mut transaction = self.pool.begin().await?;
        let updated = update.bind(now_micros()).bind(name).execute(&mut *transaction).await?;
        if updated.rows_affected() == 0 {
            return Err(key_not_found(name));
        }
        self.commit_change(transaction, format!("key `{}` revoked", key.name)).await
    }
}

/// Binds the limits of a key, in the order of its columns.
fn bind_limits<'q>(query: Query<'q, Any, AnyArguments>, limits: &'q Limits) -> Query<'q, Any, AnyArguments> {
    let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| list.join("\n"));
    query
        .bind(list(&limits.models))
        .bind(list(&limits.networks))
        .bind(limits.budget)
        .bind(limits.requests_per_minute)
        .bind(limits.tokens_per_minute)
        .bind(limits.concurrency)
        .bind(limits.expires_at)
}

fn key_not_found(name: &str) -> StoreError {
    StoreError::NotFound(format!("no key in use is called `{name}`"))
}

pub(crate) fn key_from_row(row: &AnyRow) -> Result<Key, sqlx::Error> {
    let list = |column| {
        let text: Option<String> = row.try_get(column)?;
        Ok::<_, sqlx::Error>(text.map(|text| text.lines().map(str::to_owned).collect()))
    };
    Ok(Key {
        id: row.try_get("id")?,
        project_id: row.try_get("project_id")?,
        user_id: row.try_get("user_id")?,
        name: row.try_get("name")?,
        hash: row.try_get("hash")?,
        tail: row.try_get("tail")?,
        limits: Limits {
            models: list("models")?,
            networks: list("networks")?,
            budget: row.try_get("budget")?,
            requests_per_minute: row.try_get("requests_per_minute")?,
            tokens_per_minute: row.try_get("tokens_per_minute")?,
            concurrency: row.try_get("concurrency")?,
            expires_at: row.try_get("expires_at")?,
        },
        spent: read_spent(row),
        created_at: row.try_get("created_at")?,
        revoked_at: row.try_get("revoked_at")?,
        changed_at: row.try_get("changed_at")?,
    })
}
