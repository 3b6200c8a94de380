//! The beginning of a body that is read as a whole, such as that of an error.

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::upstream::connector::CONNECT_TIMEOUT;
use crate::upstream::http_client::Response;

/// Reads at most `max_bytes` of a body, and only those that arrive within [`CONNECT_TIMEOUT`].
pub(crate) async fn read_prefix(response: Response, max_bytes: usize) -> Vec<u8> {
    let mut chunks = response.body;
    let mut bytes = Vec::new();
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    while bytes.len() < max_bytes {
        // A failure ends the prefix.
        let Ok(Some(Ok(chunk))) = timeout_at(deadline, chunks.next()).await else { break };
        bytes.extend_from_slice(&chunk[..chunk.len().min(max_bytes - bytes.len())]);
    }
    bytes
}
