//! Documented fields of the callers' APIs that a chat has no place for.

use serde_json::{Value, json};

use crate::field_reader::Object;

/// Those of the fields `names` that ask for something.
pub(crate) fn take_uncarried(object: &mut Object, names: &[&'static str]) -> Vec<&'static str> {
    let asks = |name: &&&'static str| object.optional(name).is_some_and(|field| !is_default(name, field.value()));
    names.iter().filter(asks).copied().collect()
}

/// Whether the field has the value that its absence means.
fn is_default(name: &str, value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Array(values) => values.is_empty() || name == "modalities" && *value == json!(["text"]),
        // Its presence alone asks for searches.
        Value::Object(fields) => fields.is_empty() && name != "web_search_options",
        Value::String(word) => match name {
            "service_tier" => word == "auto" || word == "default",
            "truncation" => word == "disabled",
            _ => word.is_empty(),
        },
        Value::Null => true,
        Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field_reader::Field;

    #[test]
    fn a_field_with_its_default_asks_for_nothing() {
        let names = [
            "modalities",
            "service_tier",
            "store",
            "truncation",
            "metadata",
            "prompt_cache_key",
            "web_search_options",
            "absent",
        ];
        let uncarried = |body: Value| take_uncarried(&mut Field::root(body).object().ok().unwrap(), &names);
        let defaults = json!({"modalities": ["text"], "service_tier": "auto", "store": false, "truncation": "disabled",
            "metadata": {}, "prompt_cache_key": null, "web_search_options": null});
        assert!(uncarried(defaults).is_empty());
        let set = json!({"modalities": ["text", "audio"], "service_tier": "flex", "store": true, "truncation": "auto",
            "metadata": {"k": "v"}, "prompt_cache_key": "k", "web_search_options": {}});
        assert_eq!(uncarried(set), names[..7]);
    }
}
