//! The annotations of a message: pages and files that its text cites.

use chat::{Citation, Delta};
use serde_json::Value;

/// Reads annotations of a text that begins at the character `base` of the answer and of which
/// `end` is the last so far. Those of chat completions have their fields in an object of their own.
pub(in crate::upstream) fn read_annotations(annotations: &[Value], base: usize, end: usize, out: &mut Vec<Delta>) {
    out.extend(annotations.iter().map(|annotation| read_annotation(annotation, base, end)));
}

fn read_annotation(annotation: &Value, base: usize, end: usize) -> Delta {
    let kind = annotation["type"].as_str().unwrap_or_default();
    let fields = annotation.get(kind).filter(|fields| fields.is_object()).unwrap_or(annotation);
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    let position = |name: &str| fields[name].as_u64().and_then(|at| usize::try_from(at).ok()).map(|at| base + at);
    let (url, title) = match kind {
        "url_citation" => (Some(text("url")).filter(|url| !url.is_empty()), text("title")),
        "file_citation" | "container_file_citation" => (None, text("filename")),
        _ => return Delta::Dropped("annotations"),
    };
    if url.is_none() && title.is_empty() {
        return Delta::Dropped("annotations");
    }
    // A file is cited at one position.
    let at = position("index");
    Delta::Citation(Citation {
        start: position("start_index").or(at).unwrap_or(base).min(end),
        end: position("end_index").or(at).unwrap_or(end).min(end),
        url,
        title,
        quote: text("content"),
        ..Citation::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(annotation: Value) -> Delta {
        let mut out = Vec::new();
        read_annotations(&[annotation], 10, 30, &mut out);
        out.pop().unwrap()
    }

    #[test]
    fn both_spellings_are_read_and_others_are_noted() {
        let citation = |start, end, url: Option<&str>, title: &str| {
            let url = url.map(str::to_owned);
            Delta::Citation(Citation { start, end, url, title: title.into(), ..Citation::default() })
        };
        let page = json!({"url": "https://a.example", "title": "A", "start_index": 2, "end_index": 5});
        let mut flat = page.clone();
        flat["type"] = "url_citation".into();
        let want = citation(12, 15, Some("https://a.example"), "A");
        assert_eq!(read(json!({"type": "url_citation", "url_citation": page})), want);
        assert_eq!(read(flat), want);
        let file = json!({"type": "file_citation", "file_id": "f", "filename": "a.pdf", "index": 7});
        assert_eq!(read(file), citation(17, 17, None, "a.pdf"));
        let odd = json!({"type": "url_citation", "url": "u", "start_index": -5, "end_index": 1e9});
        assert_eq!(read(odd), citation(10, 30, Some("u"), ""));
        for other in [json!({"type": "file_path"}), json!({"type": "url_citation"}), json!(5), json!({"type": 5})] {
            assert_eq!(read(other), Delta::Dropped("annotations"));
        }
    }
}
