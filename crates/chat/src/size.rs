//! How much memory a chat takes: what is reserved for it.

use serde_json::{Map, Value};

use crate::{Chat, Format, Input, Message, Part, Tool, ToolChoice};

/// What the allocator adds to each piece.
const PIECE: usize = 16;
/// A field of an object: its hash, name and value, and its places in the table, which has room for some more.
const FIELD: usize = 2 * (size_of::<u64>() + size_of::<String>() + size_of::<Value>() + size_of::<usize>());

impl Chat {
    /// Bytes of everything in it, about.
    pub fn bytes(&self) -> usize {
        let input = match &self.input {
            Input::Messages(messages) => list(messages, Message::bytes),
            Input::Text { prefix, suffix } => text(prefix) + suffix.as_ref().map_or(0, text),
            Input::Tokens(tokens) => tokens.capacity() * size_of::<u32>(),
        };
        let format = match &self.format {
            Format::JsonSchema(schema) => object(schema),
            Format::Unknown(word) => text(word),
            Format::Text | Format::JsonObject => 0,
        };
        let choice = if let Some(ToolChoice::Named(name)) = &self.tool_choice { text(name) } else { 0 };
        let words = [&self.reasoning_effort, &self.user, &self.user_id, &self.trace];
        size_of::<Self>()
            + input
            + format
            + choice
            + text(&self.model)
            + words.into_iter().flatten().map(text).sum::<usize>()
            + list(&self.tools, Tool::bytes)
            + list(&self.stop, text)
            + list(&self.notes, text)
            + self.sampling.logit_bias.capacity() * size_of::<(u32, f64)>()
    }
}

impl Message {
    fn bytes(&self) -> usize {
        let words = [&self.reasoning, &self.tool_call_id, &self.name];
        let part = |part: &Part| match part {
            Part::Text(said) => text(said),
            Part::Other { kind, value } => text(kind) + json(value),
        };
        self.content.as_ref().map_or(0, |parts| list(parts, part))
            + words.into_iter().flatten().map(text).sum::<usize>()
            + self
                .tool_calls
                .as_ref()
                .map_or(0, |calls| list(calls, |call| text(&call.id) + text(&call.name) + text(&call.arguments)))
    }
}

impl Tool {
    fn bytes(&self) -> usize {
        text(&self.name) + object(&self.function)
    }
}

/// What a value holds beside itself.
pub fn json(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(said) => text(said),
        Value::Array(values) => list(values, json),
        Value::Object(fields) => object(fields),
    }
}

fn object(fields: &Map<String, Value>) -> usize {
    fields.iter().map(|(key, value)| FIELD + text(key) + json(value)).sum::<usize>() + 4 * PIECE
}

fn text(said: &String) -> usize {
    said.capacity() + PIECE
}

fn list<T>(items: &Vec<T>, each: impl Fn(&T) -> usize) -> usize {
    items.capacity() * size_of::<T>() + PIECE + items.iter().map(each).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn text_counts_once_and_structure_by_its_types() {
        let chat = |texts: usize, length: usize| Chat {
            input: Input::Messages((0..texts).map(|_| Message::new(Role::User, "x".repeat(length))).collect()),
            ..Chat::default()
        };
        let long = chat(1, 1_000_000).bytes();
        assert!((1_000_000..1_002_000).contains(&long), "{long}");
        let many = chat(1000, 1).bytes();
        assert!(many > 1000 * (size_of::<Message>() + size_of::<Part>()), "{many}");
        let schema = serde_json::json!({"a": [1, 2, {"b": "text"}]});
        assert!((500..1500).contains(&json(&schema)), "{}", json(&schema));
    }
}
