//! Tasks that callers have submitted to providers: found by their owners, and refunded when
//! they fail.

use std::sync::Arc;
use std::time::Duration;

use chat::{Error, ErrorKind, Usage};
use store::{REFUNDED, StoreError, Task, TaskId, TaskOwner, UsageRecord};

use crate::billing::accounting::Accounting;
use crate::billing::charge::recorded_count;
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
            let found = ledger.store.find_task(id, owner, task_cache::retained_since()).await;
            let found = found.map_err(|error| lookup_error(&error))?;
            match (found, retry_delays.next()) {
                (None, Some(delay)) => tokio::time::sleep(*delay).await,
                (found, _) => return Ok(found),
            }
        }
    }

    /// Records that a task has ended, and refunds a failed one. The refund is one record with a
    /// fixed id, however often it is written.
    pub(crate) async fn record_task_end(&self, task: &Task, failed: bool) {
        if failed && task.cost != 0 && self.ledger.is_some() {
            let refund = refund_record(task);
            self.record_end(UsageRecord { cost: task.cost.saturating_neg(), ..refund }, None);
        }
        self.mark_task_ended(task, failed).await;
    }

    /// Records that a batch has ended, and refunds what was paid beyond its cost. The record has
    /// the usage of the batch. It counts in the budget windows of the submission, which paid.
    pub(crate) async fn record_batch_end(&self, task: &Task, settlement: BatchSettlement, failed: bool) {
        let BatchSettlement { usage, cost, is_estimated, price } = settlement;
        let cost = cost.saturating_sub(task.cost);
        if (cost != 0 || usage != Usage::default()) && self.ledger.is_some() {
            let record = UsageRecord {
                at: task.created_at,
                prompt_tokens: recorded_count(usage.prompt_tokens),
                cached_tokens: recorded_count(usage.cached_tokens),
                cache_write_tokens: recorded_count(usage.cache_write_tokens),
                cache_write_1h_tokens: recorded_count(usage.cache_write_1h_tokens),
                completion_tokens: recorded_count(usage.completion_tokens),
                reasoning_tokens: recorded_count(usage.reasoning_tokens.unwrap_or(0)),
                estimated: is_estimated,
                cost,
                price,
                ..refund_record(task)
            };
            self.record_end(record, None);
        }
        self.mark_task_ended(task, failed).await;
    }

    async fn mark_task_ended(&self, task: &Task, failed: bool) {
        let Some(ledger) = &self.ledger else { return self.task_cache.mark_ended(&task.id) };
        let state = if failed { "failed" } else { "done" };
        match ledger.store.end_task(&task.id, state).await {
            Ok(()) => self.task_cache.mark_ended(&task.id),
            // The task stays open and is polled again; its refund is not repeated.
            Err(error) => tracing::warn!(%error, task = task.id.id, "failed to record the end of a task"),
        }
    }

    /// At most `limit` tasks, submitted at `from` or later, that have not ended as far as is known,
    /// the oldest first. Those submitted before `since` are deleted.
    pub(crate) async fn open_tasks(&self, since: i64, from: i64, limit: i64) -> Result<Vec<Task>, StoreError> {
        let Some(ledger) = &self.ledger else { return Ok(self.task_cache.open_tasks()) };
        ledger.store.delete_tasks_before(since).await?;
        ledger.store.open_tasks(from, i64::MAX, limit).await
    }

    /// At most `limit` tasks of an owner, the newest first, of those submitted before the task with
    /// this time and id. The last ones may be in this process alone.
    ///
    /// # Errors
    /// `Overloaded` when the store cannot be read.
    pub(crate) async fn tasks_of(
        &self,
        kind: &str,
        owner: TaskOwner<'_>,
        before: (i64, &str),
        limit: usize,
    ) -> Result<Vec<Task>, Error> {
        let since = task_cache::retained_since();
        let mut tasks = match &self.ledger {
            Some(ledger) => {
                let stored_limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let stored = ledger.store.tasks_of(kind, owner, since, before, stored_limit).await;
                stored.map_err(|error| lookup_error(&error))?
            }
            None => Vec::new(),
        };
        for task in self.task_cache.tasks_of(kind, owner) {
            let is_before = (task.created_at, task.id.id.as_str()) < before;
            if task.created_at >= since && is_before && tasks.iter().all(|known| known.id != task.id) {
                tasks.push(task);
            }
        }
        tasks.sort_by(|a, b| (b.created_at, &b.id.id).cmp(&(a.created_at, &a.id.id)));
        tasks.truncate(limit);
        Ok(tasks)
    }
}

/// The usage and the cost of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchSettlement {
    pub(crate) usage: Usage,
    /// Nano-dollars, at most what was paid.
    pub(crate) cost: i64,
    /// The usage of some answers is not known.
    pub(crate) is_estimated: bool,
    /// The name of the price that was applied; empty without a price.
    pub(crate) price: Arc<str>,
}

/// The record that settles a task, without its cost.
fn refund_record(task: &Task) -> UsageRecord {
    UsageRecord {
        id: format!("{}:refund", task.record_id),
        at: store::now_micros(),
        key_id: task.key_id.clone(),
        key_name: task.key_name.clone(),
        project_id: task.project_id.clone(),
        model: task.model.clone(),
        upstream: task.upstream.clone(),
        end_user: task.end_user.clone(),
        outcome: REFUNDED.into(),
        ..UsageRecord::default()
    }
}

fn lookup_error(error: &StoreError) -> Error {
    tracing::error!(%error, "failed to look up a task");
    Error::new(ErrorKind::Overloaded, "Tasks cannot be looked for right now, please try again later")
}
