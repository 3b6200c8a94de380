//! Projects, which pay for the requests of their keys.

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::amounts::read_spent;
use crate::{Store, StoreError, now_micros};

/// A project, with a budget that its keys share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: String,
    pub name: String,
    /// The total amount that its keys may spend, in nano-dollars. `None`: unlimited.
    pub budget: Option<i64>,
    /// The amount spent, in nano-dollars.
    pub spent: i64,
    pub created_at: i64,
    /// The time of the last change. Each change of the row has a later time.
    pub changed_at: i64,
}

impl Store {
    /// Adds a project. `budget` is in nano-dollars.
    ///
    /// # Errors
    /// `Conflict` when the name is taken; a database that cannot be written.
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

    /// The project with this name.
    ///
    /// # Errors
    /// `NotFound`; a database that cannot be read.
    pub async fn project(&self, name: &str) -> Result<Project, StoreError> {
        let row = sqlx::query("select * from projects where name = $1").bind(name).fetch_optional(&self.pool).await?;
        row.as_ref().map(project_from_row).transpose()?.ok_or_else(|| project_not_found(name))
    }

    /// All projects, ordered by name.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let rows = sqlx::query("select * from projects order by name").fetch_all(&self.pool).await?;
        Ok(rows.iter().map(project_from_row).collect::<Result<_, _>>()?)
    }

    /// The projects that were changed at `since` or later.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn projects_changed(&self, since: i64) -> Result<Vec<Project>, StoreError> {
        let rows = sqlx::query("select * from projects where changed_at >= $1").bind(since).fetch_all(&self.pool);
        Ok(rows.await?.iter().map(project_from_row).collect::<Result<_, _>>()?)
    }

    /// Sets the budget of a project, in nano-dollars; `None`: unlimited.
    ///
    /// # Errors
    /// `NotFound`; a database that cannot be written.
    pub async fn set_budget(&self, name: &str, budget: Option<i64>) -> Result<Project, StoreError> {
        let update = sqlx::query(
            "update projects set budget = $1, changed_at = case when changed_at < $2 then $2 else changed_at + 1 end
             where name = $3",
        );
        let updated = update.bind(budget).bind(now_micros()).bind(name).execute(&self.pool).await?;
        if updated.rows_affected() == 0 {
            return Err(project_not_found(name));
        }
        self.project(name).await
    }
}

fn project_not_found(name: &str) -> StoreError {
    StoreError::NotFound(format!("there is no project `{name}`: `cachalot project add {name}` creates it"))
}

pub(crate) fn project_from_row(row: &AnyRow) -> Result<Project, sqlx::Error> {
    Ok(Project {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        budget: row.try_get("budget")?,
        spent: read_spent(row),
        created_at: row.try_get("created_at")?,
        changed_at: row.try_get("changed_at")?,
    })
}
