//! JSON Schemas of callers, judged and brought into a plain form that a grammar can honour: self-contained, every `$ref` a name
//! in `$defs`, no keyword that would be promised and not kept.

use std::collections::BTreeMap;
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

/// Why a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFault {
    /// From the schema's root, such as `properties.city.minLength`; `$` is the root itself.
    pub path: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl fmt::Display for SchemaFault {
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
enum Rules {
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
    pub fn strict(schema: &Value) -> Result<Self, SchemaFault> {
        Self::plain(schema, Rules::Strict)
    }

    /// Any schema, without what cannot be honoured.
    ///
    /// # Errors
    /// What makes no schema at all: other values than objects and booleans, references into nowhere, patterns that are none,
    /// and what is beyond the limits.
    pub fn lenient(schema: &Value) -> Result<Self, SchemaFault> {
        Self::plain(schema, Rules::Lenient)
    }

    /// The plain form, with its `$defs`.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The properties of an object, in order, each a schema of its own. `None` when the top level is not plainly an object
    /// of declared properties.
    pub fn parameters(&self) -> Option<Vec<Parameter>> {
        let schema = self.0.as_object()?;
        let plainly = |key: &String| {
            matches!(key.as_str(), "type" | "properties" | "required" | "additionalProperties" | "$defs")
        };
        if !schema.keys().all(plainly)
            || schema.get("type")? != "object"
            || schema.get("additionalProperties")? != false
        {
            return None;
        }
        let required = |name: &str| {
            schema
                .get("required")
                .and_then(Value::as_array)
                .is_some_and(|names| names.iter().any(|known| known == name))
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let parameter = |(name, of): (&String, &Value)| Parameter {
            name: name.clone(),
            required: required(name),
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

    fn plain(schema: &Value, rules: Rules) -> Result<Self, SchemaFault> {
        let mut refs = Refs::new(schema);
        let mut properties = 0;
        let mut judge = Judge { rules, refs: &mut refs, properties: &mut properties };
        let mut plain = judge.schema(schema, &Path::root(), 0)?;
        let mut definitions = BTreeMap::new();
        while let Some((name, target, path)) = judge.refs.next() {
            let target = judge.schema(&target, &Path(path), 0)?;
            definitions.insert(name, target);
        }
        refs::terminate(&definitions)?;
        if !definitions.is_empty() {
            if plain.as_object().is_none_or(|plain| plain.contains_key("$ref")) {
                // A bare reference at the root has nowhere to put its definitions.
                plain = json!({ "anyOf": [plain] });
            }
            let definitions: Map<String, Value> = definitions.into_iter().collect();
            plain.as_object_mut().expect("just seen to be an object").insert("$defs".into(), definitions.into());
        }
        Ok(Self(plain))
    }
}

/// A place in a schema.
#[derive(Clone)]
struct Path(String);

impl Path {
    fn root() -> Self {
        Self(String::new())
    }

    fn to(&self, key: &str) -> Self {
        let key: String = key.chars().take(64).collect();
        Self(if self.0.is_empty() { key } else { format!("{}.{key}", self.0) })
    }

    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, SchemaFault> {
        let path = if self.0.is_empty() { "$".into() } else { self.0.clone() };
        Err(SchemaFault { path, reason: reason.into() })
    }
}

struct Judge<'a, 'b> {
    rules: Rules,
    refs: &'a mut Refs<'b>,
    properties: &'a mut usize,
}

impl Judge<'_, '_> {
    /// The plain form of one schema.
    fn schema(&mut self, schema: &Value, at: &Path, depth: usize) -> Result<Value, SchemaFault> {
        if depth > MAX_DEPTH {
            return at.fault(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let schema = match schema {
            Value::Bool(true) if self.rules == Rules::Lenient => return Ok(json!({})),
            Value::Bool(true) => return at.fault("a schema of the strict subset names its type"),
            Value::Bool(false) => return at.fault("no value fits `false`"),
            Value::Object(schema) => schema,
            _ => return at.fault("a schema is an object"),
        };
        if let Some(target) = schema.get("$ref") {
            let Some(target) = target.as_str() else { return at.to("$ref").fault("a reference is a string") };
            return match self.refs.name(target) {
                Some(name) => Ok(json!({ "$ref": format!("#/$defs/{name}") })),
                None => at.to("$ref").fault(format!("`{target:.80}` is not in this schema")),
            };
        }
        keywords::check(schema, self.rules, at)?;
        if let Some(Value::Array(kinds)) = schema.get("type") {
            return self.one_of_types(schema, kinds, at, depth);
        }
        let mut plain = Map::new();
        for (key, value) in schema {
            let at = at.to(key);
            match key.as_str() {
                "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                    let Some(all) = value.as_array().filter(|all| !all.is_empty()) else {
                        return at.fault("a list of schemas that is not empty");
                    };
                    let each = all.iter().enumerate();
                    let each = each.map(|(index, of)| self.schema(of, &at.to(&index.to_string()), depth + 1));
                    // One of several is taken for any of several: nothing else can be drawn token by token.
                    let key = if key == "oneOf" { "anyOf" } else { key };
                    plain.insert(key.into(), each.collect::<Result<Vec<_>, _>>()?.into());
                }
                "items" | "additionalProperties" if value.is_boolean() => {
                    plain.insert(key.clone(), value.clone());
                }
                "items" | "additionalProperties" => {
                    plain.insert(key.clone(), self.schema(value, &at, depth + 1)?);
                }
                "properties" => {
                    plain.insert(key.clone(), self.properties(value, &at, depth)?);
                }
                _ if keywords::kept(key, value, self.rules) => {
                    plain.insert(key.clone(), value.clone());
                }
                _ => {}
            }
        }
        self.object(&mut plain, at)?;
        keywords::bounds(&mut plain, at)?;
        Ok(plain.into())
    }

    fn properties(&mut self, properties: &Value, at: &Path, depth: usize) -> Result<Value, SchemaFault> {
        let Some(properties) = properties.as_object() else { return at.fault("properties are an object") };
        *self.properties += properties.len();
        if *self.properties > MAX_PROPERTIES {
            return at.fault(format!("more than {MAX_PROPERTIES} properties"));
        }
        let each = properties.iter().map(|(name, of)| Ok((name.clone(), self.schema(of, &at.to(name), depth + 1)?)));
        Ok(Value::Object(each.collect::<Result<Map<_, _>, _>>()?))
    }

    /// What an object says about the keys it does not declare.
    fn object(&self, plain: &mut Map<String, Value>, at: &Path) -> Result<(), SchemaFault> {
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
                let Some(names) = names else { return at.to("required").fault("a list of names") };
                names.into_iter().map(Into::into).collect()
            }
        };
        for name in &required {
            if !declared(plain, name) && self.rules == Rules::Strict {
                return at.to("required").fault(format!("`{name}` is not in properties"));
            }
        }
        if self.rules == Rules::Strict {
            for name in plain.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name) {
                if !required.contains(name) {
                    return at.to("required").fault(format!("every property must be listed, `{name}` is not"));
                }
            }
            if plain.get("additionalProperties") != Some(&Value::Bool(false)) {
                return at.to("additionalProperties").fault("must be present and false");
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
    fn one_of_types(
        &mut self,
        schema: &Map<String, Value>,
        kinds: &[Value],
        at: &Path,
        depth: usize,
    ) -> Result<Value, SchemaFault> {
        let mut each = Vec::new();
        for kind in kinds {
            let Some(name) = kind.as_str() else { return at.to("type").fault("a type is a string") };
            let of_kind = schema.iter().filter(|(key, _)| keywords::belongs(key, name));
            let mut one: Map<String, Value> = of_kind.map(|(key, value)| (key.clone(), value.clone())).collect();
            one.insert("type".into(), kind.clone());
            if !keywords::words_of(&mut one, name) {
                continue;
            }
            each.push(self.schema(&one.into(), at, depth + 1)?);
        }
        match each.len() {
            0 => at.to("type").fault("no value fits"),
            1 => Ok(each.remove(0)),
            _ => Ok(json!({ "anyOf": each })),
        }
    }
}
