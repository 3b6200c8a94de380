//! Tasks that callers have submitted to providers: found by their owners, and refunded when
//! they fail.

use std::time::Duration;

use chat::{Error, ErrorKind};
use store::{REFUNDED, StoreError, Task, TaskId, TaskOwner, UsageRecord};

use crate::billing::accounting::Accounting;
use crate::billing::task_cache;

impl Accounting {
    /// The owner's task with this id, which may be the provider's own id. Another replica may have
    /// submitted the task a moment ago: an unknown task is looked up several times.
    ///
    /// # Errors
    /// `Overloaded` when the store, which may have the task, cannot be read.
    pub(crate) async fn find_task(&self, id: &TaskId, owner: TaskOwner<'_>) -> Result<Option<Task>, Error> {
        self.find_task_with_retries(id, owner, task_cache::lookup_retry_delays(self.leases.is_some())).await
    }

    /// The owner's task with this id, looked up once.
    ///
    /// # Errors
    /// As [`Accounting::find_task`].
    pub(crate) async fn find_known_task(&self, id: &TaskId, owner: TaskOwner<'_>) -> Result<Option<Task>, Error> {
        self.find_task_with_retries(id, owner, &[]).await
    }

    async fn find_task_with_retries(
        &self,
        id: &TaskId,
        owner: TaskOwner<'_>,
        retry_delays: &[Duration],
    ) -> Result<Option<Task>, Error> {
        if let Some(task) = self.task_cache.find(id, owner) {
            return Ok(Some(task));
        }
        let Some(ledger) = &self.ledger else { return Ok(None) };
        let mut retry_delays = retry_delays.iter();
        loop {
            let found = ledger.store.find_task(id, owner, task_cache::retained_since()).await.map_err(|error| {
                tracing::error!(%error, "failed to look up a task");
                Error::new(ErrorKind::Overloaded, "Tasks cannot be looked for right now, please try again later")
            })?;
            match (found, retry_delays.next()) {
                (None, Some(delay)) => tokio::time::sleep(*delay).await,
                (found, _) => return Ok(found),
            }
        }
    }

    /// Records that a task has ended, and refunds a failed one. The refund is one record with a
    /// fixed id, however often it is written.
    pub(crate) async fn record_task_end(&self, task: &Task, failed: bool) {
        let Some(ledger) = &self.ledger else { return self.task_cache.mark_ended(&task.id) };
        if failed && task.cost != 0 {
            let refund = UsageRecord {
                id: format!("{}:refund", task.record_id),
                at: store::now_micros(),
                key_id: task.key_id.clone(),
                key_name: task.key_name.clone(),
                project_id: task.project_id.clone(),
                model: task.model.clone(),
                upstream: task.upstream.clone(),
                cost: task.cost.saturating_neg(),
                outcome: REFUNDED.into(),
                ..UsageRecord::default()
            };
            self.record_end(refund, None);
        }
        let state = if failed { "failed" } else { "done" };
        match ledger.store.end_task(&task.id, state).await {
            Ok(()) => self.task_cache.mark_ended(&task.id),
            // The task stays open and is polled again; its refund is not repeated.
            Err(error) => tracing::warn!(%error, task = task.id.id, "failed to record the end of a task"),
        }
    }

    /// At most `limit` tasks, submitted at `since` or later, that have not ended as
    /// far as is known.
    /// Older tasks are deleted.
    pub(crate) async fn open_tasks(&self, since: i64, limit: i64) -> Result<Vec<Task>, StoreError> {
        let Some(ledger) = &self.ledger else { return Ok(self.task_cache.open_tasks()) };
        ledger.store.delete_tasks_before(since).await?;
        ledger.store.open_tasks(since, i64::MAX, limit).await
    }
}
