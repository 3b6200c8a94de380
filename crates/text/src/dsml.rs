//! Tool calls in DSML, the markup of V3.2: tags that begin with `<｜DSML｜`, where
//! `｜DSML｜` is one token.
//!
//! The reference parser refuses whatever is not exact; this one takes what a model may write
//! instead: other white space, a missing `string` attribute, missing end tags. Tags are known by
//! the token: typed in ordinary letters they are text.

use chat::Tool;

use crate::Tokenizer;
use crate::call_parser::{CallParser, ParserEvent};
use crate::prompt_format::DSML;
use crate::python_json::json_string;
use tag::{Tag, TagName, TagStep};
use value::{ParameterValue, declared_types};

pub(crate) mod grammar;
mod tag;
#[cfg(test)]
mod tests;
mod value;

enum ParserState {
    Content,
    /// In the block, outside of a call.
    Block,
    /// In a call, outside of a parameter.
    Invoke,
    Parameter(ParameterValue),
}

/// Reads calls as they come. Until the first `invoke` tag is complete the block may still turn
/// out to be content.
pub(crate) struct DsmlParser {
    marker: Option<u32>,
    tools: Vec<Tool>,
    state: ParserState,
    /// Text that may open a tag: at most two line breaks and `<`, or `</`.
    pending: String,
    tag: Option<Tag>,
    /// The block as it came, while no call of it is certain.
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

    /// Takes text that is certainly not part of a tag.
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

    /// The block is no block: what came of it is content.
    fn revert_to_content(&mut self, events: &mut Vec<ParserEvent>) {
        self.state = ParserState::Content;
        events.push(ParserEvent::Text(std::mem::take(&mut self.raw_block)));
    }

    /// Takes a complete tag.
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
            (ParserState::Invoke, word, closing) => {
                self.end_call(events);
                if (word, closing) == (TagName::Invoke, false) {
                    self.begin_call(&tag, events);
                }
            }
            (ParserState::Parameter(_), TagName::FunctionCalls, false) => self.push_plain(&tag.raw_text(), events),
            (ParserState::Parameter(_), word, closing) => {
                self.end_parameter(events);
                if (word, closing) != (TagName::Parameter, true) {
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

    /// A parameter without a name is passed over, value and all.
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

    /// How much of the end of `held` may open a tag. The line breaks before a block belong to it.
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
            // What came of a tag is markup, and nobody's words.
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
            // Here even a `</` is more likely markup.
            ParserState::Parameter(value) => {
                events.push(ParserEvent::Arguments(value.buffered_text().into()));
                false
            }
        }
    }
}
