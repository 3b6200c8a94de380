//! The API keys of the configuration file, with the digests of their secrets.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use server::KeyConfig;
use sha2::{Digest, Sha256};
use store::Role;

use crate::config::{Config, Key};

/// The keys of the configuration file.
///
/// # Errors
/// A key that is missing or too easy to guess, an unknown role, an invalid name or model id.
pub fn key_configs(config: &Config) -> Result<Vec<KeyConfig>> {
    let key_config = |key: &Key| -> Result<KeyConfig> {
        let name = &key.name;
        ensure!(
            store::is_name(name),
            "the name {name:.64?} of a key in [server] is not valid: it has {}",
            store::NAME_RULE
        );
        let invalid = key.models.iter().flatten().find(|model| !store::is_model_id(model));
        ensure!(invalid.is_none(), "key `{name}`: {invalid:?} is not a valid model id");
        let role = key.role.as_deref().map_or(Some(Role::Member), Role::parse);
        let role = role.with_context(|| format!("key `{name}`: `role` is member, viewer or admin"))?;
        Ok(KeyConfig { name: name.clone(), sha256: key_digest(key)?, models: key.models.clone(), role })
    };
    config.server.keys.iter().map(key_config).collect()
}

/// The SHA-256 of a key.
///
/// # Errors
/// Neither or both sources given, an unset variable, a digest that is not 64 hex digits.
fn key_digest(key: &Key) -> Result<[u8; 32]> {
    let name = &key.name;
    match (&key.key_env, &key.sha256) {
        (Some(variable), None) => {
            let secret = secret_from_env(variable, 16).with_context(|| format!("key `{name}`"))?;
            Ok(Sha256::digest(secret.as_bytes()).into())
        }
        (None, Some(hex)) => {
            gateway::parse_sha256_hex(hex).with_context(|| format!("key `{name}`: `sha256` must be 64 hex digits"))
        }
        _ => bail!("key `{name}` needs either `key_env` or `sha256`"),
    }
}

/// The secret in an environment variable.
///
/// # Errors
/// A variable that is not set or empty; a secret of fewer than `min_chars` characters or of fewer
/// than six different ones, which is too easy to guess.
pub fn secret_from_env(variable: &str, min_chars: usize) -> Result<String> {
    let secret = std::env::var(variable).ok().filter(|secret| !secret.is_empty());
    let secret = secret.with_context(|| format!("the environment variable `{variable}` is not set"))?;
    let different: BTreeSet<_> = secret.chars().collect();
    if secret.chars().count() < min_chars || different.len() < 6 {
        bail!(
            "the secret in `{variable}` is too easy to guess: it needs at least {min_chars} characters, such as `openssl rand -hex 24` makes"
        );
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_needs_exactly_one_source() {
        let key = |key_env: Option<&str>, sha256: Option<&str>| Key {
            name: "a".into(),
            key_env: key_env.map(Into::into),
            sha256: sha256.map(Into::into),
            models: None,
            role: None,
        };
        let digest = "ab".repeat(32);
        assert_eq!(key_digest(&key(None, Some(&digest))).unwrap(), [0xab; 32]);
        for bad in [
            key(None, None),
            key(Some("X"), Some(&digest)),
            key(None, Some("abc")),
            key(Some("CACHALOT_NO_SUCH_VARIABLE"), None),
        ] {
            assert!(key_digest(&bad).is_err());
        }
    }
}
