//! Members of projects: the users who may make keys in them.

use std::collections::BTreeSet;

use sqlx::{Any, Row, Transaction};

use crate::keys::key_from_row;
use crate::projects::project_from_row;
use crate::users::user_not_found;
use crate::{Key, Project, Store, StoreError};

impl Store {
    /// The projects that a user is a member of, ordered by name.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn projects_of_user(&self, user_id: &str) -> Result<Vec<Project>, StoreError> {
        let found = sqlx::query(
            "select p.* from projects p join project_members m on m.project_id = p.id where m.user_id = $1 order by p.name",
        );
        let rows = found.bind(user_id).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(project_from_row).collect::<Result<_, _>>()?)
    }

    /// The id of a project and the name of a member, for every member of every project, ordered by
    /// name.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn project_members(&self) -> Result<Vec<(String, String)>, StoreError> {
        let found = sqlx::query(
            "select m.project_id, u.name from project_members m join users u on u.id = m.user_id order by u.name",
        );
        let rows = found.fetch_all(&self.pool).await?;
        let member = |row: &sqlx::any::AnyRow| Ok((row.try_get("project_id")?, row.try_get("name")?));
        Ok(rows.iter().map(member).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Replaces the members of a project by the users with these names.
    ///
    /// # Errors
    /// `NotFound` for the project or a user; a database or a `store-id` that cannot be written.
    pub async fn set_project_members(&self, project: &str, names: &BTreeSet<String>) -> Result<Project, StoreError> {
        let project = self.project(project).await?;
        let mut transaction = self.pool.begin().await?;
        let remove = sqlx::query("delete from project_members where project_id = $1").bind(&project.id);
        remove.execute(&mut *transaction).await?;
        for name in names {
            let user = sqlx::query("select id from users where name = $1").bind(name).fetch_optional(&mut *transaction);
            let user = user.await?.ok_or_else(|| user_not_found(name))?;
            insert_member(&mut transaction, &project.id, &user.try_get::<String, _>("id")?).await?;
        }
        self.commit_change(transaction, format!("members of project `{}` changed", project.name)).await?;
        Ok(project)
    }

    /// The keys of a user including revoked ones, the oldest first.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn keys_of_user(&self, user_id: &str) -> Result<Vec<Key>, StoreError> {
        let rows = sqlx::query("select * from keys where user_id = $1 order by id").bind(user_id).fetch_all(&self.pool);
        Ok(rows.await?.iter().map(key_from_row).collect::<Result<_, _>>()?)
    }
}

/// Makes a user a member of a project, if the user is not one.
pub(crate) async fn insert_member(
    transaction: &mut Transaction<'_, Any>,
    project_id: &str,
    user_id: &str,
) -> Result<(), StoreError> {
    let insert =
        sqlx::query("insert into project_members (project_id, user_id) values ($1, $2) on conflict do nothing");
    insert.bind(project_id).bind(user_id).execute(&mut **transaction).await?;
    Ok(())
}
