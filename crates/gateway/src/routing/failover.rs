//! Failover: targets are tried in order until one begins to answer. A failure after that is the
//! caller's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat::{BoxDeltaStream, Error, ErrorKind};
use futures_util::{StreamExt, stream};

use crate::memory::inflight_budget::is_memory_error;
use crate::routing::active_requests::ActiveRequestGuard;
use crate::routing::attempt_log::failure_reason;
use crate::routing::circuit_breaker::CircuitBreaker;
use crate::routing::random::random_unit;
use crate::routing::retry_budget::RetryBudget;
use crate::routing::selected_target::SelectedTarget;
use crate::routing::target::{Backend, Target};
use crate::upstream::error::timeout_error;
use crate::upstream::outgoing_chat::OutgoingChat;
use crate::upstream::shared_progress::SharedProgress;

/// The time limit for the first content while other targets are left. The last target is limited by
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
            Self::AnyFailure => counts_as_failure(error) || error.is_missing_at_provider(),
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
    /// Returns the first answer. The guard counts the request as active at its target.
    ///
    /// `send` sends the request to a target, and resolves when the target has begun to answer. Its
    /// second argument says whether this is the retry.
    ///
    /// # Errors
    /// The last target's error, or the first after which the policy allows no other target. That a
    /// target does not have the model is the error only if no target has it.
    pub(crate) async fn run<T, A: Future<Output = Result<T, Error>>>(
        &self,
        send: impl Fn(Target, bool) -> A,
    ) -> Result<(T, ActiveRequestGuard), Error> {
        // Requests that are never retried earn no retries for others.
        if self.policy == FailoverPolicy::AnyFailure {
            self.retry_budget.record_request();
        }
        let mut failure = None;
        // The first target that may have the model.
        let mut retried = None;
        for (index, target) in self.targets.iter().enumerate() {
            self.selected.select(index);
            let time_limit = self
                .time_limit
                .filter(|_| index + 1 < self.targets.len())
                .map(|time_limit| time_limit.max(target.first_byte_timeout()));
            match self.try_target(target, time_limit, send(target.clone(), false)).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !self.policy.allows_next(&error) => return Err(error),
                Err(error) if error.is_missing_at_provider() && failure.is_some() => {}
                Err(error) => {
                    if !error.is_missing_at_provider() {
                        retried.get_or_insert(index);
                    }
                    failure = Some(error);
                }
            }
        }
        let failure = failure.unwrap_or_else(|| Error::internal("the route has no targets"));
        // All targets have failed: the first that may have the model is retried once.
        match retried {
            Some(index) if self.policy.allows_retry(&failure) && self.retry_budget.try_spend_retry() => {
                tokio::time::sleep(RETRY_DELAY.mul_f64(1.0 + random_unit())).await;
                self.selected.select(index);
                let target = &self.targets[index];
                self.try_target(target, None, send(target.clone(), true)).await
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
        let attempts = self.selected.attempts();
        attempts.start(target);
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
                attempts.record_first_byte();
                target.breaker.record_success();
                // The time to accept a task says nothing about the time to the first token.
                if self.policy == FailoverPolicy::AnyFailure {
                    target.breaker.record_latency(started.elapsed());
                }
            }
            Err(error) if counts_as_failure(error) => {
                target.breaker.record_failure(error.retry_after, failure_reason(error))
            }
            Err(_) => target.breaker.release_probe(),
        }
        if let Err(error) = &result {
            attempts.record_fault(error);
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

/// Answers a chat with the first target that begins to, whose progress `progress` then has. Nothing
/// is sent before the stream is polled, so that keep-alives can be sent to the client meanwhile.
pub(crate) fn answer_with_failover(
    targets: Vec<Target>,
    outgoing: OutgoingChat,
    selected: SelectedTarget,
    retry_budget: Arc<RetryBudget>,
    progress: SharedProgress,
) -> BoxDeltaStream {
    let first_answer = async move {
        let failover = Failover {
            targets: &targets,
            selected: &selected,
            retry_budget: &retry_budget,
            policy: FailoverPolicy::AnyFailure,
            // A whole answer may take as long as it takes to generate: minutes.
            time_limit: outgoing.chat.wants_stream().then_some(FIRST_TOKEN_TIMEOUT),
        };
        let attempt = |target, is_retry| begin_answer(target, &outgoing, is_retry, progress.clone());
        match failover.run(attempt).await {
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

/// Requests an answer of one target. Resolves when the answer has begun. Some models have no whole
/// answers: a provider that says so, and one that is retried, is asked for a stream.
async fn begin_answer(
    target: Target,
    outgoing: &OutgoingChat,
    is_retry: bool,
    progress: SharedProgress,
) -> Result<BoxDeltaStream, Error> {
    let Backend::Remote(upstream) = &target.backend else {
        return Err(Error::internal("the local engine takes no part in failover"));
    };
    let (model, rules) = (&target.upstream_model, &target.rules);
    if outgoing.chat.wants_stream() {
        return upstream.answer_chat(outgoing, model, rules, progress).await;
    }
    if !is_retry {
        let answer = upstream.answer_chat(outgoing, model, rules, progress.clone()).await;
        if !answer.as_ref().is_err_and(requires_stream) {
            return answer;
        }
    }
    upstream.answer_chat(&outgoing.streamed()?, model, rules, progress).await
}

/// Whether a provider refuses a request because it is not for a stream.
fn requires_stream(error: &Error) -> bool {
    error.kind == ErrorKind::InvalidRequest && error.message.to_ascii_lowercase().contains("stream")
}

/// Records an error that ended an answer after its beginning. A provider that exceeds a limit has
/// failed then, too.
pub(crate) fn record_stream_failure(breaker: &CircuitBreaker, error: &Error) {
    if error.code == Some(wire::provider_limits::PROVIDER_LIMIT_EXCEEDED) {
        breaker.record_failure(None, failure_reason(error));
    }
}

/// Whether the error opens the target's circuit breaker. A shortage of this server's memory does
/// not.
fn counts_as_failure(error: &Error) -> bool {
    let is_failure = matches!(
        error.kind,
        ErrorKind::RateLimited | ErrorKind::Overloaded | ErrorKind::Timeout | ErrorKind::Upstream(500..)
    );
    is_failure && !is_memory_error(error)
}
