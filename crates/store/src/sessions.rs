//! Sessions of the console. The store has the SHA-256 of a session's token, not the token itself.

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::users::user_from_row;
use crate::{DAY_MICROS, HOUR_MICROS, Store, StoreError, User, now_micros};

/// The time after its last use at which a session ends, in microseconds.
pub const SESSION_IDLE_MICROS: i64 = 12 * HOUR_MICROS;

/// The longest time that a session lasts, in microseconds.
pub const SESSION_MAX_MICROS: i64 = 30 * DAY_MICROS;

/// A session that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: String,
    /// The user, who is enabled. `None` for a session of the admin token.
    pub user: Option<User>,
    /// The id of the key that the session was begun with.
    pub key_id: Option<String>,
    /// The digest of the admin token that the session was begun with.
    pub admin_token: Option<String>,
    /// The address from which the session was begun.
    pub address: String,
    pub user_agent: String,
    pub created_at: i64,
    pub used_at: i64,
}

impl Session {
    /// The time at which the session ends unless it is used.
    pub fn expires_at(&self) -> i64 {
        (self.used_at + SESSION_IDLE_MICROS).min(self.created_at + SESSION_MAX_MICROS)
    }
}

/// A session to be begun, of a user or of the admin token.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewSession<'a> {
    /// SHA-256 of the token, 64 hex digits.
    pub token_hash: &'a str,
    pub user: Option<&'a User>,
    pub key_id: Option<&'a str>,
    pub admin_token: Option<&'a str>,
    pub address: &'a str,
    pub user_agent: &'a str,
}

/// Selects sessions and their users, whose own columns are those of `users`. `$1` is now, in
/// microseconds. A session that has ended, or whose user is disabled, is not selected.
macro_rules! select_sessions {
    ($condition:literal) => {
        concat!(
            "select s.id as session_id, s.user_id, s.key_id, s.admin_token, s.address, s.user_agent,
                 s.created_at as session_created_at, s.used_at, u.*
             from sessions s left join users u on u.id = s.user_id
             where s.used_at > $1 - 43200000000 and s.created_at > $1 - 2592000000000 and u.disabled_at is null ",
            $condition
        )
    };
}

impl Store {
    /// Begins a session, and deletes those that have ended.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn add_session(&self, new: NewSession<'_>) -> Result<Session, StoreError> {
        let id = uuid::Uuid::now_v7().to_string();
        let now = now_micros();
        let mut transaction = self.pool.begin().await?;
        sqlx::query("delete from sessions where used_at <= $1 or created_at <= $2")
            .bind(now - SESSION_IDLE_MICROS)
            .bind(now - SESSION_MAX_MICROS)
            .execute(&mut *transaction)
            .await?;
        let insert = sqlx::query(
            "insert into sessions (id, token_hash, user_id, key_id, admin_token, address, user_agent, created_at, used_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        );
        let insert = insert.bind(&id).bind(new.token_hash).bind(new.user.map(|user| &user.id)).bind(new.key_id);
        let insert = insert.bind(new.admin_token).bind(new.address).bind(new.user_agent).bind(now);
        insert.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Session {
            id,
            user: new.user.cloned(),
            key_id: new.key_id.map(str::to_owned),
            admin_token: new.admin_token.map(str::to_owned),
            address: new.address.to_owned(),
            user_agent: new.user_agent.to_owned(),
            created_at: now,
            used_at: now,
        })
    }

    /// The session whose token has this SHA-256, unless it has ended at `now`.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn session(&self, token_hash: &str, now: i64) -> Result<Option<Session>, StoreError> {
        let found = sqlx::query(select_sessions!("and s.token_hash = $2")).bind(now).bind(token_hash);
        Ok(found.fetch_optional(&self.pool).await?.as_ref().map(session_from_row).transpose()?)
    }

    /// The sessions of a user, or with `None` all, the latest first.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn sessions(&self, user_id: Option<&str>, now: i64) -> Result<Vec<Session>, StoreError> {
        let found = sqlx::query(select_sessions!("and ($2 = '' or s.user_id = $2) order by s.used_at desc, s.id desc"));
        let rows = found.bind(now).bind(user_id.unwrap_or_default()).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(session_from_row).collect::<Result<_, _>>()?)
    }

    /// Records that a session is used at `now`.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn touch_session(&self, id: &str, now: i64) -> Result<(), StoreError> {
        sqlx::query("update sessions set used_at = $1 where id = $2 and used_at < $1")
            .bind(now)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Gives a session another token, after which the former one is not valid.
    ///
    /// # Errors
    /// `NotFound` for a session that has ended; a database that cannot be written.
    pub async fn replace_session_token(&self, id: &str, token_hash: &str) -> Result<(), StoreError> {
        let update = sqlx::query("update sessions set token_hash = $1 where id = $2").bind(token_hash).bind(id);
        match update.execute(&self.pool).await?.rows_affected() {
            0 => Err(StoreError::NotFound("the session has ended".into())),
            _ => Ok(()),
        }
    }

    /// Ends a session. Returns whether it existed.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn end_session(&self, id: &str) -> Result<bool, StoreError> {
        let end = sqlx::query("delete from sessions where id = $1").bind(id).execute(&self.pool);
        Ok(end.await?.rows_affected() > 0)
    }

    /// Ends all sessions of the owner of `session`: those of its user, or of its admin token.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn end_sessions_like(&self, session: &Session) -> Result<(), StoreError> {
        let end = sqlx::query("delete from sessions where user_id = $1 or (user_id is null and admin_token = $2)");
        let user_id = session.user.as_ref().map(|user| &user.id);
        end.bind(user_id).bind(session.admin_token.as_ref()).execute(&self.pool).await?;
        Ok(())
    }
}

fn session_from_row(row: &AnyRow) -> Result<Session, sqlx::Error> {
    let user_id: Option<String> = row.try_get("user_id")?;
    Ok(Session {
        id: row.try_get("session_id")?,
        user: user_id.map(|_| user_from_row(row)).transpose()?,
        key_id: row.try_get("key_id")?,
        admin_token: row.try_get("admin_token")?,
        address: row.try_get("address")?,
        user_agent: row.try_get("user_agent")?,
        created_at: row.try_get("session_created_at")?,
        used_at: row.try_get("used_at")?,
    })
}
