//! The names of reasoning in answers that are forwarded: vLLM, OpenRouter and Ollama say
//! `reasoning`, and the clients of DeepSeek's API read `reasoning_content`.

use memchr::memmem;
use serde_json::value::RawValue;

use crate::passthrough::json_fields::{JsonFields, find_field};
use crate::provider_limits::has_at_most_values;

/// Most values of an answer to which the name is added.
const MAX_VALUES: usize = 200_000;

/// Adds `reasoning_content` to the deltas and messages of a chunk or a whole answer that have their
/// reasoning as `reasoning` only. `None`: there is none.
pub fn add_reasoning_content(json: &[u8]) -> Option<Vec<u8>> {
    memmem::find(json, b"\"reasoning\"")?;
    if !has_at_most_values(json, MAX_VALUES) {
        return None;
    }
    let choices: Vec<&RawValue> = serde_json::from_slice(find_field(json, "choices")?).ok()?;
    let mut is_changed = false;
    let mut renamed = String::from("[");
    for (index, choice) in choices.iter().enumerate() {
        if index > 0 {
            renamed.push(',');
        }
        let changed = renamed_choice(choice.get());
        is_changed |= changed.is_some();
        renamed.push_str(changed.as_deref().unwrap_or(choice.get()));
    }
    renamed.push(']');
    is_changed.then(|| JsonFields::scan(json).ok().map(|fields| fields.with_changes(&[("choices", renamed)])))?
}

/// Adds the name to an event of a stream, whose lines end with line breaks.
pub(crate) fn add_to_event(event: &[u8]) -> Option<Vec<u8>> {
    memmem::find(event, b"\"reasoning\"")?;
    let lines: Vec<&[u8]> = event.split_inclusive(|byte| *byte == b'\n').collect();
    let mut data = lines.iter().enumerate().filter_map(|(at, line)| Some((at, line.strip_prefix(b"data:")?)));
    let (at, json) = data.next().filter(|_| data.next().is_none())?;
    let content = json.trim_ascii();
    let changed = add_reasoning_content(content)?;
    let line_end = &json[json.trim_ascii_end().len()..];
    let changed = [b"data: ", &changed[..], line_end].concat();
    Some(lines.iter().enumerate().flat_map(|(i, line)| if i == at { &changed[..] } else { line }).copied().collect())
}

fn renamed_choice(choice: &str) -> Option<String> {
    let fields = JsonFields::scan(choice.as_bytes()).ok()?;
    let (name, message) = ["delta", "message"].iter().find_map(|name| Some((*name, fields.get(name)?)))?;
    let message = JsonFields::scan(message).ok()?;
    let is_text = |value: &[u8]| value.len() > 2 && value.starts_with(b"\"");
    let reasoning = message.get("reasoning").filter(|value| is_text(value))?;
    if message.get("reasoning_content").is_some_and(is_text) {
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let message = text(&message.with_changes(&[("reasoning_content", text(reasoning)?)]))?;
    text(&fields.with_changes(&[(name, message)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(json: &str) -> Option<String> {
        add_reasoning_content(json.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn reasoning_gets_its_other_name() {
        let chunk = r#"{"id": "c1", "choices": [{"index": 0, "delta": {"reasoning": "Let me \"see\"."}, "finish_reason": null}], "n": 1.50}"#;
        let expected = r#"{"id": "c1", "choices": [{"index": 0, "delta": {"reasoning": "Let me \"see\".","reasoning_content":"Let me \"see\"."}, "finish_reason": null}], "n": 1.50}"#;
        assert_eq!(renamed(chunk).unwrap(), expected);
        let whole =
            r#"{"choices":[{"message":{"content":"a"}},{"message":{"reasoning_content":null,"reasoning":"b"}}]}"#;
        let expected =
            r#"{"choices":[{"message":{"content":"a"}},{"message":{"reasoning_content":"b","reasoning":"b"}}]}"#;
        assert_eq!(renamed(whole).unwrap(), expected);
    }

    #[test]
    fn other_answers_stay_as_they_are() {
        for json in [
            r#"{"choices":[{"delta":{"reasoning":"a","reasoning_content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":""}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":null}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":{"effort":"low"}}}]}"#,
            r#"{"choices":[{"delta":{"content":"\"reasoning\""}}]}"#,
            r#"{"choices":"reasoning","reasoning":"a"}"#,
            r#"{"reasoning":"a"}"#,
            r#"{"choices":[{"delta":{"reasoning":"a""#,
            "\"reasoning\"",
        ] {
            assert_eq!(renamed(json), None, "{json}");
        }
    }

    #[test]
    fn an_event_keeps_its_other_lines() {
        let json = r#"{"choices":[{"delta":{"reasoning":"a"}}]}"#;
        let with_name = r#"{"choices":[{"delta":{"reasoning":"a","reasoning_content":"a"}}]}"#;
        for (before, after) in [("", "\n\n"), (": c\nid: 1\n", "\r\n\r\n")] {
            let event = add_to_event(format!("{before}data:{json}{after}").as_bytes()).unwrap();
            assert_eq!(String::from_utf8(event).unwrap(), format!("{before}data: {with_name}{after}"));
        }
        assert_eq!(add_to_event(b"data: {\"reasoning\"\ndata: :1}\n\n"), None);
    }
}
