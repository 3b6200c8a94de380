//! Targets are tried in turn until one says its first word; after that its failures are the caller's to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat::{BoxDeltaStream, Chat, Delta, Error, ErrorKind};
use futures_util::{StreamExt, stream};

use crate::affinity::Running;
use crate::health::Health;
use crate::inflight::RequestMemory;
use crate::price::Price;
use crate::target::{Place, Target, chance};
use crate::upstream::late;

/// How long a target may take for its first word while there are others. That one which says nothing at all is given up is the
/// client's matter, also of the last.
pub(crate) const FIRST_WORD: Duration = Duration::from_secs(60);
/// Before the only target that failed is asked once more, and as much again at random.
const PAUSE: Duration = Duration::from_millis(100);

/// Of all requests, how many may be asked again: what fails under load must not be asked for twice as often.
#[derive(Debug)]
pub(crate) struct Budget(AtomicI64);

impl Budget {
    const RETRY: i64 = 10;
    const MOST: i64 = 100 * Self::RETRY;

    /// A tenth of the requests, and a hundred at once.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(Self::MOST)))
    }

    fn request(&self) {
        if self.0.load(Ordering::Relaxed) < Self::MOST {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn retry(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(Self::RETRY).filter(|left| *left >= 0)
            })
            .is_ok()
    }
}

/// Who may answer, for how much, and which of them does. Shared by all who want to know.
#[derive(Clone, Debug)]
pub struct Chosen(Arc<Choice>);

#[derive(Debug)]
struct Choice {
    /// In the order in which they are asked.
    offers: Vec<Offer>,
    place: AtomicUsize,
}

/// The facts about a target by which its answer is settled.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) provider: Arc<str>,
    pub(crate) price: Option<Arc<Price>>,
    pub(crate) health: Arc<Health>,
    /// Of the model, where it is known.
    pub(crate) context: Option<u64>,
}

impl Chosen {
    pub(crate) fn among(targets: &[Target]) -> Self {
        let offer = |target: &Target| Offer {
            provider: target.upstream.clone(),
            price: target.price.clone(),
            health: target.health.clone(),
            context: target.context(),
        };
        let offers = targets.iter().map(offer).collect();
        Self(Arc::new(Choice { offers, place: AtomicUsize::new(0) }))
    }

    /// The provider that is asked, or has answered.
    pub fn provider(&self) -> &Arc<str> {
        &self.get().provider
    }

    pub(crate) fn get(&self) -> &Offer {
        &self.0.offers[self.place()]
    }

    /// The place of the target that is asked, or has answered.
    pub(crate) fn place(&self) -> usize {
        self.0.place.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, place: usize) {
        self.0.place.store(place, Ordering::Relaxed);
    }
}

/// A chat that targets are asked to answer.
pub(crate) struct Asking {
    pub(crate) chat: Arc<Chat>,
    /// Bytes of memory that the chat holds.
    pub(crate) bytes: usize,
    pub(crate) memory: RequestMemory,
}

/// The answer of the first target that gives one. Nothing is asked before the stream is polled, so that whoever waits for
/// its first item can keep a client alive meanwhile.
pub(crate) fn answer(targets: Vec<Target>, asking: Asking, chosen: Chosen, budget: Arc<Budget>) -> BoxDeltaStream {
    let first = async move {
        match each(&targets, &chosen, &budget, Some(FIRST_WORD), |_, target| first_word(target, &asking)).await {
            // It runs until its last delta is gone.
            Ok((deltas, running)) => {
                let health = targets[chosen.place()].health.clone();
                let watched = deltas.inspect(move |delta| {
                    _ = &running;
                    if let Err(error) = delta {
                        broke(&health, error);
                    }
                });
                Box::pin(watched) as BoxDeltaStream
            }
            Err(error) => Box::pin(stream::iter([Err(error)])) as BoxDeltaStream,
        }
    };
    Box::pin(stream::once(first).flatten())
}

/// Tries the targets in order, and returns the first answer. `ask` resolves when its target has begun to answer; while other
/// targets are left it gets `patience` for that.
///
/// # Errors
/// The last target's, or the first that no other target would do better with.
pub(crate) async fn each<T, A: Future<Output = Result<T, Error>>>(
    targets: &[Target],
    chosen: &Chosen,
    budget: &Budget,
    patience: Option<Duration>,
    ask: impl Fn(usize, Target) -> A,
) -> Result<(T, Running), Error> {
    budget.request();
    let mut failure = None;
    for (place, target) in targets.iter().enumerate() {
        chosen.set(place);
        let patience = patience.filter(|_| place + 1 < targets.len()).map(|patience| patience.max(target.begin_time()));
        match try_one(target, patience, ask(place, target.clone())).await {
            Ok(answer) => return Ok(answer),
            Err(error) if !elsewhere(&error) => return Err(error),
            Err(error) => failure = Some(error),
        }
    }
    let failure = failure.unwrap_or_else(|| Error::internal("a route without targets"));
    // All have failed. What may pass by itself is asked once more, of the first.
    match targets.first() {
        Some(target) if passes(&failure) && budget.retry() => {
            tokio::time::sleep(PAUSE.mul_f64(1.0 + chance())).await;
            chosen.set(0);
            try_one(target, None, ask(0, target.clone())).await
        }
        _ => Err(failure),
    }
}

async fn try_one<T>(
    target: &Target,
    patience: Option<Duration>,
    asking: impl Future<Output = Result<T, Error>>,
) -> Result<(T, Running), Error> {
    let (running, began) = (target.load.begin(), Instant::now());
    // Dropped halfway, the request has told nothing of the target.
    let probe = Probe(target);
    let asked = match patience {
        Some(patience) => tokio::time::timeout(patience, asking).await.unwrap_or_else(|_| Err(late(&target.upstream))),
        None => asking.await,
    };
    std::mem::forget(probe);
    match &asked {
        Ok(_) => {
            target.health.worked();
            target.health.took(began.elapsed());
        }
        Err(error) if sick(error) => target.health.failed(error.retry_after),
        Err(_) => target.health.unknown(),
    }
    asked.map(|answer| (answer, running))
}

struct Probe<'a>(&'a Target);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.health.unknown();
    }
}

/// Asks one target for its answer, which begins with a word.
async fn first_word(target: Target, asking: &Asking) -> Result<BoxDeltaStream, Error> {
    let mut rest = match &target.place {
        Place::Remote(upstream) => upstream.answer(asking, &target.model).await?,
        Place::Local(_) => return Err(Error::internal("the local engine is asked by itself")),
    };
    let mut begin = Vec::new();
    while let Some(delta) = rest.next().await {
        let word = !matches!(delta, Ok(Delta::Start(_)));
        begin.push(Ok(delta?));
        if word {
            break;
        }
    }
    Ok(Box::pin(stream::iter(begin).chain(rest)))
}

/// An answer has ended in this error after it had begun: who exceeds a bound then has failed as much as before.
pub(crate) fn broke(health: &Health, error: &Error) {
    if error.code == Some(wire::provider_limits::PROVIDER_LIMIT_EXCEEDED) {
        health.failed(None);
    }
}

/// Another target may do better.
fn elsewhere(error: &Error) -> bool {
    sick(error) || error.message == "Model Not Exist"
}

/// The target is to be left alone for a while.
fn sick(error: &Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::RateLimited | ErrorKind::Overloaded | ErrorKind::Timeout | ErrorKind::Upstream(500..)
    )
}

/// The same request may succeed in a moment. A 429 is told to the caller, who knows better when to come back.
fn passes(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Upstream(500..))
}
