//! The status of tasks and what they produced; polls the tasks that callers do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::Method;
use http::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use store::{Task, TaskId};
use wire::passthrough::response_validation::{BodyFormat, body_start_matches};
use wire::tasks::id_rewriting;
use wire::tasks::{TaskKind, TaskState, is_path_safe_id};

use crate::Gateway;
use crate::billing::task_cache::retained_since;
use crate::keys::caller::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::task_ids::{id_pairs, task_owner, with_gateway_ids};
use crate::tasks::reply::{TaskReply, read_task_reply};
use crate::upstream::error::{check_content_type, content_type, transport_error, upstream_error};
use crate::upstream::remote_provider::Upstream;

/// The interval of polls, which find failed tasks whose callers do not ask for their status: their
/// price is refunded.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Most tasks of one poll.
const MAX_POLLED_TASKS: i64 = 200;
/// Most tasks of one request for several statuses.
const MAX_LISTED_TASKS: usize = 100;

/// The bytes that a task produced.
pub struct TaskArtifact {
    pub content_type: HeaderValue,
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl Gateway {
    /// Fetches the status of a task. `path` is below the provider's base URL.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such task; the error that the provider's refusal maps to.
    pub async fn task_status(&self, caller: &Caller, kind: TaskKind, id: &str, path: &str) -> Result<TaskReply, Error> {
        let stored_task = self.find_task(caller, kind, id).await?;
        let path = id_rewriting::replace_in_path(path, &stored_task.id.id, &stored_task.provider_id);
        let (reply, task) = self.fetch_task(&caller.memory, kind, &stored_task, &path).await?;
        let mut stored_tasks = vec![stored_task];
        // The parent belongs to the same caller.
        if let Some(parent) = task["remixed_from_video_id"].as_str().filter(|id| is_path_safe_id(id)) {
            let parent = TaskId { kind: kind.name().into(), id: parent.into() };
            stored_tasks.extend(self.accounting.find_known_task(&parent, task_owner(caller)).await?);
        }
        with_gateway_ids(&caller.memory, kind, reply, id_pairs(&stored_tasks)).await
    }

    /// Fetches what a task produced.
    ///
    /// # Errors
    /// As [`Gateway::task_status`].
    pub async fn task_artifact(
        &self,
        caller: &Caller,
        kind: TaskKind,
        id: &str,
        path: &str,
    ) -> Result<TaskArtifact, Error> {
        let stored_task = self.find_task(caller, kind, id).await?;
        let upstream = self.upstream_of(&stored_task)?;
        let path = id_rewriting::replace_in_path(path, &stored_task.id.id, &stored_task.provider_id);
        let response = upstream.request(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await?;
        check_content_type(upstream.name(), BodyFormat::Binary, &response)?;
        let content_type = content_type(&response);
        let name = upstream.name().clone();
        let mut chunks = response.body;
        let first = chunks.next().await.transpose().map_err(|error| transport_error(&name, &error))?;
        let first = first.filter(|first| body_start_matches(BodyFormat::Binary, first));
        let first = first.ok_or_else(|| upstream_error(&name, "sent an answer that no task can produce"))?;
        let rest = chunks.map(move |bytes| bytes.map_err(|error| transport_error(&name, &error)));
        Ok(TaskArtifact { content_type, body: stream::iter([Ok(first)]).chain(rest).boxed() })
    }

    /// Fetches the status of several tasks: the caller's among `ids`, in any order. `path` and
    /// `body` are those of the provider's list request, in which the field `ids` is set.
    ///
    /// # Errors
    /// `Invalid` for too many ids; the error that a provider's refusal maps to.
    pub async fn task_statuses(
        &self,
        caller: &Caller,
        kind: TaskKind,
        ids: &[String],
        path: &str,
        body: Value,
    ) -> Result<Vec<Value>, Error> {
        if ids.len() > MAX_LISTED_TASKS {
            return Err(Error::invalid(format!(
                "Invalid 'ids': at most {MAX_LISTED_TASKS} tasks can be requested at once"
            )));
        }
        let mut by_upstream = BTreeMap::<Arc<str>, Vec<Task>>::new();
        for id in ids {
            match self.find_task(caller, kind, id).await {
                Ok(stored_task) => by_upstream.entry(stored_task.upstream.clone()).or_default().push(stored_task),
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut tasks = Vec::new();
        for stored_tasks in by_upstream.values() {
            let mut body = body.clone();
            let ids: BTreeSet<_> = stored_tasks.iter().map(|stored_task| &stored_task.provider_id).collect();
            body["ids"] = json!(ids);
            let upstream = self.upstream_of(&stored_tasks[0])?;
            let response = upstream.request(Method::POST, path, &HeaderMap::new(), body.to_string().into()).await?;
            let (_, answer) = read_task_reply(&caller.memory, &upstream, response, |_| true).await?;
            let list = answer.as_array().or(answer["data"].as_array());
            for task in list.ok_or_else(|| upstream_error(upstream.name(), "sent no list of tasks"))? {
                let id = kind.id_in_list(task).unwrap_or_default();
                // Several tasks of the caller may have the same id at the provider.
                for stored_task in stored_tasks.iter().filter(|stored_task| stored_task.provider_id == id) {
                    self.record_task_state(stored_task, kind.state(task)).await;
                    let bytes = Bytes::from(task.to_string());
                    let reply = TaskReply { content_type: HeaderValue::from_static("application/json"), bytes };
                    let reply =
                        with_gateway_ids(&caller.memory, kind, reply, id_pairs(std::slice::from_ref(stored_task)))
                            .await?;
                    tasks.push(serde_json::from_slice(&reply.bytes).unwrap_or_default());
                }
            }
        }
        Ok(tasks)
    }

    /// Spawns the loop that polls open tasks. It ends when the gateway is dropped.
    pub fn spawn_task_poller(self: &Arc<Self>) {
        let gateway = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL_INTERVAL).await;
                let Some(gateway) = gateway.upgrade() else { return };
                gateway.poll_open_tasks().await;
            }
        });
    }

    /// Polls open tasks of the last week once: the oldest, then those that follow the last poll.
    pub(crate) async fn poll_open_tasks(&self) {
        let since = retained_since();
        let from = self.polled_until.load(Ordering::Relaxed).max(since);
        let open = match self.accounting.open_tasks(since, from, MAX_POLLED_TASKS).await {
            Ok(open) => open,
            Err(error) => return tracing::warn!(%error, "failed to read open tasks"),
        };
        let is_last_page = i64::try_from(open.len()).is_ok_and(|tasks| tasks < MAX_POLLED_TASKS);
        let next = open.last().filter(|_| !is_last_page).map_or(0, |last| last.created_at.max(from + 1));
        self.polled_until.store(next, Ordering::Relaxed);
        let memory = RequestMemory::default();
        for stored_task in open {
            let Some(kind) = TaskKind::ALL.into_iter().find(|kind| kind.name() == stored_task.id.kind) else {
                continue;
            };
            if let Err(error) =
                self.fetch_task(&memory, kind, &stored_task, &kind.fetch_path(&stored_task.provider_id)).await
            {
                tracing::debug!(%error, task = stored_task.id.id, "failed to poll task");
            }
        }
    }

    /// Fetches the status of a task, and records it.
    pub(crate) async fn fetch_task(
        &self,
        memory: &RequestMemory,
        kind: TaskKind,
        stored_task: &Task,
        path: &str,
    ) -> Result<(TaskReply, Value), Error> {
        let upstream = self.upstream_of(stored_task)?;
        let response = upstream.request(Method::GET, path, &HeaderMap::new(), Bytes::new()).await?;
        let (reply, task) = read_task_reply(memory, &upstream, response, |task| kind.is_task_response(task)).await?;
        match kind {
            TaskKind::Batch => self.record_batch_state(memory, stored_task, &task).await,
            _ => self.record_task_state(stored_task, kind.state(&task)).await,
        }
        Ok((reply, task))
    }

    /// The provider that runs a task.
    pub(crate) fn upstream_of(&self, stored_task: &Task) -> Result<Arc<Upstream>, Error> {
        self.configured_upstream(&stored_task.upstream, "task")
    }

    /// The provider of this name, which has a task or a file.
    ///
    /// # Errors
    /// `Overloaded` when it is not configured any more.
    pub(crate) fn configured_upstream(&self, name: &str, of: &str) -> Result<Arc<Upstream>, Error> {
        self.router.load().upstream(name).ok_or_else(|| {
            let message = format!("The provider `{name}` of this {of} is not configured any more");
            Error::new(ErrorKind::Overloaded, message)
        })
    }

    /// Records the end of an open task. The price of a failed one is refunded, once.
    async fn record_task_state(&self, stored_task: &Task, state: TaskState) {
        if stored_task.is_open && state != TaskState::InProgress {
            self.accounting.record_task_end(stored_task, state == TaskState::Failed).await;
        }
    }
}
