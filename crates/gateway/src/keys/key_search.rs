//! The search for keys that were made since the last refresh of the cache.

use std::time::Duration;

use store::Store;

use crate::keys::key_cache::KeyCache;

/// The least time between two reads of the store.
const INTERVAL: Duration = Duration::from_millis(100);

/// The longest time that a request waits for a read.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Looks for unknown keys in the store, so that a key works as soon as it is made. All requests
/// with unknown keys wait for the same read.
#[derive(Debug, Default)]
pub(crate) struct KeySearch(tokio::sync::Mutex<()>);

impl KeySearch {
    /// Refreshes `keys` if none of them has this SHA-256.
    pub(crate) async fn search(&self, keys: &KeyCache, hash: &[u8; 32], store: &Store) {
        let arrived = store::now_micros();
        if !keys.may_be_new(hash) {
            return;
        }
        let _only_search = self.0.lock().await;
        let last_refresh = keys.last_refresh();
        if last_refresh >= arrived || !keys.may_be_new(hash) {
            return;
        }
        let age = Duration::from_micros((store::now_micros() - last_refresh).try_into().unwrap_or_default());
        tokio::time::sleep(INTERVAL.saturating_sub(age)).await;
        // The loop that refreshes regularly logs a store that fails.
        if let Ok(Err(error)) = tokio::time::timeout(TIMEOUT, keys.refresh(store)).await {
            tracing::debug!(%error, "failed to search a key");
        }
    }
}
