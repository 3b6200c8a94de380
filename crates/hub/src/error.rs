//! The errors of the hub and of its cache.

use std::io;
use std::path::PathBuf;

/// The reason why a model cannot be found, downloaded or kept. No message contains a token or the
/// query of a URL, which can be a key to a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{text}` is not the name of a model on a hub: it is `ORG/NAME`, such as deepseek-ai/DeepSeek-V3.2")]
    InvalidId { text: String },
    #[error("`{text}` is not a revision: give a branch, a tag or a commit, as in ORG/NAME@main")]
    InvalidRevision { text: String },
    #[error("`HF_ENDPOINT` is not the http(s) address of a hub: {reason}")]
    InvalidEndpoint { reason: String },
    #[error("the token of `{source_name}` has characters that no HTTP header can carry: set it again")]
    InvalidToken { source_name: String },
    #[error("neither HF_HUB_CACHE, HF_HOME nor HOME is set: set HF_HUB_CACHE to the folder for models")]
    NoCacheFolder,
    #[error("`HF_HUB_OFFLINE` is set, so that nothing is requested from the hub: unset it to download")]
    Offline,

    #[error("`{host}` has no model `{id}`, or it is private{}", token_hint(*.has_token))]
    NoModel { host: String, id: String, has_token: bool },
    #[error("`{id}` has no revision `{revision}`: leave it out, or give a branch, tag or commit that it has")]
    NoRevision { id: String, revision: String },
    #[error("`{id}` has no file `{file}` at this revision")]
    NoFile { id: String, file: String },
    #[error(
        "`{id}` is gated: accept its conditions at {page} with your account, then set HF_TOKEN to a token of this account"
    )]
    Gated { id: String, page: String },
    #[error("`{host}` refused the token (HTTP {status}): set HF_TOKEN to a valid one, or unset it for public models")]
    Unauthorized { host: String, status: u16 },
    #[error("`{host}` limits the rate of requests and allows the next one in {seconds} s: run the command again then")]
    RateLimited { host: String, seconds: u64 },
    #[error("`{host}` answered HTTP {status}{}", quoted(.message))]
    Status { host: String, status: u16, message: String },
    #[error("`{host}` cannot be reached: {reason}")]
    Connect { host: String, reason: String },
    #[error("the connection to `{host}` broke: {reason}; run the same command again, it continues")]
    Interrupted { host: String, reason: String },
    #[error("`{host}` redirects to {reason}: check HF_ENDPOINT")]
    Redirect { host: String, reason: String },
    #[error("the answer of `{host}` cannot be read: {reason}")]
    Malformed { host: String, reason: String },

    #[error("the hub names a file `{file}`, which is not a path inside a model's folder: it is not downloaded")]
    UnsafeName { file: String },
    #[error("the hub gives no size or checksum for `{file}`: it cannot be verified and is not downloaded")]
    NoChecksum { file: String },
    #[error("no file of `{id}` matches {patterns}: `--include '*'` takes all files")]
    NothingSelected { id: String, patterns: String },
    #[error(
        "`{file}` is damaged after two downloads: its checksum is {found} and should be {expected}; a proxy may change it, or the hub's copy is broken"
    )]
    Damaged { file: String, found: String, expected: String },
    #[error(
        "the disk of `{}` has {} free, and {} more are needed: free space, or set HF_HUB_CACHE to a folder on a larger disk",
        folder.display(), gib(*.available), gib(*.needed)
    )]
    NoSpace { folder: PathBuf, available: u64, needed: u64 },
    #[error("`{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("`{id}` is not in the cache `{}`", folder.display())]
    NotCached { id: String, folder: PathBuf },
    #[error("another process downloads files of `{id}`: wait for it, or end it")]
    InUse { id: String },
}

impl Error {
    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Interrupted { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

fn token_hint(has_token: bool) -> &'static str {
    if has_token {
        ": check the name, and that the account of HF_TOKEN may read it"
    } else {
        ": check the name; for a private or gated model set HF_TOKEN"
    }
}

/// A number of bytes for people.
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

fn quoted(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
