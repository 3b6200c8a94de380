//! The answers of one request beside the clocks that surround them: keep-alive, the wait for their beginning, their total time, shutdown.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use chat::{Delta, Error, ErrorKind, FinishReason};
use futures_util::FutureExt;
use gateway::{DeadlineTimer, MeteredStream, SelectedTarget};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::choices::Choices;
use crate::line::Line;
use crate::server::App;

const BUSY: &str =
    "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.";

/// What happens next.
pub(crate) enum Step {
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
pub(crate) struct Rhythm {
    pub(crate) first: Duration,
    pub(crate) every: Duration,
    /// A delta is sent at once, so that it counts as a sign of life.
    pub(crate) deltas_count: bool,
}

/// Answers in time. Dropping it cancels the request.
pub(crate) struct Pace {
    choices: Choices,
    rhythm: Rhythm,
    keep_alive: Instant,
    chosen: SelectedTarget,
    /// `None` once inference has started.
    start_by: Option<Instant>,
    end_by: Instant,
    alarm: DeadlineTimer,
    stop: Stop,
    state: State,
    /// It has begun to say something.
    said: bool,
    line: Line,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    /// Every choice has to be ended that has not ended yet.
    Cut,
    Over,
}

impl Pace {
    pub(crate) fn new(app: &App, answers: Vec<MeteredStream>, rhythm: Rhythm, line: Line) -> Self {
        let (now, chosen) = (Instant::now(), answers[0].selected_target().clone());
        Self {
            choices: Choices::new(answers),
            chosen,
            rhythm,
            keep_alive: now + rhythm.first,
            start_by: Some(now + app.config.queue_timeout),
            end_by: now + app.config.total_timeout,
            alarm: DeadlineTimer::default(),
            stop: stop(app.stopping.clone()),
            state: State::Going,
            // What is not streamed has no first chunk.
            said: !rhythm.deltas_count,
            line,
        }
    }

    pub(crate) async fn next(&mut self) -> Step {
        match self.state {
            State::Going => {}
            State::Cut => return self.end_one(),
            State::Over => return Step::Ended,
        }
        let deadline = self.start_by.map_or(self.end_by, |start_by| start_by.min(self.end_by));
        // Also where there is always something to say.
        if deadline <= Instant::now() {
            return self.cut(BUSY);
        }
        let next = deadline.min(self.keep_alive);
        tokio::select! {
            biased;
            () = &mut self.stop, if !self.choices.finished() => self.cut("The server is shutting down, please send the request again"),
            // A panic must not cut the connection before what was said is sent.
            delta = AssertUnwindSafe(self.choices.next()).catch_unwind() => match delta {
                Ok(delta) => self.step(delta),
                Err(_) => self.fail(Error::internal("Internal server error")),
            },
            () = self.alarm.wait_until(next) => {
                if next == deadline {
                    return self.cut(BUSY);
                }
                self.keep_alive = Instant::now() + self.rhythm.every;
                Step::KeepAlive
            }
        }
    }

    fn step(&mut self, delta: Option<Result<(usize, Delta), Error>>) -> Step {
        let (choice, delta) = match delta {
            Some(Ok(delta)) => delta,
            Some(Err(error)) => return self.fail(error),
            None if self.choices.finished() => return self.end(),
            None => return self.fail(Error::internal("the answer ended without a finish reason")),
        };
        if self.start_by.take().is_some() {
            self.line.provider(self.chosen.provider());
        }
        match &delta {
            Delta::Start(_) => {}
            Delta::Usage(usage) => self.line.usage(*usage),
            _ if std::mem::replace(&mut self.said, true) => {}
            _ => self.line.first_chunk(),
        }
        if self.rhythm.deltas_count {
            self.keep_alive = Instant::now() + self.rhythm.every;
        }
        Step::Delta(choice, delta)
    }

    /// Ends an answer that may not go on: properly when it has begun, else as if it had never been admitted.
    fn cut(&mut self, message: &str) -> Step {
        if self.start_by.is_some() {
            return self.fail(Error::new(ErrorKind::Overloaded, message));
        }
        self.state = State::Cut;
        self.end_one()
    }

    fn end_one(&mut self) -> Step {
        match self.choices.cut() {
            Some(choice) => Step::Delta(choice, Delta::Finish(FinishReason::InsufficientSystemResource)),
            None => self.end(),
        }
    }

    fn fail(&mut self, error: Error) -> Step {
        self.state = State::Over;
        Step::Failed(error)
    }

    fn end(&mut self) -> Step {
        self.state = State::Over;
        Step::Ended
    }

    pub(crate) fn choices(&self) -> usize {
        self.choices.count()
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }
}

/// Resolves once, when running answers must end.
pub(crate) type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) fn stop(mut stopping: watch::Receiver<bool>) -> Stop {
    Box::pin(async move {
        if stopping.wait_for(|&stop| stop).await.is_err() {
            // The server that would tell us is gone, and with it the connection this answer goes to.
            std::future::pending::<()>().await;
        }
    })
}
