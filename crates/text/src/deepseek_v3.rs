//! The prompt format of V3, V3-0324, R1 and R1-0528, as their Jinja templates write it.
//!
//! Two defects of the templates are not reproduced: V3 writes a single call without its end
//! markers, and both write a second round of calls without its opening markers.

use chat::{Chat, Error, Message, Role, Tool};

use crate::call_parser::CallParser;
use crate::control_tokens::{
    ASSISTANT, CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, END_THINK, EOS, OUTPUT_BEGIN, OUTPUT_END, OUTPUTS_BEGIN,
    OUTPUTS_END, SEP, THINK, USER,
};
use crate::grammar::{CallRules, ToolSignature};
use crate::marked_calls::{self, CallStyle, MarkedCallParser};
use crate::prompt_format::{PromptFormat, ResponseStart, is_system};
use crate::prompt_writer::PromptWriter;
use crate::system_prompt::write_system;
use crate::tokenizer::Tokenizer;
use crate::turns::{Turn, turns};

/// V3, or R1, which always thinks and opens its reasoning itself.
pub(crate) struct DeepSeekV3 {
    pub(crate) is_r1: bool,
}

impl PromptFormat for DeepSeekV3 {
    fn write_prompt(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        prompt: &mut PromptWriter<'_>,
    ) -> Result<Option<ResponseStart>, Error> {
        write_system(chat, messages, "function<｜tool▁sep｜>tool_call_name\n```json\ntool_call_arguments\n```", prompt);
        let turns = turns(messages.iter().filter(|message| !is_system(message)))?;
        let mut after_results = false;
        for turn in &turns {
            if turn.message.role == Role::User {
                prompt.push_template(USER);
                prompt.push_content(&turn.text);
                after_results = false;
                continue;
            }
            // After results the assistant continues without another marker.
            if !after_results {
                prompt.push_template(ASSISTANT);
            }
            if turn.message.prefix {
                return Ok(Some(self.write_prefix(turn, prompt)));
            }
            let plain = turn.message.calls().is_empty() && !after_results;
            prompt.push_content(if plain { self.without_reasoning(&turn.text) } else { &turn.text });
            self.write_calls(turn, prompt);
            prompt.push_template(EOS);
            after_results = self.write_results(turn, prompt);
        }
        if after_results {
            return Ok(Some(ResponseStart::Content));
        }
        if generate {
            prompt.push_template(ASSISTANT);
        }
        Ok(generate.then_some(if self.is_r1 { ResponseStart::Reasoning } else { ResponseStart::Content }))
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
        if self.is_r1 { MARKERS } else { &MARKERS[2..] }
    }

    fn call_tokens(&self) -> &'static [&'static str] {
        &[CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEP]
    }

    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[ToolSignature], allow_parallel: bool) -> CallRules {
        marked_calls::call_rules(CallStyle::Fenced, tokenizer, tools, allow_parallel)
    }
}

impl DeepSeekV3 {
    /// The text of an earlier answer without its reasoning, which only R1 removes.
    fn without_reasoning<'a>(&self, text: &'a str) -> &'a str {
        if self.is_r1 { text.rsplit(END_THINK).next().unwrap_or(text) } else { text }
    }

    /// Writes the prefilled beginning of an answer. R1 puts line breaks around its reasoning.
    fn write_prefix(&self, turn: &Turn<'_>, prompt: &mut PromptWriter<'_>) -> ResponseStart {
        if let (true, Some(reasoning)) = (self.is_r1, &turn.message.reasoning) {
            prompt.push_template("<think>\n");
            prompt.push_content(reasoning);
            if turn.text.is_empty() {
                return ResponseStart::Reasoning;
            }
            prompt.push_template("\n</think>\n\n");
        }
        prompt.push_content(self.without_reasoning(&turn.text));
        ResponseStart::Content
    }

    fn write_calls(&self, turn: &Turn<'_>, prompt: &mut PromptWriter<'_>) {
        let calls = turn.message.calls();
        for (index, call) in calls.iter().enumerate() {
            prompt.push_template(if index == 0 { CALLS_BEGIN } else { "\n" });
            prompt.push_template("<｜tool▁call▁begin｜>function<｜tool▁sep｜>");
            prompt.push_content(&call.name);
            prompt.push_template("\n```json\n");
            prompt.push_content(&call.arguments);
            prompt.push_template("\n```<｜tool▁call▁end｜>");
        }
        if !calls.is_empty() {
            prompt.push_template(CALLS_END);
        }
    }

    /// Writes the results of a turn. Returns whether there were any.
    fn write_results(&self, turn: &Turn<'_>, prompt: &mut PromptWriter<'_>) -> bool {
        let between = if self.is_r1 { "" } else { "\n" };
        for (index, result) in turn.results.iter().enumerate() {
            prompt.push_template(if index == 0 { OUTPUTS_BEGIN } else { between });
            prompt.push_template(OUTPUT_BEGIN);
            prompt.push_content(result);
            prompt.push_template(OUTPUT_END);
        }
        if !turn.results.is_empty() {
            prompt.push_template(OUTPUTS_END);
        }
        !turn.results.is_empty()
    }
}
