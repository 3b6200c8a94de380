//! The system prompt with tool definitions that V3, R1, V3.1 and V3.2-Exp share.
//!
//! Source: the model card of V3.1.

use chat::{Chat, Message, Tool};
use serde_json::Value;

use crate::prompt_format::is_system;
use crate::prompt_writer::PromptWriter;
use crate::python_json::python_json;

/// Writes the text of all system messages, followed by the tool definitions. `call` is an example
/// of a call without its markers.
pub(crate) fn write_system(chat: &Chat, messages: &[Message], call: &str, prompt: &mut PromptWriter<'_>) {
    for (index, message) in messages.iter().filter(|message| is_system(message)).enumerate() {
        prompt.push_template(if index == 0 { "" } else { "\n\n" });
        prompt.push_content(&message.text());
    }
    if chat.tools.is_empty() {
        return;
    }
    prompt.push_template("\n\n## Tools\nYou have access to the following tools:\n\n");
    for Tool { name, function, .. } in &chat.tools {
        prompt.push_template("### ");
        prompt.push_content(name);
        prompt.push_template("\nDescription: ");
        prompt.push_content(function.get("description").and_then(Value::as_str).unwrap_or_default());
        prompt.push_template("\n\nParameters: ");
        prompt.push_content(&function.get("parameters").map_or_else(|| "{}".into(), python_json));
        prompt.push_template("\n\n");
    }
    prompt.push_template(
        "IMPORTANT: ALWAYS adhere to this exact format for tool use:\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
    );
    prompt.push_template(call);
    prompt.push_template(
        "<｜tool▁call▁end｜>{additional_tool_calls}<｜tool▁calls▁end｜>\n\n\
         Where:\n\
         - `tool_call_name` must be an exact match to one of the available tools\n\
         - `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n\
         - For multiple tool calls, chain them directly without separators or spaces",
    );
}
