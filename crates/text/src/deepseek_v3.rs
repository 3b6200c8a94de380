//! The prompt of V3, V3-0324, R1 and R1-0528, as their Jinja templates write it where those write
//! well-formed text.
//!
//! Two defects of the templates are left out: a single call without its end markers (V3), and a
//! second round of calls without its opening markers (both).

use chat::{Chat, Error, Message, Role, Tool};

use crate::Tokenizer;
use crate::call_parser::CallParser;
use crate::deepseek_v31::write_system;
use crate::grammar::{CallRules, ToolSignature};
use crate::marked_calls::{self, CallStyle, MarkedCallParser};
use crate::prompt_format::{
    ASSISTANT, CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, END_THINK, EOS, OUTPUT_BEGIN, OUTPUT_END, OUTPUTS_BEGIN,
    OUTPUTS_END, PromptFormat, ResponseStart, SEP, THINK, USER, is_system,
};
use crate::prompt_writer::PromptWriter;
use crate::turns::{Turn, turns};

/// V3, or R1: which always thinks, and opens its reasoning itself.
pub(crate) struct DeepSeekV3 {
    pub(crate) r1: bool,
}

impl PromptFormat for DeepSeekV3 {
    fn write_prompt(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        to: &mut PromptWriter<'_>,
    ) -> Result<Option<ResponseStart>, Error> {
        write_system(chat, messages, "function<｜tool▁sep｜>tool_call_name\n```json\ntool_call_arguments\n```", to);
        let turns = turns(messages.iter().filter(|message| !is_system(message)))?;
        let mut after_results = false;
        for turn in &turns {
            if turn.message.role == Role::User {
                to.push_template(USER);
                to.push_content(&turn.text);
                after_results = false;
                continue;
            }
            // After results the assistant goes on without being announced again.
            if !after_results {
                to.push_template(ASSISTANT);
            }
            if turn.message.prefix {
                return Ok(Some(self.write_prefix(turn, to)));
            }
            let plain = turn.message.calls().is_empty() && !after_results;
            to.push_content(if plain { self.without_reasoning(&turn.text) } else { &turn.text });
            self.write_calls(turn, to);
            to.push_template(EOS);
            after_results = self.write_results(turn, to);
        }
        if after_results {
            return Ok(Some(ResponseStart::Content));
        }
        if generate {
            to.push_template(ASSISTANT);
        }
        Ok(generate.then_some(if self.r1 { ResponseStart::Reasoning } else { ResponseStart::Content }))
    }

    fn call_parser(&self, tokenizer: &Tokenizer, _tools: &[Tool]) -> Box<dyn CallParser> {
        Box::new(MarkedCallParser::new(tokenizer, CallStyle::Fenced))
    }

    fn required_tokens(&self) -> &'static [&'static str] {
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

    fn call_tokens(&self) -> &'static [&'static str] {
        &[CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEP]
    }

    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[ToolSignature], many: bool) -> CallRules {
        marked_calls::call_rules(CallStyle::Fenced, tokenizer, tools, many)
    }
}

impl DeepSeekV3 {
    /// An earlier answer without the reasoning in it: only R1 removes that.
    fn without_reasoning<'a>(&self, text: &'a str) -> &'a str {
        if self.r1 { text.rsplit(END_THINK).next().unwrap_or(text) } else { text }
    }

    /// The beginning of an answer, given by the caller. R1 puts line breaks around its reasoning.
    fn write_prefix(&self, turn: &Turn<'_>, to: &mut PromptWriter<'_>) -> ResponseStart {
        if let (true, Some(reasoning)) = (self.r1, &turn.message.reasoning) {
            to.push_template("<think>\n");
            to.push_content(reasoning);
            if turn.text.is_empty() {
                return ResponseStart::Reasoning;
            }
            to.push_template("\n</think>\n\n");
        }
        to.push_content(self.without_reasoning(&turn.text));
        ResponseStart::Content
    }

    fn write_calls(&self, turn: &Turn<'_>, to: &mut PromptWriter<'_>) {
        let calls = turn.message.calls();
        for (index, call) in calls.iter().enumerate() {
            to.push_template(if index == 0 { CALLS_BEGIN } else { "\n" });
            to.push_template("<｜tool▁call▁begin｜>function<｜tool▁sep｜>");
            to.push_content(&call.name);
            to.push_template("\n```json\n");
            to.push_content(&call.arguments);
            to.push_template("\n```<｜tool▁call▁end｜>");
        }
        if !calls.is_empty() {
            to.push_template(CALLS_END);
        }
    }

    /// Whether there were any.
    fn write_results(&self, turn: &Turn<'_>, to: &mut PromptWriter<'_>) -> bool {
        let between = if self.r1 { "" } else { "\n" };
        for (index, result) in turn.results.iter().enumerate() {
            to.push_template(if index == 0 { OUTPUTS_BEGIN } else { between });
            to.push_template(OUTPUT_BEGIN);
            to.push_content(result);
            to.push_template(OUTPUT_END);
        }
        if !turn.results.is_empty() {
            to.push_template(OUTPUTS_END);
        }
        !turn.results.is_empty()
    }
}
