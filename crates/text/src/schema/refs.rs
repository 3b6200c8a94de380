//! References within a schema: each target gets a name in `$defs`.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::path::{SchemaError, SchemaPath};

/// The names of the targets found so far, and the targets that are not normalized yet.
pub(super) struct Refs<'a> {
    root: &'a Value,
    names: HashMap<String, String>,
    pending: Vec<RefTarget<'a>>,
}

/// The target of a reference.
pub(super) struct RefTarget<'a> {
    pub(super) name: String,
    pub(super) schema: &'a Value,
    /// The path of the target.
    pub(super) path: String,
}

impl<'a> Refs<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root, names: HashMap::new(), pending: Vec::new() }
    }

    /// The name of the target of the reference `target`; `None` when this schema does not have it.
    pub(super) fn resolve(&mut self, target: &str) -> Option<String> {
        if let Some(name) = self.names.get(target) {
            return Some(name.clone());
        }
        let pointer = percent_decoded(target.strip_prefix('#')?)?;
        let schema = self.root.pointer(&pointer)?;
        let name = format!("r{}", self.names.len());
        self.names.insert(target.into(), name.clone());
        let path = pointer.trim_start_matches('/').replace('/', ".");
        self.pending.push(RefTarget { name: name.clone(), schema, path });
        Some(name)
    }

    /// The next target that is not normalized yet.
    pub(super) fn next(&mut self) -> Option<RefTarget<'a>> {
        self.pending.pop()
    }
}

/// Decodes percent escapes; `None` when they are invalid.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Refuses definitions that consist only of references to each other.
pub(super) fn check_references_end(definitions: &BTreeMap<String, Value>) -> Result<(), SchemaError> {
    let target = |name: &str| definitions.get(name)?.get("$ref")?.as_str()?.strip_prefix("#/$defs/");
    // Names whose references end at a schema.
    let mut ends = HashSet::new();
    for name in definitions.keys() {
        let mut visited = HashSet::new();
        let mut current = name.as_str();
        while !ends.contains(current) {
            if !visited.insert(current) {
                return SchemaPath::ROOT.child("$ref").fail("references that only lead to each other");
            }
            match target(current) {
                Some(next) => current = next,
                None => break,
            }
        }
        ends.extend(visited);
    }
    Ok(())
}
