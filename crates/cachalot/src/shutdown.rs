//! The shutdown signals of a server. A thread of their own waits for them, so that a server whose
//! other threads are all stuck still ends.

use std::future::Future;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;

/// Time after the grace period for final events to clients, the last usage records and the rest of
/// a trace. After it the process exits.
const FORCED_EXIT_MARGIN: Duration = Duration::from_secs(12);

/// The registered shutdown signals of this process.
pub struct ShutdownSignals {
    requested: watch::Receiver<bool>,
    grace_s: Arc<AtomicU64>,
}

impl ShutdownSignals {
    /// Registers SIGINT and SIGTERM. The first one requests a shutdown. A second one ends the
    /// process, and so does the end of the grace period with its margin. A SIGHUP counts as one of
    /// them if the terminal of standard error was closed. From now on other SIGHUPs and SIGXFSZ do
    /// not end the process.
    ///
    /// # Errors
    /// The system refuses a thread or a signal.
    pub fn register() -> Result<Self> {
        let (stop, requested) = watch::channel(false);
        let grace_s = Arc::new(AtomicU64::new(0));
        let (ready, registered) = std::sync::mpsc::channel();
        let grace = grace_s.clone();
        let wait = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let mut signals = match StopSignals::register() {
                    Ok(signals) => signals,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                // `register` waits for this message.
                drop(ready.send(Ok(())));
                signals.recv().await;
                stop.send_replace(true);
                let forced_exit_after =
                    Duration::from_secs(grace.load(Ordering::Relaxed)).saturating_add(FORCED_EXIT_MARGIN);
                match tokio::time::timeout(forced_exit_after, signals.recv()).await {
                    Ok(()) => {
                        tracing::warn!("second signal received: exiting without waiting for open responses");
                        std::process::exit(130);
                    }
                    Err(_) => {
                        tracing::error!("shutdown timed out: exiting; the journal keeps the last records");
                        std::process::exit(1);
                    }
                }
            });
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(wait)
            .context("cannot start the thread of the signals")?;
        registered.recv().context("the thread of the signals has ended")?.context("cannot register signals")?;
        Ok(Self { requested, grace_s })
    }

    /// Sets the time that open responses get after the first signal.
    pub fn set_grace(&self, grace: Duration) {
        self.grace_s.store(grace.as_secs(), Ordering::Relaxed);
    }

    /// Resolves when a shutdown is requested, at once where that has happened already.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut requested = self.requested.clone();
        async move {
            // The sender lives as long as the process.
            let _ = requested.wait_for(|&requested| requested).await;
        }
    }
}

/// Ignores SIGXFSZ: a file that grows beyond the limit of this process (`ulimit -f`) makes the
/// write fail instead of ending the process. Must be called within a runtime.
pub fn ignore_file_size_signal() {
    #[cfg(target_os = "linux")]
    if let Err(error) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ)) {
        tracing::debug!(%error, "failed to ignore SIGXFSZ");
    }
}

/// The number of SIGXFSZ on Linux, except on MIPS processors.
#[cfg(target_os = "linux")]
const SIGXFSZ: std::ffi::c_int = 25;

/// SIGINT, SIGTERM, and the SIGHUP of a terminal that was closed.
#[cfg(unix)]
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    /// Whether standard error was a terminal at the start.
    had_terminal: bool,
}

#[cfg(unix)]
impl StopSignals {
    fn register() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        ignore_file_size_signal();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            had_terminal: std::io::stderr().is_terminal(),
        })
    }

    async fn recv(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                // `HangupSignal` handles the others.
                _ = self.hangup.recv() => {
                    if self.had_terminal && !std::io::stderr().is_terminal() {
                        return;
                    }
                }
            }
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    fn register() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn recv(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "failed to wait for Ctrl-C");
            std::future::pending().await
        }
    }
}
