//! Parameters that a model does not take together.

use serde_json::{Value, json};

use crate::model_rules::change_notes::ChangeNotes;
use crate::model_rules::parameters::drop_parameter;
use crate::model_rules::row::{ForcedTool, ModelRow, ThinkingOff, ToolsEndpoint};
use crate::model_rules::thinking::RESPONSES_EFFORT;
use crate::passthrough::body_editor::BodyEditor;
use crate::upstream::Dialect;

/// The field with the mode of Gemini's choice among tools.
const GEMINI_MODE: &str = "toolConfig.functionCallingConfig.mode";

/// Leaves out what the model does not take beside something else.
pub(super) fn apply(row: &ModelRow, dialect: Dialect, editor: &mut BodyEditor<'_>, notes: &mut ChangeNotes) {
    if forces_tool(dialect, editor) {
        match row.forced_tool {
            Some(ForcedTool::Never) => leave_choice(dialect, editor, notes),
            Some(ForcedTool::WithoutThinking) => stop_thinking(row, dialect, editor, notes),
            Some(ForcedTool::Always) | None => {}
        }
    }
    if dialect.is_chat_completions() && has_tools(editor) && thinks(row, dialect, editor) {
        stop_reasoning_beside_tools(row, editor, notes);
    }
    if thinks(row, dialect, editor) {
        for name in row.drop_with_thinking.iter().flatten() {
            drop_parameter(name, editor, notes);
        }
    }
    for names in row.exclusive.iter().flatten() {
        let present: Vec<&String> = names.iter().filter(|name| editor.get_path(name).is_some()).collect();
        for name in present.into_iter().skip(1) {
            drop_parameter(name, editor, notes);
        }
    }
}

/// Whether the answer must be a call.
fn forces_tool(dialect: Dialect, editor: &BodyEditor<'_>) -> bool {
    match dialect {
        Dialect::Gemini => {
            let mode = editor.get_path(GEMINI_MODE);
            mode.is_some_and(|mode| mode.eq_ignore_ascii_case(b"\"any\""))
        }
        Dialect::Anthropic => {
            let choice = editor.value("tool_choice");
            choice.is_some_and(|choice| matches!(choice["type"].as_str(), Some("any" | "tool")))
        }
        _ => match editor.value("tool_choice") {
            Some(Value::String(choice)) => choice == "required",
            Some(Value::Object(_)) => true,
            _ => false,
        },
    }
}

/// Leaves the choice among tools to the model.
fn leave_choice(dialect: Dialect, editor: &mut BodyEditor<'_>, notes: &mut ChangeNotes) {
    match dialect {
        Dialect::Gemini => {
            editor.remove_path("toolConfig.functionCallingConfig.allowedFunctionNames");
            editor.set_path(GEMINI_MODE, "\"AUTO\"".into());
        }
        Dialect::Anthropic => {
            let mut choice = json!({"type": "auto"});
            if let Some(old) = editor.value("tool_choice")
                && old["disable_parallel_tool_use"].is_boolean()
            {
                choice["disable_parallel_tool_use"] = old["disable_parallel_tool_use"].clone();
            }
            editor.set("tool_choice", choice.to_string());
        }
        _ => editor.set("tool_choice", "\"auto\"".into()),
    }
    notes.change("`tool_choice` to auto, because this model cannot be forced to call a tool".into());
}

/// Turns thinking off for a forced call.
fn stop_thinking(row: &ModelRow, dialect: Dialect, editor: &mut BodyEditor<'_>, notes: &mut ChangeNotes) {
    if !thinks(row, dialect, editor) {
        return;
    }
    match (dialect, row.thinking_off) {
        (Dialect::Anthropic, Some(ThinkingOff::Disabled)) => {
            editor.set("thinking", r#"{"type":"disabled"}"#.into());
        }
        (Dialect::Anthropic, _) => editor.remove("thinking"),
        (Dialect::Gemini, _) => return,
        (Dialect::Responses, _) => editor.set_path(RESPONSES_EFFORT, "\"none\"".into()),
        _ => editor.set("reasoning_effort", "\"none\"".into()),
    }
    notes.drop("thinking");
}

fn has_tools(editor: &BodyEditor<'_>) -> bool {
    // An empty list has nothing between its brackets.
    editor.get("tools").is_some_and(|tools| tools.iter().any(|byte| !b"[] \t\r\n".contains(byte)))
}

/// Turns reasoning off for a request with tools, if the model takes both at another endpoint.
fn stop_reasoning_beside_tools(row: &ModelRow, editor: &mut BodyEditor<'_>, notes: &mut ChangeNotes) {
    match row.tools_with_reasoning {
        Some(ToolsEndpoint::Responses) => {
            editor.set("reasoning_effort", "\"none\"".into());
            let reason = "this model takes tools beside reasoning only at /responses";
            notes.change(format!("`reasoning_effort` to none, because {reason}"));
        }
        Some(ToolsEndpoint::ResponsesIfNamed) => drop_parameter("reasoning_effort", editor, notes),
        Some(ToolsEndpoint::Any) | None => {}
    }
}

/// Whether the model thinks before it answers this request.
fn thinks(row: &ModelRow, dialect: Dialect, editor: &BodyEditor<'_>) -> bool {
    match dialect {
        Dialect::Anthropic => match editor.value("thinking").as_ref().and_then(|thinking| thinking["type"].as_str()) {
            Some(kind) => kind != "disabled",
            None => !matches!(row.thinking_off, None | Some(ThinkingOff::Omit)),
        },
        Dialect::Gemini => false,
        _ => {
            let path = if dialect == Dialect::Responses { RESPONSES_EFFORT } else { "reasoning_effort" };
            let effort = editor.get_path(path).and_then(|effort| serde_json::from_slice::<String>(&effort).ok());
            effort.or_else(|| row.default_effort.clone()).is_some_and(|effort| effort != "none")
        }
    }
}
