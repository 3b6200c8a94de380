//! Work that may take over a millisecond, away from the threads that serve connections. How much
//! of it runs at once is bounded, because parsers and serializers take memory of their own
//! beside what they make.

use std::sync::Arc;

use chat::Error;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::memory::inflight_budget::RequestMemory;

/// Bodies of at most so many bytes are worked on at once, where they are: it takes a fraction
/// of a millisecond.
pub const INLINE_MAX_BYTES: usize = 16 << 10;
/// Above these many bytes only some run at once,
const MEDIUM_BYTES: usize = 256 << 10;
const MEDIUM_CONCURRENCY: usize = 4;
/// and above these only as many as fit into the workspace.
const LARGE_BYTES: usize = 4 << 20;
/// Memory of work beside its input and its result, as a multiple of the input: scratch, and
/// buffers that double.
const SCRATCH_MULTIPLE: usize = 3;

/// The turns of large pieces of work.
pub(crate) struct OffloadLimiter {
    medium: Arc<Semaphore>,
    /// A permit for each MiB.
    large: Arc<Semaphore>,
    mib: usize,
}

impl OffloadLimiter {
    pub(crate) fn new(bytes: usize) -> Self {
        let mib = (bytes >> 20).clamp(1, u32::MAX as usize);
        let (medium, large) = (Arc::new(Semaphore::new(MEDIUM_CONCURRENCY)), Arc::new(Semaphore::new(mib)));
        Self { medium, large, mib }
    }

    /// Waits for the turn of work on so many bytes. What alone exceeds the
    /// workspace gets all of it.
    async fn acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes <= MEDIUM_BYTES {
            return None;
        }
        let (permits, count) = if bytes <= LARGE_BYTES {
            (&self.medium, 1)
        } else {
            (&self.large, bytes.saturating_mul(SCRATCH_MULTIPLE).div_ceil(1 << 20).min(self.mib))
        };
        // They are never closed.
        permits.clone().acquire_many_owned(count as u32).await.ok()
    }
}

/// Does `work` on an input of so many bytes: at once where that is quick, else on a blocking
/// thread, in its turn. Work that has not begun when the caller leaves is not done.
///
/// # Errors
/// Those of `work`; `Internal` when it panics.
pub async fn offload<T: Send + 'static>(
    memory: &RequestMemory,
    bytes: usize,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if bytes <= INLINE_MAX_BYTES {
        return work();
    }
    let permit = match memory.workspace() {
        Some(workspace) => workspace.acquire(bytes).await,
        None => None,
    };
    // The turn ends with the work, also where nobody waits for it any more.
    let mut handle = AbortOnDrop(tokio::task::spawn_blocking(move || {
        let _turn = permit;
        work()
    }));
    (&mut handle.0).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work on a request failed");
        Err(Error::internal("Internal server error"))
    })
}

/// The same for work that borrows: where it is not quick, other tasks leave this thread meanwhile.
pub fn run_in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let runtime = Handle::try_current().ok().filter(|_| bytes > INLINE_MAX_BYTES);
    match runtime.map(|runtime| runtime.runtime_flavor()) {
        Some(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // A runtime of one thread has no other, as in tests.
        _ => work(),
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
