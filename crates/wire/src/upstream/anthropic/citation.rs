//! Citations of Anthropic's API.

use chat::Citation;
use serde_json::{Map, Value};

/// The citation that this object describes.
pub(super) fn read_citation(object: Map<String, Value>) -> Citation {
    let first = |names: [&str; 2]| {
        let texts = names.map(|name| object.get(name).and_then(Value::as_str).unwrap_or_default());
        texts.into_iter().find(|text| !text.is_empty()).map(str::to_owned)
    };
    // The source of a search result of the caller's own is an address or a name.
    let url = first(["url", "source"]);
    let title = first(["title", "document_title"]).unwrap_or_default();
    let quote = first(["cited_text", ""]).unwrap_or_default();
    Citation { url, title, quote, anthropic: object, ..Citation::default() }
}
