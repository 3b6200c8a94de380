//! Failures of providers, as errors for the caller and lines for the log.

use std::borrow::Cow;

use chat::{Error, ErrorKind};
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use wire::passthrough::response_validation::{BodyFormat, content_type_matches};

use crate::client::{Failure, Response};
use crate::secret::scrubbed;

/// The content type of an answer; JSON where it has none.
pub(crate) fn content_type(response: &Response) -> HeaderValue {
    let said = response.headers.get(CONTENT_TYPE).filter(|said| said.to_str().is_ok_and(|said| scrubbed(said) == said));
    said.cloned().unwrap_or(HeaderValue::from_static("application/json"))
}

/// A provider's words may quote the request, and with it the operator's key.
pub(crate) fn without_secrets(error: Error) -> Error {
    match scrubbed(&error.message) {
        Cow::Borrowed(_) => error,
        Cow::Owned(message) => Error { message, ..error },
    }
}

/// # Errors
/// `Upstream` for an answer of a type that cannot be what was asked for.
pub(crate) fn check_type(provider: &str, form: BodyFormat, response: &Response) -> Result<(), Error> {
    let said = response.headers.get(CONTENT_TYPE).map_or("", |said| said.to_str().unwrap_or("?"));
    // Nobody has asked for a packed one.
    let is_plain = response.headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    match is_plain && content_type_matches(form, said) {
        true => Ok(()),
        false => Err(fault(provider, "sent what is no answer of its dialect")),
    }
}

pub(crate) fn fault(provider: &str, what: &str) -> Error {
    Error::new(ErrorKind::Upstream(502), format!("The provider `{provider}` {what}"))
}

pub(crate) fn late(provider: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("The provider `{provider}` did not answer in time"))
}

/// The caller's error for a failed connection. The cause is logged only, because it may hold the provider's address.
pub(crate) fn unreachable(provider: &str, failure: &Failure) -> Error {
    let words = failure.to_string();
    tracing::warn!(provider, error = %scrubbed(&words), "a provider cannot be reached");
    match failure {
        Failure::Late => late(provider),
        Failure::Connect(_) => fault(provider, "cannot be reached"),
        Failure::Broken(_) => fault(provider, "broke off its answer"),
    }
}
