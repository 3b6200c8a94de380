//! Submission of tasks.

use std::sync::Arc;

use bytes::Bytes;
use chat::{Error, ErrorKind};
use http::Method;
use http::header::HeaderMap;
use serde_json::Value;
use store::{Task, TaskId};
use wire::tasks::id_rewriting;
use wire::tasks::{TaskKind, is_path_safe_id};

use crate::Gateway;
use crate::billing::billable_fields;
use crate::billing::usage_estimate::UsageEstimate;
use crate::keys::caller::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::passthrough::request_fields::RequestFields;
use crate::pricing::Quantity;
use crate::routing::active_requests::ActiveRequestGuard;
use crate::routing::failover::{Failover, FailoverPolicy};
use crate::routing::prefix_affinity::PromptPrefix;
use crate::routing::selected_target::SelectedTarget;
use crate::routing::target::{Backend, Target};
use crate::task_ids::{id_pairs, new_task_id, referenced_ids, task_owner, with_gateway_ids, with_provider_ids};
use crate::tasks::reply::{TaskReply, read_task_reply};

/// A task to be submitted.
pub struct TaskSubmission<'a> {
    pub kind: TaskKind,
    /// The model that determines the price. `None`: the model of the parent, else the one in the
    /// body.
    pub model: Option<&'a str>,
    /// The path below the provider's base URL.
    pub path: &'a str,
    /// The task that this one continues, at the same provider.
    pub parent: Option<&'a str>,
    pub body: &'a Bytes,
    /// The content type of the body.
    pub headers: HeaderMap,
}

/// The request of a submission, without its body.
pub(crate) struct TaskRequest<'a> {
    pub(crate) kind: TaskKind,
    pub(crate) memory: &'a RequestMemory,
    /// The path below a provider's base URL.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl Gateway {
    /// Submits a task.
    ///
    /// # Errors
    /// As [`Gateway::answer`]; `NotFound` when the caller has no such parent; `Invalid` when the
    /// model does not support the kind of task, or is not named.
    pub async fn submit_task(&self, caller: &Caller, submission: TaskSubmission<'_>) -> Result<TaskReply, Error> {
        let TaskSubmission { kind, model, path, parent, body, headers } = submission;
        let memory = &caller.memory;
        let stored_tasks = self.referenced_tasks(caller, kind, parent, body).await?;
        let parent = stored_tasks.first();
        let body = &with_provider_ids(memory, body, &stored_tasks).await?;
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
        let mut targets = route.targets_for(caller, PromptPrefix::default)?;
        targets.retain(|target| {
            let is_supported =
                matches!(&target.backend, Backend::Remote(upstream) if upstream.dialect().supports_task(kind));
            is_supported && parent.is_none_or(|stored_task| stored_task.upstream == target.provider)
        });
        if targets.is_empty() {
            return Err(Error::invalid(format!("Model '{model:.64}' does not support {}", kind.name())));
        }
        let mut admission = self.open_admission(&route);
        let quantity = match kind {
            TaskKind::Video => {
                let parent_seconds = parent.and_then(|stored_task| paid_video_seconds(stored_task, &targets));
                admission.record_error(request_fields.video_quantity(parent_seconds))?
            }
            TaskKind::Midjourney | TaskKind::Suno | TaskKind::Batch => Quantity { calls: 1, seconds: 0 },
        };
        let end_user = request_fields.end_user();
        let admitted =
            admission.reserve(caller, &targets, UsageEstimate::from_quantity(quantity), end_user.as_deref()).await?;
        let (mut meter, selected) = admitted.begin()?;
        // If the length has a price, the body states the length that is billed. A remix has the
        // length of its parent.
        let has_price = targets.iter().filter_map(|target| target.price.as_ref()).any(|price| price.is_per_second());
        let with_length;
        let (request_fields, body) =
            if kind == TaskKind::Video && parent.is_none() && has_price && !request_fields.has_video_length() {
                with_length = Bytes::from(billable_fields::with_default_video_length(&request_fields));
                (RequestFields::scan(&headers, &with_length)?, &with_length)
            } else {
                (request_fields, body)
            };
        let body_for = |target: &Target| match kind {
            TaskKind::Video => request_fields.with_target_model(body, target),
            TaskKind::Midjourney | TaskKind::Suno | TaskKind::Batch => body.clone(),
        };
        let request = TaskRequest { kind, memory, path, headers: &headers };
        let submitted = self.submit_to(&targets, &selected, request, body_for).await;
        let ((reply, answer), _active) = meter.record_error(submitted)?;
        let Some(accepted) = kind.accepted_task(&answer) else {
            meter.record_refusal();
            return with_gateway_ids(memory, kind, reply, id_pairs(&stored_tasks)).await;
        };
        let id = TaskId { kind: kind.name().into(), id: new_task_id(kind) };
        let ids = [vec![(accepted.id.clone(), id.id.clone())], id_pairs(&stored_tasks)].concat();
        // The task is recorded first: it runs even if the answer cannot be rewritten.
        meter.record_task(id, accepted.id, accepted.is_new);
        with_gateway_ids(memory, kind, reply, ids).await
    }

    /// Submits a task to the first target that does not refuse it. `body_for` is its body for a
    /// target.
    ///
    /// # Errors
    /// Those of [`Failover::run`]; `Upstream` for an answer that is not one to a submission.
    pub(crate) async fn submit_to(
        &self,
        targets: &[Target],
        selected: &SelectedTarget,
        request: TaskRequest<'_>,
        body_for: impl Fn(&Target) -> Bytes,
    ) -> Result<((TaskReply, Value), ActiveRequestGuard), Error> {
        let TaskRequest { kind, memory, path, headers } = request;
        let body_for = &body_for;
        let submit = |target: Target, _| async move {
            let Backend::Remote(upstream) = &target.backend else {
                return Err(Error::internal("the local engine runs no tasks"));
            };
            let response = upstream.request(Method::POST, path, headers, body_for(&target)).await?;
            let reply = read_task_reply(memory, upstream, response, |answer| kind.is_submission_response(answer));
            reply.await.map_err(without_failover)
        };
        let failover = Failover {
            targets,
            selected,
            retry_budget: &self.retry_budget,
            policy: FailoverPolicy::RefusalsOnly,
            time_limit: None,
        };
        failover.run(submit).await
    }

    /// The caller's tasks that a request continues or mentions. The first determines the provider;
    /// the others are tasks of the same provider.
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

    /// The caller's task of this id.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such task.
    pub(crate) async fn find_task(&self, caller: &Caller, kind: TaskKind, id: &str) -> Result<Task, Error> {
        let stored_task = match is_path_safe_id(id) {
            true => {
                let id = TaskId { kind: kind.name().into(), id: id.into() };
                self.accounting.find_task(&id, task_owner(caller)).await?
            }
            false => None,
        };
        stored_task.ok_or_else(|| {
            let mut error = Error::new(ErrorKind::NotFound, "No such task");
            error.code = Some("task_not_found");
            error
        })
    }
}

/// The length of a video, derived from what was paid for it.
fn paid_video_seconds(stored_task: &Task, targets: &[Target]) -> Option<u64> {
    let prices = targets.iter().filter_map(|target| target.price.as_ref());
    prices.filter_map(|price| price.paid_seconds(stored_task.cost, stored_task.created_at)).max()
}

/// Turns a failure after the response has begun into one after which no other target is tried: the
/// provider may have accepted the task.
fn without_failover(mut error: Error) -> Error {
    if matches!(error.kind, ErrorKind::RateLimited | ErrorKind::Overloaded) {
        error.kind = ErrorKind::Upstream(502);
    }
    error
}
