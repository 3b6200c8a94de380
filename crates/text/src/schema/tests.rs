use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::Schema;

fn strict_object(properties: Value) -> Value {
    let required: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn strict_error(schema: Value) -> String {
    Schema::strict(&schema).expect_err("the strict subset refuses it").to_string()
}

fn lenient_value(schema: Value) -> Value {
    Schema::lenient(&schema).expect("it is accepted").value().clone()
}

#[test]
fn the_strict_subset_has_what_the_api_document_lists() {
    for property in [
        json!({ "type": "string", "pattern": "^[a-z]+$" }),
        json!({ "type": "string", "format": "uuid", "description": "d", "title": "t", "examples": ["x"] }),
        json!({ "enum": ["a", 1, null] }),
        json!({ "type": "string", "const": "a" }),
        json!({ "type": "number", "minimum": 0, "exclusiveMaximum": 1.5, "multipleOf": 0.5, "default": 1 }),
        json!({ "type": "integer", "exclusiveMinimum": 0, "maximum": 3 }),
        json!({ "type": "boolean" }),
        json!({ "type": "null" }),
        json!({ "type": ["string", "null"] }),
        json!({ "type": "array", "items": { "type": "array", "items": { "type": "string" } } }),
        json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }),
        strict_object(json!({ "b": { "type": "string" } })),
    ] {
        Schema::strict(&strict_object(json!({ "a": property }))).unwrap();
    }
}

#[test]
fn a_keyword_outside_the_strict_subset_is_refused_with_its_path() {
    let of = |property: Value| strict_error(strict_object(json!({ "a": property })));
    for (property, text) in [
        (json!({ "type": "string", "minLength": 1 }), "properties.a.minLength: this keyword is not supported"),
        (json!({ "type": "string", "maxLength": 1 }), "properties.a.maxLength: "),
        (json!({ "type": "string", "format": "date" }), "properties.a.format: only email"),
        (json!({ "type": "string", "pattern": "(?=a)" }), "properties.a.pattern: a regular expression"),
        (json!({ "type": "array", "items": { "type": "null" }, "minItems": 1 }), "properties.a.minItems: "),
        (json!({ "type": "array", "items": [{}] }), "properties.a.items: "),
        (json!({ "type": "array", "prefixItems": [{}] }), "properties.a.prefixItems: "),
        (json!({ "allOf": [{ "type": "string" }] }), "properties.a.allOf: "),
        (json!({ "oneOf": [{ "type": "string" }] }), "properties.a.oneOf: "),
        (json!({ "not": {} }), "properties.a.not: "),
        (json!({ "type": "object", "patternProperties": {} }), "properties.a.patternProperties: "),
        (json!({ "type": "object", "properties": {} }), "properties.a.additionalProperties: must be present"),
        (json!({ "type": "strange" }), "properties.a.type: `strange` is not a type"),
        (json!({ "type": "string", "minimum": 1 }), "properties.a.minimum: this keyword does not apply"),
        (json!({ "type": "string", "enum": [1] }), "properties.a.enum: no value is of type string"),
        (json!({ "type": "integer", "minimum": 3, "maximum": 2 }), "properties.a: no number"),
        (json!({ "enum": [] }), "properties.a.enum: "),
        (json!({}), "properties.a: a schema of the strict subset names its type"),
        (json!(true), "properties.a: a schema of the strict subset names its type"),
        (json!(5), "properties.a: a schema is an object"),
        (json!({ "$ref": "#/$defs/b" }), "properties.a.$ref: `#/$defs/b` is not in this schema"),
        (json!({ "$ref": "#/properties/a" }), "$ref: references that only lead to each other"),
    ] {
        let found = of(property);
        assert!(found.starts_with(text), "{found} instead of {text}");
    }
    let open = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": false });
    assert_eq!(strict_error(open), "required: every property must be listed, `a` is not");
    let ghost = json!({ "type": "object", "properties": {}, "required": ["x"], "additionalProperties": false });
    assert_eq!(strict_error(ghost), "required: `x` is not in properties");
}

#[test]
fn references_of_every_spelling_are_hoisted() {
    for (place, target) in [("$defs", "#/$defs/b"), ("$def", "#/$def/b"), ("definitions", "#/definitions/b")] {
        let mut schema = strict_object(json!({ "a": { "$ref": target, "description": "d" } }));
        schema[place] = json!({ "b": { "type": "string" } });
        let plain = Schema::strict(&schema).unwrap();
        assert_eq!(plain.value()["properties"]["a"], json!({ "$ref": "#/$defs/r0" }));
        assert_eq!(plain.value()["$defs"], json!({ "r0": { "type": "string" } }));
        let [parameter] = plain.parameters().unwrap().try_into().unwrap();
        assert_eq!(parameter.schema.value()["$defs"], plain.value()["$defs"]);
    }
    let tree =
        json!({ "type": "object", "properties": { "next": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] } } });
    let plain = lenient_value(tree);
    assert_eq!(plain["properties"]["next"]["anyOf"][0], json!({ "$ref": "#/$defs/r0" }));
    assert_eq!(plain["$defs"]["r0"]["properties"]["next"]["anyOf"][0], json!({ "$ref": "#/$defs/r0" }));
    let bare = lenient_value(json!({ "$ref": "#/$defs/a%20b", "$defs": { "a b": { "type": "null" } } }));
    assert_eq!(bare, json!({ "anyOf": [{ "$ref": "#/$defs/r0" }], "$defs": { "r0": { "type": "null" } } }));
}

#[test]
fn the_lenient_form_drops_what_cannot_be_kept() {
    let plain = lenient_value(json!({
        "type": "object",
        "properties": { "a": { "type": "string", "minLength": 2, "format": "made-up", "not": {}, "x-y": 1 } },
        "required": ["a", "b"], "if": {}, "unevaluatedProperties": false
    }));
    let a = json!({ "type": "string", "minLength": 2 });
    let expected = json!({
        "type": "object", "properties": { "a": a, "b": {} }, "required": ["a", "b"], "additionalProperties": false
    });
    assert_eq!(plain, expected);
    assert_eq!(lenient_value(json!({ "oneOf": [{ "type": "null" }] })), json!({ "anyOf": [{ "type": "null" }] }));
    assert_eq!(lenient_value(json!({ "type": "object" })), json!({ "type": "object" }));
    assert_eq!(lenient_value(json!({ "properties": { "a": true } }))["type"], "object");
    assert!(Schema::lenient(&json!([])).is_err());
}

#[test]
fn what_is_not_enforced_is_named_and_the_rest_is_kept() {
    let unenforced = |schema: Value| Schema::lenient(&schema).unwrap().unenforced().to_vec();
    let property = |property: Value| json!({ "type": "object", "properties": { "a": property } });
    for (schema, path) in [
        (json!({ "type": "string", "not": { "const": "x" } }), "properties.a.not"),
        (json!({ "type": "string", "pattern": "^(?!x)" }), "properties.a.pattern"),
        (json!({ "type": "string", "format": "made-up" }), "properties.a.format"),
        (json!({ "type": "array", "uniqueItems": true }), "properties.a.uniqueItems"),
        (json!({ "type": "object", "properties": {}, "minProperties": 1 }), "properties.a.minProperties"),
        (json!({ "type": "object", "patternProperties": { "^a": {}, "^b": {} } }), "properties.a.patternProperties"),
        (json!({ "oneOf": [{ "minimum": 1 }, { "maximum": 2 }] }), "properties.a.oneOf"),
        (json!({ "$ref": "#/properties/a/$defs/b", "minLength": 1, "$defs": { "b": {} } }), "properties.a.minLength"),
    ] {
        assert_eq!(unenforced(property(schema.clone())), [path], "{schema}");
    }
    for schema in [
        json!({ "type": "string", "minLength": 1, "maxLength": 2, "pattern": "^a", "format": "date", "description": "d" }),
        json!({ "type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": false, "items": [{ "type": "null" }] }),
        json!({ "type": "object", "additionalProperties": { "type": "string" }, "minProperties": 1 }),
        json!({ "type": "object", "patternProperties": { "^a": { "type": "string" } } }),
        json!({ "oneOf": [{ "type": "string" }, { "type": "null" }] }),
        json!({ "oneOf": [{}, {}], "discriminator": { "propertyName": "kind" } }),
        json!({ "$ref": "#/properties/a/$defs/b", "description": "d", "$defs": { "b": {} } }),
        json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true, "x-order": 1 }),
    ] {
        assert_eq!(unenforced(property(schema.clone())), [""; 0], "{schema}");
    }
    let exclusive = lenient_value(json!({ "type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1 }));
    assert_eq!(exclusive, json!({ "type": "number", "maximum": 1, "exclusiveMinimum": 0 }));
    let tuple = lenient_value(json!({ "type": "array", "items": [{ "type": "null" }] }));
    assert_eq!(tuple, json!({ "type": "array", "prefixItems": [{ "type": "null" }] }));
    let empty = lenient_value(json!({ "type": "array", "items": [] }));
    assert_eq!(empty, json!({ "type": "array" }));
    let many: Vec<Value> = (0..100).map(|_| json!({ "not": {} })).collect();
    assert_eq!(unenforced(json!({ "anyOf": many })).len(), 8);
}

#[test]
fn a_list_of_types_is_one_of_several_schemas() {
    let plain = lenient_value(
        json!({ "type": ["string", "integer", "null"], "minLength": 1, "maximum": 5, "enum": ["a", 7, 3] }),
    );
    let expected = json!({ "anyOf": [
        { "type": "string", "minLength": 1, "enum": ["a"] },
        { "type": "integer", "maximum": 5, "enum": [7, 3] },
    ]});
    assert_eq!(plain, expected);
}

#[test]
fn integers_without_bounds_fit_into_64_bits() {
    let plain = lenient_value(json!({ "type": "integer", "maximum": 3 }));
    assert_eq!(plain, json!({ "type": "integer", "maximum": 3, "minimum": -999_999_999_999_999_999_i64 }));
}

#[test]
fn formats_have_the_lengths_of_their_standards() {
    let length = |schema: Value| lenient_value(schema)["maxLength"].as_u64();
    assert_eq!(length(json!({ "type": "string", "format": "email" })), Some(64));
    assert_eq!(length(json!({ "type": "string", "format": "email", "maxLength": 20 })), Some(20));
    assert_eq!(length(json!({ "type": "string", "format": "hostname", "maxLength": 300 })), Some(253));
    assert_eq!(length(json!({ "type": "string", "format": "uuid" })), None);
}

#[test]
fn an_object_of_any_keys_has_no_parameters() {
    let parameters = |schema: Value| Schema::lenient(&schema).unwrap().parameters();
    assert_eq!(parameters(json!({ "type": "object" })), None);
    assert_eq!(parameters(json!({ "type": "object", "properties": {}, "additionalProperties": true })), None);
    assert_eq!(parameters(json!({ "anyOf": [{ "type": "object" }] })), None);
    assert_eq!(parameters(json!({ "type": "object", "properties": {} })), Some(vec![]));
}

#[test]
fn limits_hold() {
    let mut deep = json!({ "type": "string" });
    for _ in 0..70 {
        deep = json!({ "type": "array", "items": deep });
    }
    assert!(Schema::lenient(&deep).unwrap_err().reason.contains("64 levels"));
    let many: Map<String, Value> = (0..5001).map(|i| (format!("p{i}"), json!({ "type": "null" }))).collect();
    assert!(Schema::lenient(&strict_object(many.into())).unwrap_err().reason.contains("5000 properties"));
}

/// Values that may be schemas, and many that are not.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop::sample::select(vec!["string", "object", "array", "integer", "#", "#/$defs/a", "[a-z", "a"])
            .prop_map(Value::from),
    ];
    let keys = [
        "type",
        "properties",
        "required",
        "items",
        "anyOf",
        "allOf",
        "oneOf",
        "enum",
        "const",
        "$ref",
        "$defs",
        "minimum",
        "maximum",
        "pattern",
        "format",
        "additionalProperties",
        "prefixItems",
        "minLength",
        "a",
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let entry = (prop::sample::select(keys.to_vec()), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(entry, 0..5).prop_map(|entries| Value::Object(
                entries.into_iter().map(|(key, value)| (key.into(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_validated_and_the_normalized_form_is_final(schema in any_schema()) {
        let _ = Schema::strict(&schema);
        if let Ok(plain) = Schema::lenient(&schema) {
            let again = Schema::lenient(plain.value()).map_err(|error| error.to_string());
            prop_assert!(again.is_ok(), "{again:?} of {plain:?}");
            let _ = plain.parameters();
        }
    }
}

#[test]
fn what_doubles_at_every_level_is_refused() {
    let kinds = json!(["object", "array", "string", "number", "integer", "boolean", "null"]);
    for keyword in ["items", "additionalProperties"] {
        let mut schema = json!({ "type": "string" });
        for _ in 0..30 {
            schema = json!({ "type": ["array", "object"], keyword: schema });
        }
        // Each is kept for only one of the types.
        Schema::lenient(&schema).unwrap();
    }
    let mut schema = json!({ "type": "string" });
    for _ in 0..30 {
        schema = json!({ "type": kinds, "anyOf": [schema] });
    }
    let error = Schema::lenient(&schema).unwrap_err().to_string();
    assert!(error.contains("more than 20000 schemas"), "{error}");
    let twice = json!({ "type": ["array", "array"], "items": { "type": "string" } });
    assert_eq!(lenient_value(twice), json!({ "type": "array", "items": { "type": "string" } }));
    let many = json!({ "type": vec!["array"; 8] });
    assert!(Schema::lenient(&many).unwrap_err().to_string().contains("names each of them once"));
}

#[test]
fn a_large_part_is_not_kept_again_for_every_level() {
    let mut schema = json!({ "type": "string", "enum": vec!["0123456789"; 30_000] });
    for _ in 0..30 {
        schema = json!({ "type": ["array", "string"], "items": schema.clone(), "enum": ["a", []] });
    }
    Schema::lenient(&schema).unwrap();
    let words = json!({ "type": ["string", "null"], "enum": vec!["0123456789"; 100_000] });
    assert!(Schema::lenient(&words).unwrap_err().to_string().contains("larger than 524288 bytes"));
}

#[test]
fn definitions_are_not_repeated_beside_many_parameters() {
    let words = json!({ "type": "string", "enum": vec!["0123456789"; 20_000] });
    let properties: Map<String, Value> =
        (0..100).map(|n| (n.to_string(), json!({ "$ref": "#/$defs/words" }))).collect();
    let schema = json!({ "type": "object", "properties": properties, "$defs": { "words": words } });
    assert!(Schema::lenient(&schema).unwrap_err().to_string().contains("too many properties beside"));
}

#[test]
fn references_in_a_long_row_are_followed_once() {
    let definitions: Map<String, Value> = (0..9000)
        .map(|n| (n.to_string(), json!({ "$ref": format!("#/$defs/{}", n + 1) })))
        .chain([("9000".to_owned(), json!({ "type": "string" }))])
        .collect();
    let schema = json!({ "anyOf": [{ "$ref": "#/$defs/0" }], "$defs": definitions });
    let began = std::time::Instant::now();
    Schema::lenient(&schema).unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    let circle = json!({ "anyOf": [{ "$ref": "#/$defs/a" }], "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } });
    assert!(Schema::lenient(&circle).unwrap_err().to_string().contains("only lead to each other"));
}

#[test]
fn a_pattern_has_a_length() {
    let pattern = json!({ "type": "string", "pattern": "\\w".repeat(2000) });
    assert!(Schema::lenient(&pattern).unwrap_err().to_string().contains("longer than 2048 bytes"));
}
