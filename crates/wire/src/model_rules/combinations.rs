//! Parameters that a model does not take together.

use serde_json::{Value, json};

use crate::model_rules::change_notes::ChangeNotes;
use crate::model_rules::parameters::Parameters;
use crate::model_rules::row::{ForcedTool, ModelRow, ThinkingOff, ToolsEndpoint};
use crate::model_rules::thinking::RESPONSES_EFFORT;
use crate::upstream::Dialect;

/// The field with the mode of Gemini's choice among tools.
const GEMINI_MODE: &str = "toolConfig.functionCallingConfig.mode";

/// Leaves out what the model does not take beside something else.
pub(super) fn apply(row: &ModelRow, dialect: Dialect, body: &mut Parameters<'_, '_>, notes: &mut ChangeNotes) {
    if forces_tool(dialect, body) {
        match row.forced_tool {
            Some(ForcedTool::Never) => leave_choice(dialect, body, notes),
            Some(ForcedTool::WithoutThinking) => stop_thinking(row, dialect, body, notes),
            Some(ForcedTool::Always) | None => {}
        }
    }
    if dialect.is_chat_completions() && has_tools(body) && thinks(row, dialect, body) {
        stop_reasoning_beside_tools(row, body, notes);
    }
    if thinks(row, dialect, body) {
        for name in row.drop_with_thinking.iter().flatten() {
            body.drop(name, notes);
        }
    }
    for names in row.exclusive.iter().flatten() {
        let present: Vec<&String> = names.iter().filter(|name| body.get(name).is_some()).collect();
        for name in present.into_iter().skip(1) {
            body.drop(name, notes);
        }
    }
}

/// Whether the answer must be a call.
fn forces_tool(dialect: Dialect, body: &Parameters<'_, '_>) -> bool {
    match dialect {
        Dialect::Gemini => {
            let mode = body.get(GEMINI_MODE);
            mode.is_some_and(|mode| mode.eq_ignore_ascii_case(b"\"any\""))
        }
        Dialect::Anthropic => {
            let choice = body.value("tool_choice");
            choice.is_some_and(|choice| matches!(choice["type"].as_str(), Some("any" | "tool")))
        }
        Dialect::Bedrock => {
            let choice = body.value("tool_choice");
            choice.is_some_and(|choice| choice.get("any").is_some() || choice.get("tool").is_some())
        }
        _ => match body.value("tool_choice") {
            Some(Value::String(choice)) => choice == "required",
            Some(Value::Object(_)) => true,
            _ => false,
        },
    }
}

/// Leaves the choice among tools to the model.
fn leave_choice(dialect: Dialect, body: &mut Parameters<'_, '_>, notes: &mut ChangeNotes) {
    match dialect {
        Dialect::Gemini => {
            body.remove("toolConfig.functionCallingConfig.allowedFunctionNames");
            body.set(GEMINI_MODE, "\"AUTO\"".into());
        }
        Dialect::Anthropic => {
            let mut choice = json!({"type": "auto"});
            if let Some(old) = body.value("tool_choice")
                && old["disable_parallel_tool_use"].is_boolean()
            {
                choice["disable_parallel_tool_use"] = old["disable_parallel_tool_use"].clone();
            }
            body.set("tool_choice", choice.to_string());
        }
        // It is the default, which some models take only unsaid.
        Dialect::Bedrock => body.remove("tool_choice"),
        _ => body.set("tool_choice", "\"auto\"".into()),
    }
    notes.change("`tool_choice` to auto, because this model cannot be forced to call a tool".into());
}

/// Turns thinking off for a forced call.
fn stop_thinking(row: &ModelRow, dialect: Dialect, body: &mut Parameters<'_, '_>, notes: &mut ChangeNotes) {
    if !thinks(row, dialect, body) {
        return;
    }
    match (dialect, row.thinking_off) {
        (Dialect::Anthropic | Dialect::Bedrock, Some(ThinkingOff::Disabled)) => {
            body.set("thinking", r#"{"type":"disabled"}"#.into());
        }
        (Dialect::Anthropic | Dialect::Bedrock, _) => body.remove("thinking"),
        (Dialect::Gemini, _) => return,
        (Dialect::Responses, _) => body.set(RESPONSES_EFFORT, "\"none\"".into()),
        _ => body.set("reasoning_effort", "\"none\"".into()),
    }
    notes.drop("thinking");
}

fn has_tools(body: &Parameters<'_, '_>) -> bool {
    // An empty list has nothing between its brackets.
    body.get("tools").is_some_and(|tools| tools.iter().any(|byte| !b"[] \t\r\n".contains(byte)))
}

/// Turns reasoning off for a request with tools, if the model takes both at another endpoint.
fn stop_reasoning_beside_tools(row: &ModelRow, body: &mut Parameters<'_, '_>, notes: &mut ChangeNotes) {
    match row.tools_with_reasoning {
        Some(ToolsEndpoint::Responses) => {
            body.set("reasoning_effort", "\"none\"".into());
            let reason = "this model takes tools beside reasoning only at /responses";
            notes.change(format!("`reasoning_effort` to none, because {reason}"));
        }
        Some(ToolsEndpoint::ResponsesIfNamed) => body.drop("reasoning_effort", notes),
        Some(ToolsEndpoint::Any) | None => {}
    }
}

/// Whether the model thinks before it answers this request.
fn thinks(row: &ModelRow, dialect: Dialect, body: &Parameters<'_, '_>) -> bool {
    match dialect {
        Dialect::Anthropic | Dialect::Bedrock => {
            match body.value("thinking").as_ref().and_then(|thinking| thinking["type"].as_str()) {
                Some(kind) => kind != "disabled",
                None => !matches!(row.thinking_off, None | Some(ThinkingOff::Omit)),
            }
        }
        Dialect::Gemini => false,
        _ => {
            let path = if dialect == Dialect::Responses { RESPONSES_EFFORT } else { "reasoning_effort" };
            let effort = body.get(path).and_then(|effort| serde_json::from_slice::<String>(&effort).ok());
            effort.or_else(|| row.default_effort.clone()).is_some_and(|effort| effort != "none")
        }
    }
}
