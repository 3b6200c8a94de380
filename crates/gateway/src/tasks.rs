//! Tasks that run at a provider for a while: submitted and paid once, asked for until they end, given back the money when
//! they fail. Their bodies pass as they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::Method;
use http::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use store::{Job, JobId};
use wire::tasks::{Kind, State, is_id};

use crate::affinity::Beginning;
use crate::attempt::Chosen;
use crate::bill::Bill;
use crate::client::Response;
use crate::meter::Meter;
use crate::price::Units;
use crate::relay::Said;
use crate::size::Size;
use crate::stated;
use crate::target::{Place, Target};
use crate::upstream::{Upstream, content_type, fault, unreachable};
use crate::{Caller, Gateway};

/// How long a task can be asked for.
const KEPT: i64 = 7 * 86_400 * 1_000_000;
/// A task of which nobody has asked is asked for by ourselves, for its money's sake.
const WATCH: Duration = Duration::from_secs(30);
/// Most tasks asked for each time.
const WATCHED: i64 = 200;
/// Most bytes of what a provider says of a task.
const ANSWER_BYTES: usize = 16 << 20;
/// Most tasks that are asked for at once.
const LISTED: usize = 100;
/// How long a task may take to be known on another machine.
const KNOWN: [Duration; 4] = [Duration::from_millis(100); 4];

/// A task to be submitted.
pub struct Submission<'a> {
    pub kind: Kind,
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
        let parent = match parent {
            Some(id) => Some(self.task(caller, kind, id).await?),
            None => None,
        };
        let said = Said::scan(&headers, body)?;
        let model: Arc<str> = match (model, &parent) {
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
            let takes = matches!(&target.place, Place::Remote(upstream) if upstream.dialect().takes(kind));
            takes && parent.as_ref().is_none_or(|job| job.upstream == target.upstream)
        });
        if targets.is_empty() {
            return Err(Error::invalid(format!("Model '{model:.64}' does not support {}", kind.name())));
        }
        let mut meter = Meter::start(&route.instruments);
        let units = match kind {
            Kind::Video => meter.watch(said.video(parent.as_ref().and_then(|job| length_of(job, &targets))))?,
            Kind::Midjourney | Kind::Suno => Units { calls: 1, seconds: 0 },
        };
        let (size, overdraft) = (Size::of_units(units), self.overdraft());
        let mut bill = meter.watch(Bill::admit(&self.books, caller, &route.id, &targets, size, overdraft).await)?;
        meter.watch(bill.begin())?;
        let chosen = bill.chosen();
        meter.pays(bill);
        // Where the length has a price, the provider is told the one that is billed. A remix has that of its parent.
        let has_price = targets.iter().filter_map(|target| target.price.as_ref()).any(|price| price.is_by_second());
        let with_length;
        let (said, body) = if kind == Kind::Video && parent.is_none() && has_price && !said.states_length() {
            with_length = Bytes::from(stated::with_length(&said));
            (Said::scan(&headers, &with_length)?, &with_length)
        } else {
            (said, body)
        };
        let bodies = |target: &Target| if kind == Kind::Video { said.renamed(body, target) } else { body.clone() };
        let (told, answer) = meter.watch(ask_in_turn(&targets, &chosen, path, &headers, bodies).await)?;
        match kind.taken(&answer) {
            Some(taken) => {
                let id = JobId { kind: kind.name().into(), id: taken.id };
                meter.submitted(id, taken.is_new);
            }
            None => meter.refused(),
        }
        Ok(told)
    }

    /// How a task goes. `path` is below the provider's base URL.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such task; what the provider's refusal means.
    pub async fn follow(&self, caller: &Caller, kind: Kind, id: &str, path: &str) -> Result<Told, Error> {
        let job = self.task(caller, kind, id).await?;
        self.follow_job(kind, &job, path).await
    }

    /// What a task has made.
    ///
    /// # Errors
    /// As [`Gateway::follow`].
    pub async fn made(&self, caller: &Caller, kind: Kind, id: &str, path: &str) -> Result<Made, Error> {
        let job = self.task(caller, kind, id).await?;
        let upstream = self.runs(&job)?;
        let response = upstream.ask(Method::GET, path, &HeaderMap::new(), Bytes::new()).await?;
        let content_type = content_type(&response);
        let name = upstream.name().clone();
        let body = response.pieces.map(move |bytes| bytes.map_err(|error| unreachable(&name, &error))).boxed();
        Ok(Made { content_type, body })
    }

    /// How several tasks go: the caller's among `ids`, in any order. `path` and the fields of `body` are the provider's own for
    /// this; `ids` is put among them.
    ///
    /// # Errors
    /// `Invalid` for too many; what a provider's refusal means.
    pub async fn follow_all(
        &self,
        caller: &Caller,
        kind: Kind,
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
            body["ids"] = json!(jobs.iter().map(|job| &job.id.id).collect::<Vec<_>>());
            let upstream = self.runs(&jobs[0])?;
            let response = upstream.ask(Method::POST, path, &HeaderMap::new(), body.to_string().into()).await?;
            let (_, answer) = whole(&upstream, response).await?;
            let list = answer.as_array().or(answer["data"].as_array());
            for task in list.ok_or_else(|| fault(upstream.name(), "sent no list of tasks"))? {
                let id = kind.id_in_list(task).unwrap_or_default();
                if let Some(job) = jobs.iter().find(|job| job.id.id == id) {
                    self.noticed(job, kind.state(task)).await;
                    tasks.push(task.clone());
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
        let since = store::now() - KEPT;
        let open = match self.books.open_jobs(since, WATCHED).await {
            Ok(open) => open,
            Err(error) => return tracing::warn!(%error, "open tasks cannot be read"),
        };
        for job in open {
            let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == job.id.kind) else { continue };
            if let Err(error) = self.follow_job(kind, &job, &kind.fetch_path(&job.id.id)).await {
                tracing::debug!(%error, task = job.id.id, "a task cannot be asked for");
            }
        }
    }

    async fn follow_job(&self, kind: Kind, job: &Job, path: &str) -> Result<Told, Error> {
        let upstream = self.runs(job)?;
        let response = upstream.ask(Method::GET, path, &HeaderMap::new(), Bytes::new()).await?;
        let (told, task) = whole(&upstream, response).await?;
        self.noticed(job, kind.state(&task)).await;
        Ok(told)
    }

    /// The provider that runs a task.
    fn runs(&self, job: &Job) -> Result<Arc<Upstream>, Error> {
        self.routes.load().upstream(&job.upstream).ok_or_else(|| {
            let message = format!("The provider `{}` of this task is not configured any more", job.upstream);
            Error::new(ErrorKind::Overload, message)
        })
    }

    /// The caller's task of this id.
    async fn task(&self, caller: &Caller, kind: Kind, id: &str) -> Result<Job, Error> {
        let known = match is_id(id) {
            true => self.books.job(&JobId { kind: kind.name().into(), id: id.into() }).await?,
            false => None,
        };
        known.filter(|job| owns(caller, job)).ok_or_else(|| {
            let mut error = Error::new(ErrorKind::NotFound, "No such task");
            error.code = Some("task_not_found");
            error
        })
    }

    /// What was paid for a task that failed is given back, once.
    async fn noticed(&self, job: &Job, state: State) {
        if job.open && state != State::Open {
            self.books.job_ended(job, state == State::Failed).await;
        }
    }
}

/// The length of a video by what was paid for it.
fn length_of(job: &Job, targets: &[Target]) -> Option<u64> {
    let prices = targets.iter().filter_map(|target| target.price.as_ref());
    prices.filter_map(|price| price.seconds_of(job.cost, job.created_at)).max()
}

/// The account that has submitted it, with any of its keys.
fn owns(caller: &Caller, job: &Job) -> bool {
    match (&caller.holder, &job.project_id) {
        (Some(holder), Some(project)) => *holder.project == **project,
        (None, None) => caller.key.as_deref().unwrap_or_default() == &*job.key_name,
        _ => false,
    }
}

/// Asks one target after the other; only one that has not taken the task for sure is followed by the next.
async fn ask_in_turn(
    targets: &[Target],
    chosen: &Chosen,
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
                target.health.worked();
                return whole(upstream, response).await;
            }
            Err(error) if matches!(error.kind, ErrorKind::Rate | ErrorKind::Overload) => {
                target.health.failed(error.retry_after);
                failure = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

/// The whole of an answer, and what it says; null when it is no JSON.
async fn whole(upstream: &Upstream, response: Response) -> Result<(Told, Value), Error> {
    let content_type = content_type(&response);
    let (mut bytes, mut body) = (BytesMut::new(), response.pieces);
    while let Some(more) = body.next().await {
        bytes.extend_from_slice(&more.map_err(|error| unreachable(upstream.name(), &error))?);
        if bytes.len() > ANSWER_BYTES {
            return Err(fault(upstream.name(), "says too much of a task"));
        }
    }
    let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok((Told { content_type, bytes: bytes.freeze() }, answer))
}

/// Tasks that were submitted here lately: they are known before the store has them, and without a store.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<HashMap<JobId, Job>>);

impl Recent {
    const MOST: usize = 1 << 14;

    pub(crate) fn find(&self, id: &JobId) -> Option<Job> {
        self.jobs().get(id).filter(|job| job.created_at >= store::now() - KEPT).cloned()
    }

    pub(crate) fn remember(&self, job: Job) {
        let mut jobs = self.jobs();
        if jobs.len() >= Self::MOST {
            let mut times: Vec<_> = jobs.values().map(|job| job.created_at).collect();
            let (_, middle, _) = times.select_nth_unstable(Self::MOST / 2);
            let middle = *middle;
            jobs.retain(|_, job| job.created_at > middle);
        }
        jobs.insert(job.id.clone(), job);
    }

    pub(crate) fn ended(&self, id: &JobId) {
        if let Some(job) = self.jobs().get_mut(id) {
            job.open = false;
        }
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> Vec<Job> {
        self.jobs().values().filter(|job| job.open).cloned().collect()
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Job>> {
        // Each is kept whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often and how long a task is looked for that another machine may have taken.
pub(crate) fn patience(shared: bool) -> &'static [Duration] {
    if shared { &KNOWN } else { &[] }
}

/// Since when tasks are kept.
pub(crate) fn kept_since() -> i64 {
    store::now() - KEPT
}

#[cfg(test)]
mod tests;
