//! The sources that ground an answer, and those that it repeats.

use chat::{Citation, Delta};
use serde::Deserialize;
use serde_json::Value;

use crate::positioned_text::PositionedText;
use crate::upstream::openai::forgiving;

/// The metadata of an answer that is grounded in a search or in documents.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Grounding {
    #[serde(deserialize_with = "forgiving")]
    grounding_chunks: Vec<Value>,
    #[serde(deserialize_with = "forgiving")]
    grounding_supports: Vec<Support>,
    #[serde(deserialize_with = "forgiving")]
    web_search_queries: Vec<String>,
}

/// A part of the text, and the sources that support it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Support {
    #[serde(deserialize_with = "forgiving")]
    segment: Segment,
    #[serde(deserialize_with = "forgiving")]
    grounding_chunk_indices: Vec<usize>,
}

/// A range of the text in bytes of UTF-8.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Segment {
    #[serde(deserialize_with = "forgiving")]
    start_index: usize,
    #[serde(deserialize_with = "forgiving")]
    end_index: Option<usize>,
}

/// Text that the answer repeats from a source.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Repeated {
    #[serde(alias = "citationSources", deserialize_with = "forgiving")]
    citations: Vec<RepeatedSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RepeatedSource {
    #[serde(flatten)]
    segment: Segment,
    #[serde(deserialize_with = "forgiving")]
    uri: String,
    #[serde(deserialize_with = "forgiving")]
    title: String,
}

impl Segment {
    /// The range in characters of `text`.
    fn in_chars(&self, text: &PositionedText) -> (usize, usize) {
        let end = self.end_index.unwrap_or(usize::MAX);
        (text.char_at(self.start_index.min(end)), text.char_at(end))
    }
}

impl Grounding {
    /// Appends the citations of `text`. A source that supports no part of it supports the whole.
    pub(super) fn read(self, text: &PositionedText, out: &mut Vec<Delta>) {
        let sources: Vec<Option<Citation>> = self.grounding_chunks.iter().map(source).collect();
        let whole = Support { grounding_chunk_indices: (0..sources.len()).collect(), ..Support::default() };
        let supports = if self.grounding_supports.is_empty() { vec![whole] } else { self.grounding_supports };
        for support in supports {
            let (start, end) = support.segment.in_chars(text);
            for index in support.grounding_chunk_indices {
                out.push(match sources.get(index) {
                    Some(Some(source)) => Delta::Citation(Citation { start, end, ..source.clone() }),
                    _ => Delta::Dropped("groundingChunks"),
                });
            }
        }
        if sources.is_empty() && !self.web_search_queries.is_empty() {
            out.push(Delta::Dropped("webSearchQueries"));
        }
    }
}

impl Repeated {
    pub(super) fn read(self, text: &PositionedText, out: &mut Vec<Delta>) {
        for source in self.citations {
            let (start, end) = source.segment.in_chars(text);
            let url = Some(source.uri).filter(|uri| !uri.is_empty());
            out.push(match url.is_some() || !source.title.is_empty() {
                true => Delta::Citation(Citation { start, end, url, title: source.title, ..Citation::default() }),
                false => Delta::Dropped("citationMetadata"),
            });
        }
    }
}

/// The source of a chunk: a page, a place, or a document.
fn source(chunk: &Value) -> Option<Citation> {
    let fields = ["web", "retrievedContext", "maps"].iter().find_map(|kind| chunk.get(kind))?;
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    let url = Some(text("uri")).filter(|uri| !uri.is_empty());
    let title = text("title");
    let is_named = url.is_some() || !title.is_empty();
    is_named.then(|| Citation { url, title, quote: text("text"), ..Citation::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn positioned(text: &str) -> PositionedText {
        let mut positioned = PositionedText::default();
        positioned.push(text);
        positioned
    }

    fn read(grounding: Value, text: &str) -> Vec<Delta> {
        let mut out = Vec::new();
        serde_json::from_value::<Grounding>(grounding).unwrap().read(&positioned(text), &mut out);
        out
    }

    #[test]
    fn ranges_in_bytes_become_ranges_in_characters() {
        let chunks = json!([{"web": {"uri": "https://a.example", "title": "A"}},
            {"retrievedContext": {"title": "manual.pdf", "text": "so"}}, {"other": {}}]);
        let supports = json!([{"segment": {"startIndex": 3, "endIndex": 8}, "groundingChunkIndices": [0, 1, 2, 9]},
            {"segment": {"endIndex": 900}, "groundingChunkIndices": [0]}]);
        let found = read(json!({"groundingChunks": chunks, "groundingSupports": supports}), "äé café au lait");
        let web = |start, end| {
            let (url, title) = (Some("https://a.example".to_owned()), "A".to_owned());
            Delta::Citation(Citation { start, end, url, title, ..Citation::default() })
        };
        let (title, quote) = ("manual.pdf".to_owned(), "so".to_owned());
        let document = Citation { start: 1, end: 6, title, quote, ..Citation::default() };
        let dropped = Delta::Dropped("groundingChunks");
        assert_eq!(found, [web(1, 6), Delta::Citation(document), dropped.clone(), dropped, web(0, 15)]);
    }

    #[test]
    fn sources_without_ranges_belong_to_the_whole() {
        let chunks = json!([{"web": {"uri": "u"}}]);
        let whole = Citation { start: 0, end: 2, url: Some("u".into()), ..Citation::default() };
        assert_eq!(read(json!({"groundingChunks": chunks}), "ab"), [Delta::Citation(whole)]);
        assert_eq!(read(json!({"webSearchQueries": ["q"]}), "ab"), [Delta::Dropped("webSearchQueries")]);
        for odd in
            [json!({}), json!({"groundingChunks": 5, "groundingSupports": [7]}), json!({"groundingSupports": null})]
        {
            assert_eq!(read(odd, "ab"), []);
        }
        let mut out = Vec::new();
        let repeated = json!({"citationSources": [{"startIndex": 1, "endIndex": 2, "uri": "u"}, {}]});
        serde_json::from_value::<Repeated>(repeated).unwrap().read(&positioned("ab"), &mut out);
        let source = Citation { start: 1, end: 2, url: Some("u".into()), ..Citation::default() };
        assert_eq!(out, [Delta::Citation(source), Delta::Dropped("citationMetadata")]);
    }
}
