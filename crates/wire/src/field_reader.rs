//! Reads typed fields of a parsed body. Each error names the path of the field.

use chat::Error;
use serde_json::{Map, Value};

/// A value and its path (`messages[1].role`; empty at the root).
pub(crate) struct Field {
    path: String,
    value: Value,
}

/// An object whose fields are taken one by one. Fields that are not taken are ignored.
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

    /// The elements of an array, or the value itself where it stands alone.
    pub(crate) fn array_or_one(self) -> Result<Box<dyn Iterator<Item = Field>>, Error> {
        match self.value {
            Value::Array(_) => Ok(Box::new(self.array()?)),
            _ => Ok(Box::new(std::iter::once(self))),
        }
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

    /// A number, also as text: the JSON of Protocol Buffers has both.
    pub(crate) fn number_or_text(self) -> Result<f64, Error> {
        let number = self.value.as_str().and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
        number.map_or_else(|| self.number(), Ok)
    }

    /// An integer, also as text: the JSON of Protocol Buffers writes 64-bit integers so.
    pub(crate) fn integer_or_text(self) -> Result<i64, Error> {
        let integer = self.value.as_str().and_then(|text| text.parse().ok());
        integer.map_or_else(|| self.integer(), Ok)
    }

    /// An integer, also when written as `512.0`.
    pub(crate) fn integer(self) -> Result<i64, Error> {
        // Beyond 2^53 a float does not represent every integer.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let integral = |value: f64| value.fract() == 0.0 && value.abs() <= EXACT;
        let written_as_float = || self.value.as_f64().filter(|&value| integral(value)).map(|value| value as i64);
        self.value.as_i64().or_else(written_as_float).ok_or_else(|| self.type_error("i64"))
    }

    /// The value of one of a few strings.
    pub(crate) fn variant<T: Copy>(self, variants: &[(&str, T)]) -> Result<T, Error> {
        let Value::String(text) = &self.value else { return Err(self.type_error("a string")) };
        let known = variants.iter().find(|(name, _)| name == text);
        known.map(|&(_, value)| value).ok_or_else(|| self.unknown_variant(text, variants))
    }

    fn unknown_variant<T>(&self, text: &str, variants: &[(&str, T)]) -> Error {
        let names: Vec<_> = variants.iter().map(|(name, _)| format!("`{name}`")).collect();
        let expected = match names.as_slice() {
            [only] => only.clone(),
            names => format!("one of {}", names.join(", ")),
        };
        self.error_at(&format!("unknown variant `{}`, expected {expected}", truncated(text)))
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
    /// Takes a field; `None` when it is absent or null.
    pub(crate) fn optional(&mut self, key: &str) -> Option<Field> {
        let value = self.fields.get_mut(key)?.take();
        let field = Field { path: self.path_of(key), value };
        (!field.value.is_null()).then_some(field)
    }

    /// Takes a field that must be present. It may be null, which its type then refuses.
    pub(crate) fn required(&mut self, key: &str) -> Result<Field, Error> {
        let Some(value) = self.fields.get_mut(key).map(Value::take) else {
            return Err(error_at_path(&self.path, &format!("missing field `{key}`")));
        };
        Ok(Field { path: self.path_of(key), value })
    }

    /// Puts back a field that was taken, in its original position.
    pub(crate) fn put_back(&mut self, key: &str, value: Value) {
        if let Some(slot) = self.fields.get_mut(key) {
            *slot = value;
        }
    }

    /// The remaining fields; those that were taken are null.
    pub(crate) fn into_fields(self) -> Map<String, Value> {
        self.fields
    }

    /// The remaining fields in order, for objects whose keys are data.
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

/// The first 64 characters of a value, for error messages.
fn truncated(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
