//! The fields of a request that its response repeats.

use serde_json::{Map, Value, json};

use crate::surface::responses::tools::ToolNames;

/// Fields of the request that a response repeats, and names of tools.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestEcho {
    /// An object with every field that a response repeats, or its default.
    pub(crate) fields: Value,
    /// How the calls of tools are returned.
    pub(crate) tool_names: ToolNames,
}

/// The fields that [`RequestEcho::of`] copies.
const COPIED_FIELDS: [&str; 18] = [
    "frequency_penalty",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// The number of bytes of a body that its response repeats, and that are copied therefore.
pub fn echoed_bytes(body: &Value) -> usize {
    COPIED_FIELDS.iter().map(|key| chat::json_bytes(&body[*key])).sum()
}

impl RequestEcho {
    /// The echo of a request body.
    pub(crate) fn of(body: &Value) -> Self {
        let or = |key: &str, default: Value| if body[key].is_null() { default } else { body[key].clone() };
        let fields = json!({
            "background": false,
            "frequency_penalty": or("frequency_penalty", json!(0.0)),
            "instructions": or("instructions", Value::Null),
            "max_output_tokens": or("max_output_tokens", Value::Null),
            "max_tool_calls": or("max_tool_calls", Value::Null),
            "metadata": or("metadata", json!({})),
            "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
            "presence_penalty": or("presence_penalty", json!(0.0)),
            "previous_response_id": null,
            "prompt_cache_key": or("prompt_cache_key", Value::Null),
            "reasoning": {
                "effort": body["reasoning"]["effort"],
                "summary": body["reasoning"]["summary"],
            },
            "safety_identifier": or("safety_identifier", Value::Null),
            "service_tier": "default",
            "store": false,
            "temperature": or("temperature", json!(1.0)),
            "text": text(&body["text"]),
            "tool_choice": or("tool_choice", json!("auto")),
            "tools": body["tools"].as_array().into_iter().flatten().map(tool).collect::<Vec<_>>(),
            "top_logprobs": or("top_logprobs", json!(0)),
            "top_p": or("top_p", json!(1.0)),
            "truncation": or("truncation", json!("disabled")),
            "user": or("user", Value::Null),
        });
        Self { fields, tool_names: ToolNames::default() }
    }

    /// The approximate number of bytes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        chat::json_bytes(&self.fields) + self.tool_names.memory_bytes()
    }
}

impl Default for RequestEcho {
    fn default() -> Self {
        Self::of(&Value::Null)
    }
}

/// A tool as it was sent, with null for the fields of functions that were left out.
fn tool(sent: &Value) -> Value {
    let mut tool = sent.clone();
    if let Some(fields) = tool.as_object_mut().filter(|fields| fields.get("type") == Some(&json!("function"))) {
        with_defaults(fields, &[("description", Value::Null), ("parameters", Value::Null), ("strict", Value::Null)]);
    }
    tool
}

fn text(sent: &Value) -> Value {
    let mut format = if sent["format"].is_null() { json!({ "type": "text" }) } else { sent["format"].clone() };
    if let Some(fields) = format.as_object_mut().filter(|fields| fields.get("type") == Some(&json!("json_schema"))) {
        with_defaults(fields, &[("description", Value::Null), ("strict", Value::Bool(false))]);
    }
    let mut text = json!({ "format": format });
    if !sent["verbosity"].is_null() {
        text["verbosity"] = sent["verbosity"].clone();
    }
    text
}

fn with_defaults(fields: &mut Map<String, Value>, defaults: &[(&str, Value)]) {
    for (key, default) in defaults {
        fields.entry(*key).or_insert_with(|| default.clone());
    }
}
