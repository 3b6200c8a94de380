//! The batches of a caller: one, a page of them, and their cancellation.

use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use http::header::HeaderMap;
use serde_json::Value;
use store::Task;
use wire::tasks::TaskKind;

use crate::Gateway;
use crate::files::access::list_object;
use crate::keys::caller::Caller;
use crate::task_ids::task_owner;
use crate::tasks::reply::{TaskReply, read_task_reply};

/// Most batches that are fetched from their providers at a time, for a list.
const CONCURRENT_FETCHES: usize = 8;

/// The page of a list of batches that a caller requests.
#[derive(Clone, Debug)]
pub struct BatchPage {
    /// The id of the batch that the page begins after.
    pub after: Option<String>,
    pub limit: usize,
}

impl Gateway {
    /// Fetches a batch.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such batch; the error that the provider's refusal maps to.
    pub async fn batch(&self, caller: &Caller, id: &str) -> Result<TaskReply, Error> {
        let task = self.find_batch(caller, id).await?;
        self.fetch_batch(caller, &task).await
    }

    /// Cancels a batch. What was answered before is charged.
    ///
    /// # Errors
    /// As [`Gateway::batch`].
    pub async fn cancel_batch(&self, caller: &Caller, id: &str) -> Result<TaskReply, Error> {
        let task = self.find_batch(caller, id).await?;
        let upstream = self.upstream_of(&task)?;
        let path = format!("batches/{}/cancel", task.provider_id);
        let response = upstream.request(Method::POST, &path, &HeaderMap::new(), Bytes::new()).await?;
        let is_batch = |answer: &Value| TaskKind::Batch.is_task_response(answer);
        let (reply, batch) = read_task_reply(&caller.memory, &upstream, response, is_batch).await?;
        self.record_batch_state(&caller.memory, &task, &batch).await;
        self.with_batch_ids(&caller.memory, &task, reply, &batch).await
    }

    /// A page of the caller's batches, the newest first, in OpenAI's format. Each is fetched from
    /// its provider; those that their providers do not have any more are left out.
    ///
    /// # Errors
    /// As [`Gateway::batch`].
    pub async fn batches(&self, caller: &Caller, page: BatchPage) -> Result<Value, Error> {
        self.file_store()?;
        let after = match &page.after {
            Some(id) => Some(self.find_batch(caller, id).await?),
            None => None,
        };
        let before = after.as_ref().map_or((i64::MAX, ""), |task| (task.created_at, task.id.id.as_str()));
        let owner = task_owner(caller);
        let mut tasks = self.accounting.tasks_of(TaskKind::Batch.name(), owner, before, page.limit + 1).await?;
        let has_more = tasks.len() > page.limit;
        tasks.truncate(page.limit);
        let fetch = |task: Task| async move {
            match self.fetch_batch(caller, &task).await {
                Ok(reply) => Ok(serde_json::from_slice::<Value>(&reply.bytes).ok()),
                // The provider has forgotten it, or is not configured any more.
                Err(error) if error.is_missing_at_provider() || self.upstream_of(&task).is_err() => Ok(None),
                Err(error) => Err(error),
            }
        };
        let fetched = stream::iter(tasks).map(fetch).buffered(CONCURRENT_FETCHES);
        let fetched: Vec<Option<Value>> = fetched.try_collect().await?;
        let mut list = list_object(fetched.into_iter().flatten().collect(), page.limit);
        list["has_more"] = has_more.into();
        Ok(list)
    }

    async fn fetch_batch(&self, caller: &Caller, task: &Task) -> Result<TaskReply, Error> {
        let path = TaskKind::Batch.fetch_path(&task.provider_id);
        let (reply, batch) = self.fetch_task(&caller.memory, TaskKind::Batch, task, &path).await?;
        self.with_batch_ids(&caller.memory, task, reply, &batch).await
    }

    /// The caller's batch with this id.
    async fn find_batch(&self, caller: &Caller, id: &str) -> Result<Task, Error> {
        self.find_task(caller, TaskKind::Batch, id).await.map_err(|error| match error.kind {
            ErrorKind::NotFound => Error { message: format!("No batch found with id '{id:.64}'"), ..error },
            _ => error,
        })
    }
}
