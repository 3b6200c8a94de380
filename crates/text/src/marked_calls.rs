//! The parser and grammar of tool calls between single-token markers (V3, R1, V3.1, V3.2-Exp).

use serde::de::IgnoredAny;

use crate::call_parser::{CallParser, ParserEvent};
use crate::control_tokens::{CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, SEP};
use crate::grammar::{CallRules, CallStart, ToolSignature, grammar_schema, lark_string};
use crate::tokenizer::Tokenizer;

/// Maximum length of a function name. A longer text is not a name.
const MAX_NAME_BYTES: usize = 1024;
/// Maximum length of a fence (white space and backticks) and of its first line. The held text is
/// examined again with every token.
const MAX_FENCE_BYTES: usize = 1024;

/// The layout of a call between its markers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallStyle {
    /// V3 and R1: type, separator, name, and the arguments in a code fence.
    Fenced,
    /// V3.1 and V3.2-Exp: name, separator, arguments.
    Bare,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ParserState {
    Content,
    /// Inside the block, outside a call.
    Between,
    /// Before the separator: the name (bare) or the type (fenced).
    Header,
    /// After the separator, before the line break: the name (fenced).
    Name,
    /// The line that opens the fence.
    Fence,
    Arguments,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    CallsBegin,
    CallsEnd,
    CallBegin,
    CallEnd,
    Sep,
}

/// Parses calls as they are generated. Until the first name is complete, the block may still turn
/// out to be content.
pub(crate) struct MarkedCallParser {
    style: CallStyle,
    markers: Vec<(u32, Marker)>,
    state: ParserState,
    /// The text of the block, until its first call is certain.
    raw_block: String,
    call_count: usize,
    /// The type or the name.
    header: String,
    /// Text that may belong to a fence.
    pending: String,
    /// The arguments of the last call.
    arguments: String,
}

impl MarkedCallParser {
    pub(crate) fn new(tokenizer: &Tokenizer, style: CallStyle) -> Self {
        let markers = [
            (CALLS_BEGIN, Marker::CallsBegin),
            (CALLS_END, Marker::CallsEnd),
            (CALL_BEGIN, Marker::CallBegin),
            (CALL_END, Marker::CallEnd),
            (SEP, Marker::Sep),
        ];
        Self {
            style,
            markers: markers
                .iter()
                .filter_map(|&(token, marker)| Some((tokenizer.added_token_id(token)?, marker)))
                .collect(),
            state: ParserState::Content,
            raw_block: String::new(),
            call_count: 0,
            header: String::new(),
            pending: String::new(),
            arguments: String::new(),
        }
    }

    /// Keeps the text of the block while it may still be content.
    fn record_raw(&mut self, text: &str) {
        if self.call_count == 0 {
            self.raw_block.push_str(text);
        }
    }

    /// Emits the text of an invalid block as content, unless calls of it have been emitted.
    fn revert_to_content(&mut self, events: &mut Vec<ParserEvent>) {
        self.state = if self.call_count == 0 { ParserState::Content } else { ParserState::Between };
        events.push(ParserEvent::Text(std::mem::take(&mut self.raw_block)));
        self.header.clear();
    }

    /// Begins a call, whose name is complete.
    fn begin_call(&mut self, then: ParserState, events: &mut Vec<ParserEvent>) {
        let name = std::mem::take(&mut self.header).trim().to_owned();
        if name.is_empty() {
            return self.revert_to_content(events);
        }
        self.call_count += 1;
        self.raw_block.clear();
        self.pending.clear();
        self.arguments.clear();
        self.state = then;
        events.push(ParserEvent::Call { name });
    }

    fn push_arguments(&mut self, text: &str, events: &mut Vec<ParserEvent>) {
        self.arguments.push_str(text);
        events.push(ParserEvent::Arguments(text.into()));
    }

    /// Holds the first line of the fence until its line break. Text that is not a fence belongs
    /// to the arguments.
    fn push_fence_line(&mut self, text: &str, events: &mut Vec<ParserEvent>) {
        self.pending.push_str(text);
        let line = self.pending.trim_start();
        let too_long = self.pending.len() > MAX_FENCE_BYTES && !line.contains('\n');
        if line.starts_with("```") && !too_long {
            let Some((_, arguments)) = line.split_once('\n') else { return };
            let arguments = arguments.to_owned();
            self.pending.clear();
            self.state = ParserState::Arguments;
            self.push_text(&arguments, events);
        } else if too_long || !"```".starts_with(line) {
            self.state = ParserState::Arguments;
            self.push_text("", events);
        }
    }

    fn push_fenced_arguments(&mut self, text: &str, events: &mut Vec<ParserEvent>) {
        if self.style == CallStyle::Bare {
            return self.push_arguments(text, events);
        }
        self.pending.push_str(text);
        let fence = closing_fence_start(&self.pending);
        let fence = if self.pending.len() - fence > MAX_FENCE_BYTES { self.pending.len() } else { fence };
        let kept = self.pending.split_off(fence);
        let certain = std::mem::replace(&mut self.pending, kept);
        self.push_arguments(&certain, events);
    }

    /// Ends the arguments of a call and drops the closing fence.
    fn end_arguments(&mut self, events: &mut Vec<ParserEvent>) {
        let held = std::mem::take(&mut self.pending);
        let fence = held.trim();
        if self.state == ParserState::Arguments && fence != "```" && !fence.is_empty() {
            self.push_arguments(held.trim_end(), events);
        }
    }
}

/// The start of the longest suffix of `text` that is white space around at most three backticks.
fn closing_fence_start(text: &str) -> usize {
    let mut rest = text.trim_end();
    for _ in 0..3 {
        rest = rest.strip_suffix('`').unwrap_or(rest);
    }
    rest.trim_end().len()
}

impl CallParser for MarkedCallParser {
    fn push_text(&mut self, text: &str, events: &mut Vec<ParserEvent>) {
        match self.state {
            ParserState::Content => events.push(ParserEvent::Text(text.into())),
            ParserState::Between => {
                self.record_raw(text);
                if self.call_count == 0 && !text.trim().is_empty() {
                    self.revert_to_content(events);
                }
            }
            ParserState::Header | ParserState::Name => {
                let (name, after_name) = match text.split_once('\n') {
                    Some((name, rest)) if self.state == ParserState::Name => (name, Some(rest)),
                    _ => (text, None),
                };
                self.header.push_str(name);
                self.record_raw(if after_name.is_some() { &text[..name.len() + 1] } else { text });
                if let Some(rest) = after_name {
                    self.begin_call(ParserState::Fence, events);
                    self.push_text(rest, events);
                } else if self.header.len() > MAX_NAME_BYTES {
                    self.revert_to_content(events);
                }
            }
            ParserState::Fence => self.push_fence_line(text, events),
            ParserState::Arguments => self.push_fenced_arguments(text, events),
        }
    }

    fn push_marker(&mut self, id: u32, token: &str, events: &mut Vec<ParserEvent>) {
        let marker = self.markers.iter().find(|(known, _)| *known == id).map(|(_, marker)| *marker);
        let in_call = matches!(self.state, ParserState::Fence | ParserState::Arguments);
        match (self.state, marker) {
            (_, Some(Marker::CallBegin)) => {
                if in_call {
                    self.end_arguments(events);
                }
                self.record_raw(token);
                self.header.clear();
                self.state = ParserState::Header;
            }
            (ParserState::Content | ParserState::Between, Some(Marker::CallsBegin)) => {
                self.record_raw(token);
                self.state = ParserState::Between;
            }
            (ParserState::Header, Some(Marker::Sep)) => {
                self.record_raw(token);
                if self.style == CallStyle::Bare {
                    self.begin_call(ParserState::Arguments, events);
                } else {
                    self.header.clear();
                    self.state = ParserState::Name;
                }
            }
            (ParserState::Fence | ParserState::Arguments, Some(Marker::CallEnd | Marker::CallsEnd)) => {
                self.end_arguments(events);
                self.state = ParserState::Between;
            }
            (ParserState::Between, Some(Marker::CallsEnd)) if self.call_count > 0 => {}
            (ParserState::Between | ParserState::Header | ParserState::Name, Some(_)) => {
                self.record_raw(token);
                self.revert_to_content(events);
            }
            _ => self.push_text(token, events),
        }
    }

    /// Held text is dropped: it is a header or part of a fence, not content.
    fn finish(&mut self, _truncated: bool, _events: &mut Vec<ParserEvent>) -> bool {
        let in_call = matches!(self.state, ParserState::Fence | ParserState::Arguments);
        !in_call || serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }
}

/// The rules of a block of calls of `tools`; with `allow_parallel` it may have several calls.
pub(crate) fn call_rules(
    style: CallStyle,
    tokenizer: &Tokenizer,
    tools: &[ToolSignature],
    allow_parallel: bool,
) -> CallRules {
    let id = |token| tokenizer.added_token_id(token).expect("the encoding was refused without its markers");
    let marker = |token| format!("<[{}]>", id(token));
    let (begin, end, sep) = (marker(CALL_BEGIN), marker(CALL_END), marker(SEP));
    let names: Vec<String> = (0..tools.len()).map(|index| format!("call_{index}")).collect();
    let between = if style == CallStyle::Fenced { "\"\\n\"" } else { "" };
    let more = if allow_parallel { format!("({between} call)*") } else { String::new() };
    let mut rules = format!("calls: call {more} {}\ncall: {begin} ({}) {end}\n", marker(CALLS_END), names.join(" | "));
    for (index, tool) in tools.iter().enumerate() {
        let schema = grammar_schema(tool.schema.value());
        let name = lark_string(&tool.name);
        let fenced = lark_string(&format!("{}\n```json\n", tool.name));
        rules += &match style {
            CallStyle::Bare => format!("call_{index}: {name} {sep} %json {schema}\n"),
            CallStyle::Fenced => format!("call_{index}: \"function\" {sep} {fenced} %json {schema} \"\\n```\"\n"),
        };
    }
    CallRules { start: CallStart { lead: "", marker: id(CALLS_BEGIN) }, rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments of a fenced call whose text arrives in `pieces`, and the most bytes held.
    fn fenced_arguments(state: ParserState, pieces: impl Iterator<Item = &'static str>) -> (String, usize) {
        let tokenizer = crate::tokenizer::tests::byte_tokenizer(&[]);
        let mut parser = MarkedCallParser::new(&tokenizer, CallStyle::Fenced);
        let mut events = Vec::new();
        let mut most_held = 0;
        parser.state = state;
        parser.call_count = 1;
        for piece in pieces {
            parser.push_text(piece, &mut events);
            most_held = most_held.max(parser.pending.len());
        }
        parser.end_arguments(&mut events);
        let text = |event| if let ParserEvent::Arguments(text) = event { text } else { String::new() };
        (events.into_iter().map(text).collect(), most_held)
    }

    #[test]
    fn what_may_be_a_fence_is_not_held_for_ever() {
        let (arguments, held) = fenced_arguments(ParserState::Arguments, std::iter::repeat_n(" ", 100_000));
        assert!(arguments.len() > 90_000 && held <= MAX_FENCE_BYTES, "{} {held}", arguments.len());
        for begins in ["```", " "] {
            let pieces = std::iter::once(begins).chain(std::iter::repeat_n("x", 100_000));
            let (arguments, held) = fenced_arguments(ParserState::Fence, pieces);
            assert!(arguments.ends_with("xxx") && held <= MAX_FENCE_BYTES + 1, "{} {held}", arguments.len());
        }
        let (arguments, _) = fenced_arguments(ParserState::Fence, ["```json\n", "{}", "\n", "```"].into_iter());
        assert_eq!(arguments, "{}");
    }

    #[test]
    fn only_what_may_be_a_closing_fence_is_held() {
        for (text, held) in [
            ("{}\n```", "\n```"),
            ("{}\n  ``", "\n  ``"),
            ("{}", ""),
            ("{ ", " "),
            ("a```` ", "``` "),
            ("``` ```", " ```"),
            ("```\nx", ""),
        ] {
            assert_eq!(&text[closing_fence_start(text)..], held, "{text:?}");
        }
    }
}
