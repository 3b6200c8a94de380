//! The headers in which a client lists what it accepts.

use http::{HeaderMap, HeaderName};

/// Whether the client names `value`, in lower case, in a list header, with a weight above zero.
/// Wild cards such as `*/*` do not name it.
pub(crate) fn names(headers: &HeaderMap, name: HeaderName, value: &str) -> bool {
    let is_wanted = |item: &str| {
        let mut parts = item.split(';').map(|part| part.trim().to_ascii_lowercase());
        let is_named = parts.next().is_some_and(|named| named == value);
        is_named && parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()) != Some(0.0)
    };
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(is_wanted)
}
