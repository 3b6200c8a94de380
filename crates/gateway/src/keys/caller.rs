//! The caller of a request.

use std::net::IpAddr;
use std::sync::Arc;

use store::Role;

use crate::keys::key_cache::ApiKey;
use crate::memory::inflight_budget::{MemoryOwner, RequestMemory};

/// The caller of one request: its key, its permissions, and the memory that the request holds. The
/// default is the caller on a server without keys, which may use all models.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The name of the key, never the key itself. `None` on a server without keys.
    pub key_name: Option<Arc<str>>,
    /// The models that the key may use, in any letter case. `None` if it may use all.
    pub allowed_models: Option<Arc<[String]>>,
    /// The key in the store, with its budget and rate limits. `None` for a key of the
    /// configuration, which has no limits, and on a server without keys.
    pub api_key: Option<Arc<ApiKey>>,
    /// The permissions on the admin API.
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

    /// The scope within which requests to the local engine share cached prefixes: the key and the
    /// request's `user`. Callers with different keys share nothing. `None`, the scope of all
    /// requests without a user, is possible only on a server without keys.
    ///
    /// The separator is a NUL, which key names cannot contain. With a slash, key `a` with user
    /// `b/c` and key `a/b` with user `c` would share a scope.
    pub(crate) fn cache_scope(&self, user: Option<String>) -> Option<String> {
        match self.key_id() {
            Some(key) => Some(format!("{key}\0{}", user.unwrap_or_default())),
            None => user,
        }
    }

    /// The id of the key in the store, or the name of a key of the configuration. A name can be
    /// reused after its key was revoked; an id cannot.
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
