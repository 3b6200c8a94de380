//! A source that an answer cites.

use serde_json::{Map, Value};

/// A source that a part of an answer's text cites: a page, or a document of the request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Citation {
    /// The first character of that part, counted from the beginning of the answer's text.
    pub start: usize,
    /// The character behind its last one.
    pub end: usize,
    /// The address of a page; `None` for a document.
    pub url: Option<String>,
    /// The title of the page or the document. May be empty.
    pub title: String,
    /// The words of the source. May be empty.
    pub quote: String,
    /// The citation as Anthropic's API writes it; empty if it comes from another.
    pub anthropic: Map<String, Value>,
}
