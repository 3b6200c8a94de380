//! Lines at the beginning of a system prompt that agents change with every request or conversation,
//! for the service that they were made for. In front of a prompt, such a line makes all of it new
//! to prefix caches.

use std::ops::Range;

use crate::{Chat, Input, Part, Role};

/// The beginnings of such lines: Claude Code's mark for the billing of Anthropic's service.
const BEGINNINGS: [&[u8]; 1] = [b"x-anthropic-billing-header:"];

/// Such a line begins within this many bytes of a prompt, or of its JSON text.
const SEARCHED_BYTES: usize = 1024;

/// The range of such a line with the line breaks behind it, in a text, or in the JSON text of a
/// prompt. In JSON, line breaks are escaped and a text ends with a quote.
pub fn volatile_line(text: &[u8]) -> Option<Range<usize>> {
    let searched = &text[..text.len().min(SEARCHED_BYTES)];
    let begins = |at: usize| {
        let before = &text[..at];
        let is_line_start =
            before.is_empty() || before.ends_with(b"\n") || before.ends_with(b"\\n") || before.ends_with(b"\"");
        is_line_start && BEGINNINGS.iter().any(|beginning| text[at..].starts_with(beginning))
    };
    let start = (0..searched.len()).find(|&at| begins(at))?;
    let is_end = |at: &usize| text[*at..].starts_with(b"\n") || text[*at..].starts_with(b"\\n") || text[*at] == b'"';
    let mut end = (start..text.len()).find(is_end).unwrap_or(text.len());
    loop {
        match &text[end..] {
            [b'\n', ..] => end += 1,
            [b'\\', b'n', ..] => end += 2,
            _ => return Some(start..end),
        }
    }
}

impl Chat {
    /// Leaves such a line out of the system prompt, with a note: no other service has a use for it.
    pub fn leave_out_volatile_line(&mut self) {
        let Input::Messages(messages) = &mut self.input else { return };
        let Some(system) = messages.first_mut().filter(|message| message.role == Role::System) else { return };
        let Some(Part::Text(text)) = system.content.as_mut().and_then(|parts| parts.first_mut()) else { return };
        if let Some(line) = volatile_line(text.as_bytes()) {
            text.replace_range(line, "");
            self.notes.push("`x-anthropic-billing-header` is left out of the prompt".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn without_line(text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(line) = volatile_line(text.as_bytes()) {
            text.replace_range(line, "");
        }
        text
    }

    #[test]
    fn the_line_is_found_in_texts_and_in_json() {
        let line = "x-anthropic-billing-header: cc_version=2.1.37; cch=1f2e3;";
        for (text, rest) in [
            (format!("{line}\n\nYou are an agent.\n"), "You are an agent.\n"),
            (line.to_owned(), ""),
            (format!("Hello.\n{line}\nYou are."), "Hello.\nYou are."),
            (
                format!(r#"[{{"type":"text","text":"{line}"}},{{"text":"You"}}]"#),
                r#"[{"type":"text","text":""},{"text":"You"}]"#,
            ),
            (format!(r#""{line}\n\nYou""#), r#""You""#),
        ] {
            assert_eq!(without_line(&text), rest);
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        for text in [
            "What is x-anthropic-billing-header: for?".to_owned(),
            format!("{}\nx-anthropic-billing-header: a", "x".repeat(SEARCHED_BYTES)),
            "é\\".to_owned(),
            String::new(),
        ] {
            assert_eq!(volatile_line(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_chat_is_left_without_it() {
        let line = "x-anthropic-billing-header: cch=1;";
        let chat = |system: String| {
            let messages = vec![Message::new(Role::System, system), Message::new(Role::User, line)];
            let mut chat = Chat { input: Input::Messages(messages), ..Chat::default() };
            chat.leave_out_volatile_line();
            chat
        };
        let texts = |chat: &Chat| match &chat.input {
            Input::Messages(messages) => messages.iter().map(Message::text).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        let left = chat(format!("{line}\n\nYou are."));
        assert_eq!((texts(&left), left.notes.len()), (vec!["You are.".to_owned(), line.to_owned()], 1));
        assert_eq!(texts(&chat(line.into())), ["", line]);
        let other = chat("You are.".into());
        assert_eq!((texts(&other), other.notes.len()), (vec!["You are.".to_owned(), line.to_owned()], 0));
    }
}
