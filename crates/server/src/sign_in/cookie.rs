//! The cookie that has the token of a session, and the check that a page of this server has sent
//! it.

use chat::{Error, ErrorKind};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};

use crate::local_access::check_origin;
use crate::sign_in::client::Client;

/// The name of the cookie where TLS is known. Browsers accept it only with `Secure`, and from no
/// other host.
const SECURE_NAME: &str = "__Host-cachalot";
/// The name of the cookie over plain HTTP.
const PLAIN_NAME: &str = "cachalot";
/// The length of a token: 32 bytes in unpadded base64.
const TOKEN_LEN: usize = 43;
/// The longest time that a session lasts, in seconds.
const MAX_AGE_S: i64 = store::SESSION_MAX_MICROS / 1_000_000;

/// The token of the session, if the request has one of the right form.
pub(crate) fn session_token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<_> =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('=')).collect();
    let find = |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    find(SECURE_NAME).or_else(|| find(PLAIN_NAME)).filter(|token| is_token(token))
}

fn is_token(text: &str) -> bool {
    text.len() == TOKEN_LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The cookie that begins a session.
pub(crate) fn set_cookie(client: &Client, token: &str) -> HeaderValue {
    cookie(client, token, MAX_AGE_S)
}

/// The cookie that removes the one of a session.
pub(crate) fn clear_cookie(client: &Client) -> HeaderValue {
    cookie(client, "", 0)
}

fn cookie(client: &Client, token: &str, max_age: i64) -> HeaderValue {
    let (name, secure) = if client.tls { (SECURE_NAME, "; Secure") } else { (PLAIN_NAME, "") };
    let text = format!("{name}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age}{secure}");
    HeaderValue::try_from(text).expect("a token is ASCII")
}

/// Checks that a request with the cookie was sent by a script of the console: only a page of this
/// server can add the header `x-cachalot-console` to a request.
///
/// # Errors
/// `Forbidden` with the code `cross_site`.
pub(crate) fn check_console_header(parts: &Parts) -> Result<(), Error> {
    if parts.headers.get("x-cachalot-console").is_none_or(|value| value != "1") {
        return Err(cross_site("A request with the cookie of a session needs the header `x-cachalot-console: 1`"));
    }
    check_same_site(parts)
}

/// Checks that a request was not sent by a page of another site.
///
/// # Errors
/// `Forbidden` with the code `cross_site`.
pub(crate) fn check_same_site(parts: &Parts) -> Result<(), Error> {
    let site = parts.headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") || check_origin(parts, None).is_err() {
        return Err(cross_site("Web pages of another site may not use the session of this one"));
    }
    Ok(())
}

fn cross_site(message: &str) -> Error {
    let mut error = Error::new(ErrorKind::Forbidden, message);
    error.code = Some("cross_site");
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(cookies: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in cookies {
            headers.append(header::COOKIE, HeaderValue::from_static(value));
        }
        session_token(&headers).map(str::to_owned)
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(token(&["theme=dark; cachalot=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]).as_deref(), Some(A));
        assert_eq!(token(&["theme=dark", "cachalot=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]).as_deref(), Some(A));
        let both = "cachalot=BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB; __Host-cachalot=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(token(&[both]).as_deref(), Some(A));
        for none in
            ["", "cachalot", "cachalot=", "cachalot=short", "xcachalot=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert_eq!(token(&[none]), None, "{none}");
        }
    }
}
