//! `tools` and `tool_choice`.

use chat::{Chat, Error, Tool, ToolChoice};
use text::{Schema, enforced_arguments, strict_schema};

use super::errors::{array_too_long_error, empty_array_error, invalid, matches_name_pattern, pattern_error};
use super::notes::unenforced_note;
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
        if rules.profile == Profile::DeepSeek {
            return invalid(format!("{} does not support Function Calling", chat.model));
        }
        chat.notes.push("tools of R1 are those of R1-0528".into());
    }
    match rules.profile {
        Profile::DeepSeek => check_strict(chat)?,
        Profile::Lenient => relax_schemas(chat, rules),
    }
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

/// Enforces each schema as far as a grammar can, and notes the rest. Under the beta root, which
/// promises the subset of `strict`, too: nothing in it is lost.
fn relax_schemas(chat: &mut Chat, rules: &ValidationRules) {
    let Chat { tools, notes, .. } = chat;
    for tool in tools {
        tool.strict = false;
        let subject = format!("the tool {}", tool.name);
        match enforced_arguments(tool) {
            // DSML writes each parameter by itself, so the schema must name them.
            Ok(schema) if rules.reasoning_rules == ReasoningRules::V32 && has_hidden_parameters(&schema) => {
                notes.extend(unenforced_note(&subject, &["$".into()]));
            }
            Ok(schema) => notes.extend(unenforced_note(&subject, schema.unenforced())),
            Err(error) => notes.push(format!("the schema of {subject} is not enforced: {error}")),
        }
    }
}

/// Whether a schema constrains the parameters without naming all of them.
fn has_hidden_parameters(schema: &Schema) -> bool {
    let constraints = ["anyOf", "allOf", "patternProperties", "minProperties", "enum", "const"];
    schema.parameters().is_none() && constraints.iter().any(|key| schema.value().get(*key).is_some())
}

/// Checks `strict`. The beta root promises arguments that match their schema and refuses schemas
/// that it cannot enforce; outside it such a tool loses its flag.
fn check_strict(chat: &mut Chat) -> Result<(), Error> {
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
            Err(_) => tool.strict = false,
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
