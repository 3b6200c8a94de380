//! Tool calls between single-token markers, as V3, R1, V3.1 and V3.2-Exp write them.

use serde::de::IgnoredAny;

use crate::Tokenizer;
use crate::call_parser::{CallParser, ParserEvent};
use crate::grammar::{CallRules, ToolSignature, grammar_schema, lark_string};
use crate::prompt_format::{CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, SEP};

/// A name longer than this is no name.
const MAX_NAME_BYTES: usize = 1024;
/// White space and backticks longer than this are no fence, and the first line of one is no longer.
/// What is held is looked at again with every token.
const MAX_FENCE_BYTES: usize = 1024;

/// What stands between the markers of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallStyle {
    /// V3, R1: type, separator, name, and the arguments in a code fence.
    Fenced,
    /// V3.1, V3.2-Exp: name, separator, the arguments.
    Bare,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ParserState {
    Content,
    /// In the block, outside of a call.
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

/// Reads calls as they come. Until the first name is complete the block may still turn
/// out to be content.
pub(crate) struct MarkedCallParser {
    style: CallStyle,
    markers: Vec<(u32, Marker)>,
    state: ParserState,
    /// The block as it came, while no call of it is certain.
    raw_block: String,
    call_count: usize,
    /// Type or name.
    header: String,
    /// What may belong to a fence.
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

    /// Keeps the block's own text while it may still be content.
    fn record_raw(&mut self, text: &str) {
        if self.call_count == 0 {
            self.raw_block.push_str(text);
        }
    }

    /// The block is no block: what came of it is content, unless calls of it are out already.
    fn revert_to_content(&mut self, events: &mut Vec<ParserEvent>) {
        self.state = if self.call_count == 0 { ParserState::Content } else { ParserState::Between };
        events.push(ParserEvent::Text(std::mem::take(&mut self.raw_block)));
        self.header.clear();
    }

    /// The name is complete.
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

    /// The fence's first line is held until its line break; text that is no fence belongs
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

    /// The end of a call's arguments: the closing fence goes.
    fn end_arguments(&mut self, events: &mut Vec<ParserEvent>) {
        let held = std::mem::take(&mut self.pending);
        let fence = held.trim();
        if self.state == ParserState::Arguments && fence != "```" && !fence.is_empty() {
            self.push_arguments(held.trim_end(), events);
        }
    }
}

/// Where the longest end of `text` begins that is white space around at most three backticks.
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

    /// What is held is a header or part of a fence, and nobody's words.
    fn finish(&mut self, _cut: bool, _events: &mut Vec<ParserEvent>) -> bool {
        let in_call = matches!(self.state, ParserState::Fence | ParserState::Arguments);
        !in_call || serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }
}

/// The rules of a block that calls `tools`; of more than one call if `many`.
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
        let (name, fenced) = (lark_string(&tool.name), lark_string(&format!("{}\n```json\n", tool.name)));
        rules += &match style {
            CallStyle::Bare => format!("call_{index}: {name} {sep} %json {schema}\n"),
            CallStyle::Fenced => format!("call_{index}: \"function\" {sep} {fenced} %json {schema} \"\\n```\"\n"),
        };
    }
    CallRules { lead: String::new(), marker: id(CALLS_BEGIN), rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments of a call in fenced style whose text comes in these pieces, and what
    /// is held of them.
    fn fenced_arguments(state: ParserState, pieces: impl Iterator<Item = &'static str>) -> (String, usize) {
        let tokenizer = crate::tokenizer::tests::byte_tokenizer(&[]);
        let (mut calls, mut events, mut most) = (MarkedCallParser::new(&tokenizer, CallStyle::Fenced), Vec::new(), 0);
        (calls.state, calls.call_count) = (state, 1);
        for piece in pieces {
            calls.push_text(piece, &mut events);
            most = most.max(calls.pending.len());
        }
        calls.end_arguments(&mut events);
        let text = |event| if let ParserEvent::Arguments(text) = event { text } else { String::new() };
        (events.into_iter().map(text).collect(), most)
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
