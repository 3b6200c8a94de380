//! Ctrl-C during an answer: it stops the answer and not the program.

use std::future::poll_fn;
use std::task::Poll;

use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Counts the interrupts of the process.
#[derive(Clone)]
pub(super) struct Interrupts {
    count: watch::Receiver<u64>,
}

impl Interrupts {
    /// Takes the interrupts of the process from now on. One that no answer waits for has no effect.
    pub(super) fn listen(runtime: &Runtime) -> Self {
        let (sender, count) = watch::channel(0);
        // The first poll registers the signal, which ends the process until then.
        let mut first = Box::pin(tokio::signal::ctrl_c());
        let polled = runtime.block_on(poll_fn(|context| Poll::Ready(first.as_mut().poll(context))));
        runtime.spawn(async move {
            let mut received = match polled {
                Poll::Ready(received) => received,
                Poll::Pending => first.await,
            };
            while received.is_ok() {
                sender.send_modify(|count| *count += 1);
                received = tokio::signal::ctrl_c().await;
            }
        });
        Self { count }
    }

    /// Waits for the next interrupt after this call.
    pub(super) fn next(&mut self) -> impl Future<Output = ()> + '_ {
        self.count.mark_unchanged();
        async {
            if self.count.changed().await.is_err() {
                // The system delivers no interrupts to this process.
                std::future::pending().await
            }
        }
    }
}

#[cfg(test)]
impl Interrupts {
    /// Interrupts that a test sends.
    pub(super) fn scripted() -> (watch::Sender<u64>, Self) {
        let (sender, count) = watch::channel(0);
        (sender, Self { count })
    }
}
