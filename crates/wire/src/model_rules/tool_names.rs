//! Names of tools that are longer than a provider takes: short ones in the request, the caller's in
//! the answer.

use std::collections::{HashMap, HashSet};

use chat::{Chat, Delta, Error, Input, ToolChoice};

use crate::progress::AnswerProgress;
use crate::upstream::EventReader;

/// The bytes of a hash at the end of a short name, with what separates it.
const HASH_BYTES: usize = 9;

/// The short names of one chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortToolNames {
    short: HashMap<String, String>,
    long: HashMap<String, String>,
}

impl ShortToolNames {
    /// The short names of the tools and calls of `chat` that have more than `max_bytes`; `None` if
    /// there are none.
    pub fn for_chat(chat: &Chat, max_bytes: usize) -> Option<Self> {
        let messages = if let Input::Messages(messages) = &chat.input { messages.as_slice() } else { &[] };
        let calls = messages.iter().flat_map(|message| message.calls());
        let names = chat.tools.iter().map(|tool| &tool.name).chain(calls.map(|call| &call.name));
        let (mut long_names, mut taken) = (Vec::new(), HashSet::new());
        for name in names {
            if name.len() > max_bytes {
                long_names.push(name);
            } else {
                taken.insert(name.clone());
            }
        }
        let mut names = Self { short: HashMap::new(), long: HashMap::new() };
        for name in long_names {
            if names.short.contains_key(name) {
                continue;
            }
            let shorts = (0u32..).map(|salt| short_name(name, salt, max_bytes));
            let short = shorts.take(100).find(|short| !taken.contains(short))?;
            taken.insert(short.clone());
            names.long.insert(short.clone(), name.clone());
            names.short.insert(name.clone(), short);
        }
        (!names.short.is_empty()).then_some(names)
    }

    /// Gives a chat the short names.
    pub fn shorten(&self, chat: &mut Chat) {
        for tool in &mut chat.tools {
            if let Some(short) = self.short.get(&tool.name) {
                tool.name.clone_from(short);
                tool.function.insert("name".into(), short.as_str().into());
            }
        }
        if let Some(ToolChoice::Named(name)) = &mut chat.tool_choice {
            replace(name, &self.short);
        }
        let Input::Messages(messages) = &mut chat.input else { return };
        for message in messages {
            message.tool_calls.iter_mut().flatten().for_each(|call| replace(&mut call.name, &self.short));
            // Results may name their tool.
            message.name.iter_mut().for_each(|name| replace(name, &self.short));
        }
    }

    fn restore(&self, deltas: &mut [Delta]) {
        for delta in deltas {
            if let Delta::ToolCall { name, .. } = delta {
                replace(name, &self.long);
            }
        }
    }
}

fn replace(name: &mut String, names: &HashMap<String, String>) {
    if let Some(new) = names.get(name) {
        name.clone_from(new);
    }
}

/// The beginning of a name, and a hash of it (FNV-1a).
fn short_name(name: &str, salt: u32, max_bytes: usize) -> String {
    let hash = name.bytes().fold(0x811c_9dc5 ^ salt, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let kept = name.floor_char_boundary(max_bytes.saturating_sub(HASH_BYTES));
    format!("{}_{hash:08x}", &name[..kept])
}

/// A reader that gives the calls of an answer the caller's names.
pub struct ToolNameReader {
    pub reader: Box<dyn EventReader>,
    pub names: ShortToolNames,
}

impl ToolNameReader {
    fn restored(
        &mut self,
        out: &mut Vec<Delta>,
        read: impl FnOnce(&mut dyn EventReader, &mut Vec<Delta>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let before = out.len();
        let result = read(self.reader.as_mut(), out);
        self.names.restore(&mut out[before..]);
        result
    }
}

impl EventReader for ToolNameReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.restored(out, |reader, out| reader.read_event(data, out))
    }

    fn read_body(&mut self, body: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.restored(out, |reader, out| reader.read_body(body, out))
    }

    fn progress(&self) -> &AnswerProgress {
        self.reader.progress()
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.restored(out, |reader, out| reader.finish(out))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use chat::{Message, Role, Tool, ToolCall};

    fn chat_with(names: &[&str]) -> Chat {
        let tool = |name: &&str| {
            let function = Map::from_iter([("name".to_owned(), Value::from(*name))]);
            Tool { name: (*name).into(), strict: false, function }
        };
        Chat { tools: names.iter().map(tool).collect(), ..Chat::default() }
    }

    #[test]
    fn long_names_are_short_in_the_request_and_whole_in_the_answer() {
        let long = format!("mcp__server__{}", "x".repeat(70));
        let other = format!("{long}y");
        let mut chat = chat_with(&["short", &long, &other]);
        let call = ToolCall { id: "1".into(), name: long.clone(), arguments: "{}".into() };
        let calling = Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, "") };
        let result = Message { name: Some(long.clone()), ..Message::new(Role::Tool, "4") };
        chat.input = Input::Messages(vec![calling, result]);
        chat.tool_choice = Some(ToolChoice::Named(other.clone()));
        let names = ShortToolNames::for_chat(&chat, 64).unwrap();
        names.shorten(&mut chat);
        let sent: Vec<_> = chat.tools.iter().map(|tool| tool.name.clone()).collect();
        assert_eq!((sent[0].as_str(), sent[1].len(), sent[2].len()), ("short", 64, 64));
        assert!(sent[1] != sent[2] && sent[1].starts_with("mcp__server__xxx"));
        assert_eq!(chat.tools[1].function["name"], sent[1]);
        assert_eq!(chat.tool_choice, Some(ToolChoice::Named(sent[2].clone())));
        let Input::Messages(messages) = &chat.input else { unreachable!() };
        assert_eq!((&messages[0].calls()[0].name, messages[1].name.as_ref()), (&sent[1], Some(&sent[1])));
        let mut deltas =
            [&sent[1], &sent[0]].map(|name| Delta::ToolCall { index: 0, id: "2".into(), name: name.clone() });
        names.restore(&mut deltas);
        let restored = deltas.map(|delta| if let Delta::ToolCall { name, .. } = delta { name } else { String::new() });
        assert_eq!(restored, [long, "short".into()]);
    }

    #[test]
    fn names_that_fit_are_left_alone() {
        let chat = chat_with(&["a", &"x".repeat(64)]);
        assert_eq!(ShortToolNames::for_chat(&chat, 64), None);
        let taken = short_name(&"x".repeat(65), 0, 64);
        let names = ShortToolNames::for_chat(&chat_with(&[&"x".repeat(65), &taken]), 64).unwrap();
        assert_ne!(names.short[&"x".repeat(65)], taken);
        // Cut between characters.
        let odd = format!("{}é{}", "x".repeat(54), "y".repeat(20));
        assert!(ShortToolNames::for_chat(&chat_with(&[&odd]), 64).unwrap().short[&odd].len() <= 64);
    }
}
