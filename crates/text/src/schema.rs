//! JSON Schemas of callers, judged and brought into a plain form that a grammar can honour:
//! self-contained, every `$ref` a name in `$defs`, no keyword that would be promised and not kept.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::{Map, Value, json};

use refs::Refs;

mod keywords;
mod refs;
#[cfg(test)]
mod tests;

/// Levels of nesting, and properties in all, that a schema may have (API 1.10).
const MAX_DEPTH: usize = 64;
const MAX_PROPERTIES: usize = 5000;
/// Schemas within a schema that are judged, each alternative and each of several types being one:
/// they could double at every level.
const MAX_SCHEMAS: usize = 20_000;
/// Bytes of what is kept of a schema, with so many for each key and so many times those of a
/// pattern; and of all that a grammar repeats of it: the definitions stand beside every parameter.
const MAX_BYTES: usize = 512 << 10;
const KEY_BYTES: usize = 8;
const PATTERN_COST: usize = 4;
const MAX_REPEATED_BYTES: usize = 8 << 20;

/// Why a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// From the schema's root, such as `properties.city.minLength`; `$` is the root itself.
    pub path: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// A schema in plain form.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema(Value);

/// A property of an object schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub required: bool,
    pub schema: Schema,
}

/// How closely a schema is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    /// What the strict subset does not have is refused.
    Strict,
    /// What cannot be honoured is dropped.
    Lenient,
}

impl Schema {
    /// A schema of the strict subset (API 1.10).
    ///
    /// # Errors
    /// The first keyword the subset lacks, or what makes the schema unreadable.
    pub fn strict(schema: &Value) -> Result<Self, SchemaError> {
        Self::normalize(schema, Strictness::Strict)
    }

    /// Any schema, without what cannot be honoured.
    ///
    /// # Errors
    /// What makes no schema at all: other values than objects and booleans, references into
    /// nowhere, patterns that are none, and what is beyond the limits.
    pub fn lenient(schema: &Value) -> Result<Self, SchemaError> {
        Self::normalize(schema, Strictness::Lenient)
    }

    /// The plain form, with its `$defs`.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The properties of an object, in order, each a schema of its own. `None` when the top level
    /// is not plainly an object of declared properties.
    pub fn parameters(&self) -> Option<Vec<Parameter>> {
        let schema = self.0.as_object()?;
        let is_plain_keyword = |key: &String| {
            matches!(key.as_str(), "type" | "properties" | "required" | "additionalProperties" | "$defs")
        };
        if !schema.keys().all(is_plain_keyword)
            || schema.get("type")? != "object"
            || schema.get("additionalProperties")? != false
        {
            return None;
        }
        let required: HashSet<&str> = strings(schema.get("required")).collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let parameter = |(name, of): (&String, &Value)| Parameter {
            name: name.clone(),
            required: required.contains(name.as_str()),
            schema: Self(self.with_definitions(of.clone())),
        };
        Some(properties.into_iter().flatten().map(parameter).collect())
    }

    fn with_definitions(&self, mut schema: Value) -> Value {
        if let (Some(schema), Some(definitions)) = (schema.as_object_mut(), self.0.get("$defs")) {
            schema.insert("$defs".into(), definitions.clone());
        }
        schema
    }

    fn normalize(schema: &Value, rules: Strictness) -> Result<Self, SchemaError> {
        let mut normalizer =
            SchemaNormalizer { strictness: rules, refs: Refs::new(schema), properties: 0, schemas: 0, bytes: 0 };
        let mut normalized = normalizer.normalize_schema(schema, &SchemaPath::ROOT, 0)?;
        let mut definitions = BTreeMap::new();
        while let Some(refs::RefTarget { name, schema, path }) = normalizer.refs.next() {
            let target = normalizer.normalize_schema(schema, &SchemaPath::ROOT.child(&path), 0)?;
            definitions.insert(name, target);
        }
        refs::check_references_end(&definitions)?;
        if !definitions.is_empty() {
            if normalized.as_object().is_none_or(|plain| plain.contains_key("$ref")) {
                // A bare reference at the root has nowhere to put its definitions.
                normalized = json!({ "anyOf": [normalized] });
            }
            let definitions: Map<String, Value> = definitions.into_iter().collect();
            normalized.as_object_mut().expect("just seen to be an object").insert("$defs".into(), definitions.into());
        }
        let schema = Self(normalized);
        if schema.grammar_bytes() > MAX_REPEATED_BYTES {
            return SchemaPath::ROOT.fail("too many properties beside so large definitions, please shorten it");
        }
        Ok(schema)
    }

    /// Bytes that it takes in a grammar: its own, and its definitions once more for
    /// every parameter.
    pub(crate) fn grammar_bytes(&self) -> usize {
        let bytes = |schema: &Value| schema.to_string().len();
        let definitions = self.0.get("$defs").map_or(0, bytes);
        let parameters = self.0.get("properties").and_then(Value::as_object).map_or(0, Map::len);
        bytes(&self.0) + parameters * definitions
    }
}

/// The strings of a list.
fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// A place in a schema: a key, and the place it is at.
#[derive(Clone, Copy)]
struct SchemaPath<'a> {
    key: &'a str,
    at: Option<&'a SchemaPath<'a>>,
}

impl<'a> SchemaPath<'a> {
    const ROOT: SchemaPath<'static> = SchemaPath { key: "", at: None };

    fn child(&'a self, key: &'a str) -> SchemaPath<'a> {
        SchemaPath { key, at: Some(self) }
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, SchemaError> {
        let mut keys: Vec<String> = Vec::new();
        let mut path = self;
        while let Some(at) = path.at {
            keys.push(path.key.chars().take(64).collect());
            path = at;
        }
        keys.reverse();
        let path = if keys.is_empty() { "$".into() } else { keys.join(".") };
        Err(SchemaError { path, reason: reason.into() })
    }
}

struct SchemaNormalizer<'a> {
    strictness: Strictness,
    refs: Refs<'a>,
    /// Properties, schemas, and bytes of what is kept of them, so far.
    properties: usize,
    schemas: usize,
    bytes: usize,
}

impl<'a> SchemaNormalizer<'a> {
    /// The plain form of one schema.
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
            return match self.refs.resolve(target) {
                Some(name) => Ok(json!({ "$ref": format!("#/$defs/{name}") })),
                None => at.child("$ref").fail(format!("`{target:.80}` is not in this schema")),
            };
        }
        // A key takes time also where it is not kept.
        self.charge_bytes(schema.len() * KEY_BYTES, at)?;
        keywords::validate_keywords(schema, self.strictness, at)?;
        if let Some(Value::Array(kinds)) = schema.get("type") {
            return self.expand_type_list(schema, kinds, at, depth);
        }
        let fields = schema.iter().map(|(key, value)| (key.as_str(), value));
        self.normalize_fields(fields, at, depth)
    }

    /// The plain form of a schema of these fields, whose type is one or is not said.
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
                    // One of several is taken for any of several: nothing else can be
                    // drawn token by token.
                    let key = if key == "oneOf" { "anyOf" } else { key };
                    plain.insert(key.into(), each.collect::<Result<Vec<_>, _>>()?.into());
                }
                "items" | "additionalProperties" if value.is_boolean() => {
                    plain.insert(key.into(), value.clone());
                }
                "items" | "additionalProperties" => {
                    plain.insert(key.into(), self.normalize_schema(value, &at, depth + 1)?);
                }
                "properties" => {
                    plain.insert(key.into(), self.normalize_properties(value, &at, depth)?);
                }
                _ if keywords::is_kept(key, value, self.strictness) => {
                    let times = if key == "pattern" { PATTERN_COST } else { 1 };
                    self.charge_bytes(value.to_string().len() * times, &at)?;
                    plain.insert(key.into(), value.clone());
                }
                _ => {}
            }
        }
        self.normalize_object(&mut plain, at)?;
        keywords::normalize_bounds(&mut plain, at)?;
        Ok(plain.into())
    }

    /// Counts what is about to be kept. The same part of a schema may be kept once for each
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

    /// What an object says about the keys it does not declare.
    fn normalize_object(&self, plain: &mut Map<String, Value>, at: &SchemaPath<'_>) -> Result<(), SchemaError> {
        if plain.get("type").is_none_or(|kind| kind != "object") && !plain.contains_key("properties") {
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
            // A model that may write undeclared keys does.
            if plain.contains_key("properties") && !plain.contains_key("allOf") {
                plain.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        if plain.contains_key("properties") {
            plain.entry("type").or_insert_with(|| "object".into());
        }
        Ok(())
    }

    /// A list of types is one of several schemas, each with the keywords of its type.
    fn expand_type_list(
        &mut self,
        schema: &'a Map<String, Value>,
        kinds: &'a [Value],
        at: &SchemaPath<'_>,
        depth: usize,
    ) -> Result<Value, SchemaError> {
        let (mut each, mut seen) = (Vec::new(), HashSet::new());
        for kind in kinds {
            let Some(name) = kind.as_str() else { return at.child("type").fail("a type is a string") };
            // There are seven types: whoever names one twice means it once.
            if !seen.insert(name) || !keywords::has_value_of_type(schema, name) {
                continue;
            }
            self.schemas += 1;
            if depth + 1 > MAX_DEPTH {
                return at.fail(format!("nested deeper than {MAX_DEPTH} levels"));
            }
            let of_kind = schema.iter().filter(|(key, _)| keywords::applies_to(key, name));
            let of_kind = of_kind.map(|(key, value)| (key.as_str(), if key == "type" { kind } else { value }));
            each.push(self.normalize_fields(of_kind, at, depth + 1)?);
        }
        match each.len() {
            0 => at.child("type").fail("no value fits"),
            1 => Ok(each.remove(0)),
            _ => Ok(json!({ "anyOf": each })),
        }
    }
}
