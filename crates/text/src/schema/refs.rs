//! References inside of one schema: every target gets a name in `$defs`.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{Path, SchemaFault};

/// The targets found so far, and those still to be judged.
pub(super) struct Refs<'a> {
    root: &'a Value,
    names: HashMap<String, String>,
    waiting: Vec<(String, Value, String)>,
}

impl<'a> Refs<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root, names: HashMap::new(), waiting: Vec::new() }
    }

    /// The name of what `target` points to; `None` when it points nowhere in this schema.
    pub(super) fn name(&mut self, target: &str) -> Option<String> {
        if let Some(name) = self.names.get(target) {
            return Some(name.clone());
        }
        let pointer = decoded(target.strip_prefix('#')?)?;
        let found = self.root.pointer(&pointer)?.clone();
        let name = format!("r{}", self.names.len());
        self.names.insert(target.into(), name.clone());
        let path = pointer.trim_start_matches('/').replace('/', ".");
        self.waiting.push((name.clone(), found, path));
        Some(name)
    }

    /// A target nobody has judged yet: its name, itself, and where it stands.
    pub(super) fn next(&mut self) -> Option<(String, Value, String)> {
        self.waiting.pop()
    }
}

/// Without percent escapes.
fn decoded(text: &str) -> Option<String> {
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

/// Refuses definitions that are nothing but references to each other.
pub(super) fn terminate(definitions: &BTreeMap<String, Value>) -> Result<(), SchemaFault> {
    let target = |value: &Value| value.get("$ref").and_then(Value::as_str).map(|at| at["#/$defs/".len()..].to_owned());
    for name in definitions.keys() {
        let mut at = name.clone();
        for _ in 0..=definitions.len() {
            match definitions.get(&at).and_then(target) {
                Some(next) => at = next,
                None => break,
            }
        }
        if definitions.get(&at).and_then(target).is_some() {
            return Path::root().to("$ref").fault("references that only lead to each other");
        }
    }
    Ok(())
}
