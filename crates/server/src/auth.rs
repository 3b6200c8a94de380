//! Authentication: from the credential of a request to its caller.
//!
//! Keys are compared as hashes, in constant time. Errors and logs show at most the last four
//! characters of a key.

use std::net::IpAddr;
use std::sync::Arc;

use chat::{Error, ErrorKind};
use gateway::Caller;
use http::request::Parts;
use http::{HeaderMap, Uri, header};
use sha2::{Digest, Sha256};
use store::{Role, Session};
use subtle::ConstantTimeEq;

use crate::api::gemini_request::is_gemini_path;
use crate::app::AppState;
use crate::local_access::{check_host, check_host_and_origin, check_local_peer, check_origin};
use crate::operator::Operator;
use crate::request_log::RequestLog;
use crate::sign_in::cookie::{check_console_header, check_same_site, session_token};
use crate::sign_in::sessions::{CookieSession, name_and_role};

/// Authenticates the caller of a model.
///
/// # Errors
/// `HeadersTooLarge`, `Unauthorized`. `Forbidden` for the admin token, and on a server without keys
/// for a request that did not come from this machine or that a web page may have sent.
pub(crate) fn authenticate_caller(app: &AppState, parts: &Parts) -> Result<Caller, Error> {
    check_header_size(parts, app.config.header_limit)?;
    match identify(app, parts)? {
        Identity::Anonymous => {
            check_host_and_origin(parts, app, Some(&app.config.cors_origins)).map(|()| Caller::default())
        }
        Identity::Key(caller) => Ok(caller),
        Identity::Session(session) => caller_of_session(app, parts, &session),
        Identity::AdminToken => {
            let message = "The admin token cannot call models: create a key with it";
            Err(Error::new(ErrorKind::Forbidden, message))
        }
    }
}

/// Checks a request to a route that needs no key. A server that only its own machine can reach
/// refuses web pages of other hosts, whose names may resolve to this machine (DNS rebinding).
///
/// # Errors
/// `HeadersTooLarge`; `Forbidden` for a request that a web page may have sent.
pub(crate) fn check_public_access(app: &AppState, parts: &Parts) -> Result<(), Error> {
    check_header_size(parts, app.config.header_limit)?;
    if allows_anonymous(app) {
        identify(app, parts)?;
    }
    if app.listen.ip().is_loopback() {
        check_host_and_origin(parts, app, Some(&app.config.cors_origins))
    } else {
        Ok(())
    }
}

/// Authenticates an operator with at least `required_role`. On a server without keys, every program
/// on its machine is an admin.
///
/// # Errors
/// As [`authenticate_caller`]; `Forbidden` also for an insufficient role.
pub(crate) fn authenticate_operator(app: &AppState, parts: &Parts, required_role: Role) -> Result<Operator, Error> {
    check_header_size(parts, app.config.header_limit)?;
    let identity = identify(app, parts)?;
    // Web pages do not know the token, so it is valid under any host name.
    let any_host = matches!(identity, Identity::AdminToken);
    let operator = match identity {
        Identity::Anonymous => Operator::new("this machine", Role::Admin),
        Identity::AdminToken => Operator::new("admin token", Role::Admin),
        Identity::Session(session) => operator_of_session(session),
        Identity::Key(caller) => {
            let key = caller.api_key;
            let key_id = key.as_ref().map(|key| Arc::from(key.id()));
            let user_id = key.and_then(|key| key.user_id().cloned());
            Operator { user_id, key_id, ..Operator::new(caller.key_name.unwrap_or_default(), caller.role) }
        }
    };
    if !any_host {
        check_host(parts, app)?;
    }
    check_origin(parts, None)?;
    if operator.role < required_role {
        let message =
            format!("This needs the role `{}`, and you have `{}`", required_role.as_str(), operator.role.as_str());
        let mut error = Error::new(ErrorKind::Forbidden, message);
        error.code = Some("role_not_sufficient");
        return Err(error);
    }
    Ok(operator)
}

/// The owner of a credential.
enum Identity {
    /// A program on this machine; the server has no keys.
    Anonymous,
    /// The holder of the admin token.
    AdminToken,
    Key(Caller),
    /// A person who is signed in to the console.
    Session(Arc<Session>),
}

/// The session that the cookie of a request names; `None` without the cookie, and for a request
/// with another credential, which wins over it.
pub(crate) async fn find_cookie_session(app: &AppState, headers: &HeaderMap, peer: IpAddr) -> Option<CookieSession> {
    if headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let token = session_token(headers)?;
    let (accounting, admin_token) = (app.gateway.accounting(), app.config.admin_token.as_ref());
    Some(CookieSession(app.sign_in.sessions.find(accounting, admin_token, token, peer).await))
}

/// Looks for a key in the store where this server does not know it.
pub(crate) async fn search_key(app: &AppState, Credential { hash, .. }: &Credential) {
    if !allows_anonymous(app) && !is_admin_token(app, hash) && app.config.keys.caller(hash).is_none() {
        app.gateway.accounting().search_key(hash).await;
    }
}

/// The session of a request to a route that anybody may call; `None` without one.
///
/// # Errors
/// `HeadersTooLarge`; `Forbidden` for a request that a page of another site may have sent;
/// `Overloaded` when sessions cannot be checked.
pub(crate) fn find_session(app: &AppState, parts: &Parts) -> Result<Option<Arc<Session>>, Error> {
    check_header_size(parts, app.config.header_limit)?;
    check_host(parts, app)?;
    let session = session_of_cookie(parts)?;
    if session.is_none() {
        check_same_site(parts)?;
    }
    Ok(session)
}

/// The session that the cookie of the request names.
fn session_of_cookie(parts: &Parts) -> Result<Option<Arc<Session>>, Error> {
    let Some(CookieSession(session)) = parts.extensions.get() else { return Ok(None) };
    let session = session.clone()?;
    if session.is_some() {
        check_console_header(parts)?;
    }
    Ok(session)
}

pub(crate) fn operator_of_session(session: Arc<Session>) -> Operator {
    let (name, role) = name_and_role(&session);
    let user_id = session.user.as_ref().map(|user| Arc::from(user.id.as_str()));
    Operator { user_id, session: Some(session.clone()), ..Operator::new(name, role) }
}

/// The caller of a model by a session: the key that the header `x-cachalot-key` names by its id.
fn caller_of_session(app: &AppState, parts: &Parts, session: &Session) -> Result<Caller, Error> {
    let Some(id) = parts.headers.get("x-cachalot-key") else {
        let mut error = Error::invalid("A session needs the header `x-cachalot-key` with the id of one of its keys");
        error.param = Some("x-cachalot-key".into());
        return Err(error);
    };
    let log: &RequestLog =
        parts.extensions.get().ok_or_else(|| Error::internal("the address of the client is unknown"))?;
    let id = id.to_str().unwrap_or_default();
    let user_id = session.user.as_ref().map(|user| user.id.as_str());
    let found = app.gateway.accounting().keys.find_by_id(id, log.client_addr().ip());
    // A key of somebody else does not exist, whatever its state. The admin token has the keys
    // without a user.
    match app.gateway.accounting().keys.belongs_to(id, user_id).then_some(found) {
        Some(found) => found?.map(Caller::from).ok_or_else(|| key_not_found(id)),
        None => Err(key_not_found(id)),
    }
}

fn key_not_found(id: &str) -> Error {
    let mut error = Error::new(ErrorKind::NotFound, format!("You have no key with the id `{id:.64}`"));
    error.code = Some("key_not_found");
    error
}

/// Whether the server has no keys and only its own machine can reach it.
fn allows_anonymous(app: &AppState) -> bool {
    app.config.keys.is_empty() && !app.gateway.accounting().keys.requires_key() && app.listen.ip().is_loopback()
}

fn identify(app: &AppState, parts: &Parts) -> Result<Identity, Error> {
    let log: &RequestLog =
        parts.extensions.get().ok_or_else(|| Error::internal("the address of the client is unknown"))?;
    let credential = parts.extensions.get::<Credential>();
    if credential.is_none()
        && let Some(session) = session_of_cookie(parts)?
    {
        return Ok(Identity::Session(session));
    }
    if credential.is_some_and(|credential| is_admin_token(app, &credential.hash)) {
        return Ok(Identity::AdminToken);
    }
    if allows_anonymous(app) {
        return check_local_peer(&parts.headers, log.client_addr()).map(|()| Identity::Anonymous);
    }
    let Some(Credential { key, hash }) = credential else {
        if parts.extensions.get::<CookieSession>().is_some() {
            let mut error = unauthorized("(your session has ended: sign in again)");
            error.code = Some("session_ended");
            return Err(error);
        }
        return Err(unauthorized("(auth header format should be Bearer sk-...)"));
    };
    if let Some(caller) = app.config.keys.caller(hash) {
        return Ok(Identity::Key(caller));
    }
    let api_key = app.gateway.accounting().keys.find(hash, log.client_addr().ip())?;
    api_key.map(|api_key| Identity::Key(api_key.into())).ok_or_else(|| {
        let tail = if key.chars().count() < 12 { 0 } else { 4 };
        let shown: String = key.chars().skip(key.chars().count() - tail).collect();
        Error::new(ErrorKind::Unauthorized, format!("Authentication Fails, Your api key: ****{shown} is invalid"))
    })
}

fn unauthorized(reason: &str) -> Error {
    Error::new(ErrorKind::Unauthorized, format!("Authentication Fails {reason}"))
}

fn check_header_size(parts: &Parts, limit: usize) -> Result<(), Error> {
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    let bytes = target + authority + fields.sum::<usize>();
    if bytes > limit {
        let message = format!("Request headers too large: the limit is {limit} bytes");
        return Err(Error::new(ErrorKind::HeadersTooLarge, message));
    }
    Ok(())
}

/// The credential of a request, which the middleware finds once and puts among the extensions.
#[derive(Clone)]
pub(crate) struct Credential {
    key: Arc<str>,
    /// SHA-256 of the key.
    hash: [u8; 32],
}

impl Credential {
    /// The credential, wherever the API of the request has it.
    pub(crate) fn of(parts: &Parts) -> Option<Self> {
        let key = header_credential(&parts.headers)
            .or_else(|| query_credential(&parts.uri))
            .or_else(|| midjourney_credential(parts))?;
        Some(Self { hash: Sha256::digest(&key).into(), key: key.into() })
    }
}

/// Whether a key with this SHA-256 is the admin token.
fn is_admin_token(app: &AppState, hash: &[u8; 32]) -> bool {
    app.config.admin_token.as_ref().is_some_and(|token| bool::from(token.ct_eq(hash)))
}

/// The first credential present; `None` if the request has none or its first one
/// has the wrong form.
fn header_credential(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let (scheme, key) = text.trim().split_once(' ')?;
        let key = key.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then(|| key.to_owned());
    }
    let value = headers.get("x-api-key").or_else(|| headers.get("x-goog-api-key"))?;
    let key = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    (!key.is_empty()).then_some(key)
}

/// The `key` of the query, which Gemini's clients send, and clients that request their quota.
fn query_credential(uri: &Uri) -> Option<String> {
    let query = uri.query().filter(|_| is_gemini_path(uri.path()) || uri.path() == "/user/quota")?;
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    (!key.is_empty()).then(|| key.to_owned())
}

/// The header `mj-api-secret`, which Midjourney's clients send.
fn midjourney_credential(parts: &Parts) -> Option<String> {
    let value = parts.headers.get("mj-api-secret").filter(|_| parts.uri.path().starts_with("/mj"))?;
    let key = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::{KeyConfig, Keyring};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_first_credential_present_is_used() {
        let key = |pairs: &[(&'static str, &'static str)]| header_credential(&headers(pairs));
        assert_eq!(key(&[("authorization", "bEARER  sk-1 "), ("x-api-key", "sk-2")]).as_deref(), Some("sk-1"));
        assert_eq!(key(&[("x-goog-api-key", "sk-3"), ("x-api-key", "sk-2")]).as_deref(), Some("sk-2"));
        assert_eq!(key(&[("x-goog-api-key", "sk-3")]).as_deref(), Some("sk-3"));
        assert_eq!(key(&[("authorization", "Basic eDp5"), ("x-api-key", "sk-2")]), None);
        for none in ["Bearer", "Bearer ", "Bearer    ", "", "sk-1"] {
            assert_eq!(key(&[("authorization", none)]), None);
        }
        assert_eq!(key(&[]), None);
    }

    #[test]
    fn each_key_leads_to_its_own_caller() {
        let limited = KeyConfig { models: Some(vec!["m".into()]), ..KeyConfig::new("bob", "sk-bob") };
        let keys = Keyring::from(vec![KeyConfig::new("alice", "sk-alice"), limited]);
        let hash = |key: &str| Sha256::digest(key).into();
        assert_eq!(keys.caller(&hash("sk-alice")).unwrap().key_name.as_deref(), Some("alice"));
        assert_eq!(keys.caller(&hash("sk-bob")).unwrap().allowed_models.unwrap().as_ref(), ["m".to_owned()]);
        assert!(keys.caller(&hash("sk-alicf")).is_none());
        assert!(!format!("{:?}", KeyConfig::new("alice", "sk-alice")).contains("sha"));
    }
}
