//! The interface of the parsers of tool calls.

/// A piece of an answer. The order is that of [`chat::Delta`]: text, then calls.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ParserEvent {
    Text(String),
    /// The beginning of a call.
    Call {
        name: String,
    },
    /// A piece of the last call's arguments.
    Arguments(String),
}

/// Separates the content of a streamed answer from its tool calls. It never fails: text that is
/// not a valid call is content.
pub(crate) trait CallParser: Send {
    /// Parses ordinary text.
    fn push_text(&mut self, text: &str, events: &mut Vec<ParserEvent>);

    /// Parses an added token.
    fn push_marker(&mut self, id: u32, token: &str, events: &mut Vec<ParserEvent>);

    /// Ends the answer. With `truncated` the model did not end it itself, so an unfinished call
    /// is not completed.
    ///
    /// Returns whether the last call's arguments are complete.
    fn finish(&mut self, truncated: bool, events: &mut Vec<ParserEvent>) -> bool;
}

/// The parser of plain-text answers: raw and fill-in-the-middle completions.
pub(crate) struct PlainTextParser {
    /// Whether added tokens are shown as text. Those of a completion of tokens, which may
    /// reason, are not.
    pub(crate) shows_markers: bool,
}

impl CallParser for PlainTextParser {
    fn push_text(&mut self, text: &str, events: &mut Vec<ParserEvent>) {
        events.push(ParserEvent::Text(text.into()));
    }

    fn push_marker(&mut self, _id: u32, token: &str, events: &mut Vec<ParserEvent>) {
        if self.shows_markers {
            events.push(ParserEvent::Text(token.into()));
        }
    }

    fn finish(&mut self, _truncated: bool, _events: &mut Vec<ParserEvent>) -> bool {
        true
    }
}
