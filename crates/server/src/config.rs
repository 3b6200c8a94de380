//! The settings of the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway::{Caller, InflightLimits, IpNetwork};
use opentelemetry_sdk::trace::SdkTracer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::Role;
use subtle::ConstantTimeEq;

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The keys of the configuration. Without any key everybody has access, which only a
    /// loopback address allows.
    pub keys: Keyring,
    /// The SHA-256 of the token for the admin API; `None`: only keys with the role.
    pub admin_token: Option<[u8; 32]>,
    /// Host names that requests may name, beside those of this machine.
    pub allowed_hosts: Vec<String>,
    /// Origins (`https://example.org`) of web pages that may call this server. An empty list
    /// switches CORS off.
    pub cors_origins: Vec<String>,
    /// The proxies whose `x-forwarded-for` and `x-forwarded-proto` are believed.
    pub proxies: Vec<IpNetwork>,
    pub console: ConsoleConfig,
    /// `fp_` and ten hex digits that identify weights, build and number formats.
    pub system_fingerprint: String,
    pub keep_alive: KeepAlive,
    /// The deadline for the start of an answer.
    pub queue_timeout: Duration,
    /// The deadline for the end of an answer.
    pub total_timeout: Duration,
    /// The most bytes of a request body, after decoding.
    pub body_limit: usize,
    /// The most bytes of a body of the type `multipart/form-data`.
    pub multipart_limit: usize,
    /// The memory that requests in flight may hold.
    pub inflight: InflightLimits,
    /// The most bytes of a request's line and headers. Above 128 KiB hyper refuses them itself.
    pub header_limit: usize,
    /// The time limit for the headers of a request, and for the silence between requests and
    /// between the chunks of a body.
    pub read_timeout: Duration,
    /// The time that open responses have after the start of a shutdown.
    pub shutdown_grace: Duration,
    /// Records a span for every request; `None` switches tracing off.
    pub tracer: Option<SdkTracer>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            keys: Keyring::default(),
            admin_token: None,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            proxies: Vec::new(),
            console: ConsoleConfig::default(),
            system_fingerprint: "fp_0000000000".into(),
            keep_alive: KeepAlive::default(),
            queue_timeout: Duration::from_secs(10 * 60),
            total_timeout: Duration::from_secs(30 * 60),
            body_limit: 32 << 20,
            multipart_limit: 64 << 20,
            inflight: InflightLimits { bytes: 1 << 30, share: 256 << 20 },
            header_limit: 64 << 10,
            read_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(30),
            tracer: None,
        }
    }
}

/// The settings of the web console.
#[derive(Clone, Copy, Debug)]
pub struct ConsoleConfig {
    /// Whether it is served.
    pub enabled: bool,
    pub guide: GuideAccess,
    pub signup: SignupAccess,
    /// The amount that the keys made by a member may spend together, in nano-dollars, where the
    /// user has no budget of its own. `None`: unlimited.
    pub member_budget: Option<i64>,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self { enabled: true, guide: GuideAccess::Login, signup: SignupAccess::Closed, member_budget: None }
    }
}

/// The readers of the console's API guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GuideAccess {
    /// Users who are signed in.
    Login,
    /// Everybody.
    Public,
}

/// The people who may sign up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignupAccess {
    /// Holders of an invitation.
    Closed,
    /// Everybody.
    Open,
}

/// The silence after which a client receives a keep-alive.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// Before the first keep-alive of a stream.
    pub stream_first: Duration,
    /// Between the keep-alives of a stream.
    pub stream_every: Duration,
    /// Before the first keep-alive of a JSON body, which commits status 200.
    pub json_first: Duration,
    /// Between the keep-alives of a JSON body.
    pub json_every: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            stream_first: Duration::from_secs(10),
            stream_every: Duration::from_secs(10),
            json_first: Duration::from_secs(30),
            json_every: Duration::from_secs(10),
        }
    }
}

/// One API key. Only its hash is kept, without a salt: the key has 190 random bits.
#[derive(Clone)]
pub struct KeyConfig {
    /// The name of the key in logs.
    pub name: String,
    /// The SHA-256 of the key.
    pub sha256: [u8; 32],
    /// The ids of the models that it may use; `None`: all.
    pub models: Option<Vec<String>>,
    /// The role that it has on the admin API.
    pub role: Role,
}

impl KeyConfig {
    /// A key for all models, with the role `Member`.
    pub fn new(name: impl Into<String>, key: &str) -> Self {
        Self { name: name.into(), sha256: Sha256::digest(key).into(), models: None, role: Role::Member }
    }
}

/// The keys of the configuration. Clones share them, so a reload replaces them everywhere.
#[derive(Clone, Default)]
pub struct Keyring(Arc<ArcSwap<Vec<KeyEntry>>>);

/// The SHA-256 of a key, and the caller that it identifies.
type KeyEntry = ([u8; 32], Caller);

impl Keyring {
    /// Replaces all keys at once.
    pub fn replace(&self, keys: &[KeyConfig]) {
        let caller = |key: &KeyConfig| Caller {
            key_name: Some(Arc::from(key.name.as_str())),
            allowed_models: key.models.as_deref().map(Arc::from),
            api_key: None,
            request_id: None,
            role: key.role,
            traceparent: None,
            text_bytes: None,
            memory: Default::default(),
        };
        self.0.store(Arc::new(keys.iter().map(|key| (key.sha256, caller(key))).collect()));
    }

    /// Whether the configuration has no keys.
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// The caller whose key has this hash. Every key is compared, so the time does not depend on
    /// which one matches.
    pub(crate) fn caller(&self, hash: &[u8; 32]) -> Option<Caller> {
        let mut found = None;
        let keys = self.0.load();
        for (sha256, caller) in keys.iter() {
            if bool::from(sha256.ct_eq(hash)) {
                found = Some(caller);
            }
        }
        found.cloned()
    }
}

impl From<Vec<KeyConfig>> for Keyring {
    fn from(keys: Vec<KeyConfig>) -> Self {
        let keyring = Self::default();
        keyring.replace(&keys);
        keyring
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.load().iter().map(|(_, caller)| &caller.key_name)).finish()
    }
}

impl fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyConfig").field("name", &self.name).field("models", &self.models).finish_non_exhaustive()
    }
}
