//! The parser of tool calls in DSML, the markup of V3.2. Its tags begin with `<｜DSML｜`, where
//! `｜DSML｜` is one token.
//!
//! The reference parser rejects every deviation. This one tolerates deviations that models write:
//! other white space, a missing `string` attribute, missing end tags. A tag is recognised by its
//! token; the same characters as ordinary text are content.

use chat::Tool;

use crate::call_parser::{CallParser, ParserEvent};
use crate::control_tokens::DSML;
use crate::python_json::json_string;
use crate::tokenizer::Tokenizer;
use tag::{Tag, TagName, TagStep};
use value::{ParameterValue, declared_types};

pub(crate) mod grammar;
mod tag;
#[cfg(test)]
mod tests;
mod value;

enum ParserState {
    Content,
    /// Inside the block, outside a call.
    Block,
    /// Inside a call, outside a parameter.
    Invoke,
    Parameter(ParameterValue),
}

/// Parses calls as they are generated. Until the first `invoke` tag is complete, the block may
/// still turn out to be content.
pub(crate) struct DsmlParser {
    marker: Option<u32>,
    tools: Vec<Tool>,
    state: ParserState,
    /// Text that may begin a tag: at most two line breaks and `<`, or `</`.
    pending: String,
    tag: Option<Tag>,
    /// The text of the block, until its first call is certain.
    raw_block: String,
    call_count: usize,
    /// Name and number of parameters of the last call.
    current_call: (String, usize),
}

impl DsmlParser {
    pub(crate) fn new(tokenizer: &Tokenizer, tools: &[Tool]) -> Self {
        Self {
            marker: tokenizer.added_token_id(DSML),
            tools: tools.to_vec(),
            state: ParserState::Content,
            pending: String::new(),
            tag: None,
            raw_block: String::new(),
            call_count: 0,
            current_call: (String::new(), 0),
        }
    }

    /// Handles text that is certainly not part of a tag.
    fn push_plain(&mut self, text: &str, events: &mut Vec<ParserEvent>) {
        match &mut self.state {
            ParserState::Content => events.push(ParserEvent::Text(text.into())),
            ParserState::Block if self.call_count == 0 => {
                self.raw_block.push_str(text);
                if !text.trim().is_empty() {
                    self.revert_to_content(events);
                }
            }
            ParserState::Block | ParserState::Invoke => {}
            ParserState::Parameter(value) => events.push(ParserEvent::Arguments(value.push(text))),
        }
    }

    /// Emits the text of the block as content, because the block is not valid.
    fn revert_to_content(&mut self, events: &mut Vec<ParserEvent>) {
        self.state = ParserState::Content;
        events.push(ParserEvent::Text(std::mem::take(&mut self.raw_block)));
    }

    /// Handles a complete tag.
    fn handle_tag(&mut self, tag: Tag, events: &mut Vec<ParserEvent>) {
        if self.call_count == 0 && !matches!(self.state, ParserState::Content) {
            self.raw_block.push_str(&tag.raw_text());
        }
        match (&self.state, tag.tag_name(), tag.closing) {
            (ParserState::Content, TagName::FunctionCalls, false) => {
                self.raw_block = tag.raw_text();
                self.state = ParserState::Block;
            }
            (ParserState::Content, TagName::Invoke, false) => {
                self.raw_block = tag.raw_text();
                self.begin_call(&tag, events);
            }
            (ParserState::Content, ..) => self.push_plain(&tag.raw_text(), events),
            (ParserState::Block, TagName::Invoke, false) => self.begin_call(&tag, events),
            (ParserState::Block, TagName::FunctionCalls, false) => {}
            (ParserState::Block, ..) if self.call_count == 0 => self.revert_to_content(events),
            (ParserState::Block, ..) => {}
            (ParserState::Invoke, TagName::Parameter, false) => self.begin_parameter(&tag, events),
            (ParserState::Invoke, TagName::Parameter, true) => {}
            (ParserState::Invoke, name, closing) => {
                self.end_call(events);
                if (name, closing) == (TagName::Invoke, false) {
                    self.begin_call(&tag, events);
                }
            }
            (ParserState::Parameter(_), TagName::FunctionCalls, false) => self.push_plain(&tag.raw_text(), events),
            (ParserState::Parameter(_), name, closing) => {
                self.end_parameter(events);
                if (name, closing) != (TagName::Parameter, true) {
                    self.handle_tag(tag, events);
                }
            }
        }
    }

    fn begin_call(&mut self, tag: &Tag, events: &mut Vec<ParserEvent>) {
        let Some(name) = tag.name_attribute().filter(|name| !name.is_empty()) else {
            if self.call_count == 0 {
                self.revert_to_content(events);
            }
            return;
        };
        self.raw_block.clear();
        self.call_count += 1;
        self.current_call = (name.clone(), 0);
        self.state = ParserState::Invoke;
        events.push(ParserEvent::Call { name });
    }

    fn end_call(&mut self, events: &mut Vec<ParserEvent>) {
        events.push(ParserEvent::Arguments(if self.current_call.1 == 0 { "{}" } else { "}" }.into()));
        self.state = ParserState::Block;
    }

    /// Begins a parameter. One without a name is skipped, including its value.
    fn begin_parameter(&mut self, tag: &Tag, events: &mut Vec<ParserEvent>) {
        let Some(key) = tag.name_attribute() else { return };
        let (tool, parameters) = &mut self.current_call;
        let value = ParameterValue::new(tag.string_attribute(), declared_types(&self.tools, tool, &key));
        let open = if *parameters == 0 { "{" } else { ", " };
        *parameters += 1;
        events.push(ParserEvent::Arguments(format!("{open}{}: {}", json_string(&key), value.opening_json())));
        self.state = ParserState::Parameter(value);
    }

    fn end_parameter(&mut self, events: &mut Vec<ParserEvent>) {
        if let ParserState::Parameter(value) = std::mem::replace(&mut self.state, ParserState::Invoke) {
            events.push(ParserEvent::Arguments(value.close()));
        }
    }

    /// Length of the end of `pending` that may begin a tag. The line breaks before a block
    /// belong to the block.
    fn pending_tag_len(&self) -> usize {
        if !matches!(self.state, ParserState::Content) {
            return if self.pending.ends_with("</") { 2 } else { usize::from(self.pending.ends_with('<')) };
        }
        let text = self.pending.strip_suffix('<').unwrap_or(&self.pending);
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\n').unwrap_or(text);
        self.pending.len() - text.len()
    }
}

impl CallParser for DsmlParser {
    fn push_text(&mut self, text: &str, events: &mut Vec<ParserEvent>) {
        let mut rest = text.chars();
        while let Some(tag) = &mut self.tag {
            let before = rest.clone();
            let Some(next) = rest.next() else { return };
            let step = tag.push(next);
            if step == TagStep::Incomplete {
                continue;
            }
            let tag = self.tag.take().expect("it was just there");
            if step == TagStep::Complete {
                self.handle_tag(tag, events);
            } else {
                self.push_plain(&tag.raw_text(), events);
                rest = before;
            }
        }
        self.pending.push_str(rest.as_str());
        let kept = self.pending.split_off(self.pending.len() - self.pending_tag_len());
        let certain = std::mem::replace(&mut self.pending, kept);
        if !certain.is_empty() {
            self.push_plain(&certain, events);
        }
    }

    fn push_marker(&mut self, id: u32, token: &str, events: &mut Vec<ParserEvent>) {
        if let Some(tag) = self.tag.take() {
            self.push_plain(&tag.raw_text(), events);
        }
        let before_marker = std::mem::take(&mut self.pending);
        if Some(id) == self.marker && (before_marker.ends_with('<') || before_marker.ends_with("</")) {
            self.tag = Some(Tag::new(before_marker.ends_with("</"), before_marker + token));
        } else {
            self.push_plain(&(before_marker + token), events);
        }
    }

    fn finish(&mut self, truncated: bool, events: &mut Vec<ParserEvent>) -> bool {
        let inside_a_tag = self.tag.take().is_some();
        match &self.state {
            // An incomplete tag is markup, not content.
            ParserState::Content if inside_a_tag => true,
            ParserState::Content => {
                events.push(ParserEvent::Text(std::mem::take(&mut self.pending)));
                true
            }
            ParserState::Block => true,
            ParserState::Invoke => {
                if !truncated {
                    self.end_call(events);
                }
                !truncated
            }
            // Here a pending `</` is more likely markup than content.
            ParserState::Parameter(value) => {
                events.push(ParserEvent::Arguments(value.buffered_text().into()));
                false
            }
        }
    }
}
