//! Users: the owners of keys, with a role on the admin API.

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::{Store, StoreError, now_micros};

/// The role of a user: what the user's keys may do. Each role includes the ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Use models.
    #[default]
    Member,
    /// Read everything on the admin API.
    Viewer,
    /// Change everything on the admin API.
    Admin,
}

impl Role {
    /// All roles, the least privileged first.
    pub const ALL: [Self; 3] = [Self::Member, Self::Viewer, Self::Admin];

    /// The name of the role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// The role with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: String,
    pub name: String,
    pub role: Role,
    pub created_at: i64,
    /// The time since which the keys of the user are refused.
    pub disabled_at: Option<i64>,
}

impl Store {
    /// Adds a user.
    ///
    /// # Errors
    /// `Conflict` when the name is taken; a database or a `store-id` that cannot be written.
    pub async fn add_user(&self, name: &str, role: Role) -> Result<User, StoreError> {
        let insert = sqlx::query(
            "insert into users (id, name, role, created_at, changed_at) values ($1, $2, $3, $4, $4)
             on conflict (name) do nothing",
        );
        let id = uuid::Uuid::now_v7().to_string();
        let mut transaction = self.pool.begin().await?;
        let added =
            insert.bind(id).bind(name).bind(role.as_str()).bind(now_micros()).execute(&mut *transaction).await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!("there is a user `{name}` already")));
        }
        self.commit_change(transaction, format!("user `{name}` added as {}", role.as_str())).await?;
        self.user(name).await
    }

    /// The user with this name.
    ///
    /// # Errors
    /// `NotFound`; a database that cannot be read.
    pub async fn user(&self, name: &str) -> Result<User, StoreError> {
        let row = sqlx::query("select * from users where name = $1").bind(name).fetch_optional(&self.pool).await?;
        row.as_ref().map(user_from_row).transpose()?.ok_or_else(|| user_not_found(name))
    }

    /// All users, ordered by name.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows = sqlx::query("select * from users order by name").fetch_all(&self.pool).await?;
        Ok(rows.iter().map(user_from_row).collect::<Result<_, _>>()?)
    }

    /// The users that were changed at `since` or later.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn users_changed(&self, since: i64) -> Result<Vec<User>, StoreError> {
        let rows = sqlx::query("select * from users where changed_at >= $1").bind(since).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(user_from_row).collect::<Result<_, _>>()?)
    }

    /// Sets the role of a user, and enables or disables the user.
    ///
    /// # Errors
    /// `NotFound`; a database or a `store-id` that cannot be written.
    pub async fn update_user(&self, name: &str, role: Role, disabled: bool) -> Result<User, StoreError> {
        let update = sqlx::query(
            "update users set role = $1, disabled_at = case when $2 = 0 then null else coalesce(disabled_at, $3) end,
                 changed_at = case when changed_at < $3 then $3 else changed_at + 1 end
             where name = $4",
        );
        let update = update.bind(role.as_str()).bind(i64::from(disabled)).bind(now_micros()).bind(name);
        let mut transaction = self.pool.begin().await?;
        if update.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(user_not_found(name));
        }
        let what = if disabled { " and disabled" } else { "" };
        self.commit_change(transaction, format!("user `{name}` made {}{what}", role.as_str())).await?;
        self.user(name).await
    }
}

fn user_not_found(name: &str) -> StoreError {
    StoreError::NotFound(format!("there is no user `{name}`: `cachalot user add {name}` creates it"))
}

fn user_from_row(row: &AnyRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        // A role of a later version counts as the least privileged one.
        role: Role::parse(&row.try_get::<String, _>("role")?).unwrap_or_default(),
        created_at: row.try_get("created_at")?,
        disabled_at: row.try_get("disabled_at")?,
    })
}
