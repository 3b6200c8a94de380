//! Tasks that run at a provider for a while: submitted and paid once, asked for until they end,
//! given back the money when they fail. Their bodies pass as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::Method;
use http::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use store::{Task, TaskId};
use wire::passthrough::response_validation::{BodyFormat, body_start_matches};
use wire::provider_limits::ProviderLimitExceeded;
use wire::tasks::id_rewriting;
use wire::tasks::{TaskKind, TaskState, is_path_safe_id};

use crate::billing::billable_fields;
use crate::billing::charge::Charge;
use crate::billing::request_meter::RequestMeter;
use crate::billing::task_cache::retained_since;
use crate::billing::usage_estimate::UsageEstimate;
use crate::memory::inflight_budget::RequestMemory;
use crate::offload::offload;
use crate::passthrough::request::RequestFields;
use crate::pricing::Quantity;
use crate::routing::failover::SelectedTarget;
use crate::routing::prefix_affinity::PromptPrefix;
use crate::routing::target::{Backend, Target};
use crate::task_ids::{id_pairs, new_task_id, referenced_ids, task_owner, with_gateway_ids, with_provider_ids};
use crate::upstream::error::{check_content_type, content_type, transport_error, upstream_error};
use crate::upstream::http_client::Response;
use crate::upstream::remote_provider::Upstream;
use crate::{Caller, Gateway};

/// A task of which nobody has asked is asked for by ourselves, for its money's sake.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Most tasks asked for each time.
const MAX_POLLED_TASKS: i64 = 200;
/// Most bytes of what a provider says of a task.
const MAX_REPLY_BYTES: usize = 16 << 20;
/// Most tasks that are asked for at once.
const MAX_LISTED_TASKS: usize = 100;

/// A task to be submitted.
pub struct TaskSubmission<'a> {
    pub kind: TaskKind,
    /// What it is priced by; `None`: the model of its parent, else the one that the body names.
    pub model: Option<&'a str>,
    /// Below the provider's base URL.
    pub path: &'a str,
    /// The task that it goes on from: it has to run where that did.
    pub parent: Option<&'a str>,
    pub body: &'a Bytes,
    /// The type of the body.
    pub headers: HeaderMap,
}

/// What a provider says.
#[derive(Debug)]
pub struct TaskReply {
    pub content_type: HeaderValue,
    pub bytes: Bytes,
}

/// The bytes of what a task has made.
pub struct TaskArtifact {
    pub content_type: HeaderValue,
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl Gateway {
    /// Submits a task.
    ///
    /// # Errors
    /// As [`Gateway::answer`]; `NotFound` when the caller has no such parent; `Invalid` when the
    /// model makes something else, or nobody names one.
    pub async fn submit_task(&self, caller: &Caller, submission: TaskSubmission<'_>) -> Result<TaskReply, Error> {
        let TaskSubmission { kind, model, path, parent, body, headers } = submission;
        let stored_tasks = self.referenced_tasks(caller, kind, parent, body).await?;
        let parent = stored_tasks.first();
        let body = &with_provider_ids(&caller.memory, body, &stored_tasks).await?;
        let path = &stored_tasks.iter().fold(path.to_owned(), |path, stored_task| {
            id_rewriting::replace_in_path(&path, &stored_task.id.id, &stored_task.provider_id)
        });
        let request_fields = RequestFields::scan(&headers, body)?;
        let model: Arc<str> = match (model, parent) {
            (Some(model), _) => model.into(),
            (None, Some(parent)) => parent.model.clone(),
            (None, None) => {
                let named = request_fields
                    .text("model")
                    .ok_or_else(|| Error::invalid("The request body has no field `model`"))?;
                named.into()
            }
        };
        let route = self.router.load().find(caller, &model)?;
        let mut targets = route.order_targets(PromptPrefix::default);
        targets.retain(|target| {
            let is_supported =
                matches!(&target.backend, Backend::Remote(upstream) if upstream.dialect().supports_task(kind));
            is_supported && parent.is_none_or(|stored_task| stored_task.upstream == target.provider)
        });
        if targets.is_empty() {
            return Err(Error::invalid(format!("Model '{model:.64}' does not support {}", kind.name())));
        }
        let mut meter = RequestMeter::start(&route.model_metrics);
        let quantity = match kind {
            TaskKind::Video => meter
                .record_error(request_fields.video_quantity(
                    parent.as_ref().and_then(|stored_task| paid_video_seconds(stored_task, &targets)),
                ))?,
            TaskKind::Midjourney | TaskKind::Suno => Quantity { calls: 1, seconds: 0 },
        };
        let (size, overdraft) = (UsageEstimate::from_quantity(quantity), self.overdraft());
        let mut charge =
            meter.record_error(Charge::admit(&self.accounting, caller, &route.id, &targets, size, overdraft).await)?;
        meter.record_error(charge.record_start())?;
        let selected = charge.selected_target();
        meter.attach_charge(charge);
        // Where the length has a price, the provider is reply the one that is billed. A remix has
        // that of its parent.
        let has_price = targets.iter().filter_map(|target| target.price.as_ref()).any(|price| price.is_per_second());
        let with_length;
        let (request_fields, body) =
            if kind == TaskKind::Video && parent.is_none() && has_price && !request_fields.has_video_length() {
                with_length = Bytes::from(billable_fields::with_default_video_length(&request_fields));
                (RequestFields::scan(&headers, &with_length)?, &with_length)
            } else {
                (request_fields, body)
            };
        let bodies = |target: &Target| {
            if kind == TaskKind::Video { request_fields.with_target_model(body, target) } else { body.clone() }
        };
        let (reply, answer) = meter
            .record_error(submit_in_order(&caller.memory, &targets, &selected, kind, path, &headers, bodies).await)?;
        let Some(accepted) = kind.accepted_task(&answer) else {
            meter.record_refusal();
            return with_gateway_ids(&caller.memory, kind, reply, id_pairs(&stored_tasks)).await;
        };
        let id = TaskId { kind: kind.name().into(), id: new_task_id(kind) };
        let known = [vec![(accepted.id.clone(), id.id.clone())], id_pairs(&stored_tasks)].concat();
        // It runs, whatever becomes of the answer.
        meter.record_task(id, accepted.id, accepted.is_new);
        let reply = with_gateway_ids(&caller.memory, kind, reply, known).await?;
        Ok(reply)
    }

    /// The caller's tasks that a request goes on from, or mentions: the first says where it has to
    /// run, and the others run there.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such parent.
    async fn referenced_tasks(
        &self,
        caller: &Caller,
        kind: TaskKind,
        parent: Option<&str>,
        body: &Bytes,
    ) -> Result<Vec<Task>, Error> {
        let mut stored_tasks: Vec<Task> = Vec::new();
        if let Some(id) = parent {
            stored_tasks.push(self.find_task(caller, kind, id).await?);
        }
        for id in referenced_ids(&caller.memory, kind, body).await? {
            let id = TaskId { kind: kind.name().into(), id };
            if stored_tasks.iter().any(|stored_task| stored_task.id == id) {
                continue;
            }
            let stored_task = self.accounting.find_known_task(&id, task_owner(caller)).await?;
            stored_tasks.extend(
                stored_task.filter(|stored_task| {
                    stored_tasks.first().is_none_or(|first| first.upstream == stored_task.upstream)
                }),
            );
        }
        Ok(stored_tasks)
    }

    /// How a task goes. `path` is below the provider's base URL.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such task; what the provider's refusal means.
    pub async fn task_status(&self, caller: &Caller, kind: TaskKind, id: &str, path: &str) -> Result<TaskReply, Error> {
        let stored_task = self.find_task(caller, kind, id).await?;
        let path = id_rewriting::replace_in_path(path, &stored_task.id.id, &stored_task.provider_id);
        let (reply, task) = self.fetch_task(&caller.memory, kind, &stored_task, &path).await?;
        let mut stored_tasks = vec![stored_task];
        // A task that this one goes on from is the caller's as well.
        if let Some(from) = task["remixed_from_video_id"].as_str().filter(|from| is_path_safe_id(from)) {
            let from = TaskId { kind: kind.name().into(), id: from.into() };
            stored_tasks.extend(self.accounting.find_known_task(&from, task_owner(caller)).await?);
        }
        with_gateway_ids(&caller.memory, kind, reply, id_pairs(&stored_tasks)).await
    }

    /// What a task has made.
    ///
    /// # Errors
    /// As [`Gateway::follow`].
    pub async fn task_artifact(
        &self,
        caller: &Caller,
        kind: TaskKind,
        id: &str,
        path: &str,
    ) -> Result<TaskArtifact, Error> {
        let stored_task = self.find_task(caller, kind, id).await?;
        let (upstream, path) = (
            self.upstream_of(&stored_task)?,
            id_rewriting::replace_in_path(path, &stored_task.id.id, &stored_task.provider_id),
        );
        let response = upstream.request(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await?;
        check_content_type(upstream.name(), BodyFormat::Binary, &response)?;
        let content_type = content_type(&response);
        let name = upstream.name().clone();
        let mut pieces = response.body;
        let first = pieces.next().await.transpose().map_err(|error| transport_error(&name, &error))?;
        let first = first.filter(|first| body_start_matches(BodyFormat::Binary, first));
        let first = first.ok_or_else(|| upstream_error(&name, "sent what is nothing that a task has made"))?;
        let rest = pieces.map(move |bytes| bytes.map_err(|error| transport_error(&name, &error)));
        Ok(TaskArtifact { content_type, body: stream::iter([Ok(first)]).chain(rest).boxed() })
    }

    /// How several tasks go: the caller's among `ids`, in any order. `path` and the fields of
    /// `body` are the provider's own for this; `ids` is put among them.
    ///
    /// # Errors
    /// `Invalid` for too many; what a provider's refusal means.
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
                "Invalid 'ids': at most {MAX_LISTED_TASKS} tasks can be asked for at once"
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
                // Several of the caller's may be the same one there.
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

    /// Asks from time to time for the tasks of which nobody knows how they ended, and forgets those
    /// of last week. Ends with the gateway.
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

    /// Once of [`Gateway::watch_tasks`].
    pub(crate) async fn poll_open_tasks(&self) {
        let since = retained_since();
        let open = match self.accounting.open_tasks(since, MAX_POLLED_TASKS).await {
            Ok(open) => open,
            Err(error) => return tracing::warn!(%error, "open tasks cannot be read"),
        };
        let memory = RequestMemory::default();
        for stored_task in open {
            let Some(kind) = TaskKind::ALL.into_iter().find(|kind| kind.name() == stored_task.id.kind) else {
                continue;
            };
            if let Err(error) =
                self.fetch_task(&memory, kind, &stored_task, &kind.fetch_path(&stored_task.provider_id)).await
            {
                tracing::debug!(%error, task = stored_task.id.id, "a task cannot be asked for");
            }
        }
    }

    /// Asks the provider how a task goes.
    async fn fetch_task(
        &self,
        memory: &RequestMemory,
        kind: TaskKind,
        stored_task: &Task,
        path: &str,
    ) -> Result<(TaskReply, Value), Error> {
        let upstream = self.upstream_of(stored_task)?;
        let response = upstream.request(Method::GET, path, &HeaderMap::new(), Bytes::new()).await?;
        let (reply, task) = read_task_reply(memory, &upstream, response, |task| kind.is_task_response(task)).await?;
        self.record_task_state(stored_task, kind.state(&task)).await;
        Ok((reply, task))
    }

    /// The provider that runs a task.
    fn upstream_of(&self, stored_task: &Task) -> Result<Arc<Upstream>, Error> {
        self.router.load().upstream(&stored_task.upstream).ok_or_else(|| {
            let message = format!("The provider `{}` of this task is not configured any more", stored_task.upstream);
            Error::new(ErrorKind::Overloaded, message)
        })
    }

    /// The caller's task of this id.
    async fn find_task(&self, caller: &Caller, kind: TaskKind, id: &str) -> Result<Task, Error> {
        let known = match is_path_safe_id(id) {
            true => {
                self.accounting
                    .find_task(&TaskId { kind: kind.name().into(), id: id.into() }, task_owner(caller))
                    .await?
            }
            false => None,
        };
        known.ok_or_else(|| {
            let mut error = Error::new(ErrorKind::NotFound, "No such task");
            error.code = Some("task_not_found");
            error
        })
    }

    /// What was paid for a task that failed is given back, once.
    async fn record_task_state(&self, stored_task: &Task, state: TaskState) {
        if stored_task.is_open && state != TaskState::InProgress {
            self.accounting.record_task_end(stored_task, state == TaskState::Failed).await;
        }
    }
}

/// The length of a video by what was paid for it.
fn paid_video_seconds(stored_task: &Task, targets: &[Target]) -> Option<u64> {
    let prices = targets.iter().filter_map(|target| target.price.as_ref());
    prices.filter_map(|price| price.paid_seconds(stored_task.cost, stored_task.created_at)).max()
}

/// Asks one target after the other; only one that has not taken the task for sure is
/// followed by the next.
async fn submit_in_order(
    memory: &RequestMemory,
    targets: &[Target],
    selected: &SelectedTarget,
    kind: TaskKind,
    path: &str,
    headers: &HeaderMap,
    body: impl Fn(&Target) -> Bytes,
) -> Result<(TaskReply, Value), Error> {
    let mut failure = Error::internal("a route without targets");
    for (index, target) in targets.iter().enumerate() {
        let Backend::Remote(upstream) = &target.backend else { continue };
        selected.select(index);
        match upstream.request(Method::POST, path, headers, body(target)).await {
            Ok(response) => {
                let reply =
                    read_task_reply(memory, upstream, response, |answer| kind.is_submission_response(answer)).await;
                match &reply {
                    Ok(_) => target.breaker.record_success(),
                    // It may have taken the task all the same: no other is asked.
                    Err(_) => target.breaker.record_failure(None),
                }
                return reply;
            }
            Err(error) if matches!(error.kind, ErrorKind::RateLimited | ErrorKind::Overloaded) => {
                target.breaker.record_failure(error.retry_after);
                failure = error;
            }
            Err(error) => {
                if matches!(error.kind, ErrorKind::Timeout | ErrorKind::Upstream(500..)) {
                    target.breaker.record_failure(error.retry_after);
                }
                return Err(error);
            }
        }
    }
    Err(failure)
}

/// The whole of an answer, which is JSON that fits, and what it says.
async fn read_task_reply(
    memory: &RequestMemory,
    upstream: &Upstream,
    response: Response,
    fits: impl Fn(&Value) -> bool,
) -> Result<(TaskReply, Value), Error> {
    check_content_type(upstream.name(), BodyFormat::Json, &response)?;
    let content_type = HeaderValue::from_static("application/json");
    let (mut bytes, mut chunks) = (BytesMut::new(), response.body);
    while let Some(more) = chunks.next().await {
        bytes.extend_from_slice(&more.map_err(|error| transport_error(upstream.name(), &error))?);
        if bytes.len() > MAX_REPLY_BYTES {
            return Err(ProviderLimitExceeded::Bytes(MAX_REPLY_BYTES).to_error(upstream.name()));
        }
    }
    let bytes = bytes.freeze();
    let read = bytes.clone();
    // As strict as with requests: an answer of more values than memory should hold is none.
    let parse = move || Ok(wire::json::parse(&read).unwrap_or(Value::Null));
    let answer: Value = offload(memory, bytes.len(), parse).await?;
    if !answer.is_object() && !answer.is_array() || !fits(&answer) {
        return Err(upstream_error(upstream.name(), "sent what says nothing of a task"));
    }
    Ok((TaskReply { content_type, bytes }, answer))
}

#[cfg(test)]
mod tests;
