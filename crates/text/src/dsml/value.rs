//! The value of a DSML parameter on its way to JSON.

use chat::Tool;
use serde_json::Value;

use crate::python_json::json_string;

/// A value as it arrives. Strings go on at once; what may be JSON is kept until it is whole, so
/// that what turns out not to be JSON can become a string.
pub(super) struct ParameterValue {
    /// The `string` attribute of its tag.
    string_attribute: Option<bool>,
    /// The types its schema declares; none when it does not say.
    declared_types: Vec<String>,
    buffered: Option<String>,
}

impl ParameterValue {
    pub(super) fn new(string: Option<bool>, types: Vec<String>) -> Self {
        let is_streamed = string != Some(false) && (types.is_empty() || types.iter().any(|name| name == "string"));
        Self { string_attribute: string, declared_types: types, buffered: (!is_streamed).then(String::new) }
    }

    /// The JSON before the value.
    pub(super) fn opening_json(&self) -> &'static str {
        if self.buffered.is_none() { "\"" } else { "" }
    }

    /// Takes more of the value; returns the JSON that is certain.
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

    /// The value is whole; returns the rest of its JSON.
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

    /// What is known of a value that will never be whole.
    pub(super) fn buffered_text(&self) -> &str {
        self.buffered.as_deref().unwrap_or_default()
    }
}

/// The types a tool's schema declares for a parameter.
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
