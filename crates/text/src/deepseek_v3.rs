//! The prompt of V3, V3-0324, R1 and R1-0528, as their Jinja templates write it where those write well-formed text.
//!
//! Two defects of the templates are left out: a single call without its end markers (V3), and a second round of calls
//! without its opening markers (both).

use chat::{Chat, Error, Message, Role, Tool};

use crate::Tokenizer;
use crate::calls::CallParser;
use crate::deepseek_v31::system;
use crate::grammar::{CallRules, Callable};
use crate::marked_calls::{self, MarkedCalls, Style};
use crate::pieces::Pieces;
use crate::prompt::{
    ASSISTANT, CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, END_THINK, EOS, OUTPUT_BEGIN, OUTPUT_END, OUTPUTS_BEGIN,
    OUTPUTS_END, Prompt, SEP, Start, THINK, USER, is_system,
};
use crate::turns::{Turn, turns};

/// V3, or R1: which always thinks, and opens its reasoning itself.
pub(crate) struct DeepSeekV3 {
    pub(crate) r1: bool,
}

impl Prompt for DeepSeekV3 {
    fn write(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        to: &mut Pieces<'_>,
    ) -> Result<Option<Start>, Error> {
        system(chat, messages, "function<｜tool▁sep｜>tool_call_name\n```json\ntool_call_arguments\n```", to);
        let turns = turns(messages.iter().filter(|message| !is_system(message)))?;
        let mut after_results = false;
        for turn in &turns {
            if turn.message.role == Role::User {
                to.template(USER);
                to.content(&turn.text);
                after_results = false;
                continue;
            }
            // After results the assistant goes on without being announced again.
            if !after_results {
                to.template(ASSISTANT);
            }
            if turn.message.prefix {
                return Ok(Some(self.prefix(turn, to)));
            }
            let plain = turn.message.calls().is_empty() && !after_results;
            to.content(if plain { self.answer(&turn.text) } else { &turn.text });
            self.write_calls(turn, to);
            to.template(EOS);
            after_results = self.write_results(turn, to);
        }
        if after_results {
            return Ok(Some(Start::Content));
        }
        if generate {
            to.template(ASSISTANT);
        }
        Ok(generate.then_some(if self.r1 { Start::Reasoning } else { Start::Content }))
    }

    fn calls(&self, tokenizer: &Tokenizer, _tools: &[Tool]) -> Box<dyn CallParser> {
        Box::new(MarkedCalls::new(tokenizer, Style::Fenced))
    }

    fn markers(&self) -> &'static [&'static str] {
        const MARKERS: &[&str] = &[
            THINK,
            END_THINK,
            CALLS_BEGIN,
            CALLS_END,
            CALL_BEGIN,
            CALL_END,
            SEP,
            OUTPUTS_BEGIN,
            OUTPUTS_END,
            OUTPUT_BEGIN,
            OUTPUT_END,
        ];
        if self.r1 { MARKERS } else { &MARKERS[2..] }
    }

    fn call_markers(&self) -> &'static [&'static str] {
        &[CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEP]
    }

    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[Callable], many: bool) -> CallRules {
        marked_calls::rules(Style::Fenced, tokenizer, tools, many)
    }
}

impl DeepSeekV3 {
    /// An earlier answer without the reasoning in it: only R1 removes that.
    fn answer<'a>(&self, text: &'a str) -> &'a str {
        if self.r1 { text.rsplit(END_THINK).next().unwrap_or(text) } else { text }
    }

    /// The beginning of an answer, given by the caller. R1 puts line breaks around its reasoning.
    fn prefix(&self, turn: &Turn<'_>, to: &mut Pieces<'_>) -> Start {
        if let (true, Some(reasoning)) = (self.r1, &turn.message.reasoning) {
            to.template("<think>\n");
            to.content(reasoning);
            if turn.text.is_empty() {
                return Start::Reasoning;
            }
            to.template("\n</think>\n\n");
        }
        to.content(self.answer(&turn.text));
        Start::Content
    }

    fn write_calls(&self, turn: &Turn<'_>, to: &mut Pieces<'_>) {
        let calls = turn.message.calls();
        for (index, call) in calls.iter().enumerate() {
            to.template(if index == 0 { CALLS_BEGIN } else { "\n" });
            to.template("<｜tool▁call▁begin｜>function<｜tool▁sep｜>");
            to.content(&call.name);
            to.template("\n```json\n");
            to.content(&call.arguments);
            to.template("\n```<｜tool▁call▁end｜>");
        }
        if !calls.is_empty() {
            to.template(CALLS_END);
        }
    }

    /// Whether there were any.
    fn write_results(&self, turn: &Turn<'_>, to: &mut Pieces<'_>) -> bool {
        let between = if self.r1 { "" } else { "\n" };
        for (index, result) in turn.results.iter().enumerate() {
            to.template(if index == 0 { OUTPUTS_BEGIN } else { between });
            to.template(OUTPUT_BEGIN);
            to.content(result);
            to.template(OUTPUT_END);
        }
        if !turn.results.is_empty() {
            to.template(OUTPUTS_END);
        }
        !turn.results.is_empty()
    }
}
