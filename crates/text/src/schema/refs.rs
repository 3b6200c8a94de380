//! References inside of one schema: every target gets a name in `$defs`.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::{Path, SchemaFault};

/// The targets found so far, and those still to be judged.
pub(super) struct Refs<'a> {
    root: &'a Value,
    names: HashMap<String, String>,
    waiting: Vec<Target<'a>>,
}

/// The target of a reference.
pub(super) struct Target<'a> {
    pub(super) name: String,
    pub(super) schema: &'a Value,
    /// Where it stands.
    pub(super) path: String,
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
        let schema = self.root.pointer(&pointer)?;
        let name = format!("r{}", self.names.len());
        self.names.insert(target.into(), name.clone());
        let path = pointer.trim_start_matches('/').replace('/', ".");
        self.waiting.push(Target { name: name.clone(), schema, path });
        Some(name)
    }

    /// A target nobody has judged yet.
    pub(super) fn next(&mut self) -> Option<Target<'a>> {
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
    let target = |name: &str| definitions.get(name)?.get("$ref")?.as_str()?.strip_prefix("#/$defs/");
    // Those that are known to lead somewhere.
    let mut ends = HashSet::new();
    for name in definitions.keys() {
        let (mut way, mut at) = (HashSet::new(), name.as_str());
        while !ends.contains(at) {
            if !way.insert(at) {
                return Path::ROOT.to("$ref").fault("references that only lead to each other");
            }
            match target(at) {
                Some(next) => at = next,
                None => break,
            }
        }
        ends.extend(way);
    }
    Ok(())
}
