//! Estimates of the memory that chats and deltas take, for the memory budget of requests.

use serde_json::{Map, Value};

use crate::{
    Chat, Citation, Delta, Input, Media, Message, Part, ResponseFormat, SignedReasoning, TokenLogprob, ToolCall,
    ToolChoice, TopLogprob,
};

/// Bytes that the allocator adds to each allocation.
const ALLOCATION_OVERHEAD: usize = 16;
/// Bytes of a field of an object: hash, name, value and table slot, doubled for spare capacity.
const MAP_ENTRY_BYTES: usize = 2 * (size_of::<u64>() + size_of::<String>() + size_of::<Value>() + size_of::<usize>());

impl Chat {
    /// The approximate number of bytes that this chat takes, heap included.
    pub fn memory_bytes(&self) -> usize {
        let mut count = SizeCounter { remaining: usize::MAX };
        let fits = count.add_chat(self);
        if fits.is_some() { usize::MAX - count.remaining } else { usize::MAX }
    }

    /// Whether this chat takes more than `limit` bytes. The check takes time proportional to
    /// `limit`, not to the size of the chat.
    pub fn exceeds_bytes(&self, limit: usize) -> bool {
        SizeCounter { remaining: limit }.add_chat(self).is_none()
    }
}

impl Delta {
    /// The approximate number of bytes that this delta holds on the heap.
    pub fn memory_bytes(&self) -> usize {
        let token = |token: &TokenLogprob| {
            let top = |top: &TopLogprob| size_of::<TopLogprob>() + 2 * (top.token.len() + ALLOCATION_OVERHEAD);
            size_of::<TokenLogprob>()
                + 2 * (token.token.len() + ALLOCATION_OVERHEAD)
                + token.top.iter().map(top).sum::<usize>()
        };
        match self {
            Self::Prompt { text, logprobs } | Self::Reasoning { text, logprobs } | Self::Text { text, logprobs } => {
                text.len() + logprobs.iter().map(token).sum::<usize>()
            }
            Self::ToolCall { id, name, .. } => size_of::<ToolCall>() + id.len() + name.len() + 3 * ALLOCATION_OVERHEAD,
            Self::Arguments { text, .. } => text.len(),
            Self::Citation(citation) => citation.memory_bytes(),
            Self::Signature(signed) => size_of::<SignedReasoning>() + signed.memory_bytes() + 4 * ALLOCATION_OVERHEAD,
            Self::Media(media) => size_of::<Media>() + media.url.len(),
            Self::Start(_) | Self::Dropped(_) | Self::Finish(_) | Self::Usage(_) => 0,
        }
    }
}

impl Citation {
    /// The approximate number of bytes that this citation holds on the heap.
    pub fn memory_bytes(&self) -> usize {
        let texts = self.url.as_ref().map_or(0, String::len) + self.title.len() + self.quote.len();
        let mut count = SizeCounter { remaining: usize::MAX };
        let own = count.add_object(&self.anthropic).map_or(usize::MAX, |()| usize::MAX - count.remaining);
        own.saturating_add(size_of::<Self>() + texts + 3 * ALLOCATION_OVERHEAD)
    }
}

/// The approximate number of bytes that `value` holds on the heap.
pub fn json_bytes(value: &Value) -> usize {
    let mut count = SizeCounter { remaining: usize::MAX };
    let counted = count.add_json(value);
    if counted.is_some() { usize::MAX - count.remaining } else { usize::MAX }
}

/// Counts bytes down from a limit. Its methods return `None` when the limit is exceeded.
struct SizeCounter {
    remaining: usize,
}

impl SizeCounter {
    fn add(&mut self, bytes: usize) -> Option<()> {
        self.remaining = self.remaining.checked_sub(bytes)?;
        Some(())
    }

    fn add_string(&mut self, text: &String) -> Option<()> {
        self.add(text.capacity() + ALLOCATION_OVERHEAD)
    }

    fn add_optional_strings<'a>(&mut self, strings: impl IntoIterator<Item = &'a Option<String>>) -> Option<()> {
        strings.into_iter().flatten().try_for_each(|text| self.add_string(text))
    }

    fn add_list<T>(&mut self, items: &Vec<T>, each: impl Fn(&mut Self, &T) -> Option<()>) -> Option<()> {
        self.add(items.capacity() * size_of::<T>() + ALLOCATION_OVERHEAD)?;
        items.iter().try_for_each(|item| each(self, item))
    }

    fn add_json(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Some(()),
            Value::String(text) => self.add_string(text),
            Value::Array(values) => self.add_list(values, Self::add_json),
            Value::Object(fields) => self.add_object(fields),
        }
    }

    fn add_object(&mut self, fields: &Map<String, Value>) -> Option<()> {
        self.add(fields.len() * MAP_ENTRY_BYTES + 4 * ALLOCATION_OVERHEAD)?;
        fields.iter().try_for_each(|(key, value)| {
            self.add_string(key)?;
            self.add_json(value)
        })
    }

    fn add_chat(&mut self, chat: &Chat) -> Option<()> {
        self.add(size_of::<Chat>())?;
        match &chat.input {
            Input::Messages(messages) => self.add_list(messages, Self::add_message)?,
            Input::Text { prefix, suffix } => {
                self.add_string(prefix)?;
                self.add_optional_strings([suffix])?;
            }
            Input::Tokens(tokens) => self.add(tokens.capacity() * size_of::<u32>())?,
        }
        let marks = [&chat.tools_cache_control, &chat.cache_control];
        marks.into_iter().flatten().try_for_each(|mark| self.add_json(mark))?;
        for format in [Some(&chat.response_format), chat.engine_fields.response_format.as_ref()].into_iter().flatten() {
            match format {
                ResponseFormat::JsonSchema(schema) => self.add_object(schema)?,
                ResponseFormat::Unknown(kind) => self.add_string(kind)?,
                ResponseFormat::Text | ResponseFormat::JsonObject => {}
            }
        }
        self.add((chat.end_tokens.capacity() + chat.engine_fields.end_tokens.capacity()) * size_of::<u32>())?;
        if let Some(ToolChoice::Named(name)) = &chat.tool_choice {
            self.add_string(name)?;
        }
        self.add_string(&chat.model)?;
        self.add_optional_strings([&chat.reasoning_effort, &chat.user, &chat.user_id, &chat.traceparent])?;
        self.add_list(&chat.tools, |count, tool| {
            count.add_string(&tool.name)?;
            count.add_object(&tool.function)
        })?;
        self.add_list(&chat.stop, Self::add_string)?;
        self.add_list(&chat.notes, Self::add_string)?;
        self.add(chat.uncarried.capacity() * size_of::<&str>())?;
        self.add(chat.sampling.logit_bias.capacity() * size_of::<(u32, f64)>())
    }

    fn add_message(&mut self, message: &Message) -> Option<()> {
        if let Some(parts) = &message.content {
            self.add_list(parts, |count, part| match part {
                Part::Text(text) => count.add_string(text),
                Part::Other { kind, value } => {
                    count.add_string(kind)?;
                    count.add_json(value)
                }
            })?;
        }
        message.cache_control.iter().try_for_each(|mark| self.add_json(mark))?;
        self.add_optional_strings([&message.reasoning, &message.tool_call_id, &message.name])?;
        self.add_list(&message.signatures, |count, signed| count.add(signed.memory_bytes() + 4 * ALLOCATION_OVERHEAD))?;
        let Some(calls) = &message.tool_calls else { return Some(()) };
        self.add_list(calls, |count, call| {
            [&call.id, &call.name, &call.arguments].into_iter().try_for_each(|text| count.add_string(text))
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
        assert!((1_000_000..1_002_000).contains(&long.memory_bytes()), "{}", long.memory_bytes());
        assert!(long.exceeds_bytes(1_000_000) && !long.exceeds_bytes(1_002_000));
        let many = chat(1000, 1).memory_bytes();
        assert!(many > 1000 * (size_of::<Message>() + size_of::<Part>()), "{many}");
        let schema = serde_json::json!({"a": [1, 2, {"b": "text"}]});
        assert!((500..1500).contains(&json_bytes(&schema)), "{}", json_bytes(&schema));
    }
}
