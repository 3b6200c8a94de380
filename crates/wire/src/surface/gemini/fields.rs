//! The spellings of names and of schemas in Gemini's API.

use serde_json::{Map, Value, json};

use crate::field_reader::{Field, Object};

/// The field with this name in camel case, or with the same name in snake case.
pub(super) fn camel_or_snake(object: &mut Object, camel: &str) -> Option<Field> {
    let snake = || {
        camel.chars().fold(String::new(), |mut name, letter| {
            if letter.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
            name
        })
    };
    object.optional(camel).or_else(|| object.optional(&snake()))
}

/// Converts an OpenAPI schema to JSON Schema: type names in lower case, `nullable` as an
/// alternative (API document 3.3).
pub(super) fn openapi_to_json_schema(schema: Value) -> Value {
    let Value::Object(fields) = schema else { return schema };
    let nullable = fields.get("nullable") == Some(&Value::Bool(true));
    let mut plain = Map::new();
    for (key, value) in fields {
        let value = match (key.as_str(), value) {
            ("nullable", _) => continue,
            ("type", Value::String(kind)) => Value::from(kind.to_ascii_lowercase()),
            ("properties", Value::Object(properties)) => {
                properties.into_iter().map(|(name, schema)| (name, openapi_to_json_schema(schema))).collect()
            }
            ("items" | "additionalProperties", schema) => openapi_to_json_schema(schema),
            ("anyOf" | "any_of", Value::Array(schemas)) => schemas.into_iter().map(openapi_to_json_schema).collect(),
            (_, value) => value,
        };
        let known = [("any_of", "anyOf"), ("min_items", "minItems"), ("max_items", "maxItems")];
        let key = known.iter().find(|(snake, _)| *snake == key).map_or(key, |(_, camel)| (*camel).to_owned());
        plain.insert(key, value);
    }
    let plain = Value::Object(plain);
    if nullable { json!({"anyOf": [plain, {"type": "null"}]}) } else { plain }
}
