//! The timers of one response: keep-alive, the deadline for the start of its answer, the deadline
//! for all of it, and shutdown.

use std::pin::Pin;
use std::time::Duration;

use chat::{Error, ErrorKind};
use gateway::DeadlineTimer;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::ServerConfig;

const OVERLOAD_MESSAGE: &str =
    "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.";
const TIMEOUT_MESSAGE: &str = "The answer took too long";
const SHUTDOWN_MESSAGE: &str = "The server is shutting down, please send the request again";

/// The first event among those of a source and those of the clock.
pub(crate) enum ClockEvent<T> {
    /// The source yielded an item.
    Item(T),
    /// Nothing was sent for the interval of a keep-alive.
    KeepAlive,
    Interrupted(Interruption),
}

/// Why a response must end before its answer is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// The answer did not start, or did not end, in time.
    Deadline,
    Shutdown,
}

impl Interruption {
    /// The error for a chat or a completion that has not started.
    pub(crate) fn overload_error(self) -> Error {
        self.error(OVERLOAD_MESSAGE)
    }

    /// The error for a response that is passed through.
    pub(crate) fn to_error(self) -> Error {
        self.error(TIMEOUT_MESSAGE)
    }

    fn error(self, deadline_message: &str) -> Error {
        let message = match self {
            Self::Deadline => deadline_message,
            Self::Shutdown => SHUTDOWN_MESSAGE,
        };
        Error::new(ErrorKind::Overloaded, message)
    }
}

/// The timers of one response.
pub(crate) struct StreamClock {
    keep_alive_interval: Duration,
    /// `None` while a keep-alive would damage the body.
    next_keep_alive: Option<Instant>,
    /// `None` once the answer has started.
    start_deadline: Option<Instant>,
    total_deadline: Instant,
    timer: DeadlineTimer,
    stopping: watch::Receiver<bool>,
    /// Resolves when `stopping` turns true. Boxed, so that one registration serves every wait.
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
    heeds_shutdown: bool,
}

impl StreamClock {
    /// Starts the timers. `stopping` turns true when open responses must end.
    pub(crate) fn start(
        config: &ServerConfig,
        stopping: &watch::Receiver<bool>,
        first_keep_alive: Duration,
        keep_alive_interval: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            keep_alive_interval,
            next_keep_alive: Some(now + first_keep_alive),
            start_deadline: Some(now + config.queue_timeout),
            total_deadline: now + config.total_timeout,
            timer: DeadlineTimer::default(),
            stopping: stopping.clone(),
            shutdown: Box::pin(wait_for_shutdown(stopping.clone())),
            heeds_shutdown: true,
        }
    }

    /// Waits for the next item of `source`, or for an event of the clock.
    ///
    /// A source that is ready comes first, so a source that is always ready is never interrupted
    /// here: see [`Self::interruption`].
    pub(crate) async fn race<T>(&mut self, source: impl Future<Output = T>) -> ClockEvent<T> {
        let deadline = self.deadline();
        let wake_at = self.next_keep_alive.map_or(deadline, |keep_alive| keep_alive.min(deadline));
        tokio::select! {
            biased;
            item = source => ClockEvent::Item(item),
            () = &mut self.shutdown, if self.heeds_shutdown => ClockEvent::Interrupted(Interruption::Shutdown),
            () = self.timer.wait_until(wake_at) => {
                if wake_at == deadline {
                    return ClockEvent::Interrupted(Interruption::Deadline);
                }
                self.postpone_keep_alive();
                ClockEvent::KeepAlive
            }
        }
    }

    /// The reason to end the response now, if there is one.
    pub(crate) fn interruption(&self) -> Option<Interruption> {
        if self.deadline() <= Instant::now() {
            Some(Interruption::Deadline)
        } else if self.heeds_shutdown && *self.stopping.borrow() {
            Some(Interruption::Shutdown)
        } else {
            None
        }
    }

    /// Marks the answer as started: from now on only the total deadline applies. Returns whether
    /// this is the first call.
    pub(crate) fn record_start(&mut self) -> bool {
        self.start_deadline.take().is_some()
    }

    /// Whether the answer has started.
    pub(crate) fn has_started(&self) -> bool {
        self.start_deadline.is_none()
    }

    /// Puts the next keep-alive one interval from now.
    pub(crate) fn postpone_keep_alive(&mut self) {
        self.next_keep_alive = Some(Instant::now() + self.keep_alive_interval);
    }

    /// Sends no keep-alive until [`Self::postpone_keep_alive`].
    pub(crate) fn suspend_keep_alive(&mut self) {
        self.next_keep_alive = None;
    }

    /// Lets the response outlast a shutdown: its answer is complete but for its usage.
    pub(crate) fn ignore_shutdown(&mut self) {
        self.heeds_shutdown = false;
    }

    fn deadline(&self) -> Instant {
        self.start_deadline.map_or(self.total_deadline, |start| start.min(self.total_deadline))
    }
}

async fn wait_for_shutdown(mut stopping: watch::Receiver<bool>) {
    if stopping.wait_for(|&stopping| stopping).await.is_err() {
        // The server has ended, and with it the connection of this response.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const TICK: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(60);

    fn clock(queue_timeout: Duration, keep_alive: Duration) -> (StreamClock, watch::Sender<bool>) {
        let config = ServerConfig { queue_timeout, ..ServerConfig::default() };
        let (stop, stopping) = watch::channel(false);
        (StreamClock::start(&config, &stopping, keep_alive, keep_alive), stop)
    }

    #[tokio::test]
    async fn keep_alives_repeat_until_they_are_suspended() {
        let (mut clock, _stop) = clock(NEVER, TICK);
        for _ in 0..2 {
            assert!(matches!(clock.race(pending::<()>()).await, ClockEvent::KeepAlive));
        }
        clock.suspend_keep_alive();
        assert!(tokio::time::timeout(3 * TICK, clock.race(pending::<()>())).await.is_err());
    }

    #[tokio::test]
    async fn the_start_deadline_ends_with_the_start() {
        let (mut clock, _stop) = clock(TICK, NEVER);
        let event = clock.race(pending::<()>()).await;
        assert!(matches!(event, ClockEvent::Interrupted(Interruption::Deadline)));
        assert_eq!(clock.interruption(), Some(Interruption::Deadline));
        assert!(!clock.has_started() && clock.record_start() && !clock.record_start());
        assert_eq!(clock.interruption(), None);
    }

    #[tokio::test]
    async fn a_shutdown_interrupts_unless_it_is_ignored() {
        let (mut clock, stop) = clock(NEVER, NEVER);
        assert_eq!(clock.interruption(), None);
        stop.send_replace(true);
        assert_eq!(clock.interruption(), Some(Interruption::Shutdown));
        assert!(matches!(clock.race(ready(1)).await, ClockEvent::Item(1)));
        let event = clock.race(pending::<()>()).await;
        assert!(matches!(event, ClockEvent::Interrupted(Interruption::Shutdown)));
        clock.ignore_shutdown();
        assert_eq!(clock.interruption(), None);
        assert!(tokio::time::timeout(TICK, clock.race(pending::<()>())).await.is_err());
    }
}
