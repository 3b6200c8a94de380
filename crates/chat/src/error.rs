//! The error type that both halves share. Each surface maps it to its own error body.

use std::fmt;
use std::time::Duration;

/// A refusal or failure that is reported to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: ErrorKind,
    /// One sentence for the caller. Never contains a secret.
    pub message: String,
    /// A more specific error code than that of the kind, where an API documents one.
    pub code: Option<&'static str>,
    /// The code that the provider of the answer gave, which programs of its API know. It wins over
    /// `code`.
    pub provider_code: Option<String>,
    /// The invalid field, where an API documents it.
    pub param: Option<String>,
    /// The value of the `Retry-After` header.
    pub retry_after: Option<Duration>,
}

/// The category of an error. The status in brackets is that of the OpenAI-style surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is invalid (400).
    InvalidRequest,
    /// The model or resource does not exist (404).
    NotFound,
    /// The path does not support this method (405).
    MethodNotAllowed,
    /// The request contradicts the current state (409).
    Conflict,
    /// The credential is missing or invalid (401).
    Unauthorized,
    /// The key may not use this (403).
    Forbidden,
    /// The budget is used up (402).
    InsufficientBalance,
    /// The request body is too large (413).
    TooLarge,
    /// The content type is not supported (415).
    UnsupportedMediaType,
    /// The request headers are too large (431).
    HeadersTooLarge,
    /// A rate limit is exceeded (429).
    RateLimited,
    /// The server is overloaded (503).
    Overloaded,
    /// A provider answered with this status (502, or the status itself if it is 4xx).
    Upstream(u16),
    /// A provider did not answer in time (504).
    Timeout,
    /// A fault of this server (500).
    Internal,
}

/// The message of a request for a model that does not exist, or its beginning.
const UNKNOWN_MODEL: &str = "Model Not Exist";
/// The code of OpenAI's API for a model that does not exist.
pub const MODEL_NOT_FOUND: &str = "model_not_found";

impl Error {
    /// Creates an error of `kind` without code, field or retry time.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None, provider_code: None, param: None, retry_after: None }
    }

    /// Creates an [`ErrorKind::InvalidRequest`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    /// The error for a model that does not exist (docs/api.md 1.1).
    pub fn unknown_model() -> Self {
        Self::invalid(UNKNOWN_MODEL)
    }

    /// [`Error::unknown_model`] for an id `provider/model` of a provider that is not among `known`.
    pub fn unknown_provider<'a>(provider: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
        Self::invalid(format!("{UNKNOWN_MODEL}: there is no provider `{provider:.64}` here, only {}", known.join(", ")))
    }

    /// Whether a provider does not have what it was asked for, such as the model. Some services
    /// refuse that as an invalid request: DeepSeek's with these words, OpenAI's with this code.
    pub fn is_missing_at_provider(&self) -> bool {
        match self.kind {
            ErrorKind::NotFound => true,
            ErrorKind::InvalidRequest => {
                self.message.starts_with(UNKNOWN_MODEL) || self.provider_code.as_deref() == Some(MODEL_NOT_FOUND)
            }
            _ => false,
        }
    }

    /// Creates an [`ErrorKind::Internal`].
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
