//! The prompt of V3.1, V3.1-Terminus and V3.2-Exp, as their Jinja templates write it, and the system text with the
//! definitions of tools that V3 and R1 share with it (source: the model card of V3.1).

use chat::{Chat, Error, Message, Role, Tool};
use serde_json::Value;

use crate::Tokenizer;
use crate::calls::CallParser;
use crate::grammar::{CallRules, Callable};
use crate::marked_calls::{self, MarkedCalls, Style};
use crate::pieces::Pieces;
use crate::prompt::{
    ASSISTANT, CALL_BEGIN, CALL_END, CALLS_BEGIN, CALLS_END, END_THINK, EOS, OUTPUT_BEGIN, OUTPUT_END, Prompt, SEP,
    Start, THINK, USER, is_system,
};
use crate::python_json::python_json;
use crate::turns::{Turn, turns};

/// V3.1, or V3.2-Exp: the same but for conversations that do not end with a user or a tool.
pub(crate) struct DeepSeekV31 {
    pub(crate) exp: bool,
}

impl Prompt for DeepSeekV31 {
    fn write(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        to: &mut Pieces<'_>,
    ) -> Result<Option<Start>, Error> {
        system(chat, messages, "tool_call_name<｜tool▁sep｜>tool_call_arguments", to);
        let thinking = chat.thinking == Some(true);
        let turns = turns(messages.iter().filter(|message| !is_system(message)))?;
        let has_system = messages.iter().any(is_system);
        let (mut after_user, mut after_results) = (false, false);
        for (index, turn) in turns.iter().enumerate() {
            if turn.message.role == Role::User {
                to.template(USER);
                to.content(&turn.text);
                (after_user, after_results) = (true, false);
                continue;
            }
            if turn.message.prefix {
                return Ok(Some(prefix(turn, thinking, after_user, after_results, to)));
            }
            let calls = turn.message.calls();
            let first = self.exp && has_system && index == 0 && !calls.is_empty();
            if after_user || first {
                // History never shows a thought: every stored answer stands behind the closing tag.
                to.template("<｜Assistant｜></think>");
            }
            let plain = calls.is_empty() && !after_results;
            to.content(if plain { answer(&turn.text) } else { &turn.text });
            write_calls(turn, to);
            to.template(EOS);
            for result in &turn.results {
                to.template(OUTPUT_BEGIN);
                to.content(result);
                to.template(OUTPUT_END);
            }
            (after_user, after_results) = (false, !turn.results.is_empty());
        }
        if after_results {
            return Ok(Some(Start::Content));
        }
        if !generate || !(after_user || self.exp) {
            return Ok(None);
        }
        to.template(ASSISTANT);
        Ok(Some(open(thinking, to)))
    }

    fn calls(&self, tokenizer: &Tokenizer, _tools: &[Tool]) -> Box<dyn CallParser> {
        Box::new(MarkedCalls::new(tokenizer, Style::Bare))
    }

    fn markers(&self) -> &'static [&'static str] {
        &[THINK, END_THINK, CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEP, OUTPUT_BEGIN, OUTPUT_END]
    }

    fn call_markers(&self) -> &'static [&'static str] {
        &[CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEP]
    }

    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[Callable], many: bool) -> CallRules {
        marked_calls::rules(Style::Bare, tokenizer, tools, many)
    }
}

/// The system text, from all system messages wherever they stand, and behind it the tools. `call` is how a call looks
/// between its own markers.
pub(crate) fn system(chat: &Chat, messages: &[Message], call: &str, to: &mut Pieces<'_>) {
    for (index, message) in messages.iter().filter(|message| is_system(message)).enumerate() {
        to.template(if index == 0 { "" } else { "\n\n" });
        to.content(&message.text());
    }
    if chat.tools.is_empty() {
        return;
    }
    to.template("\n\n## Tools\nYou have access to the following tools:\n\n");
    for Tool { name, function, .. } in &chat.tools {
        to.template("### ");
        to.content(name);
        to.template("\nDescription: ");
        to.content(function.get("description").and_then(Value::as_str).unwrap_or_default());
        to.template("\n\nParameters: ");
        to.content(&function.get("parameters").map_or_else(|| "{}".into(), python_json));
        to.template("\n\n");
    }
    to.template(
        "IMPORTANT: ALWAYS adhere to this exact format for tool use:\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
    );
    to.template(call);
    to.template(
        "<｜tool▁call▁end｜>{additional_tool_calls}<｜tool▁calls▁end｜>\n\n\
         Where:\n\
         - `tool_call_name` must be an exact match to one of the available tools\n\
         - `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n\
         - For multiple tool calls, chain them directly without separators or spaces",
    );
}

/// An earlier answer without the reasoning in it.
fn answer(text: &str) -> &str {
    text.split_once(END_THINK).map_or(text, |(_, answer)| answer)
}

fn open(thinking: bool, to: &mut Pieces<'_>) -> Start {
    to.template(if thinking { THINK } else { END_THINK });
    if thinking { Start::Reasoning } else { Start::Content }
}

/// The beginning of an answer, given by the caller. In thinking mode a content without reasoning is, as in the template,
/// the beginning of the reasoning.
fn prefix(turn: &Turn<'_>, thinking: bool, after_user: bool, after_results: bool, to: &mut Pieces<'_>) -> Start {
    let text = if after_results { &turn.text } else { answer(&turn.text) };
    if after_user {
        to.template(ASSISTANT);
    }
    match turn.message.reasoning.as_deref().filter(|_| thinking) {
        Some(reasoning) => {
            to.template(THINK);
            to.content(reasoning);
            if text.is_empty() {
                return Start::Reasoning;
            }
            to.template(END_THINK);
            to.content(text);
            Start::Content
        }
        None => {
            let start = if after_user { open(thinking, to) } else { Start::Content };
            to.content(text);
            start
        }
    }
}

fn write_calls(turn: &Turn<'_>, to: &mut Pieces<'_>) {
    let calls = turn.message.calls();
    if calls.is_empty() {
        return;
    }
    to.template(CALLS_BEGIN);
    for call in calls {
        to.template(CALL_BEGIN);
        to.content(&call.name);
        to.template(SEP);
        to.content(&call.arguments);
        to.template(CALL_END);
    }
    to.template(CALLS_END);
}
