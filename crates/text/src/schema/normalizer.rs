//! Normalization of a schema: checks its keywords and limits, and builds the normalized form.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::keywords;
use super::path::{MAX_UNENFORCED, SchemaError, SchemaPath, Strictness};
use super::refs::{RefTarget, Refs, check_references_end};

/// Maximum levels of nesting (API document 1.10).
const MAX_DEPTH: usize = 64;
/// Maximum number of properties in all (API document 1.10).
const MAX_PROPERTIES: usize = 5000;
/// Maximum number of schemas within a schema. Each alternative and each type of a list counts as
/// one: their number could double at every level.
const MAX_SCHEMAS: usize = 20_000;
/// Maximum size in bytes of a normalized schema.
const MAX_BYTES: usize = 512 << 10;
/// Bytes that each key of a schema adds to its size.
const KEY_BYTES: usize = 8;
/// Factor by which the length of a pattern counts.
const PATTERN_COST: usize = 4;

/// Normalizes a schema and puts the targets of its references into `$defs`. Returns it with the
/// paths of constraints that are not enforced.
///
/// # Errors
/// The path and the reason why the schema is refused.
pub(super) fn normalize(schema: &Value, strictness: Strictness) -> Result<(Value, Vec<String>), SchemaError> {
    let mut normalizer = SchemaNormalizer {
        strictness,
        refs: Refs::new(schema),
        properties: 0,
        schemas: 0,
        bytes: 0,
        unenforced: Vec::new(),
    };
    let mut normalized = normalizer.normalize_schema(schema, &SchemaPath::ROOT, 0)?;
    let mut definitions = BTreeMap::new();
    while let Some(RefTarget { name, schema, path }) = normalizer.refs.next() {
        let target = normalizer.normalize_schema(schema, &SchemaPath::ROOT.child(&path), 0)?;
        definitions.insert(name, target);
    }
    check_references_end(&definitions)?;
    if !definitions.is_empty() {
        if normalized.as_object().is_none_or(|plain| plain.contains_key("$ref")) {
            // A bare reference at the root cannot have definitions beside it.
            normalized = json!({ "anyOf": [normalized] });
        }
        let definitions: Map<String, Value> = definitions.into_iter().collect();
        normalized.as_object_mut().expect("checked above to be an object").insert("$defs".into(), definitions.into());
    }
    Ok((normalized, normalizer.unenforced))
}

struct SchemaNormalizer<'a> {
    strictness: Strictness,
    refs: Refs<'a>,
    /// Number of properties, of schemas, and of bytes so far.
    properties: usize,
    schemas: usize,
    bytes: usize,
    /// The paths of dropped constraints.
    unenforced: Vec<String>,
}

impl<'a> SchemaNormalizer<'a> {
    /// Normalizes one schema.
    fn normalize_schema(&mut self, schema: &'a Value, at: &SchemaPath<'_>, depth: usize) -> Result<Value, SchemaError> {
        self.schemas += 1;
        if self.schemas > MAX_SCHEMAS {
            return at.fail(format!("more than {MAX_SCHEMAS} schemas, each alternative and each type counted"));
        }
        if depth > MAX_DEPTH {
            return at.fail(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let schema = match schema {
            Value::Bool(true) if self.strictness == Strictness::Lenient => return Ok(json!({})),
            Value::Bool(true) => return at.fail("a schema of the strict subset names its type"),
            Value::Bool(false) => return at.fail("no value fits `false`"),
            Value::Object(schema) => schema,
            _ => return at.fail("a schema is an object"),
        };
        if let Some(target) = schema.get("$ref") {
            let Some(target) = target.as_str() else { return at.child("$ref").fail("a reference is a string") };
            for (key, value) in schema {
                if keywords::is_constraint(key, value) || keywords::is_kept(key, value, self.strictness) {
                    self.note_unenforced(&at.child(key));
                }
            }
            return match self.refs.resolve(target) {
                Some(name) => Ok(json!({ "$ref": format!("#/$defs/{name}") })),
                None => at.child("$ref").fail(format!("`{target:.80}` is not in this schema")),
            };
        }
        // A key that is dropped takes time too.
        self.charge_bytes(schema.len() * KEY_BYTES, at)?;
        keywords::validate_keywords(schema, self.strictness, at)?;
        if let Some(Value::Array(alternatives)) = schema.get("oneOf")
            && !keywords::are_exclusive(schema, alternatives)
        {
            self.note_unenforced(&at.child("oneOf"));
        }
        if let Some(Value::Array(kinds)) = schema.get("type") {
            return self.expand_type_list(schema, kinds, at, depth);
        }
        let fields = schema.iter().map(|(key, value)| (key.as_str(), value));
        self.normalize_fields(fields, at, depth)
    }

    fn note_unenforced(&mut self, at: &SchemaPath<'_>) {
        let path = at.to_string();
        // Each type of a list of types has the same keywords.
        if self.unenforced.len() < MAX_UNENFORCED && !self.unenforced.contains(&path) {
            self.unenforced.push(path);
        }
    }

    /// Normalizes a schema with these fields, which has at most one type.
    fn normalize_fields(
        &mut self,
        fields: impl Iterator<Item = (&'a str, &'a Value)>,
        at: &SchemaPath<'_>,
        depth: usize,
    ) -> Result<Value, SchemaError> {
        let mut plain = Map::new();
        for (key, value) in fields {
            let at = at.child(key);
            match key {
                "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                    let Some(all) = value.as_array().filter(|all| !all.is_empty()) else {
                        return at.fail("a list of schemas that is not empty");
                    };
                    let each = all.iter().enumerate();
                    let each =
                        each.map(|(index, of)| self.normalize_schema(of, &at.child(&index.to_string()), depth + 1));
                    // `oneOf` becomes `anyOf`: a grammar cannot enforce that only one matches.
                    let key = if key == "oneOf" { "anyOf" } else { key };
                    plain.insert(key.into(), each.collect::<Result<Vec<_>, _>>()?.into());
                }
                // The form of a tuple before the draft of 2020. An empty list demands nothing.
                "items" if value.is_array() && self.strictness == Strictness::Lenient => {
                    let each = value.as_array().into_iter().flatten().enumerate();
                    let each =
                        each.map(|(index, of)| self.normalize_schema(of, &at.child(&index.to_string()), depth + 1));
                    let each = each.collect::<Result<Vec<_>, _>>()?;
                    if !each.is_empty() {
                        plain.insert("prefixItems".into(), each.into());
                    }
                }
                "items" | "additionalProperties" if value.is_boolean() => {
                    plain.insert(key.into(), value.clone());
                }
                "items" | "additionalProperties" => {
                    plain.insert(key.into(), self.normalize_schema(value, &at, depth + 1)?);
                }
                "patternProperties" if self.is_enforced_pattern_map(value) => {
                    plain.insert(key.into(), self.normalize_properties(value, &at, depth)?);
                }
                "properties" => {
                    plain.insert(key.into(), self.normalize_properties(value, &at, depth)?);
                }
                _ if keywords::is_kept(key, value, self.strictness) => {
                    let times = if key == "pattern" { PATTERN_COST } else { 1 };
                    self.charge_bytes(value.to_string().len() * times, &at)?;
                    plain.insert(key.into(), value.clone());
                }
                _ if keywords::is_constraint(key, value) => self.note_unenforced(&at),
                _ => {}
            }
        }
        self.normalize_object(&mut plain, at)?;
        keywords::remove_unsupported_bounds(&mut plain, |key| self.note_unenforced(&at.child(key)));
        keywords::normalize_bounds(&mut plain, at)?;
        Ok(plain.into())
    }

    /// Adds to the size of the normalized schema. The same part of a schema may count once for each
    /// of several types.
    fn charge_bytes(&mut self, bytes: usize, at: &SchemaPath<'_>) -> Result<(), SchemaError> {
        self.bytes += bytes;
        if self.bytes > MAX_BYTES {
            return at.fail(format!("the schema is larger than {MAX_BYTES} bytes up to here, please shorten it"));
        }
        Ok(())
    }

    fn normalize_properties(
        &mut self,
        properties: &'a Value,
        at: &SchemaPath<'_>,
        depth: usize,
    ) -> Result<Value, SchemaError> {
        let Some(properties) = properties.as_object() else { return at.fail("properties are an object") };
        self.properties += properties.len();
        if self.properties > MAX_PROPERTIES {
            return at.fail(format!("more than {MAX_PROPERTIES} properties"));
        }
        self.charge_bytes(properties.keys().map(String::len).sum(), at)?;
        let each = properties
            .iter()
            .map(|(name, of)| Ok((name.clone(), self.normalize_schema(of, &at.child(name), depth + 1)?)));
        Ok(Value::Object(each.collect::<Result<Map<_, _>, _>>()?))
    }

    /// Whether a grammar can enforce `patternProperties`: one supported pattern, because several
    /// must not match the same name.
    fn is_enforced_pattern_map(&self, value: &Value) -> bool {
        let mut patterns = value.as_object().into_iter().flat_map(Map::keys);
        let only = (patterns.next(), patterns.next());
        self.strictness == Strictness::Lenient
            && matches!(only, (Some(pattern), None) if keywords::is_supported_pattern(pattern))
    }

    /// Normalizes `required` and `additionalProperties` of an object schema.
    fn normalize_object(&self, plain: &mut Map<String, Value>, at: &SchemaPath<'_>) -> Result<(), SchemaError> {
        let names = ["properties", "patternProperties"].iter().any(|key| plain.contains_key(*key));
        if plain.get("type").is_none_or(|kind| kind != "object") && !names {
            return Ok(());
        }
        let declared = |plain: &Map<String, Value>, name: &str| {
            plain.get("properties").is_some_and(|properties| properties.get(name).is_some())
        };
        let required: Vec<String> = match plain.get("required") {
            None => Vec::new(),
            Some(names) => {
                let names =
                    names.as_array().and_then(|names| names.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
                let Some(names) = names else { return at.child("required").fail("a list of names") };
                names.into_iter().map(Into::into).collect()
            }
        };
        for name in &required {
            if !declared(plain, name) && self.strictness == Strictness::Strict {
                return at.child("required").fail(format!("`{name}` is not in properties"));
            }
        }
        if self.strictness == Strictness::Strict {
            let listed: HashSet<&str> = required.iter().map(String::as_str).collect();
            for name in plain.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name) {
                if !listed.contains(name.as_str()) {
                    return at.child("required").fail(format!("every property must be listed, `{name}` is not"));
                }
            }
            if plain.get("additionalProperties") != Some(&Value::Bool(false)) {
                return at.child("additionalProperties").fail("must be present and false");
            }
        } else {
            for name in required.iter().filter(|name| !declared(plain, name)).cloned().collect::<Vec<_>>() {
                let properties = plain.entry("properties").or_insert_with(|| json!({}));
                properties.as_object_mut().expect("properties were read as an object").insert(name, json!({}));
            }
            // A model writes undeclared keys where it may.
            if names && !plain.contains_key("allOf") {
                plain.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        if names {
            plain.entry("type").or_insert_with(|| "object".into());
        }
        Ok(())
    }

    /// Expands a list of types to alternatives, each with the keywords of its type.
    fn expand_type_list(
        &mut self,
        schema: &'a Map<String, Value>,
        kinds: &'a [Value],
        at: &SchemaPath<'_>,
        depth: usize,
    ) -> Result<Value, SchemaError> {
        let mut alternatives = Vec::new();
        let mut seen = HashSet::new();
        for kind in kinds {
            let Some(name) = kind.as_str() else { return at.child("type").fail("a type is a string") };
            // Duplicate types count once.
            if !seen.insert(name) || !keywords::has_value_of_type(schema, name) {
                continue;
            }
            self.schemas += 1;
            if depth + 1 > MAX_DEPTH {
                return at.fail(format!("nested deeper than {MAX_DEPTH} levels"));
            }
            let of_kind = schema.iter().filter(|(key, _)| keywords::applies_to(key, name));
            let of_kind = of_kind.map(|(key, value)| (key.as_str(), if key == "type" { kind } else { value }));
            alternatives.push(self.normalize_fields(of_kind, at, depth + 1)?);
        }
        match alternatives.len() {
            0 => at.child("type").fail("no value fits"),
            1 => Ok(alternatives.remove(0)),
            _ => Ok(json!({ "anyOf": alternatives })),
        }
    }
}
