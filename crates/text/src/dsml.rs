//! Tool calls in DSML, the markup of V3.2: tags that begin with `<｜DSML｜`, where `｜DSML｜` is one token.
//!
//! The reference parser refuses whatever is not exact; this one takes what a model may write instead: other white space,
//! a missing `string` attribute, missing end tags. Tags are known by the token: typed in ordinary letters they are text.

use chat::Tool;

use crate::Tokenizer;
use crate::calls::{CallParser, Event};
use crate::prompt::DSML;
use crate::python_json::quoted;
use tag::{Step, Tag, Word};
use value::{ParameterValue, declared};

pub(crate) mod grammar;
mod tag;
#[cfg(test)]
mod tests;
mod value;

enum State {
    Content,
    /// In the block, outside of a call.
    Block,
    /// In a call, outside of a parameter.
    Invoke,
    Parameter(ParameterValue),
}

/// Reads calls as they come. Until the first `invoke` tag is complete the block may still turn out to be content.
pub(crate) struct Dsml {
    marker: Option<u32>,
    tools: Vec<Tool>,
    state: State,
    /// Text that may open a tag: at most two line breaks and `<`, or `</`.
    held: String,
    tag: Option<Tag>,
    /// The block as it came, while no call of it is certain.
    raw: String,
    calls: usize,
    /// Name and number of parameters of the last call.
    call: (String, usize),
}

impl Dsml {
    pub(crate) fn new(tokenizer: &Tokenizer, tools: &[Tool]) -> Self {
        Self {
            marker: tokenizer.marker(DSML),
            tools: tools.to_vec(),
            state: State::Content,
            held: String::new(),
            tag: None,
            raw: String::new(),
            calls: 0,
            call: (String::new(), 0),
        }
    }

    /// Takes text that is certainly not part of a tag.
    fn plain(&mut self, text: &str, events: &mut Vec<Event>) {
        match &mut self.state {
            State::Content => events.push(Event::Text(text.into())),
            State::Block if self.calls == 0 => {
                self.raw.push_str(text);
                if !text.trim().is_empty() {
                    self.give_up(events);
                }
            }
            State::Block | State::Invoke => {}
            State::Parameter(value) => events.push(Event::Arguments(value.push(text))),
        }
    }

    /// The block is no block: what came of it is content.
    fn give_up(&mut self, events: &mut Vec<Event>) {
        self.state = State::Content;
        events.push(Event::Text(std::mem::take(&mut self.raw)));
    }

    /// Takes a complete tag.
    fn tag(&mut self, tag: Tag, events: &mut Vec<Event>) {
        if self.calls == 0 && !matches!(self.state, State::Content) {
            self.raw.push_str(&tag.literal());
        }
        match (&self.state, tag.word(), tag.closing) {
            (State::Content, Word::FunctionCalls, false) => {
                self.raw = tag.literal();
                self.state = State::Block;
            }
            (State::Content, Word::Invoke, false) => {
                self.raw = tag.literal();
                self.begin_call(&tag, events);
            }
            (State::Content, ..) => self.plain(&tag.literal(), events),
            (State::Block, Word::Invoke, false) => self.begin_call(&tag, events),
            (State::Block, Word::FunctionCalls, false) => {}
            (State::Block, ..) if self.calls == 0 => self.give_up(events),
            (State::Block, ..) => {}
            (State::Invoke, Word::Parameter, false) => self.begin_parameter(&tag, events),
            (State::Invoke, Word::Parameter, true) => {}
            (State::Invoke, word, closing) => {
                self.end_call(events);
                if (word, closing) == (Word::Invoke, false) {
                    self.begin_call(&tag, events);
                }
            }
            (State::Parameter(_), Word::FunctionCalls, false) => self.plain(&tag.literal(), events),
            (State::Parameter(_), word, closing) => {
                self.end_parameter(events);
                if (word, closing) != (Word::Parameter, true) {
                    self.tag(tag, events);
                }
            }
        }
    }

    fn begin_call(&mut self, tag: &Tag, events: &mut Vec<Event>) {
        let Some(name) = tag.name().filter(|name| !name.is_empty()) else {
            if self.calls == 0 {
                self.give_up(events);
            }
            return;
        };
        self.raw.clear();
        self.calls += 1;
        self.call = (name.clone(), 0);
        self.state = State::Invoke;
        events.push(Event::Call { name });
    }

    fn end_call(&mut self, events: &mut Vec<Event>) {
        events.push(Event::Arguments(if self.call.1 == 0 { "{}" } else { "}" }.into()));
        self.state = State::Block;
    }

    /// A parameter without a name is passed over, value and all.
    fn begin_parameter(&mut self, tag: &Tag, events: &mut Vec<Event>) {
        let Some(key) = tag.name() else { return };
        let (tool, parameters) = &mut self.call;
        let value = ParameterValue::new(tag.string(), declared(&self.tools, tool, &key));
        let open = if *parameters == 0 { "{" } else { ", " };
        *parameters += 1;
        events.push(Event::Arguments(format!("{open}{}: {}", quoted(&key), value.open())));
        self.state = State::Parameter(value);
    }

    fn end_parameter(&mut self, events: &mut Vec<Event>) {
        if let State::Parameter(value) = std::mem::replace(&mut self.state, State::Invoke) {
            events.push(Event::Arguments(value.close()));
        }
    }

    /// How much of the end of `held` may open a tag. The line breaks before a block belong to it.
    fn undecided(&self) -> usize {
        if !matches!(self.state, State::Content) {
            return if self.held.ends_with("</") { 2 } else { usize::from(self.held.ends_with('<')) };
        }
        let text = self.held.strip_suffix('<').unwrap_or(&self.held);
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\n').unwrap_or(text);
        self.held.len() - text.len()
    }
}

impl CallParser for Dsml {
    fn text(&mut self, text: &str, events: &mut Vec<Event>) {
        let mut rest = text.chars();
        while let Some(tag) = &mut self.tag {
            let before = rest.clone();
            let Some(next) = rest.next() else { return };
            let step = tag.push(next);
            if step == Step::Growing {
                continue;
            }
            let tag = self.tag.take().expect("it was just there");
            if step == Step::Complete {
                self.tag(tag, events);
            } else {
                self.plain(&tag.literal(), events);
                rest = before;
            }
        }
        self.held.push_str(rest.as_str());
        let kept = self.held.split_off(self.held.len() - self.undecided());
        let sure = std::mem::replace(&mut self.held, kept);
        if !sure.is_empty() {
            self.plain(&sure, events);
        }
    }

    fn marker(&mut self, id: u32, token: &str, events: &mut Vec<Event>) {
        if let Some(tag) = self.tag.take() {
            self.plain(&tag.literal(), events);
        }
        let lead = std::mem::take(&mut self.held);
        if Some(id) == self.marker && (lead.ends_with('<') || lead.ends_with("</")) {
            self.tag = Some(Tag::new(lead.ends_with("</"), lead + token));
        } else {
            self.plain(&(lead + token), events);
        }
    }

    fn finish(&mut self, cut: bool, events: &mut Vec<Event>) -> bool {
        let inside_a_tag = self.tag.take().is_some();
        match &self.state {
            // What came of a tag is markup, and nobody's words.
            State::Content if inside_a_tag => true,
            State::Content => {
                events.push(Event::Text(std::mem::take(&mut self.held)));
                true
            }
            State::Block => true,
            State::Invoke => {
                if !cut {
                    self.end_call(events);
                }
                !cut
            }
            // Here even a `</` is more likely markup.
            State::Parameter(value) => {
                events.push(Event::Arguments(value.rest().into()));
                false
            }
        }
    }
}
