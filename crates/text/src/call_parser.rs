//! What reads tool calls out of an answer has in common.

/// A piece of an answer, in the order of [`chat::Delta`]: text, then calls.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ParserEvent {
    Text(String),
    /// A call begins.
    Call {
        name: String,
    },
    /// More of the last call's arguments.
    Arguments(String),
}

/// Tells an answer's content and its calls apart, while it grows. Never fails: what cannot be read
/// as calls is content.
pub(crate) trait CallParser: Send {
    /// Takes ordinary text.
    fn push_text(&mut self, text: &str, events: &mut Vec<ParserEvent>);

    /// Takes an added token.
    fn push_marker(&mut self, id: u32, token: &str, events: &mut Vec<ParserEvent>);

    /// No more comes. `cut`: something stopped the model, so an unfinished call stays as it is.
    ///
    /// Returns false when the last call's arguments are not complete.
    fn finish(&mut self, truncated: bool, events: &mut Vec<ParserEvent>) -> bool;
}

/// The parser of answers that are text and nothing else: raw and fill-in-the-middle completions.
pub(crate) struct PlainTextParser;

impl CallParser for PlainTextParser {
    fn push_text(&mut self, text: &str, events: &mut Vec<ParserEvent>) {
        events.push(ParserEvent::Text(text.into()));
    }

    fn push_marker(&mut self, _id: u32, token: &str, events: &mut Vec<ParserEvent>) {
        events.push(ParserEvent::Text(token.into()));
    }

    fn finish(&mut self, _cut: bool, _events: &mut Vec<ParserEvent>) -> bool {
        true
    }
}
