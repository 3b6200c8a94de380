//! Failures of providers, as errors for the caller and lines for the log.

use std::borrow::Cow;

use chat::{Error, ErrorKind};
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use wire::passthrough::response_validation::{BodyFormat, content_type_matches};

use crate::redaction::redact_secrets;
use crate::upstream::http_client::{Response, TransportError};

/// The content type of an answer; JSON where it has none.
pub(crate) fn content_type(response: &Response) -> HeaderValue {
    let value =
        response.headers.get(CONTENT_TYPE).filter(|said| said.to_str().is_ok_and(|said| redact_secrets(said) == said));
    value.cloned().unwrap_or(HeaderValue::from_static("application/json"))
}

/// A provider's words may quote the request, and with it the operator's key.
pub(crate) fn redact_error(error: Error) -> Error {
    match redact_secrets(&error.message) {
        Cow::Borrowed(_) => error,
        Cow::Owned(message) => Error { message, ..error },
    }
}

/// # Errors
/// `Upstream` for an answer of a type that cannot be what was asked for.
pub(crate) fn check_content_type(provider: &str, form: BodyFormat, response: &Response) -> Result<(), Error> {
    let value = response.headers.get(CONTENT_TYPE).map_or("", |said| said.to_str().unwrap_or("?"));
    // Nobody has asked for a packed one.
    let is_plain = response.headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    match is_plain && content_type_matches(form, value) {
        true => Ok(()),
        false => Err(upstream_error(provider, "sent what is no answer of its dialect")),
    }
}

pub(crate) fn upstream_error(provider: &str, what: &str) -> Error {
    Error::new(ErrorKind::Upstream(502), format!("The provider `{provider}` {what}"))
}

pub(crate) fn timeout_error(provider: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("The provider `{provider}` did not answer in time"))
}

/// The caller's error for a failed connection. The cause is logged only, because it may hold the
/// provider's address.
pub(crate) fn transport_error(provider: &str, error: &TransportError) -> Error {
    let cause = error.to_string();
    tracing::warn!(provider, error = %redact_secrets(&cause), "a provider cannot be reached");
    match error {
        TransportError::Timeout => timeout_error(provider),
        TransportError::Connect(_) => upstream_error(provider, "cannot be reached"),
        TransportError::Interrupted(_) => upstream_error(provider, "broke off its answer"),
    }
}
