//! Paths of settings as text, for those who read the configuration in force.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// Writes a path as text. What is not UTF-8 is replaced.
pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}
