//! Paths in a schema, the error with a path, and the strictness of validation.

use std::fmt;

/// The reason why a schema is refused, and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// The path from the root of the schema, such as `properties.city.minLength`; `$` is the root.
    pub path: String,
    /// The fault and its remedy.
    pub reason: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Maximum number of constraints that are named as not enforced.
pub(super) const MAX_UNENFORCED: usize = 8;

/// The strictness of validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Refuses keywords outside the strict subset.
    Strict,
    /// Drops keywords that cannot be enforced.
    Lenient,
}

/// A path in a schema: a key and the path of its parent.
#[derive(Clone, Copy)]
pub(super) struct SchemaPath<'a> {
    key: &'a str,
    parent: Option<&'a SchemaPath<'a>>,
}

impl<'a> SchemaPath<'a> {
    pub(super) const ROOT: SchemaPath<'static> = SchemaPath { key: "", parent: None };

    pub(super) fn child(&'a self, key: &'a str) -> SchemaPath<'a> {
        SchemaPath { key, parent: Some(self) }
    }

    pub(super) fn fail<T>(&self, reason: impl Into<String>) -> Result<T, SchemaError> {
        Err(SchemaError { path: self.to_string(), reason: reason.into() })
    }
}

impl fmt::Display for SchemaPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys: Vec<String> = Vec::new();
        let mut path = self;
        while let Some(parent) = path.parent {
            keys.push(path.key.chars().take(64).collect());
            path = parent;
        }
        keys.reverse();
        f.write_str(if keys.is_empty() { "$" } else { "" })?;
        f.write_str(&keys.join("."))
    }
}
