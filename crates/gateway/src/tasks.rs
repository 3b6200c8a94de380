//! Tasks that run at a provider for a while: submitted and paid once, asked for until they end, given back the money when
//! they fail. Their bodies pass as they are.

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
use store::{Job, JobId};
use wire::passthrough::response_validation::{BodyFormat, body_start_matches};
use wire::provider_limits::ProviderLimitExceeded;
use wire::tasks::id_rewriting;
use wire::tasks::{TaskKind, TaskState, is_path_safe_id};

use crate::affinity::Beginning;
use crate::attempt::Chosen;
use crate::bill::Bill;
use crate::client::Response;
use crate::inflight::RequestMemory;
use crate::meter::Meter;
use crate::price::Units;
use crate::recent::kept_since;
use crate::relay::Said;
use crate::size::Size;
use crate::stated;
use crate::target::{Place, Target};
use crate::task_ids::{ids_of, mentioned, new_id, owner, with_our_ids, with_their_ids};
use crate::upstream::{Upstream, check_type, content_type, fault, unreachable};
use crate::work::aside;
use crate::{Caller, Gateway};

/// A task of which nobody has asked is asked for by ourselves, for its money's sake.
const WATCH: Duration = Duration::from_secs(30);
/// Most tasks asked for each time.
const WATCHED: i64 = 200;
/// Most bytes of what a provider says of a task.
const ANSWER_BYTES: usize = 16 << 20;
/// Most tasks that are asked for at once.
const LISTED: usize = 100;

/// A task to be submitted.
pub struct Submission<'a> {
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
pub struct Told {
    pub content_type: HeaderValue,
    pub bytes: Bytes,
}

/// The bytes of what a task has made.
pub struct Made {
    pub content_type: HeaderValue,
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl Gateway {
    /// Submits a task.
    ///
    /// # Errors
    /// As [`Gateway::answer`]; `NotFound` when the caller has no such parent; `Invalid` when the model makes something else, or nobody
    /// names one.
    pub async fn submit(&self, caller: &Caller, submission: Submission<'_>) -> Result<Told, Error> {
        let Submission { kind, model, path, parent, body, headers } = submission;
        let jobs = self.mentioned(caller, kind, parent, body).await?;
        let parent = jobs.first();
        let body = &with_their_ids(&caller.memory, body, &jobs).await?;
        let path = &jobs
            .iter()
            .fold(path.to_owned(), |path, job| id_rewriting::replace_in_path(&path, &job.id.id, &job.provider_id));
        let said = Said::scan(&headers, body)?;
        let model: Arc<str> = match (model, parent) {
            (Some(model), _) => model.into(),
            (None, Some(parent)) => parent.model.clone(),
            (None, None) => {
                let named =
                    said.text("model").ok_or_else(|| Error::invalid("The request body has no field `model`"))?;
                named.into()
            }
        };
        let route = self.routes.load().find(caller, &model)?;
        let mut targets = route.order(Beginning::default);
        targets.retain(|target| {
            let takes = matches!(&target.place, Place::Remote(upstream) if upstream.dialect().supports_task(kind));
            takes && parent.is_none_or(|job| job.upstream == target.upstream)
        });
        if targets.is_empty() {
            return Err(Error::invalid(format!("Model '{model:.64}' does not support {}", kind.name())));
        }
        let mut meter = Meter::start(&route.instruments);
        let units = match kind {
            TaskKind::Video => meter.watch(said.video(parent.as_ref().and_then(|job| length_of(job, &targets))))?,
            TaskKind::Midjourney | TaskKind::Suno => Units { calls: 1, seconds: 0 },
        };
        let (size, overdraft) = (Size::of_units(units), self.overdraft());
        let mut bill = meter.watch(Bill::admit(&self.books, caller, &route.id, &targets, size, overdraft).await)?;
        meter.watch(bill.begin())?;
        let chosen = bill.chosen();
        meter.pays(bill);
        // Where the length has a price, the provider is told the one that is billed. A remix has that of its parent.
        let has_price = targets.iter().filter_map(|target| target.price.as_ref()).any(|price| price.is_by_second());
        let with_length;
        let (said, body) = if kind == TaskKind::Video && parent.is_none() && has_price && !said.states_length() {
            with_length = Bytes::from(stated::with_length(&said));
            (Said::scan(&headers, &with_length)?, &with_length)
        } else {
            (said, body)
        };
        let bodies = |target: &Target| if kind == TaskKind::Video { said.renamed(body, target) } else { body.clone() };
        let (told, answer) =
            meter.watch(ask_in_turn(&caller.memory, &targets, &chosen, kind, path, &headers, bodies).await)?;
        let Some(taken) = kind.accepted_task(&answer) else {
            meter.refused();
            return with_our_ids(&caller.memory, kind, told, ids_of(&jobs)).await;
        };
        let id = JobId { kind: kind.name().into(), id: new_id(kind) };
        let known = [vec![(taken.id.clone(), id.id.clone())], ids_of(&jobs)].concat();
        // It runs, whatever becomes of the answer.
        meter.submitted(id, taken.id, taken.is_new);
        let told = with_our_ids(&caller.memory, kind, told, known).await?;
        Ok(told)
    }

    /// The caller's tasks that a request goes on from, or mentions: the first says where it has to run, and the others run there.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such parent.
    async fn mentioned(
        &self,
        caller: &Caller,
        kind: TaskKind,
        parent: Option<&str>,
        body: &Bytes,
    ) -> Result<Vec<Job>, Error> {
        let mut jobs: Vec<Job> = Vec::new();
        if let Some(id) = parent {
            jobs.push(self.task(caller, kind, id).await?);
        }
        for id in mentioned(&caller.memory, kind, body).await? {
            let id = JobId { kind: kind.name().into(), id };
            if jobs.iter().any(|job| job.id == id) {
                continue;
            }
            let job = self.books.known_job(&id, owner(caller)).await?;
            jobs.extend(job.filter(|job| jobs.first().is_none_or(|first| first.upstream == job.upstream)));
        }
        Ok(jobs)
    }

    /// How a task goes. `path` is below the provider's base URL.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such task; what the provider's refusal means.
    pub async fn follow(&self, caller: &Caller, kind: TaskKind, id: &str, path: &str) -> Result<Told, Error> {
        let job = self.task(caller, kind, id).await?;
        let path = id_rewriting::replace_in_path(path, &job.id.id, &job.provider_id);
        let (told, task) = self.follow_job(&caller.memory, kind, &job, &path).await?;
        let mut jobs = vec![job];
        // A task that this one goes on from is the caller's as well.
        if let Some(from) = task["remixed_from_video_id"].as_str().filter(|from| is_path_safe_id(from)) {
            let from = JobId { kind: kind.name().into(), id: from.into() };
            jobs.extend(self.books.known_job(&from, owner(caller)).await?);
        }
        with_our_ids(&caller.memory, kind, told, ids_of(&jobs)).await
    }

    /// What a task has made.
    ///
    /// # Errors
    /// As [`Gateway::follow`].
    pub async fn made(&self, caller: &Caller, kind: TaskKind, id: &str, path: &str) -> Result<Made, Error> {
        let job = self.task(caller, kind, id).await?;
        let (upstream, path) = (self.runs(&job)?, id_rewriting::replace_in_path(path, &job.id.id, &job.provider_id));
        let response = upstream.ask(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await?;
        check_type(upstream.name(), BodyFormat::Binary, &response)?;
        let content_type = content_type(&response);
        let name = upstream.name().clone();
        let mut pieces = response.pieces;
        let first = pieces.next().await.transpose().map_err(|error| unreachable(&name, &error))?;
        let first = first.filter(|first| body_start_matches(BodyFormat::Binary, first));
        let first = first.ok_or_else(|| fault(&name, "sent what is nothing that a task has made"))?;
        let rest = pieces.map(move |bytes| bytes.map_err(|error| unreachable(&name, &error)));
        Ok(Made { content_type, body: stream::iter([Ok(first)]).chain(rest).boxed() })
    }

    /// How several tasks go: the caller's among `ids`, in any order. `path` and the fields of `body` are the provider's own for
    /// this; `ids` is put among them.
    ///
    /// # Errors
    /// `Invalid` for too many; what a provider's refusal means.
    pub async fn follow_all(
        &self,
        caller: &Caller,
        kind: TaskKind,
        ids: &[String],
        path: &str,
        body: Value,
    ) -> Result<Vec<Value>, Error> {
        if ids.len() > LISTED {
            return Err(Error::invalid(format!("Invalid 'ids': at most {LISTED} tasks can be asked for at once")));
        }
        let mut by_upstream = BTreeMap::<Arc<str>, Vec<Job>>::new();
        for id in ids {
            match self.task(caller, kind, id).await {
                Ok(job) => by_upstream.entry(job.upstream.clone()).or_default().push(job),
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut tasks = Vec::new();
        for jobs in by_upstream.values() {
            let mut body = body.clone();
            let ids: BTreeSet<_> = jobs.iter().map(|job| &job.provider_id).collect();
            body["ids"] = json!(ids);
            let upstream = self.runs(&jobs[0])?;
            let response = upstream.ask(Method::POST, path, &HeaderMap::new(), body.to_string().into()).await?;
            let (_, answer) = whole(&caller.memory, &upstream, response, |_| true).await?;
            let list = answer.as_array().or(answer["data"].as_array());
            for task in list.ok_or_else(|| fault(upstream.name(), "sent no list of tasks"))? {
                let id = kind.id_in_list(task).unwrap_or_default();
                // Several of the caller's may be the same one there.
                for job in jobs.iter().filter(|job| job.provider_id == id) {
                    self.noticed(job, kind.state(task)).await;
                    let bytes = Bytes::from(task.to_string());
                    let told = Told { content_type: HeaderValue::from_static("application/json"), bytes };
                    let told = with_our_ids(&caller.memory, kind, told, ids_of(std::slice::from_ref(job))).await?;
                    tasks.push(serde_json::from_slice(&told.bytes).unwrap_or_default());
                }
            }
        }
        Ok(tasks)
    }

    /// Asks from time to time for the tasks of which nobody knows how they ended, and forgets those of last week. Ends with
    /// the gateway.
    pub fn watch_tasks(self: &Arc<Self>) {
        let gateway = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(WATCH).await;
                let Some(gateway) = gateway.upgrade() else { return };
                gateway.look_after_tasks().await;
            }
        });
    }

    /// Once of [`Gateway::watch_tasks`].
    pub(crate) async fn look_after_tasks(&self) {
        let since = kept_since();
        let open = match self.books.open_jobs(since, WATCHED).await {
            Ok(open) => open,
            Err(error) => return tracing::warn!(%error, "open tasks cannot be read"),
        };
        let memory = RequestMemory::default();
        for job in open {
            let Some(kind) = TaskKind::ALL.into_iter().find(|kind| kind.name() == job.id.kind) else { continue };
            if let Err(error) = self.follow_job(&memory, kind, &job, &kind.fetch_path(&job.provider_id)).await {
                tracing::debug!(%error, task = job.id.id, "a task cannot be asked for");
            }
        }
    }

    /// Asks the provider how a task goes.
    async fn follow_job(
        &self,
        memory: &RequestMemory,
        kind: TaskKind,
        job: &Job,
        path: &str,
    ) -> Result<(Told, Value), Error> {
        let upstream = self.runs(job)?;
        let response = upstream.ask(Method::GET, path, &HeaderMap::new(), Bytes::new()).await?;
        let (told, task) = whole(memory, &upstream, response, |task| kind.is_task_response(task)).await?;
        self.noticed(job, kind.state(&task)).await;
        Ok((told, task))
    }

    /// The provider that runs a task.
    fn runs(&self, job: &Job) -> Result<Arc<Upstream>, Error> {
        self.routes.load().upstream(&job.upstream).ok_or_else(|| {
            let message = format!("The provider `{}` of this task is not configured any more", job.upstream);
            Error::new(ErrorKind::Overloaded, message)
        })
    }

    /// The caller's task of this id.
    async fn task(&self, caller: &Caller, kind: TaskKind, id: &str) -> Result<Job, Error> {
        let known = match is_path_safe_id(id) {
            true => self.books.job(&JobId { kind: kind.name().into(), id: id.into() }, owner(caller)).await?,
            false => None,
        };
        known.ok_or_else(|| {
            let mut error = Error::new(ErrorKind::NotFound, "No such task");
            error.code = Some("task_not_found");
            error
        })
    }

    /// What was paid for a task that failed is given back, once.
    async fn noticed(&self, job: &Job, state: TaskState) {
        if job.open && state != TaskState::InProgress {
            self.books.job_ended(job, state == TaskState::Failed).await;
        }
    }
}

/// The length of a video by what was paid for it.
fn length_of(job: &Job, targets: &[Target]) -> Option<u64> {
    let prices = targets.iter().filter_map(|target| target.price.as_ref());
    prices.filter_map(|price| price.seconds_of(job.cost, job.created_at)).max()
}

/// Asks one target after the other; only one that has not taken the task for sure is followed by the next.
async fn ask_in_turn(
    memory: &RequestMemory,
    targets: &[Target],
    chosen: &Chosen,
    kind: TaskKind,
    path: &str,
    headers: &HeaderMap,
    body: impl Fn(&Target) -> Bytes,
) -> Result<(Told, Value), Error> {
    let mut failure = Error::internal("a route without targets");
    for (place, target) in targets.iter().enumerate() {
        let Place::Remote(upstream) = &target.place else { continue };
        chosen.set(place);
        match upstream.ask(Method::POST, path, headers, body(target)).await {
            Ok(response) => {
                let answered = whole(memory, upstream, response, |answer| kind.is_submission_response(answer)).await;
                match &answered {
                    Ok(_) => target.health.worked(),
                    // It may have taken the task all the same: no other is asked.
                    Err(_) => target.health.failed(None),
                }
                return answered;
            }
            Err(error) if matches!(error.kind, ErrorKind::RateLimited | ErrorKind::Overloaded) => {
                target.health.failed(error.retry_after);
                failure = error;
            }
            Err(error) => {
                if matches!(error.kind, ErrorKind::Timeout | ErrorKind::Upstream(500..)) {
                    target.health.failed(error.retry_after);
                }
                return Err(error);
            }
        }
    }
    Err(failure)
}

/// The whole of an answer, which is JSON that fits, and what it says.
async fn whole(
    memory: &RequestMemory,
    upstream: &Upstream,
    response: Response,
    fits: impl Fn(&Value) -> bool,
) -> Result<(Told, Value), Error> {
    check_type(upstream.name(), BodyFormat::Json, &response)?;
    let content_type = HeaderValue::from_static("application/json");
    let (mut bytes, mut body) = (BytesMut::new(), response.pieces);
    while let Some(more) = body.next().await {
        bytes.extend_from_slice(&more.map_err(|error| unreachable(upstream.name(), &error))?);
        if bytes.len() > ANSWER_BYTES {
            return Err(ProviderLimitExceeded::Bytes(ANSWER_BYTES).to_error(upstream.name()));
        }
    }
    let bytes = bytes.freeze();
    let read = bytes.clone();
    // As strict as with requests: an answer of more values than memory should hold is none.
    let parse = move || Ok(wire::json::parse(&read).unwrap_or(Value::Null));
    let answer: Value = aside(memory, bytes.len(), parse).await?;
    if !answer.is_object() && !answer.is_array() || !fits(&answer) {
        return Err(fault(upstream.name(), "sent what says nothing of a task"));
    }
    Ok((Told { content_type, bytes }, answer))
}

#[cfg(test)]
mod tests;
