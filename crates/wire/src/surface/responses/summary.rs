//! The summary of a compacted conversation, as an item of the input carries it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chat::Error;

use crate::field_reader::{Field, Object};

/// The beginning of a summary in an item. Clients call it encrypted and never read it.
const PREFIX: &str = "cachalot.v1.";

/// The `encrypted_content` of a summary.
pub(super) fn encode_summary(summary: &str) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(summary))
}

/// Whether the JSON of an input may have a summary that this server wrote: the beginning of one
/// stands in a string.
pub fn has_own_summary(input: &[u8]) -> bool {
    memchr::memmem::find(input, PREFIX.as_bytes()).is_some()
}

/// The summary in an item of the input; `None` if another service wrote it.
///
/// # Errors
/// `InvalidRequest` for an item without `encrypted_content`.
pub(super) fn summary_of(mut item: Object) -> Result<Option<String>, Error> {
    let content = item.required("encrypted_content").and_then(Field::string)?;
    let decoded = content.strip_prefix(PREFIX).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let summary = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(summary.map(|summary| format!("Summary of the conversation so far:\n\n{summary}")))
}
