//! Failover: targets are tried in order until one begins to answer. A failure after that is the
//! caller's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat::{BoxDeltaStream, Delta, Error, ErrorKind};
use futures_util::{StreamExt, stream};

use crate::routing::active_requests::ActiveRequestGuard;
use crate::routing::circuit_breaker::CircuitBreaker;
use crate::routing::random::random_unit;
use crate::routing::retry_budget::RetryBudget;
use crate::routing::selected_target::SelectedTarget;
use crate::routing::target::{Backend, Target};
use crate::upstream::error::timeout_error;
use crate::upstream::outgoing_chat::OutgoingChat;

/// The time limit for the first token while other targets are left. The last target is limited by
/// the HTTP client alone, which closes silent connections.
pub(crate) const FIRST_TOKEN_TIMEOUT: Duration = Duration::from_secs(60);
/// The delay before the retry of a failed target, to which up to the same again is added at random.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The errors of one target after which the request is sent to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailoverPolicy {
    /// All failures of the provider: a repeated request does no harm.
    AnyFailure,
    /// Only refusals that prove that the provider has not accepted the request, for requests that
    /// must not run twice.
    RefusalsOnly,
}

impl FailoverPolicy {
    fn allows_next(self, error: &Error) -> bool {
        match self {
            Self::AnyFailure => counts_as_failure(error) || error.message == "Model Not Exist",
            Self::RefusalsOnly => matches!(error.kind, ErrorKind::RateLimited | ErrorKind::Overloaded),
        }
    }

    /// Whether the same request may succeed at the same target in a moment. A 429 goes to the
    /// caller, who knows better when to try again.
    fn allows_retry(self, error: &Error) -> bool {
        self == Self::AnyFailure && matches!(error.kind, ErrorKind::Upstream(500..))
    }
}

/// One request, and the targets that can answer it.
pub(crate) struct Failover<'a> {
    /// In the order in which they are tried.
    pub(crate) targets: &'a [Target],
    pub(crate) selected: &'a SelectedTarget,
    pub(crate) retry_budget: &'a RetryBudget,
    pub(crate) policy: FailoverPolicy,
    /// The time limit for the beginning of an answer while other targets are left.
    pub(crate) time_limit: Option<Duration>,
}

impl Failover<'_> {
    /// Returns the first answer. `send` sends the request to a target, and resolves when the target
    /// has begun to answer. The guard counts the request as active at its target.
    ///
    /// # Errors
    /// The last target's error, or the first after which the policy allows no other target.
    pub(crate) async fn run<T, A: Future<Output = Result<T, Error>>>(
        &self,
        send: impl Fn(Target) -> A,
    ) -> Result<(T, ActiveRequestGuard), Error> {
        // Requests that are never retried earn no retries for others.
        if self.policy == FailoverPolicy::AnyFailure {
            self.retry_budget.record_request();
        }
        let mut failure = None;
        for (index, target) in self.targets.iter().enumerate() {
            self.selected.select(index);
            let time_limit = self
                .time_limit
                .filter(|_| index + 1 < self.targets.len())
                .map(|time_limit| time_limit.max(target.first_byte_timeout()));
            match self.try_target(target, time_limit, send(target.clone())).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !self.policy.allows_next(&error) => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        let failure = failure.unwrap_or_else(|| Error::internal("the route has no targets"));
        // All targets have failed: the first is retried once.
        match self.targets.first() {
            Some(target) if self.policy.allows_retry(&failure) && self.retry_budget.try_spend_retry() => {
                tokio::time::sleep(RETRY_DELAY.mul_f64(1.0 + random_unit())).await;
                self.selected.select(0);
                self.try_target(target, None, send(target.clone())).await
            }
            _ => Err(failure),
        }
    }

    /// Runs one attempt, and records its result in the target's circuit breaker.
    async fn try_target<T>(
        &self,
        target: &Target,
        time_limit: Option<Duration>,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, ActiveRequestGuard), Error> {
        let guard = target.active.start();
        let started = Instant::now();
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
                // The time to accept a task says nothing about the time to the first token.
                if self.policy == FailoverPolicy::AnyFailure {
                    target.breaker.record_latency(started.elapsed());
                }
            }
            Err(error) if counts_as_failure(error) => target.breaker.record_failure(error.retry_after),
            Err(_) => target.breaker.release_probe(),
        }
        result.map(|answer| (answer, guard))
    }
}

/// Releases the target's probe when the attempt is dropped before its result is known.
struct ProbeGuard<'a>(&'a Target);

impl Drop for ProbeGuard<'_> {
    fn drop(&mut self) {
        self.0.breaker.release_probe();
    }
}

/// Answers a chat with the first target that begins to. Nothing is sent before the stream is
/// polled, so that keep-alives can be sent to the client meanwhile.
pub(crate) fn answer_with_failover(
    targets: Vec<Target>,
    outgoing: OutgoingChat,
    selected: SelectedTarget,
    retry_budget: Arc<RetryBudget>,
) -> BoxDeltaStream {
    let first_answer = async move {
        let failover = Failover {
            targets: &targets,
            selected: &selected,
            retry_budget: &retry_budget,
            policy: FailoverPolicy::AnyFailure,
            time_limit: Some(FIRST_TOKEN_TIMEOUT),
        };
        match failover.run(|target| first_content_delta(target, &outgoing)).await {
            Ok((deltas, active)) => {
                let breaker = targets[selected.index()].breaker.clone();
                let observed = deltas.inspect(move |delta| {
                    // The request is active until its last delta.
                    _ = &active;
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

/// Requests an answer of one target. Resolves with its first content delta.
async fn first_content_delta(target: Target, outgoing: &OutgoingChat) -> Result<BoxDeltaStream, Error> {
    let mut rest = match &target.backend {
        Backend::Remote(upstream) => upstream.stream_chat(outgoing, &target.upstream_model).await?,
        Backend::Local(_) => return Err(Error::internal("the local engine takes no part in failover")),
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

/// Records an error that ended an answer after its beginning. A provider that exceeds a limit has
/// failed then, too.
pub(crate) fn record_stream_failure(breaker: &CircuitBreaker, error: &Error) {
    if error.code == Some(wire::provider_limits::PROVIDER_LIMIT_EXCEEDED) {
        breaker.record_failure(None);
    }
}

/// Whether the error opens the target's circuit breaker.
fn counts_as_failure(error: &Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::RateLimited | ErrorKind::Overloaded | ErrorKind::Timeout | ErrorKind::Upstream(500..)
    )
}
