//! The one error type at the border of both halves. Each dialect maps it to its own body once.

use std::fmt;
use std::time::Duration;

/// A refusal or failure, told to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: ErrorKind,
    /// One sentence for the caller. Never holds a secret.
    pub message: String,
    /// A more precise machine word than the kind's own, where an API documents one.
    pub code: Option<&'static str>,
    /// The field at fault, only where an API documents it.
    pub param: Option<String>,
    pub retry_after: Option<Duration>,
}

/// Who has to act, and roughly why. The status in brackets is that of the OpenAI-style surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is at fault (400).
    InvalidRequest,
    /// (404)
    NotFound,
    /// (405)
    MethodNotAllowed,
    /// It contradicts what is there (409).
    Conflict,
    /// (401)
    Unauthorized,
    /// (403)
    Forbidden,
    /// (402)
    InsufficientBalance,
    /// (413)
    TooLarge,
    /// (415)
    UnsupportedMediaType,
    /// (431)
    HeadersTooLarge,
    /// The caller is too fast (429).
    RateLimited,
    /// The server is too busy (503).
    Overloaded,
    /// An upstream answered with this status (502, or the status itself).
    Upstream(u16),
    /// An upstream did not answer in time (504).
    Timeout,
    /// Our own fault (500).
    Internal,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None, param: None, retry_after: None }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
