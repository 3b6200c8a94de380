//! Polls the metrics of a provider for its load.

use std::time::Duration;

use chat::Error;

use crate::memory::inflight_budget::RequestMemory;
use crate::offload::offload;
use crate::upstream::error::upstream_error;
use crate::upstream::remote_provider::Upstream;
use crate::upstream::reported_load::ReportedLoad;

/// Most bytes of metrics, and the time limit of one poll.
const MAX_METRICS_BYTES: usize = 4 << 20;
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

impl Upstream {
    /// Whether the provider has metrics to poll.
    pub fn has_metrics(&self) -> bool {
        self.metrics_uri.is_some()
    }

    /// Polls the provider's load. After a failure the load is unknown.
    ///
    /// # Errors
    /// `Upstream` or `Timeout` when the provider is unreachable or does not report its requests.
    pub async fn poll_metrics(&self) -> Result<(), Error> {
        let Some(uri) = &self.metrics_uri else { return Ok(()) };
        let polled = async {
            let bytes = self.fetch(uri.clone(), MAX_METRICS_BYTES, METRICS_TIMEOUT).await?;
            let parse = move || Ok(ReportedLoad::parse_metrics(&String::from_utf8_lossy(&bytes)));
            let load = offload(&RequestMemory::default(), MAX_METRICS_BYTES, parse).await?;
            load.ok_or_else(|| upstream_error(self.name(), "does not report its requests in its metrics"))
        };
        let polled = polled.await;
        self.reported_load.set(polled.as_ref().ok().copied());
        polled.map(drop)
    }

    /// The load of the latest poll; `None` while it is unknown.
    pub fn reported_load(&self) -> Option<ReportedLoad> {
        self.reported_load.get()
    }
}
