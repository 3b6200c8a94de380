//! The prompt format of V3.1, V3.1-Terminus and V3.2-Exp, as their Jinja templates write it.

use chat::{Chat, Error, Message, Role, Tool};

use crate::call_parser::CallParser;
use crate::control_tokens::{
    ASSISTANT, CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, END_THINK, EOS, OUTPUT_BEGIN, OUTPUT_END, SEP, THINK, USER,
};
use crate::grammar::{CallRules, ToolSignature};
use crate::marked_calls::{self, CallStyle, MarkedCallParser};
use crate::prompt_format::{PromptFormat, ResponseStart, is_system};
use crate::prompt_writer::PromptWriter;
use crate::system_prompt::write_system;
use crate::tokenizer::Tokenizer;
use crate::turns::{Turn, turns};

/// V3.1, or V3.2-Exp, which differs for conversations that do not end with a user or tool message.
pub(crate) struct DeepSeekV31 {
    pub(crate) is_v32_exp: bool,
}

impl PromptFormat for DeepSeekV31 {
    fn write_prompt(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        prompt: &mut PromptWriter<'_>,
    ) -> Result<Option<ResponseStart>, Error> {
        write_system(chat, messages, "tool_call_name<｜tool▁sep｜>tool_call_arguments", prompt);
        let thinking = chat.thinking == Some(true);
        let turns = turns(messages.iter().filter(|message| !is_system(message)))?;
        let has_system = messages.iter().any(is_system);
        let mut after_user = false;
        let mut after_results = false;
        for (index, turn) in turns.iter().enumerate() {
            if turn.message.role == Role::User {
                prompt.push_template(USER);
                prompt.push_content(&turn.text);
                after_user = true;
                after_results = false;
                continue;
            }
            if turn.message.prefix {
                return Ok(Some(write_prefix(turn, thinking, after_user, after_results, prompt)));
            }
            let calls = turn.message.calls();
            let first = self.is_v32_exp && has_system && index == 0 && !calls.is_empty();
            if after_user || first {
                // The history contains no reasoning: each stored answer follows the closing tag.
                prompt.push_template("<｜Assistant｜></think>");
            }
            let is_plain_answer = calls.is_empty() && !after_results;
            prompt.push_content(if is_plain_answer { without_reasoning(&turn.text) } else { &turn.text });
            write_calls(turn, prompt);
            prompt.push_template(EOS);
            for result in &turn.results {
                prompt.push_template(OUTPUT_BEGIN);
                prompt.push_content(result);
                prompt.push_template(OUTPUT_END);
            }
            after_user = false;
            after_results = !turn.results.is_empty();
        }
        if after_results {
            return Ok(Some(ResponseStart::Content));
        }
        if !generate || !(after_user || self.is_v32_exp) {
            return Ok(None);
        }
        prompt.push_template(ASSISTANT);
        Ok(Some(open_response(thinking, prompt)))
    }

    fn call_parser(&self, tokenizer: &Tokenizer, _tools: &[Tool]) -> Box<dyn CallParser> {
        Box::new(MarkedCallParser::new(tokenizer, CallStyle::Bare))
    }

    fn required_tokens(&self) -> &'static [&'static str] {
        &[THINK, END_THINK, CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEP, OUTPUT_BEGIN, OUTPUT_END]
    }

    fn call_tokens(&self) -> &'static [&'static str] {
        &[CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEP]
    }

    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[ToolSignature], allow_parallel: bool) -> CallRules {
        marked_calls::call_rules(CallStyle::Bare, tokenizer, tools, allow_parallel)
    }
}

/// The text of an earlier answer without its reasoning.
fn without_reasoning(text: &str) -> &str {
    text.split_once(END_THINK).map_or(text, |(_, answer)| answer)
}

fn open_response(thinking: bool, prompt: &mut PromptWriter<'_>) -> ResponseStart {
    prompt.push_template(if thinking { THINK } else { END_THINK });
    if thinking { ResponseStart::Reasoning } else { ResponseStart::Content }
}

/// Writes the prefilled beginning of an answer. In thinking mode, content without reasoning begins
/// the reasoning, as in the template.
fn write_prefix(
    turn: &Turn<'_>,
    thinking: bool,
    after_user: bool,
    after_results: bool,
    prompt: &mut PromptWriter<'_>,
) -> ResponseStart {
    let text = if after_results { &turn.text } else { without_reasoning(&turn.text) };
    if after_user {
        prompt.push_template(ASSISTANT);
    }
    match turn.message.reasoning.as_deref().filter(|_| thinking) {
        Some(reasoning) => {
            prompt.push_template(THINK);
            prompt.push_content(reasoning);
            if text.is_empty() {
                return ResponseStart::Reasoning;
            }
            prompt.push_template(END_THINK);
            prompt.push_content(text);
            ResponseStart::Content
        }
        None => {
            let start = if after_user { open_response(thinking, prompt) } else { ResponseStart::Content };
            prompt.push_content(text);
            start
        }
    }
}

fn write_calls(turn: &Turn<'_>, prompt: &mut PromptWriter<'_>) {
    let calls = turn.message.calls();
    if calls.is_empty() {
        return;
    }
    prompt.push_template(CALLS_BEGIN);
    for call in calls {
        prompt.push_template(CALL_BEGIN);
        prompt.push_content(&call.name);
        prompt.push_template(SEP);
        prompt.push_content(&call.arguments);
        prompt.push_template(CALL_END);
    }
    prompt.push_template(CALLS_END);
}
