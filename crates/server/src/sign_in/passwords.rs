//! Hashing of passwords with argon2id, off the threads that serve connections.

use std::sync::{Arc, OnceLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use chat::{Error, ErrorKind};
use tokio::sync::Semaphore;

/// The number of hashes that are computed at the same time. Each one takes 19 MiB.
const PARALLEL: usize = 2;
/// The number of hashes that wait. More are refused.
const MAX_WAITING: usize = 64;
/// The rule for passwords, for error messages.
const RULE: &str = "A password has 12 to 256 characters and is not the name";

/// Computes hashes of passwords, a few at a time.
pub(crate) struct PasswordHashing {
    running: Arc<Semaphore>,
    admitted: Semaphore,
    /// The hash that is compared where there is no password, so that this takes the same time.
    decoy: Arc<OnceLock<String>>,
}

impl Default for PasswordHashing {
    fn default() -> Self {
        let (running, admitted) = (Arc::new(Semaphore::new(PARALLEL)), Semaphore::new(PARALLEL + MAX_WAITING));
        Self { running, admitted, decoy: Arc::default() }
    }
}

/// Checks the rule for passwords.
///
/// # Errors
/// `InvalidRequest` that names the rule.
pub(crate) fn check_rule(name: &str, password: &str) -> Result<(), Error> {
    let is_name = password.to_lowercase() == name.to_lowercase();
    if !(12..=256).contains(&password.chars().count()) || is_name {
        let mut error = Error::invalid(RULE);
        error.param = Some("password".into());
        return Err(error);
    }
    Ok(())
}

impl PasswordHashing {
    /// The hash of a password, in the PHC string format.
    ///
    /// # Errors
    /// `Overloaded` when too many hashes are waiting.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Error> {
        self.run(move || hash(&password)).await?
    }

    /// Whether a password has this hash. Without a hash it is false, after the same time.
    ///
    /// # Errors
    /// `Overloaded` when too many hashes are waiting.
    pub(crate) async fn verify(&self, password: String, expected: Option<String>) -> Result<bool, Error> {
        let decoy = self.decoy.clone();
        self.run(move || {
            let is_known = expected.is_some();
            let expected = match expected {
                Some(expected) => expected,
                None => match decoy.get() {
                    Some(decoy) => decoy.clone(),
                    // The first time, this alone takes as long as a comparison.
                    None => return hash("decoy").map(|hash| decoy.set(hash)).map(|_| false),
                },
            };
            let Ok(expected) = PasswordHash::new(&expected) else {
                return Err(Error::internal("the hash of a password in the store is not valid"));
            };
            let matches = argon2()?.verify_password(password.as_bytes(), &expected).is_ok();
            Ok(matches && is_known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let _admitted = self.admitted.try_acquire().map_err(|_| {
            Error::new(ErrorKind::Overloaded, "Too many people sign in right now, please try again in a moment")
        })?;
        let permit = self.running.clone().acquire_owned().await.map_err(|error| Error::internal(error.to_string()))?;
        // The permit is held until the work ends, even if the client disconnects.
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "hashing a password failed");
            Error::internal("Internal server error")
        })
    }
}

fn hash(password: &str) -> Result<String, Error> {
    let hash: Result<PasswordHash, _> = argon2()?.hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| Error::internal(format!("a password cannot be hashed: {error}")))
}

/// argon2id with 19 MiB, 2 passes and 1 lane.
fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(19 << 10, 2, 1, None);
    let params = params.map_err(|error| Error::internal(format!("a password cannot be hashed: {error}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let hashing = PasswordHashing::default();
        let hash = hashing.hash("correct horse battery".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hashing.verify("correct horse battery".into(), Some(hash.clone())).await.unwrap());
        assert!(!hashing.verify("correct horse batterx".into(), Some(hash.clone())).await.unwrap());
        for _ in 0..2 {
            assert!(!hashing.verify("decoy".into(), None).await.unwrap());
        }
        assert_ne!(hashing.hash("correct horse battery".into()).await.unwrap(), hash, "each has a salt of its own");
        assert!(hashing.verify("x".into(), Some("not a hash".into())).await.is_err());
    }

    #[test]
    fn a_password_is_long_and_not_the_name() {
        for good in ["twelve chars", &"x".repeat(256), "пароль-пароль"] {
            check_rule("olga", good).unwrap();
        }
        for bad in ["", "eleven char", &"x".repeat(257), "Olga Petrova X"] {
            assert!(check_rule("olga petrova x", bad).unwrap_err().message.contains("12 to 256"), "{bad}");
        }
    }
}
