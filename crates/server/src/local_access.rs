//! Checks of where a request comes from. They protect a server without keys from other machines,
//! from proxies, and from web pages of other origins. The admin API is protected from such pages on
//! every server.

use std::net::SocketAddr;

use chat::{Error, ErrorKind};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri, header};

use crate::app::AppState;
use crate::cors;

/// Checks that a request names one host, so that the checks here and any proxy in front decide
/// by the same name. Letter case and a default port make no difference.
///
/// # Errors
/// `InvalidRequest` for several `Host` headers, and for one that differs from the authority of the
/// URL.
pub(crate) fn check_host_header(headers: &HeaderMap, uri: &Uri) -> Result<(), Error> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Error::invalid("The request has more than one Host header"));
    }
    let port = match uri.scheme_str() {
        Some("https") => ":443",
        _ => ":80",
    };
    let without_port = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    let Some((host, authority)) = host.zip(uri.authority()) else { return Ok(()) };
    if host.to_str().is_ok_and(|host| without_port(host) == without_port(authority.as_str())) {
        return Ok(());
    }
    Err(Error::invalid("The Host header names another host than the address of the request"))
}

/// Headers that proxies add to the requests that they forward.
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

/// Checks that a request came from this machine and not through a proxy on it, because the clients
/// of a proxy may be anywhere. A proxy is recognized by the headers that it adds.
///
/// # Errors
/// `Forbidden` with the code `key_required`.
pub(crate) fn check_local_peer(headers: &HeaderMap, peer: SocketAddr) -> Result<(), Error> {
    let from = match PROXY_HEADERS.iter().find(|name| headers.contains_key(**name)) {
        Some(name) => format!("this request came through a proxy (`{name}`)"),
        None if !peer.ip().to_canonical().is_loopback() => format!("this request came from {}", peer.ip()),
        None => return Ok(()),
    };
    let message = format!(
        "This server has no keys and answers only programs on its own machine, but {from}: create a key with `cachalot key add NAME` and send it, or send the admin token"
    );
    forbidden("key_required", message)
}

/// Checks both the host and the origin of a request: [`check_host`] and [`check_origin`]. Programs
/// that send an allowed host, or none, and no origin pass.
///
/// # Errors
/// `Forbidden` with the code `host_not_allowed` or `origin_not_allowed`.
pub(crate) fn check_host_and_origin(parts: &Parts, app: &AppState, origins: Option<&[String]>) -> Result<(), Error> {
    check_host(parts, app)?;
    check_origin(parts, origins)
}

fn forbidden(code: &'static str, message: String) -> Result<(), Error> {
    let mut error = Error::new(ErrorKind::Forbidden, message);
    error.code = Some(code);
    Err(error)
}

/// Checks that a request names this machine or a host of the configuration. This stops a web page
/// whose host name resolves to this machine (DNS rebinding).
///
/// # Errors
/// `Forbidden` with the code `host_not_allowed`.
pub(crate) fn check_host(parts: &Parts, app: &AppState) -> Result<(), Error> {
    let listen = app.listen;
    let host = request_host(&parts.headers, &parts.uri);
    // A browser always sends the host, so a request without one is not from a web page.
    if host.is_some_and(|host| !is_local_host(host, listen) && !is_allowed_host(host, &app.config.allowed_hosts)) {
        return forbidden(
            "host_not_allowed",
            format!("this is answered only at `{listen}`: the setting `hosts` adds names"),
        );
    }
    Ok(())
}

/// Checks that a request with an `Origin` comes from a page of this server or of `origins`. A
/// request without one passes.
///
/// `origins` is `None` for the admin API, which only the server's own pages may call. The message
/// of the error depends on it.
///
/// # Errors
/// `Forbidden` with the code `origin_not_allowed`.
pub(crate) fn check_origin(parts: &Parts, origins: Option<&[String]>) -> Result<(), Error> {
    let host = request_host(&parts.headers, &parts.uri);
    let origin = parts.headers.get(header::ORIGIN);
    let own = |origin: &HeaderValue| {
        // A proxy in front may terminate TLS, so the scheme is unknown here.
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

/// The host that a request names.
pub(crate) fn request_host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match headers.get(header::HOST) {
        // A value that is not visible ASCII becomes the empty name, which matches no host.
        Some(host) => Some(host.to_str().unwrap_or_default()),
        None => uri.authority().map(|authority| authority.as_str()),
    }
}

/// Whether `host` is one of the configured `names`. A name without a port allows every port; a name
/// with a port allows only that one.
fn is_allowed_host(host: &str, names: &[String]) -> bool {
    let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
    names.iter().any(|name| name.eq_ignore_ascii_case(host) || name.eq_ignore_ascii_case(without_port))
}

/// Whether `host` is a name of the client's own machine, with any port or none.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    is_local_host(host, SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Whether `host` is the address that the server listens on or a name of this machine, with any
/// port or none.
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

    #[test]
    fn a_request_names_one_host() {
        let allowed = |hosts: &[&'static str], uri: &str| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            check_host_header(&headers, &uri.parse().unwrap()).is_ok()
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
}
