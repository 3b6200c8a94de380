//! Targets are tried in turn until one says its first word; after that its failures are the
//! caller's to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat::{BoxDeltaStream, Chat, Delta, Error, ErrorKind};
use futures_util::{StreamExt, stream};

use crate::memory::inflight_budget::RequestMemory;
use crate::pricing::Price;
use crate::routing::circuit_breaker::CircuitBreaker;
use crate::routing::prefix_affinity::ActiveRequestGuard;
use crate::routing::target::{Backend, Target, random_unit};
use crate::upstream::error::timeout_error;

/// How long a target may take for its first word while there are others. That one which says
/// nothing at all is given up is the client's matter, also of the last.
pub(crate) const FIRST_TOKEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Before the only target that failed is asked once more, and as much again at random.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Of all requests, how many may be asked again: what fails under load must not be asked
/// for twice as often.
#[derive(Debug)]
pub(crate) struct RetryBudget(AtomicI64);

impl RetryBudget {
    const RETRY_COST: i64 = 10;
    const CAPACITY: i64 = 100 * Self::RETRY_COST;

    /// A tenth of the requests, and a hundred at once.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Self::CAPACITY)))
    }

    fn record_request(&self) {
        if self.0.load(Ordering::Relaxed) < Self::CAPACITY {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn try_spend_retry(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(Self::RETRY_COST).filter(|left| *left >= 0)
            })
            .is_ok()
    }
}

/// Who may answer, for how much, and which of them does. Shared by all who want to know.
#[derive(Clone, Debug)]
pub struct SelectedTarget(Arc<Candidates>);

#[derive(Debug)]
struct Candidates {
    /// In the order in which they are asked.
    candidates: Vec<Candidate>,
    selected: AtomicUsize,
}

/// The facts about a target by which its answer is settled.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) provider: Arc<str>,
    pub(crate) price: Option<Arc<Price>>,
    pub(crate) breaker: Arc<CircuitBreaker>,
    /// Of the model, where it is known.
    pub(crate) context_tokens: Option<u64>,
}

impl SelectedTarget {
    pub(crate) fn new(targets: &[Target]) -> Self {
        let candidate = |target: &Target| Candidate {
            provider: target.provider.clone(),
            price: target.price.clone(),
            breaker: target.breaker.clone(),
            context_tokens: target.context(),
        };
        let candidates = targets.iter().map(candidate).collect();
        Self(Arc::new(Candidates { candidates, selected: AtomicUsize::new(0) }))
    }

    /// The provider that is asked, or has answered.
    pub fn provider(&self) -> &Arc<str> {
        &self.candidate().provider
    }

    pub(crate) fn candidate(&self) -> &Candidate {
        &self.0.candidates[self.index()]
    }

    /// The index of the target that is asked, or has answered.
    pub(crate) fn index(&self) -> usize {
        self.0.selected.load(Ordering::Relaxed)
    }

    pub(crate) fn select(&self, index: usize) {
        self.0.selected.store(index, Ordering::Relaxed);
    }
}

/// A chat that targets are asked to answer.
pub(crate) struct OutgoingChat {
    pub(crate) chat: Arc<Chat>,
    /// Bytes of memory that the chat holds.
    pub(crate) chat_bytes: usize,
    pub(crate) memory: RequestMemory,
}

/// The answer of the first target that gives one. Nothing is asked before the stream is polled, so
/// that whoever waits for its first item can keep a client alive meanwhile.
pub(crate) fn answer_with_failover(
    targets: Vec<Target>,
    outgoing: OutgoingChat,
    chosen: SelectedTarget,
    retries: Arc<RetryBudget>,
) -> BoxDeltaStream {
    let first_answer = async move {
        match try_in_order(&targets, &chosen, &retries, Some(FIRST_TOKEN_TIMEOUT), |_, target| {
            first_content_delta(target, &outgoing)
        })
        .await
        {
            // It runs until its last delta is gone.
            Ok((deltas, running)) => {
                let breaker = targets[chosen.index()].breaker.clone();
                let observed = deltas.inspect(move |delta| {
                    _ = &running;
                    if let Err(error) = delta {
                        record_stream_failure(&breaker, error);
                    }
                });
                Box::pin(observed) as BoxDeltaStream
            }
            Err(error) => Box::pin(stream::iter([Err(error)])) as BoxDeltaStream,
        }
    };
    Box::pin(stream::once(first_answer).flatten())
}

/// Tries the targets in order, and returns the first answer. `ask` resolves when its target has
/// begun to answer; while other targets are left it gets `time_limit` for that.
///
/// # Errors
/// The last target's, or the first that no other target would do better with.
pub(crate) async fn try_in_order<T, A: Future<Output = Result<T, Error>>>(
    targets: &[Target],
    chosen: &SelectedTarget,
    retries: &RetryBudget,
    time_limit: Option<Duration>,
    send: impl Fn(usize, Target) -> A,
) -> Result<(T, ActiveRequestGuard), Error> {
    retries.record_request();
    let mut failure = None;
    for (index, target) in targets.iter().enumerate() {
        chosen.select(index);
        let time_limit = time_limit
            .filter(|_| index + 1 < targets.len())
            .map(|time_limit| time_limit.max(target.first_byte_timeout()));
        match try_target(target, time_limit, send(index, target.clone())).await {
            Ok(answer) => return Ok(answer),
            Err(error) if !should_fail_over(&error) => return Err(error),
            Err(error) => failure = Some(error),
        }
    }
    let failure = failure.unwrap_or_else(|| Error::internal("a route without targets"));
    // All have failed. What may pass by itself is asked once more, of the first.
    match targets.first() {
        Some(target) if is_transient(&failure) && retries.try_spend_retry() => {
            tokio::time::sleep(RETRY_DELAY.mul_f64(1.0 + random_unit())).await;
            chosen.select(0);
            try_target(target, None, send(0, target.clone())).await
        }
        _ => Err(failure),
    }
}

async fn try_target<T>(
    target: &Target,
    time_limit: Option<Duration>,
    attempt: impl Future<Output = Result<T, Error>>,
) -> Result<(T, ActiveRequestGuard), Error> {
    let (guard, started) = (target.active.start(), Instant::now());
    // Dropped halfway, the request has told nothing of the target.
    let probe = ProbeGuard(target);
    let result = match time_limit {
        Some(time_limit) => {
            tokio::time::timeout(time_limit, attempt).await.unwrap_or_else(|_| Err(timeout_error(&target.provider)))
        }
        None => attempt.await,
    };
    std::mem::forget(probe);
    match &result {
        Ok(_) => {
            target.breaker.record_success();
            target.breaker.record_latency(started.elapsed());
        }
        Err(error) if counts_as_failure(error) => target.breaker.record_failure(error.retry_after),
        Err(_) => target.breaker.release_probe(),
    }
    result.map(|answer| (answer, guard))
}

struct ProbeGuard<'a>(&'a Target);

impl Drop for ProbeGuard<'_> {
    fn drop(&mut self) {
        self.0.breaker.release_probe();
    }
}

/// Asks one target for its answer, which begins with a word.
async fn first_content_delta(target: Target, outgoing: &OutgoingChat) -> Result<BoxDeltaStream, Error> {
    let mut rest = match &target.backend {
        Backend::Remote(upstream) => upstream.stream_chat(outgoing, &target.upstream_model).await?,
        Backend::Local(_) => return Err(Error::internal("the local engine is asked by itself")),
    };
    let mut first_deltas = Vec::new();
    while let Some(delta) = rest.next().await {
        let is_content = !matches!(delta, Ok(Delta::Start(_)));
        first_deltas.push(Ok(delta?));
        if is_content {
            break;
        }
    }
    Ok(Box::pin(stream::iter(first_deltas).chain(rest)))
}

/// An answer has ended in this error after it had begun: who exceeds a bound then has failed
/// as much as before.
pub(crate) fn record_stream_failure(breaker: &CircuitBreaker, error: &Error) {
    if error.code == Some(wire::provider_limits::PROVIDER_LIMIT_EXCEEDED) {
        breaker.record_failure(None);
    }
}

/// Another target may do better.
fn should_fail_over(error: &Error) -> bool {
    counts_as_failure(error) || error.message == "Model Not Exist"
}

/// The target is to be left alone for a while.
fn counts_as_failure(error: &Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::RateLimited | ErrorKind::Overloaded | ErrorKind::Timeout | ErrorKind::Upstream(500..)
    )
}

/// The same request may succeed in a moment. A 429 is told to the caller, who knows better
/// when to come back.
fn is_transient(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Upstream(500..))
}
