//! Values found in JSON by text search, without parsing it.

use memchr::memmem;
use serde_json::Value;

use crate::provider_limits::has_at_most_values;

/// Whether `data` contains `needle`.
pub(super) fn contains(data: &[u8], needle: &str) -> bool {
    memmem::find(data, needle.as_bytes()).is_some()
}

/// The string after the last `key`. A key inside a string does not match, because its quotes are
/// escaped.
pub(super) fn last_string_value<'a>(data: &'a [u8], key: &str) -> Option<&'a str> {
    let from = memmem::rfind(data, key.as_bytes())? + key.len();
    let rest = data[from..].trim_ascii_start().strip_prefix(b"\"")?;
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}

/// The error message of an event.
pub(super) fn error_message(data: &[u8]) -> String {
    // A larger value is not parsed, because its tree would take too much memory.
    const MAX_ERROR_VALUES: usize = 10_000;
    let value = has_at_most_values(data, MAX_ERROR_VALUES).then(|| serde_json::from_slice::<Value>(data).ok());
    let value = value.flatten().unwrap_or_default();
    let message = ["/error/message", "/error"].iter().find_map(|pointer| value.pointer(pointer)?.as_str());
    message.unwrap_or("the provider broke off").chars().take(500).collect()
}
