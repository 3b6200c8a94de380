//! Messages of several lines: between `"""` and `"""`, or continued by a backslash at the end of a
//! line.

/// The mark before and after a message of several lines.
const BLOCK_MARK: &str = "\"\"\"";

/// Puts lines together to messages.
#[derive(Debug, Default)]
pub(super) struct MessageInput {
    /// The text of an unfinished message.
    text: String,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between two messages.
    #[default]
    Empty,
    /// After a line that ended with a backslash.
    Continued,
    /// After `"""`.
    Block,
}

impl MessageInput {
    /// Adds a line. Returns the message that it completes.
    pub(super) fn push(&mut self, line: &str) -> Option<String> {
        match self.state {
            State::Block => self.push_to_block(line),
            State::Empty => match block_start(line) {
                Some((command, rest)) => {
                    self.state = State::Block;
                    self.text.push_str(command);
                    // A line with the mark alone does not begin the message with an empty line.
                    if rest.trim().is_empty() { None } else { self.push_to_block(rest) }
                }
                None => self.push_line(line),
            },
            State::Continued => self.push_line(line),
        }
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Empty
    }

    /// Whether a message has begun with `"""`, which only `"""` ends.
    pub(super) fn is_block(&self) -> bool {
        self.state == State::Block
    }

    /// Drops an unfinished message.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Ends the message where the input ends. `None` without one.
    pub(super) fn finish(&mut self) -> Option<String> {
        let message = std::mem::take(self).text;
        (!message.is_empty()).then_some(message)
    }

    fn push_to_block(&mut self, line: &str) -> Option<String> {
        match line.trim_end().strip_suffix(BLOCK_MARK) {
            Some(last) => {
                self.text.push_str(last);
                let message = std::mem::take(self).text;
                Some(message.strip_suffix('\n').map_or(message.clone(), str::to_owned))
            }
            None => {
                self.text.push_str(line);
                self.text.push('\n');
                None
            }
        }
    }

    fn push_line(&mut self, line: &str) -> Option<String> {
        match line.strip_suffix('\\') {
            Some(start) => {
                self.text.push_str(start);
                self.text.push('\n');
                self.state = State::Continued;
                None
            }
            None => {
                self.text.push_str(line);
                Some(std::mem::take(self).text)
            }
        }
    }
}

/// The command before a block, empty for a message, and the rest of its first line.
fn block_start(line: &str) -> Option<(&str, &str)> {
    let (command, text) = match line.strip_prefix("/system ") {
        Some(text) => ("/system ", text),
        None => ("", line),
    };
    Some((command, text.trim_start().strip_prefix(BLOCK_MARK)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of these lines, and what is left at the end.
    fn messages(lines: &[&str]) -> (Vec<String>, Option<String>) {
        let mut input = MessageInput::default();
        let messages = lines.iter().filter_map(|line| input.push(line)).collect();
        (messages, input.finish())
    }

    #[test]
    fn a_line_is_a_message_and_a_block_is_one() {
        assert_eq!(messages(&["a", "", "b"]).0, ["a", "", "b"]);
        assert_eq!(messages(&["\"\"\"", "a", "", "  b", "\"\"\"", "c"]).0, ["a\n\n  b", "c"]);
        assert_eq!(messages(&["\"\"\"a", "b\"\"\" "]).0, ["a\nb"]);
        assert_eq!(messages(&["\"\"\"one line\"\"\""]).0, ["one line"]);
        assert_eq!(messages(&["/system \"\"\"", "Be brief.", "Rhyme.\"\"\""]).0, ["/system Be brief.\nRhyme."]);
    }

    #[test]
    fn a_backslash_continues_the_line() {
        assert_eq!(messages(&["a\\", "b\\", "c", "d"]).0, ["a\nb\nc", "d"]);
    }

    #[test]
    fn pasted_text_may_contain_the_mark_and_whole_blocks() {
        assert_eq!(
            messages(&["def f():\n    \"\"\"Doc.\"\"\"\n    return 1"]).0,
            ["def f():\n    \"\"\"Doc.\"\"\"\n    return 1"]
        );
        assert_eq!(messages(&["\"\"\"a\nb\"\"\""]).0, ["a\nb"]);
    }

    #[test]
    fn an_unfinished_message_is_known() {
        let mut input = MessageInput::default();
        assert!(input.push("\"\"\"").is_none() && input.is_open() && input.is_block());
        input.push("a");
        input.clear();
        assert!(!input.is_open() && input.finish().is_none());
        assert_eq!(messages(&["a\\"]), (vec![], Some("a\n".into())));
    }
}
