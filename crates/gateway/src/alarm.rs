//! A time that is put off again and again, as each piece of an answer puts off its silence.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Its timer stands: it is set anew when it has rung too early, not each time it is put off. None is made before it is waited for.
#[derive(Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Resolves at this time, or a moment later.
    pub async fn at(&mut self, time: Instant) {
        poll_fn(|context| self.poll_at(time, context)).await;
    }

    pub(crate) fn poll_at(&mut self, time: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(time)));
        if time < timer.deadline() {
            timer.as_mut().reset(time);
        }
        while timer.as_mut().poll(context).is_ready() {
            if time <= timer.deadline() || time <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(time);
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
        let mut alarm = Alarm::default();
        alarm.at(after(5)).await;
        assert!(Instant::now() >= after(5));
        // Put off while it stands, beyond the time it was set to.
        assert!(tokio::time::timeout_at(after(10), alarm.at(after(10_000))).await.is_err());
        alarm.at(after(30)).await;
        assert!(Instant::now() >= after(30));
        alarm.at(after(60)).await;
        assert!(Instant::now() >= after(60));
        // Sooner than it was set to: not after an hour.
        assert!(tokio::time::timeout_at(after(70), alarm.at(after(3_600_000))).await.is_err());
        alarm.at(after(80)).await;
        assert!(Instant::now() >= after(80));
        // It is past already.
        alarm.at(after(1)).await;
    }
}
