//! Drives the deltas of one request against the clock of its response.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chat::{Delta, Error, FinishReason};
use futures_util::FutureExt;
use gateway::{MeteredStream, SelectedTarget};

use crate::app::AppState;
use crate::merged_choices::MergedChoices;
use crate::request_log::RequestLog;
use crate::stream_clock::{ClockEvent, Interruption, StreamClock};

/// The next event of a response.
pub(crate) enum DeltaEvent {
    /// A delta of the choice with this index.
    Delta(usize, Delta),
    /// Nothing was sent for the interval of a keep-alive.
    KeepAlive,
    /// The answer cannot go on. This is the last event.
    Failed(Error),
    /// The answer is complete. This is the last event.
    Ended,
}

/// The times of keep-alives.
#[derive(Clone, Copy)]
pub(crate) struct KeepAliveSchedule {
    pub(crate) first: Duration,
    pub(crate) every: Duration,
    /// Deltas are sent at once, so each of them serves as a keep-alive.
    pub(crate) reset_by_deltas: bool,
}

/// The deltas of every choice, with keep-alives between them. Dropping it cancels the request.
pub(crate) struct TimedDeltas {
    choices: MergedChoices,
    target: SelectedTarget,
    clock: StreamClock,
    reset_by_deltas: bool,
    /// The answer was interrupted: choices without a finish reason receive one.
    aborting: bool,
    first_chunk_recorded: bool,
    log: RequestLog,
}

impl TimedDeltas {
    pub(crate) fn new(
        app: &AppState,
        answers: Vec<MeteredStream>,
        schedule: KeepAliveSchedule,
        log: RequestLog,
    ) -> Self {
        Self {
            target: answers[0].selected_target().clone(),
            choices: MergedChoices::new(answers),
            clock: StreamClock::start(&app.config, &app.stopping, schedule.first, schedule.every),
            reset_by_deltas: schedule.reset_by_deltas,
            aborting: false,
            // An answer that is not streamed has no first chunk.
            first_chunk_recorded: !schedule.reset_by_deltas,
            log,
        }
    }

    /// Returns the next event. Not called again after `Failed` and `Ended`.
    pub(crate) async fn next(&mut self) -> DeltaEvent {
        if self.aborting {
            return self.finish_next_choice();
        }
        // A provider that always has a delta ready is interrupted too.
        if let Some(interruption) = self.clock.interruption() {
            return self.abort(interruption);
        }
        // A panic must not cut the connection before the deltas so far are sent.
        let delta = AssertUnwindSafe(self.choices.next()).catch_unwind();
        match self.clock.race(delta).await {
            ClockEvent::Item(Ok(delta)) => self.on_delta(delta),
            ClockEvent::Item(Err(_)) => DeltaEvent::Failed(Error::internal("Internal server error")),
            ClockEvent::KeepAlive => DeltaEvent::KeepAlive,
            ClockEvent::Interrupted(interruption) => self.abort(interruption),
        }
    }

    /// Returns the next event if it is there already. Not called after `Failed` and `Ended`.
    pub(crate) fn next_ready(&mut self) -> Option<DeltaEvent> {
        self.next().now_or_never()
    }

    fn on_delta(&mut self, delta: Option<Result<(usize, Delta), Error>>) -> DeltaEvent {
        let (choice, delta) = match delta {
            Some(Ok(delta)) => delta,
            Some(Err(error)) => return DeltaEvent::Failed(error),
            None if self.choices.all_finished() => return DeltaEvent::Ended,
            None => return DeltaEvent::Failed(Error::internal("the answer ended without a finish reason")),
        };
        if self.clock.record_start() {
            self.log.set_provider(self.target.provider());
        }
        match &delta {
            Delta::Start(_) => {}
            Delta::Usage(usage) => self.log.set_usage(*usage),
            _ if std::mem::replace(&mut self.first_chunk_recorded, true) => {}
            _ => self.log.record_first_chunk(),
        }
        if self.reset_by_deltas {
            self.clock.postpone_keep_alive();
        }
        if self.choices.all_finished() {
            self.clock.ignore_shutdown();
        }
        DeltaEvent::Delta(choice, delta)
    }

    /// Ends an answer that may not go on: with a finish reason for every choice if it has started,
    /// else as if it had never been admitted.
    fn abort(&mut self, interruption: Interruption) -> DeltaEvent {
        if !self.clock.has_started() {
            return DeltaEvent::Failed(interruption.overload_error());
        }
        self.aborting = true;
        self.finish_next_choice()
    }

    fn finish_next_choice(&mut self) -> DeltaEvent {
        match self.choices.abort_next() {
            Some(choice) => DeltaEvent::Delta(choice, Delta::Finish(FinishReason::InsufficientSystemResource)),
            None => DeltaEvent::Ended,
        }
    }

    /// The number of choices.
    pub(crate) fn choice_count(&self) -> usize {
        self.choices.count()
    }

    pub(crate) fn log(&self) -> &RequestLog {
        &self.log
    }
}
