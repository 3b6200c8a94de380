//! The answers of one request beside the clocks that surround them: keep-alive, the wait for their
//! beginning, their total time, shutdown.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use chat::{Delta, Error, ErrorKind, FinishReason};
use futures_util::FutureExt;
use gateway::{DeadlineTimer, MeteredStream, SelectedTarget};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::AppState;
use crate::merged_choices::MergedChoices;
use crate::request_log::RequestLog;

const OVERLOAD_MESSAGE: &str =
    "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.";

/// What happens next.
pub(crate) enum DeltaEvent {
    /// Something came of one choice.
    Delta(usize, Delta),
    /// Nothing was sent for a while.
    KeepAlive,
    /// The answer cannot go on; nothing follows.
    Failed(Error),
    /// The answer is complete; nothing follows.
    Ended,
}

/// When to say that we are still here.
#[derive(Clone, Copy)]
pub(crate) struct KeepAliveSchedule {
    pub(crate) first: Duration,
    pub(crate) every: Duration,
    /// A delta is sent at once, so that it counts as a sign of life.
    pub(crate) reset_by_deltas: bool,
}

/// Answers in time. Dropping it cancels the request.
pub(crate) struct TimedDeltas {
    choices: MergedChoices,
    schedule: KeepAliveSchedule,
    next_keep_alive: Instant,
    chosen: SelectedTarget,
    /// `None` once inference has started.
    first_delta_deadline: Option<Instant>,
    total_deadline: Instant,
    alarm: DeadlineTimer,
    shutdown: ShutdownSignal,
    state: StreamState,
    /// It has begun to say something.
    first_chunk_recorded: bool,
    log: RequestLog,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Running,
    /// Every choice has to be ended that has not ended yet.
    Aborting,
    Done,
}

impl TimedDeltas {
    pub(crate) fn new(
        app: &AppState,
        answers: Vec<MeteredStream>,
        schedule: KeepAliveSchedule,
        log: RequestLog,
    ) -> Self {
        let (now, target) = (Instant::now(), answers[0].selected_target().clone());
        Self {
            choices: MergedChoices::new(answers),
            chosen: target,
            schedule,
            next_keep_alive: now + schedule.first,
            first_delta_deadline: Some(now + app.config.queue_timeout),
            total_deadline: now + app.config.total_timeout,
            alarm: DeadlineTimer::default(),
            shutdown: shutdown_signal(app.stopping.clone()),
            state: StreamState::Running,
            // What is not streamed has no first chunk.
            first_chunk_recorded: !schedule.reset_by_deltas,
            log,
        }
    }

    pub(crate) async fn next(&mut self) -> DeltaEvent {
        match self.state {
            StreamState::Running => {}
            StreamState::Aborting => return self.finish_next_choice(),
            StreamState::Done => return DeltaEvent::Ended,
        }
        let deadline = self
            .first_delta_deadline
            .map_or(self.total_deadline, |first_delta_deadline| first_delta_deadline.min(self.total_deadline));
        // Also where there is always something to say.
        if deadline <= Instant::now() {
            return self.abort(OVERLOAD_MESSAGE);
        }
        let wake_at = deadline.min(self.next_keep_alive);
        tokio::select! {
            biased;
            () = &mut self.shutdown, if !self.choices.all_finished() => self.abort("The server is shutting down, please send the request again"),
            // A panic must not cut the connection before what was said is sent.
            delta = AssertUnwindSafe(self.choices.next()).catch_unwind() => match delta {
                Ok(delta) => self.on_delta(delta),
                Err(_) => self.fail(Error::internal("Internal server error")),
            },
            () = self.alarm.wait_until(wake_at) => {
                if wake_at == deadline {
                    return self.abort(OVERLOAD_MESSAGE);
                }
                self.next_keep_alive = Instant::now() + self.schedule.every;
                DeltaEvent::KeepAlive
            }
        }
    }

    fn on_delta(&mut self, delta: Option<Result<(usize, Delta), Error>>) -> DeltaEvent {
        let (choice, delta) = match delta {
            Some(Ok(delta)) => delta,
            Some(Err(error)) => return self.fail(error),
            None if self.choices.all_finished() => return self.end(),
            None => return self.fail(Error::internal("the answer ended without a finish reason")),
        };
        if self.first_delta_deadline.take().is_some() {
            self.log.set_provider(self.chosen.provider());
        }
        match &delta {
            Delta::Start(_) => {}
            Delta::Usage(usage) => self.log.set_usage(*usage),
            _ if std::mem::replace(&mut self.first_chunk_recorded, true) => {}
            _ => self.log.record_first_chunk(),
        }
        if self.schedule.reset_by_deltas {
            self.next_keep_alive = Instant::now() + self.schedule.every;
        }
        DeltaEvent::Delta(choice, delta)
    }

    /// Ends an answer that may not go on: properly when it has begun, else as if it had
    /// never been admitted.
    fn abort(&mut self, message: &str) -> DeltaEvent {
        if self.first_delta_deadline.is_some() {
            return self.fail(Error::new(ErrorKind::Overloaded, message));
        }
        self.state = StreamState::Aborting;
        self.finish_next_choice()
    }

    fn finish_next_choice(&mut self) -> DeltaEvent {
        match self.choices.abort_next() {
            Some(choice) => DeltaEvent::Delta(choice, Delta::Finish(FinishReason::InsufficientSystemResource)),
            None => self.end(),
        }
    }

    fn fail(&mut self, error: Error) -> DeltaEvent {
        self.state = StreamState::Done;
        DeltaEvent::Failed(error)
    }

    fn end(&mut self) -> DeltaEvent {
        self.state = StreamState::Done;
        DeltaEvent::Ended
    }

    pub(crate) fn choice_count(&self) -> usize {
        self.choices.count()
    }

    pub(crate) fn log(&self) -> &RequestLog {
        &self.log
    }
}

/// Resolves once, when running answers must end.
pub(crate) type ShutdownSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) fn shutdown_signal(mut stopping: watch::Receiver<bool>) -> ShutdownSignal {
    Box::pin(async move {
        if stopping.wait_for(|&stop| stop).await.is_err() {
            // The server that would tell us is gone, and with it the connection
            // this answer goes to.
            std::future::pending::<()>().await;
        }
    })
}
