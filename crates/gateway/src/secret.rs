//! Secrets: credentials that are redacted from everything that providers and errors say.

use std::fmt;
use std::sync::Arc;

use crate::redaction::SecretRegistry;

/// A credential. It cannot be printed, and it is registered for redaction as long as a clone of it
/// exists, so that no holder can forget to register it.
#[derive(Clone)]
pub struct Secret(Arc<RegisteredSecret>);

struct RegisteredSecret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        let secret = secret.into();
        SecretRegistry::global().add(&secret);
        Self(Arc::new(RegisteredSecret(secret)))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0.0
    }
}

impl Drop for RegisteredSecret {
    fn drop(&mut self) {
        SecretRegistry::global().remove(&self.0);
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("sk-operator")), "Secret(***)");
        assert!(Secret::new("sk-operator") == Secret::new("sk-operator"));
    }
}
