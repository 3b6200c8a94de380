//! The items of a response's output.

use chat::Delta;
use serde::Deserialize;
use serde_json::Value;

use crate::upstream::openai::{forgiving, read_annotations};

/// An item, with the fields of all types. Fields of other types than expected are as absent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Item {
    #[serde(default, rename = "type", deserialize_with = "forgiving")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "forgiving")]
    pub(super) content: Vec<ContentPart>,
    #[serde(default, deserialize_with = "forgiving")]
    summary: Vec<ContentPart>,
    #[serde(default, deserialize_with = "forgiving")]
    pub(super) encrypted_content: Option<String>,
    #[serde(default, deserialize_with = "forgiving")]
    pub(super) call_id: String,
    #[serde(default, deserialize_with = "forgiving")]
    pub(super) name: String,
    /// Text, or with some services the object itself.
    #[serde(default)]
    arguments: Value,
    /// The text of a call of a custom tool.
    #[serde(default, deserialize_with = "forgiving")]
    pub(super) input: String,
    /// The data of a generated image.
    #[serde(default, deserialize_with = "forgiving")]
    pub(super) result: String,
    #[serde(default, deserialize_with = "forgiving")]
    output_format: String,
}

/// A part of a message or of reasoning.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ContentPart {
    #[serde(default, deserialize_with = "forgiving")]
    text: Option<String>,
    #[serde(default, deserialize_with = "forgiving")]
    refusal: Option<String>,
    #[serde(default, deserialize_with = "forgiving")]
    annotations: Vec<Value>,
}

impl Item {
    /// The format of a generated image, as in its media type.
    pub(super) fn image_format(&self) -> &str {
        if self.output_format.is_empty() { "png" } else { &self.output_format }
    }

    /// The arguments of a call of a function.
    pub(super) fn arguments_text(&self) -> String {
        match &self.arguments {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            object => object.to_string(),
        }
    }
}

/// The text of these parts.
pub(super) fn joined_texts(parts: &[ContentPart]) -> String {
    parts.iter().filter_map(|part| part.text.as_deref().or(part.refusal.as_deref())).collect()
}

/// Appends the citations of a message, whose text begins at the character `base` of the answer.
pub(super) fn read_citations(parts: &[ContentPart], base: usize, out: &mut Vec<Delta>) {
    let mut start = base;
    for part in parts {
        let end = start + part.text.as_ref().or(part.refusal.as_ref()).map_or(0, |text| text.chars().count());
        read_annotations(&part.annotations, start, end, out);
        start = end;
    }
}

/// The reasoning of an item: its own text, where the service returns that, else its summary.
pub(super) fn reasoning_text(item: &Item) -> String {
    let text = joined_texts(&item.content);
    if !text.is_empty() {
        return text;
    }
    let summaries: Vec<&str> = item.summary.iter().filter_map(|part| part.text.as_deref()).collect();
    summaries.join("\n\n")
}
