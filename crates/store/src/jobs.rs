//! Tasks that run at a provider: who owns them, where they are, what was paid for them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::amounts::integer;
use crate::{Record, Store, StoreError};

/// How a provider calls a task. A record of the request that submitted it has this.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// `midjourney`, `suno` or `video`.
    pub kind: String,
    pub id: String,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    /// The provider that runs it.
    pub upstream: Arc<str>,
    pub model: Arc<str>,
    pub project_id: Option<Arc<str>>,
    pub key_id: Option<Arc<str>>,
    pub key_name: Arc<str>,
    /// The record of its submission, and what that cost, in nano-dollars.
    pub record_id: String,
    pub cost: i64,
    pub created_at: i64,
    /// It is not known how it ended.
    pub open: bool,
}

impl Job {
    /// The task that a request has submitted.
    pub fn of(record: &Record) -> Option<Self> {
        Some(Self {
            id: record.job.clone()?,
            upstream: record.upstream.clone(),
            model: record.model.clone(),
            project_id: record.project_id.clone(),
            key_id: record.key_id.clone(),
            key_name: record.key_name.clone(),
            record_id: record.id.clone(),
            cost: record.cost,
            created_at: record.at,
            open: true,
        })
    }
}

impl Store {
    /// The task of this id, if it was submitted at `since` or later.
    pub async fn job(&self, id: &JobId, since: i64) -> Result<Option<Job>, StoreError> {
        let found = sqlx::query("select * from jobs where kind = $1 and id = $2 and created_at >= $3");
        let found = found.bind(&id.kind).bind(&id.id).bind(since).fetch_optional(&self.pool).await?;
        Ok(found.as_ref().map(read).transpose()?)
    }

    /// Tasks of which nobody knows yet how they ended, submitted between these times, the oldest first.
    pub async fn open_jobs(&self, since: i64, until: i64, limit: i64) -> Result<Vec<Job>, StoreError> {
        let open = sqlx::query(
            "select * from jobs where state = 'open' and created_at >= $1 and created_at < $2 order by created_at limit $3",
        );
        let rows = open.bind(since).bind(until).bind(limit).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// A task has ended, as `state` says.
    pub async fn end_job(&self, id: &JobId, state: &str) -> Result<(), StoreError> {
        let end = sqlx::query("update jobs set state = $1 where kind = $2 and id = $3");
        end.bind(state).bind(&id.kind).bind(&id.id).execute(&self.pool).await?;
        Ok(())
    }

    /// Forgets the tasks submitted before `until`.
    pub async fn forget_jobs(&self, until: i64) -> Result<(), StoreError> {
        sqlx::query("delete from jobs where created_at < $1").bind(until).execute(&self.pool).await?;
        Ok(())
    }
}

/// The statement that keeps a task; a task that is known is left alone.
pub(crate) const INSERT: &str =
    "insert into jobs (kind, id, upstream, model, project_id, key_id, key_name, record_id, cost, state, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open', $10) on conflict do nothing";

fn read(row: &AnyRow) -> Result<Job, sqlx::Error> {
    let text = |column| row.try_get::<String, _>(column);
    Ok(Job {
        id: JobId { kind: row.try_get("kind")?, id: row.try_get("id")? },
        upstream: text("upstream")?.into(),
        model: text("model")?.into(),
        project_id: row.try_get::<Option<String>, _>("project_id")?.map(Arc::from),
        key_id: row.try_get::<Option<String>, _>("key_id")?.map(Arc::from),
        key_name: text("key_name")?.into(),
        record_id: row.try_get("record_id")?,
        cost: integer(row, "cost")?,
        created_at: row.try_get("created_at")?,
        open: row.try_get::<String, _>("state")? == "open",
    })
}
