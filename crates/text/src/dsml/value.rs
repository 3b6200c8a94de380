//! Conversion of the value of a DSML parameter to JSON.

use chat::Tool;
use serde_json::Value;

use crate::python_json::json_string;

/// A value that is being generated. Strings are streamed. A value that may be JSON is buffered
/// until it is complete, because invalid JSON becomes a string.
pub(super) struct ParameterValue {
    /// The `string` attribute of its tag.
    string_attribute: Option<bool>,
    /// The types that its schema declares; empty if it declares none.
    declared_types: Vec<String>,
    buffered: Option<String>,
}

impl ParameterValue {
    pub(super) fn new(string_attribute: Option<bool>, declared_types: Vec<String>) -> Self {
        let allows_string = declared_types.is_empty() || declared_types.iter().any(|name| name == "string");
        let is_streamed = string_attribute != Some(false) && allows_string;
        Self { string_attribute, declared_types, buffered: (!is_streamed).then(String::new) }
    }

    /// The JSON before the value.
    pub(super) fn opening_json(&self) -> &'static str {
        if self.buffered.is_none() { "\"" } else { "" }
    }

    /// Appends to the value. Returns the JSON that is certain.
    pub(super) fn push(&mut self, text: &str) -> String {
        match &mut self.buffered {
            Some(whole) => {
                whole.push_str(text);
                String::new()
            }
            None => {
                let quoted = json_string(text);
                quoted[1..quoted.len() - 1].to_owned()
            }
        }
    }

    /// Ends the value. Returns the rest of its JSON.
    pub(super) fn close(self) -> String {
        let Some(raw) = self.buffered else { return "\"".into() };
        let fits = |value: &Value| self.declared_types.iter().any(|name| is_of_type(name, value));
        let text_wanted =
            self.string_attribute != Some(false) || self.declared_types.iter().any(|name| name == "string");
        match serde_json::from_str(raw.trim()) {
            Ok(value) if fits(&value) || !text_wanted => raw.trim().to_owned(),
            _ => json_string(&raw),
        }
    }

    /// The buffered text of a value that remains incomplete.
    pub(super) fn buffered_text(&self) -> &str {
        self.buffered.as_deref().unwrap_or_default()
    }
}

/// The types that a tool's schema declares for a parameter.
pub(super) fn declared_types(tools: &[Tool], tool: &str, key: &str) -> Vec<String> {
    let tool = tools.iter().find(|known| known.name == tool);
    let parameters = tool.and_then(|tool| tool.function.get("parameters"));
    match parameters.and_then(|parameters| parameters.get("properties")?.get(key)?.get("type")) {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => names.iter().filter_map(|name| name.as_str().map(Into::into)).collect(),
        _ => Vec::new(),
    }
}

/// Whether `value` is of the JSON Schema type `name`.
fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}
