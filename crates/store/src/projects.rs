//! Projects: who pays.

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::amounts::read_spent;
use crate::{Key, Store, StoreError, now_micros};

/// An account that keys spend from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: String,
    pub name: String,
    /// All it may ever spend, in nano-dollars. `None`: as much as it likes.
    pub budget: Option<i64>,
    /// What it has spent, in nano-dollars.
    pub spent: i64,
    pub created_at: i64,
    /// Each change of the row has a later time.
    pub changed_at: i64,
}

impl Store {
    /// Makes a project. `budget` is in nano-dollars.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn add_project(&self, name: &str, budget: Option<i64>) -> Result<Project, StoreError> {
        let id = uuid::Uuid::now_v7().to_string();
        let added = sqlx::query(
            "insert into projects (id, name, budget, created_at, changed_at) values ($1, $2, $3, $4, $4)
             on conflict (name) do nothing",
        )
        .bind(&id)
        .bind(name)
        .bind(budget)
        .bind(now_micros())
        .execute(&self.pool)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!("there is a project `{name}` already")));
        }
        self.project(name).await
    }

    /// The project of this name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, name: &str) -> Result<Project, StoreError> {
        let row = sqlx::query("select * from projects where name = $1").bind(name).fetch_optional(&self.pool).await?;
        row.as_ref().map(project_from_row).transpose()?.ok_or_else(|| project_not_found(name))
    }

    /// Who pays for a key.
    pub(crate) async fn project_of_key(&self, key: &Key) -> Result<Project, StoreError> {
        let row = sqlx::query("select * from projects where id = $1").bind(&key.project_id).fetch_one(&self.pool);
        Ok(project_from_row(&row.await?)?)
    }

    /// Every project, by name.
    pub async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let rows = sqlx::query("select * from projects order by name").fetch_all(&self.pool).await?;
        Ok(rows.iter().map(project_from_row).collect::<Result<_, _>>()?)
    }

    /// The projects changed at `since` or later.
    pub async fn projects_changed(&self, since: i64) -> Result<Vec<Project>, StoreError> {
        let rows = sqlx::query("select * from projects where changed_at >= $1").bind(since).fetch_all(&self.pool);
        Ok(rows.await?.iter().map(project_from_row).collect::<Result<_, _>>()?)
    }

    /// Sets all a project may ever spend, in nano-dollars; `None` lifts the bound.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_budget(&self, name: &str, budget: Option<i64>) -> Result<Project, StoreError> {
        let set = sqlx::query(
            "update projects set budget = $1, changed_at = case when changed_at < $2 then $2 else changed_at + 1 end
             where name = $3",
        );
        let set = set.bind(budget).bind(now_micros()).bind(name).execute(&self.pool).await?;
        if set.rows_affected() == 0 {
            return Err(project_not_found(name));
        }
        self.project(name).await
    }
}

fn project_not_found(name: &str) -> StoreError {
    StoreError::NotFound(format!("there is no project `{name}`: `cachalot project add {name}` makes it"))
}

fn project_from_row(row: &AnyRow) -> Result<Project, sqlx::Error> {
    Ok(Project {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        budget: row.try_get("budget")?,
        spent: read_spent(row),
        created_at: row.try_get("created_at")?,
        changed_at: row.try_get("changed_at")?,
    })
}
