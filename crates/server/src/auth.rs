//! Authentication: from the credential of a request to its caller.
//!
//! Keys are compared as hashes, in constant time. Errors and logs show at most the last four
//! characters of a key.

use chat::{Error, ErrorKind};
use gateway::Caller;
use http::request::Parts;
use http::{HeaderMap, Uri, header};
use sha2::{Digest, Sha256};
use store::Role;
use subtle::ConstantTimeEq;

use crate::app::AppState;
use crate::local_access::{check_host, check_host_and_origin, check_local_peer, check_origin};
use crate::operator::Operator;
use crate::request_log::RequestLog;

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
        Identity::Anonymous => Operator { name: "this machine".into(), role: Role::Admin },
        Identity::AdminToken => Operator { name: "admin token".into(), role: Role::Admin },
        Identity::Key(caller) => Operator { name: caller.key_name.unwrap_or_default(), role: caller.role },
    };
    if !any_host {
        check_host(parts, app)?;
    }
    check_origin(parts, None)?;
    if operator.role < required_role {
        let message =
            format!("This needs the role `{}`, and this key has `{}`", required_role.as_str(), operator.role.as_str());
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
}

/// Whether the server has no keys and only its own machine can reach it.
fn allows_anonymous(app: &AppState) -> bool {
    app.config.keys.is_empty() && !app.gateway.accounting().keys.requires_key() && app.listen.ip().is_loopback()
}

fn identify(app: &AppState, parts: &Parts) -> Result<Identity, Error> {
    let log: &RequestLog =
        parts.extensions.get().ok_or_else(|| Error::internal("the address of the client is unknown"))?;
    let key = header_credential(&parts.headers)
        .or_else(|| query_credential(&parts.uri))
        .or_else(|| midjourney_credential(parts));
    let hash: Option<[u8; 32]> = key.as_ref().map(|key| Sha256::digest(key).into());
    if let (Some(hash), Some(token)) = (&hash, &app.config.admin_token)
        && bool::from(token.ct_eq(hash))
    {
        return Ok(Identity::AdminToken);
    }
    if allows_anonymous(app) {
        return check_local_peer(&parts.headers, log.client_addr()).map(|()| Identity::Anonymous);
    }
    let (Some(key), Some(hash)) = (key, hash) else {
        return Err(unauthorized("(auth header format should be Bearer sk-...)"));
    };
    if let Some(caller) = app.config.keys.caller(&hash) {
        return Ok(Identity::Key(caller));
    }
    let api_key = app.gateway.accounting().keys.find(&hash, log.client_addr().ip())?;
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
    let query = uri.query().filter(|_| uri.path().starts_with("/v1beta/") || uri.path() == "/user/quota")?;
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
