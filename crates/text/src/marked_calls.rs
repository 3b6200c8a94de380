//! Tool calls between single-token markers, as V3, R1, V3.1 and V3.2-Exp write them.

use serde::de::IgnoredAny;

use crate::Tokenizer;
use crate::calls::{CallParser, Event};
use crate::grammar::{CallRules, Callable, document, literal};
use crate::prompt::{CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, SEP};

/// A name longer than this is no name.
const MOST_NAME_BYTES: usize = 1024;
/// White space and backticks longer than this are no fence, and the first line of one is no longer. What is held is looked at again
/// with every token.
const MOST_FENCE_BYTES: usize = 1024;

/// What stands between the markers of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// V3, R1: type, separator, name, and the arguments in a code fence.
    Fenced,
    /// V3.1, V3.2-Exp: name, separator, the arguments.
    Bare,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
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

/// Reads calls as they come. Until the first name is complete the block may still turn out to be content.
pub(crate) struct MarkedCalls {
    style: Style,
    markers: Vec<(u32, Marker)>,
    state: State,
    /// The block as it came, while no call of it is certain.
    raw: String,
    calls: usize,
    /// Type or name.
    header: String,
    /// What may belong to a fence.
    held: String,
    /// The arguments of the last call.
    arguments: String,
}

impl MarkedCalls {
    pub(crate) fn new(tokenizer: &Tokenizer, style: Style) -> Self {
        let markers = [
            (CALLS_BEGIN, Marker::CallsBegin),
            (CALLS_END, Marker::CallsEnd),
            (CALL_BEGIN, Marker::CallBegin),
            (CALL_END, Marker::CallEnd),
            (SEP, Marker::Sep),
        ];
        Self {
            style,
            markers: markers.iter().filter_map(|&(token, marker)| Some((tokenizer.marker(token)?, marker))).collect(),
            state: State::Content,
            raw: String::new(),
            calls: 0,
            header: String::new(),
            held: String::new(),
            arguments: String::new(),
        }
    }

    /// Keeps the block's own text while it may still be content.
    fn remember(&mut self, text: &str) {
        if self.calls == 0 {
            self.raw.push_str(text);
        }
    }

    /// The block is no block: what came of it is content, unless calls of it are out already.
    fn give_up(&mut self, events: &mut Vec<Event>) {
        self.state = if self.calls == 0 { State::Content } else { State::Between };
        events.push(Event::Text(std::mem::take(&mut self.raw)));
        self.header.clear();
    }

    /// The name is complete.
    fn begin_call(&mut self, then: State, events: &mut Vec<Event>) {
        let name = std::mem::take(&mut self.header).trim().to_owned();
        if name.is_empty() {
            return self.give_up(events);
        }
        self.calls += 1;
        self.raw.clear();
        self.held.clear();
        self.arguments.clear();
        self.state = then;
        events.push(Event::Call { name });
    }

    fn say(&mut self, text: &str, events: &mut Vec<Event>) {
        self.arguments.push_str(text);
        events.push(Event::Arguments(text.into()));
    }

    /// The fence's first line is held until its line break; text that is no fence belongs to the arguments.
    fn fence(&mut self, text: &str, events: &mut Vec<Event>) {
        self.held.push_str(text);
        let line = self.held.trim_start();
        let too_long = self.held.len() > MOST_FENCE_BYTES && !line.contains('\n');
        if line.starts_with("```") && !too_long {
            let Some((_, arguments)) = line.split_once('\n') else { return };
            let arguments = arguments.to_owned();
            self.held.clear();
            self.state = State::Arguments;
            self.text(&arguments, events);
        } else if too_long || !"```".starts_with(line) {
            self.state = State::Arguments;
            self.text("", events);
        }
    }

    fn arguments(&mut self, text: &str, events: &mut Vec<Event>) {
        if self.style == Style::Bare {
            return self.say(text, events);
        }
        self.held.push_str(text);
        let fence = closing_fence(&self.held);
        let fence = if self.held.len() - fence > MOST_FENCE_BYTES { self.held.len() } else { fence };
        let kept = self.held.split_off(fence);
        let sure = std::mem::replace(&mut self.held, kept);
        self.say(&sure, events);
    }

    /// The end of a call's arguments: the closing fence goes.
    fn end_arguments(&mut self, events: &mut Vec<Event>) {
        let held = std::mem::take(&mut self.held);
        let fence = held.trim();
        if self.state == State::Arguments && fence != "```" && !fence.is_empty() {
            self.say(held.trim_end(), events);
        }
    }
}

/// Where the longest end of `text` begins that is white space around at most three backticks.
fn closing_fence(text: &str) -> usize {
    let mut rest = text.trim_end();
    for _ in 0..3 {
        rest = rest.strip_suffix('`').unwrap_or(rest);
    }
    rest.trim_end().len()
}

impl CallParser for MarkedCalls {
    fn text(&mut self, text: &str, events: &mut Vec<Event>) {
        match self.state {
            State::Content => events.push(Event::Text(text.into())),
            State::Between => {
                self.remember(text);
                if self.calls == 0 && !text.trim().is_empty() {
                    self.give_up(events);
                }
            }
            State::Header | State::Name => {
                let (name, rest) = match text.split_once('\n') {
                    Some((name, rest)) if self.state == State::Name => (name, Some(rest)),
                    _ => (text, None),
                };
                self.header.push_str(name);
                self.remember(if rest.is_some() { &text[..name.len() + 1] } else { text });
                if let Some(rest) = rest {
                    self.begin_call(State::Fence, events);
                    self.text(rest, events);
                } else if self.header.len() > MOST_NAME_BYTES {
                    self.give_up(events);
                }
            }
            State::Fence => self.fence(text, events),
            State::Arguments => self.arguments(text, events),
        }
    }

    fn marker(&mut self, id: u32, token: &str, events: &mut Vec<Event>) {
        let marker = self.markers.iter().find(|(known, _)| *known == id).map(|(_, marker)| *marker);
        let in_call = matches!(self.state, State::Fence | State::Arguments);
        match (self.state, marker) {
            (_, Some(Marker::CallBegin)) => {
                if in_call {
                    self.end_arguments(events);
                }
                self.remember(token);
                self.header.clear();
                self.state = State::Header;
            }
            (State::Content | State::Between, Some(Marker::CallsBegin)) => {
                self.remember(token);
                self.state = State::Between;
            }
            (State::Header, Some(Marker::Sep)) => {
                self.remember(token);
                if self.style == Style::Bare {
                    self.begin_call(State::Arguments, events);
                } else {
                    self.header.clear();
                    self.state = State::Name;
                }
            }
            (State::Fence | State::Arguments, Some(Marker::CallEnd | Marker::CallsEnd)) => {
                self.end_arguments(events);
                self.state = State::Between;
            }
            (State::Between, Some(Marker::CallsEnd)) if self.calls > 0 => {}
            (State::Between | State::Header | State::Name, Some(_)) => {
                self.remember(token);
                self.give_up(events);
            }
            _ => self.text(token, events),
        }
    }

    /// What is held is a header or part of a fence, and nobody's words.
    fn finish(&mut self, _cut: bool, _events: &mut Vec<Event>) -> bool {
        let in_call = matches!(self.state, State::Fence | State::Arguments);
        !in_call || serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }
}

/// The rules of a block that calls `tools`; of more than one call if `many`.
pub(crate) fn rules(style: Style, tokenizer: &Tokenizer, tools: &[Callable], many: bool) -> CallRules {
    let id = |token| tokenizer.marker(token).expect("the encoding was refused without its markers");
    let marker = |token| format!("<[{}]>", id(token));
    let (begin, end, sep) = (marker(CALL_BEGIN), marker(CALL_END), marker(SEP));
    let names: Vec<String> = (0..tools.len()).map(|index| format!("call_{index}")).collect();
    let between = if style == Style::Fenced { "\"\\n\"" } else { "" };
    let more = if many { format!("({between} call)*") } else { String::new() };
    let mut rules = format!("calls: call {more} {}\ncall: {begin} ({}) {end}\n", marker(CALLS_END), names.join(" | "));
    for (index, tool) in tools.iter().enumerate() {
        let schema = document(tool.schema.value());
        let (name, fenced) = (literal(&tool.name), literal(&format!("{}\n```json\n", tool.name)));
        rules += &match style {
            Style::Bare => format!("call_{index}: {name} {sep} %json {schema}\n"),
            Style::Fenced => format!("call_{index}: \"function\" {sep} {fenced} %json {schema} \"\\n```\"\n"),
        };
    }
    CallRules { lead: String::new(), marker: id(CALLS_BEGIN), rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments of a call in fenced style whose text comes in these pieces, and what is held of them.
    fn fenced(state: State, pieces: impl Iterator<Item = &'static str>) -> (String, usize) {
        let tokenizer = crate::tokenizer::tests::tiny(&[]);
        let (mut calls, mut events, mut most) = (MarkedCalls::new(&tokenizer, Style::Fenced), Vec::new(), 0);
        (calls.state, calls.calls) = (state, 1);
        for piece in pieces {
            calls.text(piece, &mut events);
            most = most.max(calls.held.len());
        }
        calls.end_arguments(&mut events);
        let text = |event| if let Event::Arguments(text) = event { text } else { String::new() };
        (events.into_iter().map(text).collect(), most)
    }

    #[test]
    fn what_may_be_a_fence_is_not_held_for_ever() {
        let (said, held) = fenced(State::Arguments, std::iter::repeat_n(" ", 100_000));
        assert!(said.len() > 90_000 && held <= MOST_FENCE_BYTES, "{} {held}", said.len());
        for begins in ["```", " "] {
            let pieces = std::iter::once(begins).chain(std::iter::repeat_n("x", 100_000));
            let (said, held) = fenced(State::Fence, pieces);
            assert!(said.ends_with("xxx") && held <= MOST_FENCE_BYTES + 1, "{} {held}", said.len());
        }
        let (said, _) = fenced(State::Fence, ["```json\n", "{}", "\n", "```"].into_iter());
        assert_eq!(said, "{}");
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
            assert_eq!(&text[closing_fence(text)..], held, "{text:?}");
        }
    }
}
