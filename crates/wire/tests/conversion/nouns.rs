//! The nouns of requests, by API: those of its documentation that change an answer or its price.

mod chat_completions;
mod generate_content;
mod messages;
mod responses;

use serde_json::{Map, Value, json};
use wire::upstream::Dialect;

use crate::Noun;
pub(crate) use chat_completions::nouns as of_chat_completions;
pub(crate) use generate_content::nouns as of_generate_content;
pub(crate) use messages::nouns as of_messages;
pub(crate) use responses::nouns as of_responses;

const PNG: &str = "data:image/png;base64,iVBOR";
const PDF: &str = "data:application/pdf;base64,JVBERi0=";

/// A list of nouns that share a base request.
struct Nouns {
    base: Value,
    list: Vec<Noun>,
}

impl Nouns {
    fn new(base: Value) -> Self {
        Self { base, list: Vec::new() }
    }

    /// A noun that adds `fields` to the base.
    fn add(&mut self, name: &'static str, fields: Value) {
        self.add_beside(name, json!({}), fields);
    }

    /// A noun that adds `fields` to the base with the fields `beside`.
    fn add_beside(&mut self, name: &'static str, beside: Value, fields: Value) {
        let without = merged(&self.base, &beside);
        let with = merged(&without, &fields);
        self.list.push(Noun { name, without, with, is_default_of: &[] });
    }

    /// Marks the last noun as what a provider of these dialects does without being asked.
    fn is_default_of(&mut self, dialects: &'static [Dialect]) {
        self.list.last_mut().unwrap().is_default_of = dialects;
    }
}

/// `base` with `fields`; objects in both are merged.
pub(crate) fn merged(base: &Value, fields: &Value) -> Value {
    match (base, fields) {
        (Value::Object(base), Value::Object(fields)) => {
            let mut all: Map<String, Value> = base.clone();
            for (key, value) in fields {
                let value = merged(base.get(key).unwrap_or(&Value::Null), value);
                all.insert(key.clone(), value);
            }
            all.into()
        }
        (_, fields) => fields.clone(),
    }
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}
