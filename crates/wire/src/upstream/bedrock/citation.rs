//! Citations of Bedrock's Converse API.

use chat::{Citation, Delta};
use serde_json::Value;

use crate::upstream::block_citations::BlockCitations;

/// Adds a citation to those of its block: of a page, or of a document with a title.
pub(super) fn read_citation(citation: &Value, citations: &mut BlockCitations, out: &mut Vec<Delta>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let url = Some(text(&citation["location"]["web"]["url"])).filter(|url| !url.is_empty());
    let title = text(&citation["title"]);
    if url.is_none() && title.is_empty() {
        out.push(Delta::Dropped("citations"));
        return;
    }
    let quotes = citation["sourceContent"].as_array().into_iter().flatten();
    let quote = quotes.filter_map(|source| source["text"].as_str()).collect();
    citations.add(Citation { url, title, quote, ..Citation::default() });
}
