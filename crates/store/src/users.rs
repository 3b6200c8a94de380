//! Users: the owners of keys, with a role on the admin API.

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

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
    /// The amount that the keys made by the user may spend together, in nano-dollars. `None`: the
    /// one of the configuration.
    pub budget: Option<i64>,
}

impl Store {
    /// Adds a user.
    ///
    /// # Errors
    /// `Conflict` when the name is taken; a database or a `store-id` that cannot be written.
    pub async fn add_user(&self, name: &str, role: Role) -> Result<User, StoreError> {
        let mut transaction = self.pool.begin().await?;
        insert_user(&mut transaction, name, role, None).await?;
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

    /// Sets the role of a user, and enables or disables the user. The sessions of the user end with
    /// another role, and when the user is disabled.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when no enabled admin would remain; a database or a `store-id` that
    /// cannot be written.
    pub async fn update_user(&self, name: &str, role: Role, disabled: bool) -> Result<User, StoreError> {
        let update = sqlx::query(
            "update users set role = $1, disabled_at = case when $2 = 0 then null else coalesce(disabled_at, $3) end,
                 changed_at = case when changed_at < $3 then $3 else changed_at + 1 end
             where name = $4",
        );
        let update = update.bind(role.as_str()).bind(i64::from(disabled)).bind(now_micros()).bind(name);
        let mut transaction = self.pool.begin().await?;
        // Two admins that demote each other take turns, so that one of them stays.
        lock_accounts(&mut transaction).await?;
        let before = sqlx::query("select * from users where name = $1").bind(name).fetch_optional(&mut *transaction);
        let before = before.await?.as_ref().map(user_from_row).transpose()?.ok_or_else(|| user_not_found(name))?;
        let was_admin = before.role == Role::Admin && before.disabled_at.is_none();
        if was_admin && (role != Role::Admin || disabled) && !has_other_admin(&mut transaction, name).await? {
            return Err(StoreError::Conflict(format!("`{name}` is the last admin: make another user an admin first")));
        }
        update.execute(&mut *transaction).await?;
        if disabled || role != before.role {
            sqlx::query("delete from sessions where user_id = $1").bind(&before.id).execute(&mut *transaction).await?;
        }
        let what = if disabled { " and disabled" } else { "" };
        self.commit_change(transaction, format!("user `{name}` made {}{what}", role.as_str())).await?;
        self.user(name).await
    }

    /// Sets the amount that the keys made by a user may spend together, in nano-dollars; `None`:
    /// the one of the configuration.
    ///
    /// # Errors
    /// `NotFound`; a database or a `store-id` that cannot be written.
    pub async fn set_user_budget(&self, name: &str, budget: Option<i64>) -> Result<User, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let update = sqlx::query("update users set budget = $1 where name = $2").bind(budget).bind(name);
        if update.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(user_not_found(name));
        }
        self.commit_change(transaction, format!("budget of user `{name}` changed")).await?;
        self.user(name).await
    }
}

/// Inserts a user, and returns its id.
///
/// # Errors
/// `Conflict` when the name is taken; a database that cannot be written.
pub(crate) async fn insert_user(
    transaction: &mut Transaction<'_, Any>,
    name: &str,
    role: Role,
    budget: Option<i64>,
) -> Result<String, StoreError> {
    let id = uuid::Uuid::now_v7().to_string();
    let insert = sqlx::query(
        "insert into users (id, name, role, created_at, changed_at, budget) values ($1, $2, $3, $4, $4, $5)
         on conflict (name) do nothing",
    );
    let insert = insert.bind(&id).bind(name).bind(role.as_str()).bind(now_micros()).bind(budget);
    if insert.execute(&mut **transaction).await?.rows_affected() == 0 {
        return Err(StoreError::Conflict(format!("there is a user `{name}` already")));
    }
    Ok(id)
}

/// Makes other transactions that change users, keys or passwords wait for this one.
pub(crate) async fn lock_accounts(transaction: &mut Transaction<'_, Any>) -> Result<(), StoreError> {
    sqlx::query("update store_identity set changes = changes where one = 1").execute(&mut **transaction).await?;
    Ok(())
}

/// Whether another enabled user than `name` is an admin.
async fn has_other_admin(transaction: &mut Transaction<'_, Any>, name: &str) -> Result<bool, StoreError> {
    let others =
        sqlx::query("select id from users where name <> $1 and role = 'admin' and disabled_at is null limit 1");
    Ok(others.bind(name).fetch_optional(&mut **transaction).await?.is_some())
}

pub(crate) fn user_not_found(name: &str) -> StoreError {
    StoreError::NotFound(format!("there is no user `{name}`: `cachalot user add {name}` creates it"))
}

pub(crate) fn user_from_row(row: &AnyRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        // A role of a later version counts as the least privileged one.
        role: Role::parse(&row.try_get::<String, _>("role")?).unwrap_or_default(),
        created_at: row.try_get("created_at")?,
        disabled_at: row.try_get("disabled_at")?,
        budget: row.try_get("budget")?,
    })
}
