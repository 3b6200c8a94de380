//! Why an alias cannot be added to the router.

use std::fmt;

/// Why an alias cannot be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasError {
    UnknownTarget { alias: String, target: String },
    Taken { alias: String },
}

impl fmt::Display for AliasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTarget { alias, target } => {
                write!(f, "the alias `{alias}` leads to `{target}`, an unknown model")
            }
            Self::Taken { alias } => write!(f, "the alias `{alias}` is already the id of a model"),
        }
    }
}

impl std::error::Error for AliasError {}
