//! Conversion of error responses of providers.

use std::time::Duration;

use chat::{Error, ErrorKind};

/// Converts an error response of a provider to the caller's error (API document 4.5). `body` is the
/// beginning of its body.
pub fn map_error(provider: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let provider_message = error_message(body);
    let quoted = || match &provider_message {
        Some(message) => message.clone(),
        None => format!("The provider `{provider}` answered with status {status}"),
    };
    let (kind, message) = match status {
        // These concern the operator, not the caller; the provider's text may contain
        // the operator's key.
        401 | 403 | 407 => {
            (ErrorKind::Upstream(502), format!("The provider `{provider}` refused this server's credentials"))
        }
        // The caller does not control the HTTP request to the provider.
        405 | 406 | 411 | 417 | 421 | 426 | 428 | 431 => {
            (ErrorKind::Upstream(502), format!("The provider `{provider}` answered with status {status}"))
        }
        402 => (ErrorKind::Overloaded, format!("The provider `{provider}` is not available right now")),
        404 => (ErrorKind::InvalidRequest, "Model Not Exist".into()),
        408 | 504 => (ErrorKind::Timeout, quoted()),
        413 => (ErrorKind::TooLarge, quoted()),
        429 => (ErrorKind::RateLimited, quoted()),
        400 => (ErrorKind::InvalidRequest, quoted()),
        401..=499 => (ErrorKind::Upstream(status), quoted()),
        // 529 is Anthropic's status for an overloaded server.
        503 | 529 => (ErrorKind::Overloaded, quoted()),
        _ => (ErrorKind::Upstream(502), quoted()),
    };
    Error { retry_after, ..Error::new(kind, message) }
}

/// The message of an error body: `error.message`, `error`, `message` or `detail`, depending on the
/// service, or else short plain text.
pub(super) fn error_message(body: &[u8]) -> Option<String> {
    const MAX_MESSAGE_CHARS: usize = 1000;
    let text = String::from_utf8_lossy(body);
    let value: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let message = match &value {
        Some(value) => ["/error/message", "/error", "/message", "/detail"]
            .iter()
            .find_map(|pointer| value.pointer(pointer)?.as_str().map(str::to_owned)),
        // An HTML page is not a message.
        None if text.trim_start().starts_with('<') => None,
        None => Some(text.trim().to_owned()),
    };
    message.filter(|text| !text.is_empty()).map(|text| text.chars().take(MAX_MESSAGE_CHARS).collect())
}

/// The error message in a JSON body; `None` without one.
pub(crate) fn json_error_message(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|_| error_message(body))
}

/// An error of the provider in the middle of an answer.
pub(super) fn provider_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Upstream(502), message)
}

/// The error for an event that cannot be parsed. Its reason is shortened, because the parser may
/// quote a long value of the wrong type.
pub(super) fn invalid_event(error: &serde_json::Error) -> Error {
    let reason: String = error.to_string().chars().take(200).collect();
    provider_error(format!("The provider sent an event that cannot be read: {reason}"))
}
