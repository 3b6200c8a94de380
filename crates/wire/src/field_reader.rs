//! Reads typed fields out of a parsed body; every fault names the path of the field.

use chat::Error;
use serde_json::{Map, Value};

/// A value and where it stands (`messages[1].role`; empty at the root).
pub(crate) struct Field {
    path: String,
    value: Value,
}

/// An object whose fields are taken out one by one; what nobody takes is ignored.
pub(crate) struct Object {
    path: String,
    fields: Map<String, Value>,
}

impl Field {
    pub(crate) fn root(value: Value) -> Self {
        Self { path: String::new(), value }
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn into_value(self) -> Value {
        self.value
    }

    pub(crate) fn object(self) -> Result<Object, Error> {
        match self.value {
            Value::Object(fields) => Ok(Object { path: self.path, fields }),
            _ => Err(self.type_error("a map")),
        }
    }

    pub(crate) fn array(self) -> Result<impl Iterator<Item = Field>, Error> {
        let Value::Array(values) = self.value else { return Err(self.type_error("a sequence")) };
        let path = self.path;
        Ok(values.into_iter().enumerate().map(move |(i, value)| Field { path: format!("{path}[{i}]"), value }))
    }

    pub(crate) fn string(self) -> Result<String, Error> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => Err(self.type_error("a string")),
        }
    }

    pub(crate) fn bool(self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.type_error("a boolean"))
    }

    pub(crate) fn number(self) -> Result<f64, Error> {
        self.value.as_f64().ok_or_else(|| self.type_error("a number"))
    }

    /// An integer, also when written as `512.0`.
    pub(crate) fn integer(self) -> Result<i64, Error> {
        // Beyond 2^53 a float no longer says which integer it means.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let integral = |value: f64| value.fract() == 0.0 && value.abs() <= EXACT;
        let written_as_float = || self.value.as_f64().filter(|&value| integral(value)).map(|value| value as i64);
        self.value.as_i64().or_else(written_as_float).ok_or_else(|| self.type_error("i64"))
    }

    /// One of a few words, with what each means.
    pub(crate) fn variant<T: Copy>(self, words: &[(&str, T)]) -> Result<T, Error> {
        let Value::String(word) = &self.value else { return Err(self.type_error("a string")) };
        let known = words.iter().find(|(name, _)| name == word);
        known.map(|&(_, meaning)| meaning).ok_or_else(|| self.unknown_variant(word, words))
    }

    fn unknown_variant<T>(&self, word: &str, words: &[(&str, T)]) -> Error {
        let names: Vec<_> = words.iter().map(|(name, _)| format!("`{name}`")).collect();
        let expected = match names.as_slice() {
            [only] => only.clone(),
            names => format!("one of {}", names.join(", ")),
        };
        self.error_at(&format!("unknown variant `{}`, expected {expected}", truncated(word)))
    }

    pub(crate) fn type_error(&self, expected: &str) -> Error {
        let found = match &self.value {
            Value::Null => "null".into(),
            Value::Bool(value) => format!("boolean `{value}`"),
            Value::Number(value) if value.is_f64() => format!("floating point `{value}`"),
            Value::Number(value) => format!("integer `{value}`"),
            Value::String(text) => format!("string {:?}", truncated(text)),
            Value::Array(_) => "sequence".into(),
            Value::Object(_) => "map".into(),
        };
        self.error_at(&format!("invalid type: {found}, expected {expected}"))
    }

    pub(crate) fn error_at(&self, reason: &str) -> Error {
        error_at_path(&self.path, reason)
    }
}

impl Object {
    /// The field, unless it is absent or null.
    pub(crate) fn optional(&mut self, key: &str) -> Option<Field> {
        let value = self.fields.get_mut(key)?.take();
        let field = Field { path: self.path_of(key), value };
        (!field.value.is_null()).then_some(field)
    }

    /// The field, which may be null for the next reader to refuse.
    pub(crate) fn required(&mut self, key: &str) -> Result<Field, Error> {
        let Some(value) = self.fields.get_mut(key).map(Value::take) else {
            return Err(error_at_path(&self.path, &format!("missing field `{key}`")));
        };
        Ok(Field { path: self.path_of(key), value })
    }

    /// Puts a field back that was taken out, where it stood.
    pub(crate) fn put_back(&mut self, key: &str, value: Value) {
        if let Some(slot) = self.fields.get_mut(key) {
            *slot = value;
        }
    }

    /// The remaining fields; those that were taken out are null.
    pub(crate) fn into_fields(self) -> Map<String, Value> {
        self.fields
    }

    /// The remaining fields in the caller's order, for objects whose keys are data.
    pub(crate) fn entries(self) -> impl Iterator<Item = (String, Field)> {
        let path = self.path;
        self.fields.into_iter().map(move |(key, value)| {
            let path = format!("{path}.{}", truncated(&key));
            (key, Field { path, value })
        })
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }
}

fn error_at_path(path: &str, reason: &str) -> Error {
    let colon = if path.is_empty() { "" } else { ": " };
    Error::invalid(format!("Failed to deserialize the JSON body into the target type: {path}{colon}{reason}"))
}

/// The caller's own words in an error, but not megabytes of them.
fn truncated(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
