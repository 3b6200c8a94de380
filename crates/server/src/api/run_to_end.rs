//! Work that does not end with the request of its caller.

use chat::Error;

/// Runs work whose outcome must be recorded, such as a submission that a provider may have
/// accepted, to its end, even if the caller leaves.
///
/// # Errors
/// Those of the work; `Internal` when it panics.
pub(crate) async fn run_to_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request failed");
        Err(Error::internal("Internal server error"))
    })
}
