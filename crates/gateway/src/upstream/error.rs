//! Failures of providers, as errors for the caller and as log lines.

use std::borrow::Cow;

use chat::{Error, ErrorKind};
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use wire::passthrough::response_validation::{BodyFormat, content_type_matches};

use crate::redaction::redact_secrets;
use crate::upstream::http_client::Response;
use crate::upstream::transport_error::TransportError;

/// The content type of a response. JSON if the header is missing, unreadable or contains a secret.
pub(crate) fn content_type(response: &Response) -> HeaderValue {
    let value = response
        .headers
        .get(CONTENT_TYPE)
        .filter(|value| value.to_str().is_ok_and(|text| redact_secrets(text) == text));
    value.cloned().unwrap_or(HeaderValue::from_static("application/json"))
}

/// Redacts the message of an error: a provider may quote the request, and with it the operator's
/// key.
pub(crate) fn redact_error(error: Error) -> Error {
    match redact_secrets(&error.message) {
        Cow::Borrowed(_) => error,
        Cow::Owned(message) => Error { message, ..error },
    }
}

/// Checks the content type of a response against the expected format.
///
/// # Errors
/// `Upstream` for another content type, and for a compressed body, which was not requested.
pub(crate) fn check_content_type(provider: &str, form: BodyFormat, response: &Response) -> Result<(), Error> {
    let value = response.headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let is_plain = response.headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    match is_plain && content_type_matches(form, value) {
        true => Ok(()),
        false => Err(wrong_dialect_error(provider)),
    }
}

/// The error for an answer that is not of the provider's dialect.
pub(crate) fn wrong_dialect_error(provider: &str) -> Error {
    upstream_error(provider, "sent an answer that is not of its dialect")
}

/// An `Upstream` error (502) with a message about the provider.
pub(crate) fn upstream_error(provider: &str, what: &str) -> Error {
    Error::new(ErrorKind::Upstream(502), format!("The provider `{provider}` {what}"))
}

pub(crate) fn timeout_error(provider: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("The provider `{provider}` did not answer in time"))
}

/// The caller's error for a failed connection. The cause is logged only, because it may contain the
/// provider's address.
pub(crate) fn transport_error(provider: &str, error: &TransportError) -> Error {
    let cause = error.to_string();
    tracing::warn!(provider, error = %redact_secrets(&cause), "provider unreachable");
    match error {
        TransportError::Timeout => timeout_error(provider),
        TransportError::Connect(_) | TransportError::Tls(_) => upstream_error(provider, "cannot be reached"),
        TransportError::Interrupted(_) => upstream_error(provider, "broke off its answer"),
    }
}

/// The caller's error for an answer that exceeds the available memory. It is `Overloaded`, because
/// the request itself was not too large: the same request may get a shorter answer.
pub(crate) fn answer_memory_error(error: Error, provider: &str) -> Error {
    let message = format!("The answer of the provider `{provider}` is larger than the memory there is for it now");
    Error { kind: ErrorKind::Overloaded, message, ..error }
}
