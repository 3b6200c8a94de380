//! Key to caller. Keys are compared as hashes, in constant time; nothing of a key but its last four
//! characters is ever said again.

use std::net::SocketAddr;

use chat::{Error, ErrorKind};
use gateway::Caller;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri, header};
use sha2::{Digest, Sha256};
use store::Role;
use subtle::ConstantTimeEq;

use crate::app::AppState;
use crate::cors;
use crate::operator::Operator;
use crate::request_log::RequestLog;

/// Lets a request in: its headers fit, and its credential is good.
///
/// # Errors
/// `HeadersTooLarge`, `Unauthorized`; on a server without keys `Forbidden` for what a web
/// page may have sent.
pub(crate) fn authenticate_caller(app: &AppState, parts: &Parts) -> Result<Caller, Error> {
    check_header_size(parts, app.config.header_limit)?;
    match identify(app, parts)? {
        Identity::Anonymous => {
            check_local_origin(parts, app, Some(&app.config.cors_origins)).map(|()| Caller::default())
        }
        Identity::Key(caller) => Ok(caller),
        Identity::AdminToken => {
            let message = "The admin token asks no models: make a key with it";
            Err(Error::new(ErrorKind::Forbidden, message))
        }
    }
}

/// Lets everybody in to what needs no key. A server that only its own machine can reach answers no
/// web page of elsewhere, which may have made its own name lead here.
///
/// # Errors
/// `HeadersTooLarge`; `Forbidden` for what a web page may have sent.
pub(crate) fn check_public_access(app: &AppState, parts: &Parts) -> Result<(), Error> {
    check_header_size(parts, app.config.header_limit)?;
    if allows_anonymous(app) {
        identify(app, parts)?;
    }
    if app.listen.ip().is_loopback() { check_local_origin(parts, app, Some(&app.config.cors_origins)) } else { Ok(()) }
}

/// A request names one host: who decides by `host` and who decides by `:authority` must not differ.
///
/// # Errors
/// `Invalid` for several `host` headers, and for one that is unlike the authority of the address.
pub(crate) fn check_single_host(headers: &HeaderMap, uri: &Uri) -> Result<(), Error> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Error::invalid("The request has more than one Host header"));
    }
    let port = match uri.scheme_str() {
        Some("https") => ":443",
        _ => ":80",
    };
    let bare = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    let Some((host, authority)) = host.zip(uri.authority()) else { return Ok(()) };
    if host.to_str().is_ok_and(|host| bare(host) == bare(authority.as_str())) {
        return Ok(());
    }
    Err(Error::invalid("The Host header names another host than the address of the request"))
}

/// Lets an operator in who has the role that is needed. On a server without keys that is whoever
/// is on its machine.
///
/// # Errors
/// As [`admit`]; `Forbidden` for another role, and for what a web page may have sent.
pub(crate) fn authenticate_operator(app: &AppState, parts: &Parts, required_role: Role) -> Result<Operator, Error> {
    check_header_size(parts, app.config.header_limit)?;
    let identity = identify(app, parts)?;
    // No web page knows the token: it is good by whatever name the server is called.
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

enum Identity {
    /// There are no keys, and whoever asks is on this machine.
    Anonymous,
    /// Has the admin token.
    AdminToken,
    Key(Caller),
}

/// There are no keys, and only this machine can reach the server.
fn allows_anonymous(app: &AppState) -> bool {
    app.config.keys.is_empty() && !app.gateway.accounting().keys.requires_key() && app.listen.ip().is_loopback()
}

fn identify(app: &AppState, parts: &Parts) -> Result<Identity, Error> {
    let accounts = &app.gateway.accounting().keys;
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
    let holder = accounts.find(&hash, log.client_addr().ip())?;
    holder.map(|holder| Identity::Key(holder.into())).ok_or_else(|| {
        let tail = if key.chars().count() < 12 { 0 } else { 4 };
        let shown: String = key.chars().skip(key.chars().count() - tail).collect();
        Error::new(ErrorKind::Unauthorized, format!("Authentication Fails, Your api key: ****{shown} is invalid"))
    })
}

/// The headers by which a proxy tells that it passes on what somebody else has sent.
static PROXY_HEADERS: [&str; 14] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-by",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "true-client-ip",
    "cf-connecting-ip",
];

/// Without keys a request must come from this machine, and not through a proxy on it: the proxy's
/// own callers may be anywhere.
fn check_local_peer(headers: &HeaderMap, peer: SocketAddr) -> Result<(), Error> {
    let from = match PROXY_HEADERS.iter().find(|name| headers.contains_key(**name)) {
        Some(name) => format!("this request came through a proxy (`{name}`)"),
        None if !peer.ip().to_canonical().is_loopback() => format!("this request came from {}", peer.ip()),
        None => return Ok(()),
    };
    let message = format!(
        "This server has no keys and answers only programs on its own machine, but {from}: make a key with `cachalot key add NAME` and send it, or send the admin token"
    );
    forbidden("key_required", message)
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

/// The first credential present; `None` when there is none or it has the wrong form.
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

/// The `key` of a query, which Gemini's clients send, and those that ask for a quota.
fn query_credential(uri: &Uri) -> Option<String> {
    let query = uri.query().filter(|_| uri.path().starts_with("/v1beta/") || uri.path() == "/user/quota")?;
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    (!key.is_empty()).then(|| key.to_owned())
}

/// The credential that Midjourney's clients send.
fn midjourney_credential(parts: &Parts) -> Option<String> {
    let value = parts.headers.get("mj-api-secret").filter(|_| parts.uri.path().starts_with("/mj"))?;
    let key = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    (!key.is_empty()).then_some(key)
}

/// Without keys any web page could ask a local server, were it not for its `Host` and `Origin`.
/// `origins` may ask models; no other web page administers the server.
fn check_local_origin(parts: &Parts, app: &AppState, origins: Option<&[String]>) -> Result<(), Error> {
    check_host(parts, app)?;
    check_origin(parts, origins)
}

fn forbidden(code: &'static str, message: String) -> Result<(), Error> {
    let mut error = Error::new(ErrorKind::Forbidden, message);
    error.code = Some(code);
    Err(error)
}

fn check_host(parts: &Parts, app: &AppState) -> Result<(), Error> {
    let listen = app.listen;
    let host = request_host(&parts.headers, &parts.uri);
    // A browser always names the host; who does not is no browser.
    if host.is_some_and(|host| !is_local_host(host, listen) && !is_allowed_host(host, &app.config.allowed_hosts)) {
        return forbidden(
            "host_not_allowed",
            format!("this is answered only at `{listen}`: the setting `hosts` adds names"),
        );
    }
    Ok(())
}

fn check_origin(parts: &Parts, origins: Option<&[String]>) -> Result<(), Error> {
    let host = request_host(&parts.headers, &parts.uri);
    let origin = parts.headers.get(header::ORIGIN);
    let own = |origin: &HeaderValue| {
        // A proxy in front may speak TLS.
        host.is_some_and(|host| ["http", "https"].iter().any(|scheme| *origin == *format!("{scheme}://{host}")))
    };
    let listed = |origin: &HeaderValue| origins.is_some_and(|origins| cors::is_listed(origin, origins));
    if origin.is_some_and(|origin| !own(origin) && !listed(origin)) {
        let message = match origins {
            Some(_) => "this origin may not use a server without keys: add it to `cors_origins`, or configure a key",
            None => "web pages of another origin may not administer this server",
        };
        return forbidden("origin_not_allowed", message.into());
    }
    Ok(())
}

fn request_host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match headers.get(header::HOST) {
        // An unreadable name is nobody's.
        Some(host) => Some(host.to_str().unwrap_or_default()),
        None => uri.authority().map(|authority| authority.as_str()),
    }
}

/// A name of the configuration, with any port or none.
fn is_allowed_host(host: &str, names: &[String]) -> bool {
    let bare = host.rsplit_once(':').map_or(host, |(name, _)| name);
    names.iter().any(|name| name.eq_ignore_ascii_case(host) || name.eq_ignore_ascii_case(bare))
}

/// The address we listen on, or a name of this machine with any port.
fn is_local_host(host: &str, listen: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let own = match listen {
        SocketAddr::V4(listen) => listen.ip().to_string(),
        SocketAddr::V6(listen) => format!("[{}]", listen.ip()),
    };
    ["localhost", "127.0.0.1", "[::1]", own.as_str()].iter().any(|local| name.eq_ignore_ascii_case(local))
}

#[cfg(test)]
mod tests {
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
    fn a_request_names_one_host() {
        let allowed = |hosts: &[&'static str], uri: &str| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            check_single_host(&headers, &uri.parse().unwrap()).is_ok()
        };
        assert!(allowed(&[], "/") && allowed(&["a"], "/") && allowed(&[], "http://a/"));
        assert!(!allowed(&["a", "b"], "/") && !allowed(&["a", "a"], "/"));
        assert!(allowed(&["a:8000"], "http://A:8000/") && allowed(&["a"], "http://a:80/"));
        assert!(allowed(&["a:443"], "https://a/"));
        assert!(
            !allowed(&["a"], "http://b/") && !allowed(&["a:1"], "http://a:2/") && !allowed(&["a"], "https://a:80/")
        );
        assert!(!allowed(&["a"], "http://user@a/"));
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        let listen = "127.0.0.1:8000".parse().unwrap();
        for host in ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:99", "[::1]"] {
            assert!(is_local_host(host, listen), "{host}");
        }
        for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "", "::1", "127.0.0.1.nip.io:8000"]
        {
            assert!(!is_local_host(host, listen), "{host}");
        }
        assert!(is_local_host("127.0.0.2:5", "127.0.0.2:8000".parse().unwrap()));
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
