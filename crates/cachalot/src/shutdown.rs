//! The signals of a server, caught before it does anything else. A thread of their own waits for
//! them, so that a server whose other threads are all stuck still ends.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;

/// Time beyond the grace period to end in: final events to clients, the last records, the
/// rest of a trace.
const FORCED_EXIT_MARGIN: Duration = Duration::from_secs(12);

/// The signals of this process.
pub struct ShutdownSignals {
    requested: watch::Receiver<bool>,
    grace_s: Arc<AtomicU64>,
}

impl ShutdownSignals {
    /// Catches SIGINT and SIGTERM from now on. The first one asks the server to stop. A second one
    /// ends the process, and so does the time when the server has not ended by itself. SIGHUP and
    /// SIGXFSZ no longer end it.
    ///
    /// # Errors
    /// A system that gives no thread or no signal.
    pub fn register() -> Result<Self> {
        let (stop, requested) = watch::channel(false);
        let grace_s = Arc::new(AtomicU64::new(0));
        let (ready, caught) = std::sync::mpsc::channel();
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
                // Whoever started this thread waits for it.
                drop(ready.send(Ok(())));
                signals.recv().await;
                stop.send_replace(true);
                let forced_exit_after =
                    Duration::from_secs(grace.load(Ordering::Relaxed)).saturating_add(FORCED_EXIT_MARGIN);
                match tokio::time::timeout(forced_exit_after, signals.recv()).await {
                    Ok(()) => {
                        tracing::warn!("stopped at once, without waiting for running answers");
                        std::process::exit(130);
                    }
                    Err(_) => {
                        tracing::error!(
                            "the server has not ended in time: stopped at once, the journal keeps the last records"
                        );
                        std::process::exit(1);
                    }
                }
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait).context("the thread of the signals")?;
        caught.recv().context("the thread of the signals")?.context("signals cannot be caught")?;
        Ok(Self { requested, grace_s })
    }

    /// How long running answers get, once a signal has come.
    pub fn set_grace(&self, grace: Duration) {
        self.grace_s.store(grace.as_secs(), Ordering::Relaxed);
    }

    /// Resolves when the server is asked to stop, also when that was before.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut requested = self.requested.clone();
        async move {
            // The sender lives as long as the process.
            let _ = requested.wait_for(|&asked| asked).await;
        }
    }
}

/// Lets a file that grows beyond the limit of this process (`ulimit -f`) be an error of the write,
/// not the end of the process. Called within a runtime.
pub fn ignore_file_size_signal() {
    #[cfg(target_os = "linux")]
    if let Err(error) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ)) {
        tracing::debug!(%error, "SIGXFSZ cannot be caught");
    }
}

/// On every Linux but those of MIPS processors.
#[cfg(target_os = "linux")]
const SIGXFSZ: std::ffi::c_int = 25;

/// SIGINT and SIGTERM.
#[cfg(unix)]
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignals {
    fn register() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        ignore_file_size_signal();
        // Once caught, it does not end the process any more; the configuration is read again by
        // whoever waits for it.
        drop(signal(SignalKind::hangup())?);
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    fn begin() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C cannot be caught");
            std::future::pending().await
        }
    }
}
