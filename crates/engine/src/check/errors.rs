//! Texts of refusals that several checks share, and the pattern of names.

use chat::Error;

const NAME_PATTERN: &str = "^[a-zA-Z0-9_-]+$";

/// A refusal with the text `message`.
pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::invalid(message))
}

pub(super) fn matches_name_pattern(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

pub(super) fn pattern_error(field: &str) -> String {
    format!(
        "Invalid '{field}': string does not match pattern. Expected a string that matches the pattern '{NAME_PATTERN}'."
    )
}

pub(super) fn empty_array_error(field: &str) -> String {
    format!("Invalid '{field}': empty array. Expected an array with minimum length 1, but got an empty array instead.")
}

pub(super) fn array_too_long_error(field: &str, max: usize, found: usize) -> String {
    format!(
        "Invalid '{field}': array too long. Expected an array with maximum length {max}, but got an array with length \
         {found} instead."
    )
}
