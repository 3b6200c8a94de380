//! The sources of an answer in Gemini's format.

use std::collections::HashMap;

use chat::Citation;
use serde_json::{Value, json};

use crate::positioned_text::PositionedText;

/// The `groundingMetadata` of a text with these citations; `None` without any.
pub(super) fn grounding_metadata(text: &PositionedText, citations: &[Citation]) -> Option<Value> {
    let (mut chunks, mut supports) = (Vec::new(), Vec::new());
    let mut known = HashMap::new();
    for citation in citations {
        let source = (citation.url.as_deref(), &citation.title, &citation.quote);
        let chunk = *known.entry(source).or_insert_with(|| {
            chunks.push(chunk(citation));
            chunks.len() - 1
        });
        let start = text.byte_at(citation.start);
        let end = text.byte_at(citation.end).max(start);
        let segment = json!({ "startIndex": start, "endIndex": end, "text": text.as_str()[start..end] });
        supports.push(json!({ "segment": segment, "groundingChunkIndices": [chunk] }));
    }
    (!chunks.is_empty()).then(|| json!({ "groundingChunks": chunks, "groundingSupports": supports }))
}

fn chunk(citation: &Citation) -> Value {
    match &citation.url {
        // A page has no place for what it says.
        Some(url) if citation.quote.is_empty() => json!({ "web": { "uri": url, "title": citation.title } }),
        url => {
            let mut context = json!({ "title": citation.title, "text": citation.quote });
            if let Some(url) = url {
                context["uri"] = url.as_str().into();
            }
            json!({ "retrievedContext": context })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_bytes_and_a_source_is_one_chunk() {
        let mut text = PositionedText::default();
        text.push("Käse und Brot");
        let page = |start: usize, end: usize| Citation { start, end, url: Some("u".into()), ..Citation::default() };
        let document = Citation { start: 9, end: 99, title: "a.pdf".into(), quote: "q".into(), ..Citation::default() };
        assert_eq!(
            grounding_metadata(&text, &[page(0, 4), page(5, 8), document]).unwrap(),
            json!({
                "groundingChunks": [{"web": {"uri": "u", "title": ""}}, {"retrievedContext": {"title": "a.pdf", "text": "q"}}],
                "groundingSupports": [
                    {"segment": {"startIndex": 0, "endIndex": 5, "text": "Käse"}, "groundingChunkIndices": [0]},
                    {"segment": {"startIndex": 6, "endIndex": 9, "text": "und"}, "groundingChunkIndices": [0]},
                    {"segment": {"startIndex": 10, "endIndex": 14, "text": "Brot"}, "groundingChunkIndices": [1]}],
            })
        );
        assert_eq!(grounding_metadata(&text, &[]), None);
    }
}
