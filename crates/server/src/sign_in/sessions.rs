//! The sessions of this server's store, read at most twice a second each. A change by another
//! server is seen within half a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chat::{Error, ErrorKind};
use gateway::{Accounting, generate_token, token_hash};
use parking_lot::Mutex;
use store::{NewSession, Role, Session, Store, StoreError, User};
use tokio::time::Instant;

/// The time for which a session that was read is used.
const FRESH: Duration = Duration::from_millis(500);
/// The time between two records of the use of a session, in microseconds.
const TOUCH_INTERVAL: i64 = 60 * 1_000_000;
/// The sessions that are kept in memory. Beyond them, all are read again.
const MAX_CACHED: usize = 10_000;

/// The sessions that were read lately, by the SHA-256 of their tokens.
#[derive(Default)]
pub(crate) struct SessionCache(Mutex<HashMap<String, (Instant, Arc<Session>)>>);

/// The session that the cookie of a request names; `None` when it has ended. Stored in the
/// extensions of the request.
#[derive(Clone)]
pub(crate) struct CookieSession(pub(crate) Result<Option<Arc<Session>>, Error>);

impl SessionCache {
    /// The session with this token, if it has not ended.
    ///
    /// # Errors
    /// `Overloaded` for a store that cannot be used.
    pub(crate) async fn find(
        &self,
        accounting: &Accounting,
        admin_token: Option<&[u8; 32]>,
        token: &str,
        peer: IpAddr,
    ) -> Result<Option<Arc<Session>>, Error> {
        let Some(store) = accounting.store() else { return Ok(None) };
        let hash = token_hash(token);
        let cached = self.0.lock().get(&hash).filter(|(read, _)| read.elapsed() < FRESH).cloned();
        let session = match cached {
            Some((_, session)) => session,
            None => match self.read(store, hash).await.map_err(unavailable)? {
                Some(session) => session,
                None => return Ok(None),
            },
        };
        Ok(is_valid(accounting, admin_token, &session, peer).then_some(session))
    }

    async fn read(&self, store: &Store, hash: String) -> Result<Option<Arc<Session>>, StoreError> {
        let now = store::now_micros();
        let Some(mut session) = store.session(&hash, now).await? else {
            self.0.lock().remove(&hash);
            return Ok(None);
        };
        if now - session.used_at >= TOUCH_INTERVAL {
            store.touch_session(&session.id, now).await?;
            session.used_at = now;
        }
        let session = Arc::new(session);
        let mut cached = self.0.lock();
        if cached.len() >= MAX_CACHED {
            cached.clear();
        }
        cached.insert(hash, (Instant::now(), session.clone()));
        Ok(Some(session))
    }

    /// Reads every session again, after a change by this server.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }

    /// Begins a session. Returns its token, which is not stored.
    ///
    /// # Errors
    /// A store that cannot be used.
    pub(crate) async fn begin(
        &self,
        store: &Store,
        owner: SessionOwner<'_>,
        address: &str,
        user_agent: &str,
    ) -> Result<(Session, String), StoreError> {
        let token = generate_token("");
        let (user, key_id, admin_token) = match owner {
            SessionOwner::User { user, key_id } => (Some(user), key_id, None),
            SessionOwner::AdminToken(digest) => (None, None, Some(hex(digest))),
        };
        let new = NewSession {
            token_hash: &token_hash(&token),
            user,
            key_id,
            admin_token: admin_token.as_deref(),
            address,
            user_agent,
        };
        Ok((store.add_session(new).await?, token))
    }
}

/// The owner of a session to be begun.
pub(crate) enum SessionOwner<'a> {
    /// A user, and the key that the user has signed in with.
    User { user: &'a User, key_id: Option<&'a str> },
    /// The holder of the admin token with this digest.
    AdminToken(&'a [u8; 32]),
}

/// A digest as 64 hex digits.
fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of the owner of a session, and its role.
pub(crate) fn name_and_role(session: &Session) -> (&str, Role) {
    match &session.user {
        Some(user) => (&user.name, user.role),
        None => ("admin token", Role::Admin),
    }
}

/// Whether the credential that a session was begun with is still valid: a key that is not revoked,
/// or the admin token of the configuration.
fn is_valid(accounting: &Accounting, admin_token: Option<&[u8; 32]>, session: &Session, peer: IpAddr) -> bool {
    if let Some(key_id) = &session.key_id {
        return accounting.keys.find_by_id(key_id, peer).is_ok_and(|key| key.is_some());
    }
    match &session.admin_token {
        Some(digest) => admin_token.is_some_and(|token| hex(token) == *digest),
        None => session.user.is_some(),
    }
}

fn unavailable(error: StoreError) -> Error {
    tracing::error!(%error, "failed to read a session from the store");
    Error::new(ErrorKind::Overloaded, "Sessions cannot be checked right now, please try again later")
}
