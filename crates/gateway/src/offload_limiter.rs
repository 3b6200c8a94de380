//! The limits on concurrent offloaded work: parsers and serializers need memory beside their input
//! and their result, so only some large bodies are processed at the same time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The size above which the number of concurrent bodies is limited to [`MEDIUM_CONCURRENCY`].
const MEDIUM_BYTES: usize = 256 << 10;
const MEDIUM_CONCURRENCY: usize = 4;
/// The size above which concurrent bodies must fit into the workspace.
const LARGE_BYTES: usize = 4 << 20;
/// The memory of work beside its input and its result, as a multiple of the input: scratch space,
/// and buffers that double.
const SCRATCH_MULTIPLE: usize = 3;

/// The permits of offloaded work.
pub(crate) struct OffloadLimiter {
    medium: Arc<Semaphore>,
    /// One permit for each MiB of the workspace.
    large: Arc<Semaphore>,
    /// The size of the workspace.
    mib: usize,
}

impl OffloadLimiter {
    /// A limiter whose workspace for large bodies has this size.
    pub(crate) fn new(workspace_bytes: usize) -> Self {
        let mib = (workspace_bytes >> 20).clamp(1, u32::MAX as usize);
        let medium = Arc::new(Semaphore::new(MEDIUM_CONCURRENCY));
        Self { medium, large: Arc::new(Semaphore::new(mib)), mib }
    }

    /// Waits for the permit of work on `bytes`; `None` for work that needs none. Work that exceeds
    /// the workspace waits for all of it.
    pub(crate) async fn acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes <= MEDIUM_BYTES {
            return None;
        }
        let (permits, count) = if bytes <= LARGE_BYTES {
            (&self.medium, 1)
        } else {
            (&self.large, bytes.saturating_mul(SCRATCH_MULTIPLE).div_ceil(1 << 20).min(self.mib))
        };
        // The semaphores are never closed.
        permits.clone().acquire_many_owned(count as u32).await.ok()
    }
}
