//! How much memory a chat takes: what is reserved for it.

use serde_json::{Map, Value};

use crate::{Chat, Delta, Format, Input, Message, Part, TokenLogprob, ToolCall, ToolChoice, TopLogprob};

/// Bytes that the allocator adds to each allocation.
const PIECE: usize = 16;
/// A field of an object: its hash, name and value, and its places in the table, which has room for some more.
const FIELD: usize = 2 * (size_of::<u64>() + size_of::<String>() + size_of::<Value>() + size_of::<usize>());

impl Chat {
    /// Bytes of everything in it, about.
    pub fn bytes(&self) -> usize {
        let mut count = Count { left: usize::MAX };
        let counted = count.chat(self);
        if counted.is_some() { usize::MAX - count.left } else { usize::MAX }
    }

    /// It takes more than `most` bytes. This is known in a time that grows with `most`, not with the chat.
    pub fn exceeds(&self, most: usize) -> bool {
        Count { left: most }.chat(self).is_none()
    }
}

impl Delta {
    /// Bytes of everything in it, about.
    pub fn bytes(&self) -> usize {
        let token = |token: &TokenLogprob| {
            let top = |top: &TopLogprob| size_of::<TopLogprob>() + 2 * (top.token.len() + PIECE);
            size_of::<TokenLogprob>() + 2 * (token.token.len() + PIECE) + token.top.iter().map(top).sum::<usize>()
        };
        match self {
            Self::Reasoning { text, logprobs } | Self::Text { text, logprobs } => {
                text.len() + logprobs.iter().map(token).sum::<usize>()
            }
            Self::ToolCall { id, name, .. } => size_of::<ToolCall>() + id.len() + name.len() + 3 * PIECE,
            Self::Arguments { text, .. } => text.len(),
            Self::Start(_) | Self::Finish(_) | Self::Usage(_) => 0,
        }
    }
}

/// Bytes that a value holds on the heap.
pub fn json(value: &Value) -> usize {
    let mut count = Count { left: usize::MAX };
    let counted = count.json(value);
    if counted.is_some() { usize::MAX - count.left } else { usize::MAX }
}

/// Counts down, and stops with `None` at 0.
struct Count {
    left: usize,
}

impl Count {
    fn take(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes)?;
        Some(())
    }

    fn text(&mut self, said: &String) -> Option<()> {
        self.take(said.capacity() + PIECE)
    }

    fn words<'a>(&mut self, words: impl IntoIterator<Item = &'a Option<String>>) -> Option<()> {
        words.into_iter().flatten().try_for_each(|word| self.text(word))
    }

    fn list<T>(&mut self, items: &Vec<T>, each: impl Fn(&mut Self, &T) -> Option<()>) -> Option<()> {
        self.take(items.capacity() * size_of::<T>() + PIECE)?;
        items.iter().try_for_each(|item| each(self, item))
    }

    fn json(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Some(()),
            Value::String(said) => self.text(said),
            Value::Array(values) => self.list(values, Self::json),
            Value::Object(fields) => self.object(fields),
        }
    }

    fn object(&mut self, fields: &Map<String, Value>) -> Option<()> {
        self.take(fields.len() * FIELD + 4 * PIECE)?;
        fields.iter().try_for_each(|(key, value)| {
            self.text(key)?;
            self.json(value)
        })
    }

    fn chat(&mut self, chat: &Chat) -> Option<()> {
        self.take(size_of::<Chat>())?;
        match &chat.input {
            Input::Messages(messages) => self.list(messages, Self::message)?,
            Input::Text { prefix, suffix } => {
                self.text(prefix)?;
                self.words([suffix])?;
            }
            Input::Tokens(tokens) => self.take(tokens.capacity() * size_of::<u32>())?,
        }
        match &chat.format {
            Format::JsonSchema(schema) => self.object(schema)?,
            Format::Unknown(word) => self.text(word)?,
            Format::Text | Format::JsonObject => {}
        }
        if let Some(ToolChoice::Named(name)) = &chat.tool_choice {
            self.text(name)?;
        }
        self.text(&chat.model)?;
        self.words([&chat.reasoning_effort, &chat.user, &chat.user_id, &chat.trace])?;
        self.list(&chat.tools, |count, tool| {
            count.text(&tool.name)?;
            count.object(&tool.function)
        })?;
        self.list(&chat.stop, Self::text)?;
        self.list(&chat.notes, Self::text)?;
        self.take(chat.sampling.logit_bias.capacity() * size_of::<(u32, f64)>())
    }

    fn message(&mut self, message: &Message) -> Option<()> {
        if let Some(parts) = &message.content {
            self.list(parts, |count, part| match part {
                Part::Text(said) => count.text(said),
                Part::Other { kind, value } => {
                    count.text(kind)?;
                    count.json(value)
                }
            })?;
        }
        self.words([&message.reasoning, &message.tool_call_id, &message.name])?;
        let Some(calls) = &message.tool_calls else { return Some(()) };
        self.list(calls, |count, call| {
            [&call.id, &call.name, &call.arguments].into_iter().try_for_each(|word| count.text(word))
        })
    }
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
        let long = chat(1, 1_000_000);
        assert!((1_000_000..1_002_000).contains(&long.bytes()), "{}", long.bytes());
        assert!(long.exceeds(1_000_000) && !long.exceeds(1_002_000));
        let many = chat(1000, 1).bytes();
        assert!(many > 1000 * (size_of::<Message>() + size_of::<Part>()), "{many}");
        let schema = serde_json::json!({"a": [1, 2, {"b": "text"}]});
        assert!((500..1500).contains(&json(&schema)), "{}", json(&schema));
    }
}
