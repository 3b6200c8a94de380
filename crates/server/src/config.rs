//! What an operator may set.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway::{Caller, InflightLimits};
use opentelemetry_sdk::trace::SdkTracer;
use sha2::{Digest, Sha256};
use store::Role;
use subtle::ConstantTimeEq;

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Who may ask. Empty: everybody, which only a loopback address allows.
    pub keys: Keyring,
    /// Opens the admin API; `None`: only keys whose users may.
    pub admin_token: Option<[u8; 32]>,
    /// Names that the admin API is called by, beside those of this machine.
    pub allowed_hosts: Vec<String>,
    /// Origins (`https://example.org`) of web pages that may call this server; empty
    /// switches CORS off.
    pub cors_origins: Vec<String>,
    /// `fp_` and ten hex digits that name weights, build and number formats.
    pub system_fingerprint: String,
    pub keep_alive: KeepAlive,
    /// A request whose answer has not begun by then is given up.
    pub queue_timeout: Duration,
    /// A request still running by then is ended.
    pub total_timeout: Duration,
    /// Bytes of a request body, after decoding.
    pub body_limit: usize,
    /// Of one that is a form with files.
    pub multipart_limit: usize,
    /// The memory that requests may hold.
    pub inflight: InflightLimits,
    /// Bytes of a request's line and headers. Above 128 KiB the connection itself refuses.
    pub header_limit: usize,
    /// How long a client may take to send its headers, or to stay silent between requests or
    /// pieces of a body.
    pub read_timeout: Duration,
    /// What running answers get after shutdown was asked for.
    pub shutdown_grace: Duration,
    /// Makes a span of every request; `None`: there are none.
    pub tracer: Option<SdkTracer>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            keys: Keyring::default(),
            admin_token: None,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
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

/// How long a client hears nothing before it is told that we are still here.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    pub stream_first: Duration,
    pub stream_every: Duration,
    /// For answers that are not streamed. The first one commits status 200.
    pub json_first: Duration,
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

/// One key. Only its hash is kept: 190 random bits need no salt.
#[derive(Clone)]
pub struct KeyConfig {
    /// What logs call it.
    pub name: String,
    pub sha256: [u8; 32],
    /// The only models it may use; `None`: all.
    pub models: Option<Vec<String>>,
    /// What it may do on the admin API.
    pub role: Role,
}

impl KeyConfig {
    pub fn new(name: impl Into<String>, key: &str) -> Self {
        Self { name: name.into(), sha256: Sha256::digest(key).into(), models: None, role: Role::Member }
    }
}

/// The keys of the configuration, which can be read again. Clones are the same ring.
#[derive(Clone, Default)]
pub struct Keyring(Arc<ArcSwap<Vec<KeyEntry>>>);

/// The SHA-256 of a key, and whom it lets in.
type KeyEntry = ([u8; 32], Caller);

impl Keyring {
    pub fn replace(&self, keys: &[KeyConfig]) {
        let caller = |key: &KeyConfig| Caller {
            key_name: Some(Arc::from(key.name.as_str())),
            allowed_models: key.models.as_deref().map(Arc::from),
            api_key: None,
            role: key.role,
            traceparent: None,
            memory: Default::default(),
        };
        self.0.store(Arc::new(keys.iter().map(|key| (key.sha256, caller(key))).collect()));
    }

    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Every key is compared, whether or not an earlier one matched.
    pub(crate) fn caller(&self, hash: &[u8; 32]) -> Option<Caller> {
        let mut found = None;
        let keys = self.0.load();
        for (known, caller) in keys.iter() {
            if bool::from(known.ct_eq(hash)) {
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
