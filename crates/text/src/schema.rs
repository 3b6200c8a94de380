//! JSON Schemas of callers, validated and normalized to a form that a grammar can enforce: it is
//! self-contained, each `$ref` names an entry of `$defs`, and it has no keyword that
//! is not enforced.

use std::collections::HashSet;

use serde_json::{Map, Value};

use path::{SchemaPath, Strictness};

pub use path::SchemaError;

mod keywords;
mod normalizer;
mod path;
mod refs;
#[cfg(test)]
mod tests;

/// Maximum size in bytes of a schema in a grammar, which repeats its definitions
/// for each parameter.
const MAX_REPEATED_BYTES: usize = 8 << 20;

/// Maximum number of references that are followed from the root of a schema.
const MAX_ROOT_REFS: usize = 16;

/// A normalized schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    value: Value,
    /// The paths of constraints that were dropped, at most [`path::MAX_UNENFORCED`].
    unenforced: Vec<String>,
}

/// A property of an object schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub required: bool,
    pub schema: Schema,
}

impl Schema {
    /// Normalizes a schema of the strict subset (API document 1.10).
    ///
    /// # Errors
    /// The path of the first keyword that is not in the subset or is invalid.
    pub fn strict(schema: &Value) -> Result<Self, SchemaError> {
        Self::normalize(schema, Strictness::Strict)
    }

    /// Normalizes any schema and drops keywords that cannot be enforced ([`Schema::unenforced`]).
    ///
    /// # Errors
    /// The path of an invalid part: a schema that is neither an object nor a boolean, a reference
    /// without a target, or a schema beyond the limits.
    pub fn lenient(schema: &Value) -> Result<Self, SchemaError> {
        Self::normalize(schema, Strictness::Lenient)
    }

    /// The same schema as one of an object: a root that only refers to a definition is replaced by
    /// it, and one without a type allows only objects. `None` for a root of another type.
    pub(crate) fn into_object(mut self) -> Option<Self> {
        for _ in 0..MAX_ROOT_REFS {
            let Some(target) = self.root_target() else { break };
            self.value = self.with_definitions(target);
        }
        let root = self.value.as_object_mut()?;
        let kind = root.entry("type").or_insert_with(|| "object".into());
        (kind == "object").then_some(self)
    }

    /// The definition that the root refers to and nothing else.
    fn root_target(&self) -> Option<Value> {
        let root = self.value.as_object()?;
        if root.keys().any(|key| !matches!(key.as_str(), "anyOf" | "$defs")) {
            return None;
        }
        let [only] = root.get("anyOf")?.as_array()?.as_slice() else { return None };
        let name = only.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        root.get("$defs")?.get(name).cloned()
    }

    /// The normalized schema, with its `$defs`.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The paths of constraints that are not enforced, such as `properties.a.not`; the first few.
    pub fn unenforced(&self) -> &[String] {
        &self.unenforced
    }

    /// The properties of an object schema, in order, each with a self-contained schema. `None` when
    /// the schema is not simply an object of declared properties.
    pub fn parameters(&self) -> Option<Vec<Parameter>> {
        let schema = self.value.as_object()?;
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
            schema: Self { value: self.with_definitions(of.clone()), unenforced: Vec::new() },
        };
        Some(properties.into_iter().flatten().map(parameter).collect())
    }

    fn with_definitions(&self, mut schema: Value) -> Value {
        if let (Some(schema), Some(definitions)) = (schema.as_object_mut(), self.value.get("$defs")) {
            schema.insert("$defs".into(), definitions.clone());
        }
        schema
    }

    fn normalize(schema: &Value, strictness: Strictness) -> Result<Self, SchemaError> {
        let (value, unenforced) = normalizer::normalize(schema, strictness)?;
        let schema = Self { value, unenforced };
        if schema.grammar_bytes() > MAX_REPEATED_BYTES {
            return SchemaPath::ROOT.fail("too many properties beside so large definitions, please shorten it");
        }
        Ok(schema)
    }

    /// The size in bytes that the schema takes in a grammar, which repeats its definitions for each
    /// parameter.
    pub(crate) fn grammar_bytes(&self) -> usize {
        let bytes = |schema: &Value| schema.to_string().len();
        let definitions = self.value.get("$defs").map_or(0, bytes);
        let parameters = self.value.get("properties").and_then(Value::as_object).map_or(0, Map::len);
        bytes(&self.value) + parameters * definitions
    }
}

/// The strings in a list.
fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
