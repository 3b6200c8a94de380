//! Sign-in of people: passwords, sessions in a cookie, and the limit on failed attempts.

pub(crate) mod client;
pub(crate) mod cookie;
pub(crate) mod passwords;
pub(crate) mod sessions;
pub(crate) mod throttle;

use self::passwords::PasswordHashing;
use self::sessions::SessionCache;
use self::throttle::Throttle;

/// The state of sign-in that requests share.
#[derive(Default)]
pub(crate) struct SignIn {
    pub(crate) passwords: PasswordHashing,
    pub(crate) sessions: SessionCache,
    pub(crate) throttle: Throttle,
}
