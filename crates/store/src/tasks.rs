//! Tasks that run at a provider: their owners, their providers and their costs.

use std::sync::Arc;

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::amounts::read_integer;
use crate::{Store, StoreError, TaskId, UsageRecord};

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    /// The provider's id of the task.
    pub provider_id: String,
    /// The provider that runs it.
    pub upstream: Arc<str>,
    pub model: Arc<str>,
    pub project_id: Option<Arc<str>>,
    pub key_id: Option<Arc<str>>,
    pub key_name: Arc<str>,
    /// The end user whom the submission was for, if the key has budgets of end users.
    pub end_user: Option<Arc<str>>,
    /// The id of the usage record of the submission.
    pub record_id: String,
    /// The cost of the submission, in nano-dollars.
    pub cost: i64,
    pub created_at: i64,
    /// The task has not ended as far as is known.
    pub is_open: bool,
}

impl Task {
    /// The task that a request submitted; `None` for other requests.
    pub fn from_record(record: &UsageRecord) -> Option<Self> {
        let id = record.job.clone()?;
        // Journal lines of an earlier version have a single id.
        let provider_id = record.provider_job.clone().unwrap_or_else(|| id.id.clone());
        Some(Self {
            id,
            provider_id,
            upstream: record.upstream.clone(),
            model: record.model.clone(),
            project_id: record.project_id.clone(),
            key_id: record.key_id.clone(),
            key_name: record.key_name.clone(),
            end_user: record.end_user.clone(),
            record_id: record.id.clone(),
            cost: record.cost,
            created_at: record.at,
            is_open: true,
        })
    }
}

/// The owner of a task: the project of the key that submitted it, or that key if it has no project.
#[derive(Clone, Copy, Debug)]
pub struct TaskOwner<'a> {
    pub project_id: Option<&'a str>,
    pub key_name: &'a str,
}

impl<'a> TaskOwner<'a> {
    /// The owner of a task.
    pub fn of(task: &'a Task) -> Self {
        Self { project_id: task.project_id.as_deref(), key_name: &task.key_name }
    }

    /// The owner in the column of a table. No project and no key have the same text.
    pub fn to_text(&self) -> String {
        match self.project_id {
            Some(project) => format!("project:{project}"),
            None => format!("key:{}", self.key_name),
        }
    }

    /// Whether the task belongs to this owner.
    pub fn owns(&self, task: &Task) -> bool {
        match (self.project_id, task.project_id.as_deref()) {
            (Some(own), Some(project)) => own == project,
            (None, None) => self.key_name == &*task.key_name,
            _ => false,
        }
    }
}

impl Store {
    /// The owner's task with this id, or the latest with this id of its provider, if it was
    /// submitted at `since` or later.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn find_task(&self, id: &TaskId, owner: TaskOwner<'_>, since: i64) -> Result<Option<Task>, StoreError> {
        let found = sqlx::query(
            "select * from jobs where kind = $1 and created_at >= $2 and (id = $3 or provider_id = $3)
                 and (project_id = $4 or (project_id is null and cast($4 as text) is null and key_name = $5))
             order by case when id = $3 then 0 else 1 end, created_at desc limit 1",
        );
        let found = found.bind(&id.kind).bind(since).bind(&id.id).bind(owner.project_id).bind(owner.key_name);
        Ok(found.fetch_optional(&self.pool).await?.as_ref().map(task_from_row).transpose()?)
    }

    /// At most `limit` tasks of an owner, the newest first, submitted at `since` or later and
    /// before the task with this time and id.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn tasks_of(
        &self,
        kind: &str,
        owner: TaskOwner<'_>,
        since: i64,
        before: (i64, &str),
        limit: i64,
    ) -> Result<Vec<Task>, StoreError> {
        let found = sqlx::query(
            "select * from jobs where kind = $1 and created_at >= $2
                 and (project_id = $3 or (project_id is null and cast($3 as text) is null and key_name = $4))
                 and (created_at < $5 or (created_at = $5 and id < $6)) order by created_at desc, id desc limit $7",
        );
        let found = found.bind(kind).bind(since).bind(owner.project_id).bind(owner.key_name);
        let rows = found.bind(before.0).bind(before.1).bind(limit).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(task_from_row).collect::<Result<_, _>>()?)
    }

    /// At most `limit` tasks that have not ended as far as is known, submitted from `since` to
    /// before `until`, the oldest first.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn open_tasks(&self, since: i64, until: i64, limit: i64) -> Result<Vec<Task>, StoreError> {
        let open = sqlx::query(
            "select * from jobs where state = 'open' and created_at >= $1 and created_at < $2 order by created_at limit $3",
        );
        let rows = open.bind(since).bind(until).bind(limit).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(task_from_row).collect::<Result<_, _>>()?)
    }

    /// Sets the final state of a task: `done` or `failed`.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn end_task(&self, id: &TaskId, state: &str) -> Result<(), StoreError> {
        let end = sqlx::query("update jobs set state = $1 where kind = $2 and id = $3");
        end.bind(state).bind(&id.kind).bind(&id.id).execute(&self.pool).await?;
        Ok(())
    }

    /// Deletes the tasks submitted before `until`.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn delete_tasks_before(&self, until: i64) -> Result<(), StoreError> {
        sqlx::query("delete from jobs where created_at < $1").bind(until).execute(&self.pool).await?;
        Ok(())
    }
}

/// The statement that inserts a task. A task whose id exists is ignored.
pub(crate) const INSERT_TASK: &str =
    "insert into jobs (kind, id, upstream, model, project_id, key_id, key_name, record_id, cost, state, created_at, provider_id, end_user)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open', $10, $11, $12) on conflict do nothing";

fn task_from_row(row: &AnyRow) -> Result<Task, sqlx::Error> {
    let text = |column| row.try_get::<String, _>(column);
    let id = TaskId { kind: row.try_get("kind")?, id: text("id")? };
    let provider_id = row.try_get::<Option<String>, _>("provider_id")?.unwrap_or_else(|| id.id.clone());
    Ok(Task {
        id,
        provider_id,
        upstream: text("upstream")?.into(),
        model: text("model")?.into(),
        project_id: row.try_get::<Option<String>, _>("project_id")?.map(Arc::from),
        key_id: row.try_get::<Option<String>, _>("key_id")?.map(Arc::from),
        key_name: text("key_name")?.into(),
        end_user: row.try_get::<Option<String>, _>("end_user")?.map(Arc::from),
        record_id: row.try_get("record_id")?,
        cost: read_integer(row, "cost")?,
        created_at: row.try_get("created_at")?,
        is_open: row.try_get::<String, _>("state")? == "open",
    })
}
