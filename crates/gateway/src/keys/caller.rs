//! The caller of a request.

use std::net::IpAddr;
use std::sync::Arc;

use store::{Role, UsageRecord};

use crate::keys::key_cache::{ApiKey, allows};
use crate::memory::inflight_budget::{MemoryOwner, RequestMemory};
use crate::request_id::RequestId;

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
    /// The id of the HTTP request; `None` for calls of this process itself.
    pub request_id: Option<Arc<RequestId>>,
    /// The memory that the request holds.
    pub memory: RequestMemory,
    /// The [`text_bytes`](crate::text_bytes) of the request's body, of which its prompt is
    /// estimated for remote providers; `None` without a JSON body.
    pub text_bytes: Option<u64>,
}

impl From<Arc<ApiKey>> for Caller {
    fn from(api_key: Arc<ApiKey>) -> Self {
        Self {
            key_name: Some(api_key.name.clone()),
            allowed_models: api_key.allowed_models.clone(),
            role: api_key.role(),
            api_key: Some(api_key),
            traceparent: None,
            request_id: None,
            memory: RequestMemory::default(),
            text_bytes: None,
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

    /// A new usage record of a request at `at`, in microseconds since 1970.
    pub(crate) fn new_record(&self, at: i64) -> UsageRecord {
        let (id, request_id) = match &self.request_id {
            Some(request) => request.next_record(),
            None => (uuid::Uuid::now_v7().to_string(), None),
        };
        UsageRecord {
            id,
            request_id,
            at,
            key_id: self.api_key.as_ref().map(|api_key| api_key.id.clone()),
            key_name: self.key_name.clone().unwrap_or_default(),
            project_id: self.api_key.as_ref().map(|api_key| api_key.project_id.clone()),
            ..UsageRecord::default()
        }
    }

    /// Sets the model that the request names; `None` for an unknown one.
    pub(crate) fn set_model(&self, model: Option<&Arc<str>>) {
        if let Some(request) = &self.request_id {
            request.set_model(model);
        }
    }

    /// Whether the key may use `model`.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        allows(self.allowed_models.as_deref(), model)
    }
}
