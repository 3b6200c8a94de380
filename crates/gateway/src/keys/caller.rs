//! The caller of a request.

use std::net::IpAddr;
use std::sync::Arc;

use store::Role;

use crate::keys::key_cache::ApiKey;
use crate::memory::inflight_budget::{MemoryOwner, RequestMemory};

/// The caller of a request: its key, its permissions, and the memory that the request holds.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The name of the key, never the key. `None` on a server without keys.
    pub key_name: Option<Arc<str>>,
    /// The only models that the key may use, compared without case. `None`: all.
    pub allowed_models: Option<Arc<[String]>>,
    /// The key's row in the store, with its budget and rate limits. `None` for keys of the
    /// configuration.
    pub api_key: Option<Arc<ApiKey>>,
    /// Permissions beyond requests to models.
    pub role: Role,
    /// The trace that the request belongs to: a W3C `traceparent`. It is sent only to providers
    /// with `private = true`.
    pub traceparent: Option<String>,
    /// The memory that the request holds.
    pub memory: RequestMemory,
}

impl From<Arc<ApiKey>> for Caller {
    fn from(api_key: Arc<ApiKey>) -> Self {
        Self {
            key_name: Some(api_key.name.clone()),
            allowed_models: api_key.allowed_models.clone(),
            role: api_key.role(),
            api_key: Some(api_key),
            traceparent: None,
            memory: RequestMemory::default(),
        }
    }
}

impl Caller {
    /// The owner whose share of the memory budget the request uses: the key, or without keys the
    /// address of the peer.
    pub fn memory_owner(&self, peer: IpAddr) -> MemoryOwner {
        match self.key_id() {
            Some(key) => MemoryOwner::Key(key.clone()),
            None => MemoryOwner::Peer(peer.to_canonical()),
        }
    }

    /// The scope of the prefix cache: a user within this key, so that callers with different keys
    /// share no cache.
    ///
    /// The separator is a NUL, which key names cannot contain. With a slash, key `a` with user
    /// `b/c` and key `a/b` with user `c` would share a scope.
    pub(crate) fn cache_scope(&self, user: Option<String>) -> Option<String> {
        match self.key_id() {
            Some(key) => Some(format!("{key}\0{}", user.unwrap_or_default())),
            None => user,
        }
    }

    /// The id of the key, or its name if it is not in the store. A name can be used again after
    /// its key was revoked, an id cannot.
    fn key_id(&self) -> Option<&Arc<str>> {
        self.api_key.as_ref().map(|api_key| &api_key.id).or(self.key_name.as_ref())
    }

    /// Whether the key may use `model`.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.allowed_models
            .as_ref()
            .is_none_or(|models| models.iter().any(|allowed| allowed.eq_ignore_ascii_case(model)))
    }
}
