//! The keywords of a schema, by its type and by the strictness of validation (API document 1.10).

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::path::{SchemaError, SchemaPath, Strictness};

/// Keywords that describe a schema and do not constrain its values.
const ANNOTATIONS: [&str; 12] = [
    "description",
    "title",
    "default",
    "$schema",
    "$comment",
    "examples",
    "$defs",
    "$def",
    "definitions",
    "$id",
    "readOnly",
    "writeOnly",
];
const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
const OBJECT_KEYWORDS: [&str; 3] = ["properties", "required", "additionalProperties"];
const STRING_KEYWORDS: [&str; 2] = ["pattern", "format"];
const NUMBER_KEYWORDS: [&str; 5] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
const ARRAY_KEYWORDS: [&str; 1] = ["items"];
const ANY_TYPE_KEYWORDS: [&str; 4] = ["type", "enum", "const", "anyOf"];
/// Keywords that are enforced, but not part of the strict subset.
const LENGTH_KEYWORDS: [&str; 4] = ["minLength", "maxLength", "minItems", "maxItems"];
/// Keywords that are enforced for objects without named properties.
const PROPERTY_COUNT_KEYWORDS: [&str; 2] = ["minProperties", "maxProperties"];
/// Keywords that constrain values and that a grammar cannot enforce.
const UNENFORCED_KEYWORDS: [&str; 17] = [
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contentSchema",
    "additionalItems",
];
const STRICT_FORMATS: [&str; 5] = ["email", "hostname", "ipv4", "ipv6", "uuid"];
const LENIENT_FORMATS: [&str; 5] = ["date-time", "date", "time", "duration", "uri"];
/// Bound of integers without bounds, so that they fit into 64 bits.
const MAX_INTEGER: i64 = 999_999_999_999_999_999;

/// Maximum length of a pattern. A class such as `\w` takes a few kilobytes once it is parsed.
const MAX_PATTERN_BYTES: usize = 2048;

/// Refuses keywords and types that `strictness` does not allow.
pub(super) fn validate_keywords(
    schema: &Map<String, Value>,
    strictness: Strictness,
    at: &SchemaPath<'_>,
) -> Result<(), SchemaError> {
    let kind = schema.get("type").and_then(Value::as_str);
    match schema.get("type") {
        Some(Value::Array(kinds)) if kinds.len() > TYPES.len() => {
            return at.child("type").fail("a list of types names each of them once");
        }
        None | Some(Value::String(_) | Value::Array(_)) => {}
        Some(_) => return at.child("type").fail("a type is a string or a list of strings"),
    }
    let kinds =
        schema.get("type").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).chain(kind);
    for kind in kinds {
        if !TYPES.contains(&kind) {
            return at.child("type").fail(format!("`{kind:.40}` is not a type, expected one of {}", TYPES.join(", ")));
        }
    }
    if let Some(values) = schema.get("enum")
        && values.as_array().is_none_or(Vec::is_empty)
    {
        return at.child("enum").fail("a list of values that is not empty");
    }
    if strictness == Strictness::Strict {
        validate_strict(schema, kind, at)?;
    }
    if let Some(pattern) = schema.get("pattern") {
        let pattern = match (pattern.as_str(), strictness) {
            (Some(pattern), _) => pattern,
            (None, Strictness::Strict) => "(",
            // Dropped later.
            (None, Strictness::Lenient) => "",
        };
        if pattern.len() > MAX_PATTERN_BYTES {
            return at.child("pattern").fail(format!("longer than {MAX_PATTERN_BYTES} bytes"));
        }
        if strictness == Strictness::Strict && !is_supported_pattern(pattern) {
            return at.child("pattern").fail("a regular expression without look-around and back-references");
        }
    }
    Ok(())
}

/// Whether a grammar can enforce the pattern: it is not too long, and has no look-around and no
/// back-references.
pub(super) fn is_supported_pattern(pattern: &str) -> bool {
    pattern.len() <= MAX_PATTERN_BYTES && regex_syntax::parse(pattern).is_ok()
}

fn validate_strict(schema: &Map<String, Value>, kind: Option<&str>, at: &SchemaPath<'_>) -> Result<(), SchemaError> {
    for key in schema.keys().map(String::as_str) {
        let known = ANNOTATIONS.contains(&key)
            || ANY_TYPE_KEYWORDS.contains(&key)
            || [OBJECT_KEYWORDS.as_slice(), &STRING_KEYWORDS, &NUMBER_KEYWORDS, &ARRAY_KEYWORDS]
                .iter()
                .any(|keys| keys.contains(&key));
        if !known {
            return at.child(key).fail("this keyword is not supported with strict, leave it out");
        }
        if let Some(kind) = kind.filter(|kind| !applies_to(key, kind)) {
            return at.child(key).fail(format!("this keyword does not apply to values of type {kind}"));
        }
    }
    if let Some(format) = schema.get("format")
        && !STRICT_FORMATS.iter().any(|known| format == known)
    {
        return at.child("format").fail(format!("only {} are supported with strict", STRICT_FORMATS.join(", ")));
    }
    if !["type", "enum", "const", "anyOf"].iter().any(|key| schema.contains_key(*key)) {
        return at.fail("a schema of the strict subset names its type");
    }
    if schema.get("items").is_some_and(|items| !items.is_object()) {
        return at.child("items").fail("one schema for all items");
    }
    Ok(())
}

/// Whether a keyword is kept unchanged.
pub(super) fn is_kept(key: &str, value: &Value, strictness: Strictness) -> bool {
    if key == "pattern" {
        return value.as_str().is_some_and(is_supported_pattern);
    }
    let known = ANY_TYPE_KEYWORDS.contains(&key)
        || OBJECT_KEYWORDS.contains(&key)
        || STRING_KEYWORDS.contains(&key)
        || NUMBER_KEYWORDS.contains(&key);
    let counts = LENGTH_KEYWORDS.contains(&key) || PROPERTY_COUNT_KEYWORDS.contains(&key);
    known || (strictness == Strictness::Lenient && counts && value.is_u64())
}

/// Whether a keyword that is not kept constrains values. Unknown keywords do not.
pub(super) fn is_constraint(key: &str, value: &Value) -> bool {
    let counts = LENGTH_KEYWORDS.contains(&key) || PROPERTY_COUNT_KEYWORDS.contains(&key) || key == "pattern";
    (UNENFORCED_KEYWORDS.contains(&key) && !matches!(value, Value::Bool(false) | Value::Null)) || counts
}

/// Whether alternatives exclude each other by their types or by a discriminating property, so that
/// `oneOf` means the same as `anyOf`.
pub(super) fn are_exclusive(schema: &Map<String, Value>, alternatives: &[Value]) -> bool {
    if schema.contains_key("discriminator") {
        return true;
    }
    let mut kinds = HashSet::new();
    alternatives.iter().all(|of| of.get("type").and_then(Value::as_str).is_some_and(|kind| kinds.insert(kind)))
}

/// Whether a keyword applies to values of this type.
pub(super) fn applies_to(key: &str, kind: &str) -> bool {
    let only = |keys: &[&str], kinds: &[&str]| !keys.contains(&key) || kinds.contains(&kind);
    only(&OBJECT_KEYWORDS, &["object"])
        && only(&STRING_KEYWORDS, &["string"])
        && only(&["minLength", "maxLength"], &["string"])
        && only(&NUMBER_KEYWORDS, &["number", "integer"])
        && only(&ARRAY_KEYWORDS, &["array"])
        && only(&["minItems", "maxItems", "prefixItems"], &["array"])
        && only(&PROPERTY_COUNT_KEYWORDS, &["object"])
        && only(&["patternProperties"], &["object"])
}

/// Removes values of other types from `enum`. Returns whether `enum` and `const` allow any value of
/// this type.
pub(super) fn retain_values_of_type(schema: &mut Map<String, Value>, kind: &str) -> bool {
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| is_of_type(value, kind));
        if values.is_empty() {
            return false;
        }
    }
    schema.get("const").is_none_or(|value| is_of_type(value, kind))
}

/// Whether `enum` and `const` allow a value of this type.
pub(super) fn has_value_of_type(schema: &Map<String, Value>, kind: &str) -> bool {
    let fits = |value: &Value| is_of_type(value, kind);
    let any = |list: &Value| list.as_array().is_none_or(|values| values.iter().any(fits));
    schema.get("enum").is_none_or(any) && schema.get("const").is_none_or(|value| is_of_type(value, kind))
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|value| value.fract() == 0.0),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    }
}

/// Removes bounds that a grammar cannot enforce beside the other keywords. Calls `removed` with the
/// name of each. Exclusive bounds in the form of draft 4, which are booleans, become numbers.
pub(super) fn remove_unsupported_bounds(plain: &mut Map<String, Value>, mut removed: impl FnMut(&'static str)) {
    for (exclusive, inclusive) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        let Some(&Value::Bool(is_exclusive)) = plain.get(exclusive) else { continue };
        plain.shift_remove(exclusive);
        if let Some(bound) = is_exclusive.then(|| plain.shift_remove(inclusive)).flatten() {
            plain.insert(exclusive.into(), bound);
        }
    }
    let is_map = plain.get("type").is_some_and(|kind| kind == "object") && !plain.contains_key("properties");
    for key in PROPERTY_COUNT_KEYWORDS.into_iter().filter(|_| !is_map) {
        if plain.shift_remove(key).is_some() {
            removed(key);
        }
    }
    let format = plain.get("format");
    if format.is_some_and(|format| !STRICT_FORMATS.iter().chain(&LENIENT_FORMATS).any(|known| format == known)) {
        plain.shift_remove("format");
        removed("format");
    }
}

/// Completes and validates the constraints on values of one schema.
pub(super) fn normalize_bounds(plain: &mut Map<String, Value>, at: &SchemaPath<'_>) -> Result<(), SchemaError> {
    let kind = plain.get("type").and_then(Value::as_str).map(str::to_owned);
    if let Some(kind) = &kind
        && !retain_values_of_type(plain, kind)
    {
        let key = if plain.contains_key("enum") { "enum" } else { "const" };
        return at.child(key).fail(format!("no value is of type {kind}"));
    }
    // The grammar's own expressions for formats have no length limits: the name of a mailbox has at
    // most 64 characters, a host name 253.
    let max_length = match plain.get("format").and_then(Value::as_str) {
        Some("email") => Some(64),
        Some("hostname") => Some(253),
        _ => None,
    };
    if let Some(most) = max_length {
        let requested = plain.get("maxLength").and_then(Value::as_u64).unwrap_or(most);
        plain.insert("maxLength".into(), requested.min(most).into());
    }
    for key in NUMBER_KEYWORDS {
        if plain.get(key).is_some_and(|value| !value.is_number()) {
            return at.child(key).fail("a number");
        }
    }
    let number = |key: &str| plain.get(key).and_then(Value::as_f64);
    if number("multipleOf").is_some_and(|of| of <= 0.0) {
        return at.child("multipleOf").fail("a number above 0");
    }
    let low = [number("minimum"), number("exclusiveMinimum")].into_iter().flatten().reduce(f64::max);
    let high = [number("maximum"), number("exclusiveMaximum")].into_iter().flatten().reduce(f64::min);
    if let (Some(low), Some(high)) = (low, high)
        && low > high
    {
        return at.fail(format!("no number is at least {low} and at most {high}"));
    }
    if kind.as_deref() == Some("integer") && !plain.contains_key("enum") && !plain.contains_key("const") {
        if low.is_none() {
            plain.insert("minimum".into(), (-MAX_INTEGER).into());
        }
        if high.is_none() {
            plain.insert("maximum".into(), MAX_INTEGER.into());
        }
    }
    Ok(())
}
