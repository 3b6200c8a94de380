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

/// A normalized schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema(Value);

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

    /// Normalizes any schema and drops keywords that cannot be enforced.
    ///
    /// # Errors
    /// The path of an invalid part: a schema that is neither an object nor a boolean, a reference
    /// without a target, an invalid pattern, or a schema beyond the limits.
    pub fn lenient(schema: &Value) -> Result<Self, SchemaError> {
        Self::normalize(schema, Strictness::Lenient)
    }

    /// The normalized schema, with its `$defs`.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The properties of an object schema, in order, each with a self-contained schema. `None` when
    /// the schema is not simply an object of declared properties.
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

    fn normalize(schema: &Value, strictness: Strictness) -> Result<Self, SchemaError> {
        let schema = Self(normalizer::normalize(schema, strictness)?);
        if schema.grammar_bytes() > MAX_REPEATED_BYTES {
            return SchemaPath::ROOT.fail("too many properties beside so large definitions, please shorten it");
        }
        Ok(schema)
    }

    /// The size in bytes that the schema takes in a grammar, which repeats its definitions for each
    /// parameter.
    pub(crate) fn grammar_bytes(&self) -> usize {
        let bytes = |schema: &Value| schema.to_string().len();
        let definitions = self.0.get("$defs").map_or(0, bytes);
        let parameters = self.0.get("properties").and_then(Value::as_object).map_or(0, Map::len);
        bytes(&self.0) + parameters * definitions
    }
}

/// The strings in a list.
fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
