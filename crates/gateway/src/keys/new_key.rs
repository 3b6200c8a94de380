//! New API keys.

use sha2::{Digest, Sha256};
use store::{Key, Limits, Project, Store, StoreError};

/// The project of keys that are created without one.
pub const DEFAULT_PROJECT: &str = "default";

/// A key to be created.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    /// The name of the key in logs and usage.
    pub name: &'a str,
    /// The project that pays; [`DEFAULT_PROJECT`] when absent.
    pub project: Option<&'a str>,
    pub user: Option<&'a str>,
    pub limits: Limits,
}

/// Creates a key. Returns its row in the store, and the key itself, which is not stored.
///
/// # Errors
/// `Conflict` when the name is taken; `NotFound` for an unknown project or user; a store
/// that cannot be used.
pub async fn create_key(store: &Store, new: NewKey<'_>) -> Result<(Key, String), StoreError> {
    let project = find_or_create_project(store, new.project.unwrap_or(DEFAULT_PROJECT)).await?;
    let user = match new.user {
        Some(name) => Some(store.user(name).await?),
        None => None,
    };
    let plaintext = generate_token("sk-");
    let hash = token_hash(&plaintext);
    let tail = &plaintext[plaintext.len() - 4..];
    let NewKey { name, limits, .. } = new;
    let key = store::NewKey { project: &project, user: user.as_ref(), name, hash: &hash, tail, limits };
    Ok((store.add_key(key).await?, plaintext))
}

/// The project of this name. The default project is created when it is first needed.
///
/// # Errors
/// `NotFound` for an unknown project; a store that cannot be used.
pub async fn find_or_create_project(store: &Store, name: &str) -> Result<Project, StoreError> {
    match store.project(name).await {
        Err(StoreError::NotFound(_)) if name == DEFAULT_PROJECT => match store.add_project(DEFAULT_PROJECT, None).await
        {
            // Another process has created it meanwhile.
            Err(StoreError::Conflict(_)) => store.project(DEFAULT_PROJECT).await,
            added => added,
        },
        found => found,
    }
}

/// The SHA-256 of a secret, as 64 hex digits: the form in which the store has it.
pub fn token_hash(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses a SHA-256 of 64 hex digits.
pub fn parse_sha256_hex(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}

/// A secret of 258 random bits: 43 characters after a prefix that names its kind.
///
/// # Panics
/// When the operating system has no random numbers.
pub fn generate_token(prefix: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 43];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    prefix.chars().chain(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_keys_are_alike_and_all_are_long() {
        let (a, b) = (generate_token("sk-"), generate_token("sk-"));
        assert!(a != b && a.len() == 46 && a.starts_with("sk-"), "{a}");
        assert!(a.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }
}
