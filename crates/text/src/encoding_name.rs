//! The names of the encodings, each after the first release that used it.

use std::fmt;
use std::str::FromStr;

use crate::error::TextError;

/// An encoding: a prompt format and the control tokens it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodingName {
    /// V3 and V3-0324, without thinking.
    V3,
    /// R1 and R1-0528, which always think.
    R1,
    /// V3.1 and V3.1-Terminus.
    V31,
    /// V3.2-Exp.
    V32Exp,
    /// V3.2, with tool calls in DSML.
    V32,
}

impl EncodingName {
    const ALL: [Self; 5] = [Self::V3, Self::R1, Self::V31, Self::V32Exp, Self::V32];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "v3",
            Self::R1 => "r1",
            Self::V31 => "v3.1",
            Self::V32Exp => "v3.2-exp",
            Self::V32 => "v3.2",
        }
    }
}

impl fmt::Display for EncodingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EncodingName {
    type Err = TextError;

    fn from_str(name: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == name);
        found.ok_or_else(|| TextError::UnknownEncoding { name: name.into() })
    }
}
