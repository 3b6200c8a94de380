//! A timer whose deadline moves often, such as an idle timeout that every chunk postpones.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A re-arming deadline timer. A later deadline does not touch the underlying `Sleep`, which is
/// re-armed when it fires early. The `Sleep` is created by the first poll.
#[derive(Default)]
pub struct DeadlineTimer(Option<Pin<Box<Sleep>>>);

impl DeadlineTimer {
    /// Resolves at `deadline`, or shortly after it.
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
    async fn the_timer_never_fires_before_the_latest_deadline() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut timer = DeadlineTimer::default();
        timer.wait_until(after(5)).await;
        assert!(Instant::now() >= after(5));
        // Postponed beyond the armed time.
        assert!(tokio::time::timeout_at(after(10), timer.wait_until(after(10_000))).await.is_err());
        timer.wait_until(after(30)).await;
        assert!(Instant::now() >= after(30));
        timer.wait_until(after(60)).await;
        assert!(Instant::now() >= after(60));
        // Earlier than the armed time, which is in an hour.
        assert!(tokio::time::timeout_at(after(70), timer.wait_until(after(3_600_000))).await.is_err());
        timer.wait_until(after(80)).await;
        assert!(Instant::now() >= after(80));
        // A deadline in the past.
        timer.wait_until(after(1)).await;
    }
}
