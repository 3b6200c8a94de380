//! The prompt of V3.1, V3.1-Terminus and V3.2-Exp, as their Jinja templates write it, and
//! the system text with the definitions of tools that V3 and R1 share with it (source: the
//! model card of V3.1).

use chat::{Chat, Error, Message, Role, Tool};
use serde_json::Value;

use crate::Tokenizer;
use crate::call_parser::CallParser;
use crate::grammar::{CallRules, ToolSignature};
use crate::marked_calls::{self, CallStyle, MarkedCallParser};
use crate::prompt_format::{
    ASSISTANT, CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, END_THINK, EOS, OUTPUT_BEGIN, OUTPUT_END, PromptFormat,
    ResponseStart, SEP, THINK, USER, is_system,
};
use crate::prompt_writer::PromptWriter;
use crate::python_json::python_json;
use crate::turns::{Turn, turns};

/// V3.1, or V3.2-Exp: the same but for conversations that do not end with a user or a tool.
pub(crate) struct DeepSeekV31 {
    pub(crate) is_v32_exp: bool,
}

impl PromptFormat for DeepSeekV31 {
    fn write_prompt(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        to: &mut PromptWriter<'_>,
    ) -> Result<Option<ResponseStart>, Error> {
        write_system(chat, messages, "tool_call_name<｜tool▁sep｜>tool_call_arguments", to);
        let thinking = chat.thinking == Some(true);
        let turns = turns(messages.iter().filter(|message| !is_system(message)))?;
        let has_system = messages.iter().any(is_system);
        let (mut after_user, mut after_results) = (false, false);
        for (index, turn) in turns.iter().enumerate() {
            if turn.message.role == Role::User {
                to.push_template(USER);
                to.push_content(&turn.text);
                (after_user, after_results) = (true, false);
                continue;
            }
            if turn.message.prefix {
                return Ok(Some(write_prefix(turn, thinking, after_user, after_results, to)));
            }
            let calls = turn.message.calls();
            let first = self.is_v32_exp && has_system && index == 0 && !calls.is_empty();
            if after_user || first {
                // History never shows a thought: every stored answer stands behind the closing tag.
                to.push_template("<｜Assistant｜></think>");
            }
            let is_plain_answer = calls.is_empty() && !after_results;
            to.push_content(if is_plain_answer { without_reasoning(&turn.text) } else { &turn.text });
            write_calls(turn, to);
            to.push_template(EOS);
            for result in &turn.results {
                to.push_template(OUTPUT_BEGIN);
                to.push_content(result);
                to.push_template(OUTPUT_END);
            }
            (after_user, after_results) = (false, !turn.results.is_empty());
        }
        if after_results {
            return Ok(Some(ResponseStart::Content));
        }
        if !generate || !(after_user || self.is_v32_exp) {
            return Ok(None);
        }
        to.push_template(ASSISTANT);
        Ok(Some(open_response(thinking, to)))
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

    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[ToolSignature], many: bool) -> CallRules {
        marked_calls::call_rules(CallStyle::Bare, tokenizer, tools, many)
    }
}

/// The system text, from all system messages wherever they stand, and behind it the tools. `call`
/// is how a call looks between its own markers.
pub(crate) fn write_system(chat: &Chat, messages: &[Message], call: &str, to: &mut PromptWriter<'_>) {
    for (index, message) in messages.iter().filter(|message| is_system(message)).enumerate() {
        to.push_template(if index == 0 { "" } else { "\n\n" });
        to.push_content(&message.text());
    }
    if chat.tools.is_empty() {
        return;
    }
    to.push_template("\n\n## Tools\nYou have access to the following tools:\n\n");
    for Tool { name, function, .. } in &chat.tools {
        to.push_template("### ");
        to.push_content(name);
        to.push_template("\nDescription: ");
        to.push_content(function.get("description").and_then(Value::as_str).unwrap_or_default());
        to.push_template("\n\nParameters: ");
        to.push_content(&function.get("parameters").map_or_else(|| "{}".into(), python_json));
        to.push_template("\n\n");
    }
    to.push_template(
        "IMPORTANT: ALWAYS adhere to this exact format for tool use:\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
    );
    to.push_template(call);
    to.push_template(
        "<｜tool▁call▁end｜>{additional_tool_calls}<｜tool▁calls▁end｜>\n\n\
         Where:\n\
         - `tool_call_name` must be an exact match to one of the available tools\n\
         - `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n\
         - For multiple tool calls, chain them directly without separators or spaces",
    );
}

/// An earlier answer without the reasoning in it.
fn without_reasoning(text: &str) -> &str {
    text.split_once(END_THINK).map_or(text, |(_, answer)| answer)
}

fn open_response(thinking: bool, to: &mut PromptWriter<'_>) -> ResponseStart {
    to.push_template(if thinking { THINK } else { END_THINK });
    if thinking { ResponseStart::Reasoning } else { ResponseStart::Content }
}

/// The beginning of an answer, given by the caller. In thinking mode a content without reasoning
/// is, as in the template, the beginning of the reasoning.
fn write_prefix(
    turn: &Turn<'_>,
    thinking: bool,
    after_user: bool,
    after_results: bool,
    to: &mut PromptWriter<'_>,
) -> ResponseStart {
    let text = if after_results { &turn.text } else { without_reasoning(&turn.text) };
    if after_user {
        to.push_template(ASSISTANT);
    }
    match turn.message.reasoning.as_deref().filter(|_| thinking) {
        Some(reasoning) => {
            to.push_template(THINK);
            to.push_content(reasoning);
            if text.is_empty() {
                return ResponseStart::Reasoning;
            }
            to.push_template(END_THINK);
            to.push_content(text);
            ResponseStart::Content
        }
        None => {
            let start = if after_user { open_response(thinking, to) } else { ResponseStart::Content };
            to.push_content(text);
            start
        }
    }
}

fn write_calls(turn: &Turn<'_>, to: &mut PromptWriter<'_>) {
    let calls = turn.message.calls();
    if calls.is_empty() {
        return;
    }
    to.push_template(CALLS_BEGIN);
    for call in calls {
        to.push_template(CALL_BEGIN);
        to.push_content(&call.name);
        to.push_template(SEP);
        to.push_content(&call.arguments);
        to.push_template(CALL_END);
    }
    to.push_template(CALLS_END);
}
