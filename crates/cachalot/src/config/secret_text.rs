//! A setting that may contain a password.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// A text that may contain a password: it is neither printed nor written as JSON.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// The text in place of a secret.
    pub(crate) const SET: &str = "set";

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::SET)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_never_written() {
        let secret: SecretText = serde_json::from_str("\"redis://:hunter2@host\"").unwrap();
        assert_eq!(secret.expose(), "redis://:hunter2@host");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"set\"");
        assert_eq!(format!("{secret:?}"), "SecretText(***)");
    }
}
