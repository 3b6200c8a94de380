//! Offloading of work that may take longer than a millisecond from the threads that serve
//! connections to blocking threads.

use chat::Error;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

use crate::memory::inflight_budget::RequestMemory;

/// The largest body that is processed on the thread of its connection, which takes a fraction of
/// a millisecond.
pub const INLINE_MAX_BYTES: usize = 16 << 10;

/// Runs `work` on an input of `bytes`: a small input at once, a larger one on a blocking
/// thread, within the limits of the server. Work that has not started when the future is
/// dropped is cancelled.
///
/// # Errors
/// Those of `work`; an internal error when it panics.
pub async fn offload<T: Send + 'static>(
    memory: &RequestMemory,
    bytes: usize,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if bytes <= INLINE_MAX_BYTES {
        return work();
    }
    let permit = match memory.offload_limiter() {
        Some(limiter) => limiter.acquire(bytes).await,
        None => None,
    };
    // The permit is held until the work ends, even if the future is dropped.
    let mut handle = AbortOnDrop(tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    }));
    (&mut handle.0).await.unwrap_or_else(|error| {
        tracing::error!(%error, "offloaded work failed");
        Err(Error::internal("Internal server error"))
    })
}

/// Runs `work` that borrows on the current thread. Before work on a larger input, the runtime moves
/// the other tasks of the thread to another one.
pub fn run_in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let runtime = Handle::try_current().ok().filter(|_| bytes > INLINE_MAX_BYTES);
    match runtime.map(|runtime| runtime.runtime_flavor()) {
        Some(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // A runtime with a single thread, as in tests, cannot move them.
        _ => work(),
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
