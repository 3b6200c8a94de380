//! A time that is put off again and again, as each piece of an answer puts off its silence.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Its timer stands: it is set anew when it has rung too early, not each time it is put off. None
/// is made before it is waited for.
#[derive(Default)]
pub struct DeadlineTimer(Option<Pin<Box<Sleep>>>);

impl DeadlineTimer {
    /// Resolves at this time, or a moment later.
    pub async fn wait_until(&mut self, deadline: Instant) {
        poll_fn(|context| self.poll_until(deadline, context)).await;
    }

    pub(crate) fn poll_until(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if deadline <= timer.deadline() || deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_alarm_never_rings_before_it_was_asked_to_last() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut timer = DeadlineTimer::default();
        timer.wait_until(after(5)).await;
        assert!(Instant::now() >= after(5));
        // Put off while it stands, beyond the time it was set to.
        assert!(tokio::time::timeout_at(after(10), timer.wait_until(after(10_000))).await.is_err());
        timer.wait_until(after(30)).await;
        assert!(Instant::now() >= after(30));
        timer.wait_until(after(60)).await;
        assert!(Instant::now() >= after(60));
        // Sooner than it was set to: not after an hour.
        assert!(tokio::time::timeout_at(after(70), timer.wait_until(after(3_600_000))).await.is_err());
        timer.wait_until(after(80)).await;
        assert!(Instant::now() >= after(80));
        // It is past already.
        timer.wait_until(after(1)).await;
    }
}
