//! The connection that a request came over, for code that has to close it.

use http::Version;
use tokio_util::sync::CancellationToken;

/// A handle to the connection of a request, in the extensions of the request.
#[derive(Clone, Default)]
pub(crate) struct ConnectionHandle(CancellationToken);

impl ConnectionHandle {
    /// Closes the connection without waiting for its client. Over HTTP/2 nothing is closed, because
    /// other requests may share the connection.
    pub(crate) fn close(&self, version: Version) {
        if version < Version::HTTP_2 {
            self.0.cancel();
        }
    }

    /// Resolves when the connection is to be closed.
    pub(crate) async fn closed(&self) {
        self.0.cancelled().await;
    }
}
