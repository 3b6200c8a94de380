//! The citations of text blocks.

use chat::Citation;
use serde_json::{Value, json};

use crate::positioned_text::PositionedText;

/// The object of a citation; `None` for one of a document that another API has named.
pub(super) fn citation_body(citation: &Citation) -> Option<Value> {
    if !citation.anthropic.is_empty() {
        return Some(citation.anthropic.clone().into());
    }
    // The index is for the service, which did not search for it.
    Some(json!({
        "type": "web_search_result_location", "url": citation.url.as_deref()?, "title": citation.title,
        "cited_text": citation.quote, "encrypted_index": "",
    }))
}

/// The blocks of a text: each part that has citations is one.
pub(super) fn text_blocks(text: &str, citations: &[Citation]) -> Vec<Value> {
    let mut sorted: Vec<(&Citation, Value)> =
        citations.iter().filter_map(|citation| Some((citation, citation_body(citation)?))).collect();
    if sorted.is_empty() {
        return vec![text_block(text)];
    }
    sorted.sort_by_key(|(citation, _)| citation.start);
    let mut positions = PositionedText::default();
    positions.push(text);
    let mut blocks = Vec::new();
    let mut at = 0;
    let mut sorted = sorted.into_iter().peekable();
    while let Some((citation, body)) = sorted.next() {
        let (start, mut end) = (positions.byte_at(citation.start), citation.end);
        let mut bodies = vec![body];
        // Parts that overlap are one block.
        while let Some((next, body)) = sorted.next_if(|(next, _)| next.start < end || next.start == citation.start) {
            end = end.max(next.end);
            bodies.push(body);
        }
        if start > at {
            blocks.push(text_block(&text[at..start]));
        }
        let end = positions.byte_at(end).max(start);
        let mut block = text_block(&text[start..end]);
        block["citations"] = bodies.into();
        blocks.push(block);
        at = end;
    }
    if at < text.len() {
        blocks.push(text_block(&text[at..]));
    }
    blocks
}

fn text_block(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_with_citations_is_a_block() {
        let page = |start: usize, end: usize, title: &str| Citation {
            start,
            end,
            url: Some("u".into()),
            title: title.into(),
            ..Citation::default()
        };
        let parts = |text: &str, citations: &[Citation]| -> Vec<(String, usize)> {
            let blocks = text_blocks(text, citations);
            let cited = |block: &Value| block["citations"].as_array().map_or(0, Vec::len);
            blocks.iter().map(|block| (block["text"].as_str().unwrap().to_owned(), cited(block))).collect()
        };
        let want = |parts: &[(&str, usize)]| -> Vec<(String, usize)> {
            parts.iter().map(|(text, cited)| ((*text).to_owned(), *cited)).collect()
        };
        assert_eq!(parts("plain", &[]), want(&[("plain", 0)]));
        let two = [page(6, 8, "b"), page(0, 4, "a")];
        assert_eq!(parts("Käse, ja so", &two), want(&[("Käse", 1), (", ", 0), ("ja", 1), (" so", 0)]));
        let overlapping = [page(0, 3, "a"), page(2, 5, "b"), page(2, 2, "c"), page(5, 99, "d")];
        assert_eq!(parts("abcdefg", &overlapping), want(&[("abcde", 3), ("fg", 1)]));
        let document = Citation { title: "a.pdf".into(), ..Citation::default() };
        assert_eq!(parts("ab", &[document]), want(&[("ab", 0)]));
    }
}
