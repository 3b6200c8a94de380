//! The format that an answer must have.

use serde_json::{Map, Value};

/// The format of the answer (`response_format`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ResponseFormat {
    #[default]
    Text,
    JsonObject,
    /// The `json_schema` object: `name`, `schema`, `strict`.
    JsonSchema(Map<String, Value>),
    /// A `response_format.type` that is not known here; the provider refuses it.
    Unknown(String),
}

impl ResponseFormat {
    /// The format of a schema that has no name of its own.
    pub fn of_schema(schema: Value) -> Self {
        Self::JsonSchema(Map::from_iter([("name".to_owned(), "output".into()), ("schema".to_owned(), schema)]))
    }
}
