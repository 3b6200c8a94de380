//! Links that work once: the setup of the first user, invitations, and links that set a password.
//! The store has the SHA-256 of a link's token, not the token itself.
//!
//! A link is used up in the transaction that does what it is for: a failure leaves it valid.

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use crate::members::insert_member;
use crate::passwords::put_password;
use crate::users::{insert_user, lock_accounts, user_from_row};
use crate::{Role, Store, StoreError, User, now_micros};

/// The time for which a link that sets a password is valid, in microseconds.
pub const PASSWORD_LINK_MICROS: i64 = 15 * 60 * 1_000_000;

/// The purpose of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Makes the first user, an admin.
    Setup,
    /// Makes a user with the rights of the invitation.
    Invitation,
    /// Sets the password of a user.
    Password,
}

impl LinkKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Invitation => "invitation",
            Self::Password => "password",
        }
    }
}

/// The rights of a user to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUserRights {
    pub role: Role,
    /// The project that the user becomes a member of.
    pub project_id: String,
    /// The amount that the keys of the user may spend together, in nano-dollars.
    pub budget: Option<i64>,
}

/// An invitation that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The name that the user must take; `None`: any.
    pub name: Option<String>,
    pub rights: NewUserRights,
}

impl Store {
    /// Adds a link to set up the first user.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn add_setup_link(&self, token_hash: &str, expires_at: i64) -> Result<(), StoreError> {
        self.add_link(LinkKind::Setup, token_hash, expires_at, None, None).await
    }

    /// Adds an invitation.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn add_invitation(
        &self,
        token_hash: &str,
        expires_at: i64,
        invitation: &Invitation,
    ) -> Result<(), StoreError> {
        self.add_link(LinkKind::Invitation, token_hash, expires_at, None, Some(invitation)).await
    }

    /// Adds a link to set the password of a user. It replaces an earlier one.
    ///
    /// # Errors
    /// A database that cannot be written.
    pub async fn add_password_link(&self, token_hash: &str, expires_at: i64, user: &User) -> Result<(), StoreError> {
        self.add_link(LinkKind::Password, token_hash, expires_at, Some(user), None).await
    }

    async fn add_link(
        &self,
        kind: LinkKind,
        token_hash: &str,
        expires_at: i64,
        user: Option<&User>,
        invitation: Option<&Invitation>,
    ) -> Result<(), StoreError> {
        let now = now_micros();
        let user_id = user.map(|user| user.id.as_str());
        let mut transaction = self.pool.begin().await?;
        let remove = sqlx::query("delete from one_time_links where expires_at <= $1 or user_id = $2");
        remove.bind(now).bind(user_id).execute(&mut *transaction).await?;
        let insert = sqlx::query(
            "insert into one_time_links (token_hash, kind, user_id, name, role, project_id, budget, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        );
        let rights = invitation.map(|invitation| &invitation.rights);
        insert
            .bind(token_hash)
            .bind(kind.as_str())
            .bind(user_id)
            .bind(invitation.and_then(|invitation| invitation.name.as_ref()))
            .bind(rights.map(|rights| rights.role.as_str()))
            .bind(rights.map(|rights| &rights.project_id))
            .bind(rights.and_then(|rights| rights.budget))
            .bind(now)
            .bind(expires_at)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Whether a link is valid at `now`.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn has_link(&self, kind: LinkKind, token_hash: &str, now: i64) -> Result<bool, StoreError> {
        let found =
            sqlx::query("select kind from one_time_links where token_hash = $1 and kind = $2 and expires_at > $3");
        Ok(found.bind(token_hash).bind(kind.as_str()).bind(now).fetch_optional(&self.pool).await?.is_some())
    }

    /// The invitation with this token, if it is valid at `now`.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn invitation(&self, token_hash: &str, now: i64) -> Result<Option<Invitation>, StoreError> {
        let found = sqlx::query(
            "select name, role, project_id, budget from one_time_links
             where token_hash = $1 and kind = 'invitation' and expires_at > $2",
        );
        let row = found.bind(token_hash).bind(now).fetch_optional(&self.pool).await?;
        Ok(row.as_ref().map(invitation_from_row).transpose()?)
    }

    /// The user whose password a link sets, if the link is valid at `now` and the user enabled.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn user_of_password_link(&self, token_hash: &str, now: i64) -> Result<Option<User>, StoreError> {
        let found = sqlx::query(
            "select u.* from one_time_links l join users u on u.id = l.user_id
             where l.token_hash = $1 and l.kind = 'password' and l.expires_at > $2 and u.disabled_at is null",
        );
        let row = found.bind(token_hash).bind(now).fetch_optional(&self.pool).await?;
        Ok(row.as_ref().map(user_from_row).transpose()?)
    }

    /// Makes the first user, an admin with this password, and uses the link up if there is one.
    ///
    /// # Errors
    /// `LinkNotValid`; `Conflict` when a user has a password already, or the name is taken; a
    /// database or a `store-id` that cannot be written.
    pub async fn set_up(&self, token_hash: Option<&str>, name: &str, password_hash: &str) -> Result<User, StoreError> {
        let mut transaction = self.pool.begin().await?;
        lock_accounts(&mut transaction).await?;
        if let Some(token_hash) = token_hash {
            use_up(&mut transaction, LinkKind::Setup, token_hash).await?;
        }
        let owner = sqlx::query("select user_id from passwords limit 1").fetch_optional(&mut *transaction).await?;
        if owner.is_some() {
            return Err(StoreError::Conflict(
                "this server is set up already: sign in, or ask an admin for a link".into(),
            ));
        }
        let id = insert_user(&mut transaction, name, Role::Admin, None).await?;
        put_password(&mut transaction, &id, password_hash).await?;
        self.commit_change(transaction, format!("user `{name}` added as admin, the first one")).await?;
        self.user(name).await
    }

    /// Makes a user with these rights and this password, and uses the invitation up if there is
    /// one.
    ///
    /// # Errors
    /// `LinkNotValid`; `Conflict` when the name is taken; a database or a `store-id` that cannot be
    /// written.
    pub async fn sign_up(
        &self,
        invitation_hash: Option<&str>,
        name: &str,
        rights: &NewUserRights,
        password_hash: &str,
    ) -> Result<User, StoreError> {
        let mut transaction = self.pool.begin().await?;
        lock_accounts(&mut transaction).await?;
        if let Some(token_hash) = invitation_hash {
            use_up(&mut transaction, LinkKind::Invitation, token_hash).await?;
        }
        let id = insert_user(&mut transaction, name, rights.role, rights.budget).await?;
        insert_member(&mut transaction, &rights.project_id, &id).await?;
        put_password(&mut transaction, &id, password_hash).await?;
        self.commit_change(transaction, format!("user `{name}` signed up as {}", rights.role.as_str())).await?;
        self.user(name).await
    }

    /// Sets the password of a user by a link, uses the link up, and ends the sessions of the user.
    ///
    /// # Errors
    /// `LinkNotValid`; a database or a `store-id` that cannot be written.
    pub async fn set_password_by_link(
        &self,
        token_hash: &str,
        user: &User,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        lock_accounts(&mut transaction).await?;
        use_up(&mut transaction, LinkKind::Password, token_hash).await?;
        put_password(&mut transaction, &user.id, password_hash).await?;
        sqlx::query("delete from sessions where user_id = $1").bind(&user.id).execute(&mut *transaction).await?;
        self.commit_change(transaction, format!("password of user `{}` set by a link", user.name)).await
    }
}

/// Deletes a link.
///
/// # Errors
/// `LinkNotValid` for one that does not exist or has expired; a database that cannot be written.
async fn use_up(transaction: &mut Transaction<'_, Any>, kind: LinkKind, token_hash: &str) -> Result<(), StoreError> {
    let delete = sqlx::query("delete from one_time_links where token_hash = $1 and kind = $2 and expires_at > $3");
    let delete = delete.bind(token_hash).bind(kind.as_str()).bind(now_micros());
    match delete.execute(&mut **transaction).await?.rows_affected() {
        0 => Err(StoreError::LinkNotValid),
        _ => Ok(()),
    }
}

fn invitation_from_row(row: &AnyRow) -> Result<Invitation, sqlx::Error> {
    Ok(Invitation {
        name: row.try_get("name")?,
        rights: NewUserRights {
            // A role of a later version counts as the least privileged one.
            role: Role::parse(&row.try_get::<String, _>("role")?).unwrap_or_default(),
            project_id: row.try_get("project_id")?,
            budget: row.try_get("budget")?,
        },
    })
}
