//! Arguments of tool calls as JSON objects.

use serde_json::{Map, Value};

/// Parses the arguments of a tool call. Text that is not a JSON object becomes an object with the
/// field `_raw` (API document 3.2).
pub(crate) fn parse_tool_arguments(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => object,
        _ if text.trim().is_empty() => Value::Object(Map::new()),
        _ => Value::Object(Map::from_iter([("_raw".to_owned(), text.into())])),
    }
}
