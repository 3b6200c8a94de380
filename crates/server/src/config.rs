//! What an operator may set.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Settings of one listener.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Who may ask. Empty: everybody, which only a loopback address allows.
    pub keys: Vec<KeyConfig>,
    /// Origins (`https://example.org`) of web pages that may call this server; empty switches CORS off.
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
    pub form_limit: usize,
    /// Bytes of a request's line and headers. Above 128 KiB the connection itself refuses.
    pub header_limit: usize,
    /// How long a client may take to send its headers, or to stay silent between requests or pieces of a body.
    pub read_timeout: Duration,
    /// What running answers get after shutdown was asked for.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            cors_origins: Vec::new(),
            system_fingerprint: "fp_0000000000".into(),
            keep_alive: KeepAlive::default(),
            queue_timeout: Duration::from_secs(10 * 60),
            total_timeout: Duration::from_secs(30 * 60),
            body_limit: 32 << 20,
            form_limit: 64 << 20,
            header_limit: 64 << 10,
            read_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(30),
        }
    }
}

/// How long a client hears nothing before it is told that we are still here.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    pub stream_first: Duration,
    pub stream_every: Duration,
    /// For answers that are not streamed. The first one commits status 200.
    pub plain_first: Duration,
    pub plain_every: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            stream_first: Duration::from_secs(10),
            stream_every: Duration::from_secs(10),
            plain_first: Duration::from_secs(30),
            plain_every: Duration::from_secs(10),
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
}

impl KeyConfig {
    pub fn new(name: impl Into<String>, key: &str) -> Self {
        Self { name: name.into(), sha256: Sha256::digest(key).into(), models: None }
    }
}

impl fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyConfig").field("name", &self.name).field("models", &self.models).finish_non_exhaustive()
    }
}
