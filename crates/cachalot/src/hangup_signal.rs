//! SIGHUP, which makes a server read its configuration again.

/// A registered SIGHUP. Where the system does not have it, it is never received.
pub struct HangupSignal(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl HangupSignal {
    /// Registers the signal. One that arrives from now on is not lost.
    pub fn register() -> Self {
        #[cfg(unix)]
        {
            let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
            Self(signal.inspect_err(|error| tracing::warn!(%error, "failed to register SIGHUP")).ok())
        }
        #[cfg(not(unix))]
        Self()
    }

    /// Resolves at the next signal.
    pub(crate) async fn received(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
