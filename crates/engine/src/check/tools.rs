//! `tools` and `tool_choice`.

use chat::{Chat, Error, Tool, ToolChoice};
use text::strict_schema;

use super::errors::{array_too_long_error, empty_array_error, invalid, matches_name_pattern, pattern_error};
use super::rules::{Profile, ReasoningRules, ValidationRules};

const MAX_TOOLS: usize = 128;

pub(super) fn check_tools(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    if std::mem::take(&mut chat.empty_tools) {
        if rules.profile == Profile::DeepSeek {
            return invalid(empty_array_error("tools"));
        }
        chat.notes.push("an empty `tools` is treated as absent".into());
    }
    if chat.tools.len() > MAX_TOOLS {
        return invalid(array_too_long_error("tools", MAX_TOOLS, chat.tools.len()));
    }
    for (index, tool) in chat.tools.iter().enumerate() {
        check_tool_name(index, tool, &chat.tools[..index])?;
    }
    if rules.reasoning_rules == ReasoningRules::R1 && chat.thinking == Some(true) && !chat.tools.is_empty() {
        return invalid(format!("{} does not support Function Calling", chat.model));
    }
    check_strict(chat, rules)?;
    check_tool_choice(chat, rules)
}

fn check_tool_name(index: usize, tool: &Tool, earlier: &[Tool]) -> Result<(), Error> {
    let field = format!("tools[{index}].function.name");
    if !matches_name_pattern(&tool.name) {
        return invalid(pattern_error(&field));
    }
    if tool.name.len() > 64 {
        return invalid(format!(
            "Invalid '{field}': string too long. Expected a string with maximum length 64, but got a string with length \
             {} instead.",
            tool.name.len()
        ));
    }
    if earlier.iter().any(|other| other.name == tool.name) {
        return invalid("Tool names must be unique.");
    }
    Ok(())
}

/// Checks `strict`. The beta root promises arguments that match their schema and refuses schemas
/// that it cannot enforce; outside it such a tool loses its flag.
fn check_strict(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    if !chat.tools.iter().any(|tool| tool.strict) {
        return Ok(());
    }
    if chat.beta && !chat.tools.iter().all(|tool| tool.strict) {
        return invalid("All tools must set strict to true in strict mode");
    }
    for tool in chat.tools.iter_mut().filter(|tool| tool.strict) {
        match strict_schema(tool) {
            Ok(_) => {}
            Err(error) if chat.beta => return Err(error),
            Err(_) => {
                tool.strict = false;
                if rules.profile == Profile::Lenient {
                    chat.notes.push(format!(
                        "`strict` of the tool {} is not honoured: its schema is not supported",
                        tool.name
                    ));
                }
            }
        }
    }
    Ok(())
}

fn check_tool_choice(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let named = match &chat.tool_choice {
        Some(ToolChoice::Required) => None,
        Some(ToolChoice::Named(name)) => Some(name),
        Some(ToolChoice::None | ToolChoice::Auto) | None => return Ok(()),
    };
    if chat.tools.is_empty() {
        return invalid("Tool choice is set but no tools are provided");
    }
    if let Some(name) = named.filter(|&name| chat.tools.iter().all(|tool| tool.name != *name)) {
        return invalid(format!("Tool '{name}' not found in tools"));
    }
    if chat.thinking == Some(true) {
        if rules.profile == Profile::DeepSeek {
            return invalid(format!("{} does not support this tool_choice", chat.model));
        }
        chat.notes.push("a forced `tool_choice` in thinking mode is honoured after the reasoning".into());
    }
    Ok(())
}
