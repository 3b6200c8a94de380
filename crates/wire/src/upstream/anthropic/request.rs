//! Requests to Anthropic's Messages API.

use chat::{Chat, Error, Input, ResponseFormat, Tool, ToolChoice};
use serde_json::{Map, Value, json};

use crate::upstream::anthropic::history::{HistoryWriter, has_call_without_thinking, set_cache_control};
use crate::upstream::dropped_parts::DroppedParts;
use crate::upstream::signatures::SignatureStore;

/// The `max_tokens` of a request without one, which the API requires (API document 3.1).
const DEFAULT_MAX_TOKENS: i64 = 4096;
/// The minimum number of tokens for thinking.
pub(crate) const MIN_THINKING_TOKENS: i64 = 1024;
/// The greatest temperature that the API takes.
const MAX_TEMPERATURE: f64 = 1.0;
/// The least `top_p` that the API takes beside thinking.
const MIN_THINKING_TOP_P: f64 = 0.95;

/// The body of a request to `model`.
pub(in crate::upstream) fn request_body(
    chat: &Chat,
    model: &str,
    signatures: &dyn SignatureStore,
    dropped: &mut DroppedParts,
) -> Result<String, Error> {
    let Input::Messages(messages) = &chat.input else {
        return Err(Error::invalid(format!("The model `{}` answers chats, not text completions", chat.model)));
    };
    let max_tokens = max_tokens(chat);
    // Thinking needs a budget below `max_tokens`, excludes a forced call, and within a turn must be
    // in every message with calls. Otherwise it is off.
    let wants_thinking = wants_thinking(chat);
    let thinks = wants_thinking
        && max_tokens > MIN_THINKING_TOKENS
        && !forces_call(chat)
        && !has_call_without_thinking(messages, signatures);
    dropped.add_if(wants_thinking && !thinks, "thinking");
    let mut history = HistoryWriter { thinks, signatures, dropped };
    let (system, messages) = history.alternating_messages(messages, &chat.response_format)?;
    let mut body = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.into(), value);
        }
    };
    set("model", Some(model.into()));
    set("max_tokens", Some(max_tokens.into()));
    set("system", system);
    set("messages", Some(messages.into()));
    set("cache_control", chat.cache_control.clone());
    set("stream", chat.wants_stream().then(|| true.into()));
    if thinks {
        let budget = thinking_budget(chat.reasoning_effort.as_deref(), max_tokens);
        set("thinking", Some(json!({"type": "enabled", "budget_tokens": budget})));
    }
    // The rows of models drop what a model does not take beside thinking, with a note.
    set("temperature", chat.sampling.temperature.map(|value| value.min(MAX_TEMPERATURE).into()));
    dropped.add_if(chat.sampling.temperature.is_some_and(|value| value > MAX_TEMPERATURE), "temperature above 1");
    let top_p = chat.sampling.top_p.filter(|top_p| !thinks || *top_p >= MIN_THINKING_TOP_P);
    dropped.add_if(top_p != chat.sampling.top_p, "top_p");
    set("top_p", top_p.map(Value::from));
    set("top_k", chat.sampling.top_k.filter(|top_k| *top_k > 0).map(Value::from));
    let stops: Vec<&str> = chat.stop.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    dropped.add_if(stops.len() < chat.stop.len(), "stop");
    set("stop_sequences", (!stops.is_empty()).then(|| json!(stops)));
    set("metadata", chat.user_id.as_ref().or(chat.user.as_ref()).map(|user| json!({"user_id": user})));
    set("tools", (!chat.tools.is_empty()).then(|| tools(chat).into()));
    set("tool_choice", tool_choice(chat));
    if let ResponseFormat::JsonSchema(format) = &chat.response_format {
        let schema = format.get("schema").cloned().unwrap_or_else(|| json!({}));
        set("output_config", Some(json!({"format": {"type": "json_schema", "schema": schema}})));
    }
    Ok(Value::Object(body).to_string())
}

fn max_tokens(chat: &Chat) -> i64 {
    match chat.max_tokens.or(chat.max_completion_tokens) {
        // The tokens that the budget pays for may be more than the model allows.
        None => chat.affordable_tokens.map_or(DEFAULT_MAX_TOKENS, |paid| paid.min(DEFAULT_MAX_TOKENS)),
        Some(own) => chat.max_output_tokens().unwrap_or(own),
    }
}

/// Whether the request asks for thinking, by itself or by its effort.
fn wants_thinking(chat: &Chat) -> bool {
    chat.thinking.unwrap_or_else(|| chat.reasoning_effort.as_deref().is_some_and(|effort| effort != "none"))
}

/// Whether the answer must be a call.
fn forces_call(chat: &Chat) -> bool {
    matches!(chat.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
}

/// The tokens of the thinking: a share of `max_tokens` that follows the effort.
pub(crate) fn thinking_budget(effort: Option<&str>, max_tokens: i64) -> i64 {
    let share = |percent: i64| max_tokens.saturating_mul(percent) / 100;
    let budget = match effort {
        Some("minimal") => share(10),
        Some("low") => share(20),
        Some("medium") => share(50),
        Some("high") => share(80),
        Some("xhigh" | "max") => share(95),
        _ => (max_tokens - MIN_THINKING_TOKENS).max(max_tokens / 2),
    };
    budget.clamp(MIN_THINKING_TOKENS, max_tokens - 1)
}

/// The tools; the last one has the mark that caches them.
fn tools(chat: &Chat) -> Vec<Value> {
    let mut tools: Vec<Value> = chat.tools.iter().map(tool).collect();
    if let Some(last) = tools.last_mut() {
        set_cache_control(last, chat.tools_cache_control.as_ref());
    }
    tools
}

fn tool(tool: &Tool) -> Value {
    let schema = tool.function.get("parameters").cloned();
    let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let mut body = json!({"name": tool.name, "input_schema": schema});
    if let Some(description) = tool.function.get("description") {
        body["description"] = description.clone();
    }
    if tool.strict {
        body["strict"] = true.into();
    }
    body
}

fn tool_choice(chat: &Chat) -> Option<Value> {
    let disable_parallel = chat.parallel_tool_calls == Some(false) && !chat.tools.is_empty();
    let mut choice = match &chat.tool_choice {
        None if disable_parallel => json!({"type": "auto"}),
        None => return None,
        // The API refuses a choice without tools.
        Some(ToolChoice::Auto | ToolChoice::None) if chat.tools.is_empty() => return None,
        Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::None) => return Some(json!({"type": "none"})),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    if disable_parallel {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}
