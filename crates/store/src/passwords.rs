//! Passwords of users. The store has their hashes in the PHC string format, which the caller
//! computes and compares.

use sqlx::{Any, Row, Transaction};

use crate::users::{lock_accounts, user_from_row};
use crate::{Store, StoreError, User, now_micros};

impl Store {
    /// The enabled user with this name, and the hash of the user's password; `None` for a user who
    /// is unknown, disabled or without a password.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn password(&self, name: &str) -> Result<Option<(User, String)>, StoreError> {
        let found = sqlx::query(
            "select u.*, p.hash as password_hash from users u join passwords p on p.user_id = u.id
             where u.name = $1 and u.disabled_at is null",
        );
        let Some(row) = found.bind(name).fetch_optional(&self.pool).await? else { return Ok(None) };
        Ok(Some((user_from_row(&row)?, row.try_get("password_hash")?)))
    }

    /// Whether any user has a password.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn has_passwords(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query("select user_id from passwords limit 1").fetch_optional(&self.pool).await?.is_some())
    }

    /// Replaces the password of a user, and ends the user's sessions except `kept_session`.
    ///
    /// # Errors
    /// A database or a `store-id` that cannot be written.
    pub async fn set_password(&self, user: &User, hash: &str, kept_session: Option<&str>) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        lock_accounts(&mut transaction).await?;
        put_password(&mut transaction, &user.id, hash).await?;
        let end = sqlx::query("delete from sessions where user_id = $1 and id <> $2");
        end.bind(&user.id).bind(kept_session.unwrap_or_default()).execute(&mut *transaction).await?;
        self.commit_change(transaction, format!("password of user `{}` set", user.name)).await
    }
}

/// Inserts or replaces the password of a user.
pub(crate) async fn put_password(
    transaction: &mut Transaction<'_, Any>,
    user_id: &str,
    hash: &str,
) -> Result<(), StoreError> {
    let put = sqlx::query(
        "insert into passwords (user_id, hash, changed_at) values ($1, $2, $3)
         on conflict (user_id) do update set hash = excluded.hash, changed_at = excluded.changed_at",
    );
    put.bind(user_id).bind(hash).bind(now_micros()).execute(&mut **transaction).await?;
    Ok(())
}
