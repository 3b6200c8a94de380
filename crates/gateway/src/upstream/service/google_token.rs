//! Access tokens of Google Cloud: a JSON Web Token that a service account has signed is exchanged
//! for one. <https://developers.google.com/identity/protocols/oauth2/service-account>

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use chat::Error;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use url::Url;

use crate::redaction::redact_secrets;
use crate::secret::Secret;
use crate::upstream::body_prefix::read_prefix;
use crate::upstream::connector::CONNECT_TIMEOUT;
use crate::upstream::error::{timeout_error, transport_error, upstream_error};
use crate::upstream::http_client::{PooledHttpClient, ResponseTimeout};

/// The permission that a token has.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The lifetime of a signed request for a token, in seconds; the most that the service accepts.
const ASSERTION_SECONDS: u64 = 3600;
/// The time before its end when a token is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// The time for which a refusal is repeated without another request.
const REFUSAL_PAUSE: Duration = Duration::from_secs(5);
/// Most bytes that are read of a response.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// Why a key file of a service account cannot be used. No message has a part of the key.
#[derive(Debug, thiserror::Error)]
pub enum ServiceAccountError {
    #[error(
        "the key of the service account is not the JSON file with `client_email`, `private_key` and `token_uri` that Google Cloud creates"
    )]
    Json,
    #[error("`private_key` of the service account is not an RSA key in PEM (PKCS#8)")]
    Key,
    #[error("`token_uri` of the service account is not an https URL")]
    TokenUri,
}

/// A service account, and the token that it has obtained last. One request at a time obtains a
/// token; others wait for it.
pub struct ServiceAccount {
    client_email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    token_uri: String,
    /// Keeps the private key registered, so that it is redacted.
    _private_key: Secret,
    token: Mutex<Option<Result<Token, (Error, Instant)>>>,
}

/// An access token.
struct Token {
    header: HeaderValue,
    renew_at: Instant,
    /// Keeps the token registered, so that it is redacted.
    _secret: Secret,
}

#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: String,
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: String,
    expires_in: u64,
}

impl ServiceAccount {
    /// Parses a key file that is a secret already; see [`ServiceAccount::parse`].
    ///
    /// # Errors
    /// [`ServiceAccountError`]
    pub fn from_secret(key_file: &Secret, allows_http: bool) -> Result<Self, ServiceAccountError> {
        Self::parse(key_file.expose(), allows_http)
    }

    /// Parses the key file of a service account. `allows_http`: the token's address may be one
    /// without TLS, as in the operator's own network.
    ///
    /// # Errors
    /// [`ServiceAccountError`]
    pub fn parse(json: &str, allows_http: bool) -> Result<Self, ServiceAccountError> {
        let KeyFile { client_email, private_key, private_key_id, token_uri } =
            serde_json::from_str(json).map_err(|_| ServiceAccountError::Json)?;
        let secret = Secret::new(private_key.trim());
        let base64: String = private_key.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).map_err(|_| ServiceAccountError::Key)?;
        let key = RsaKeyPair::from_pkcs8(&der).map_err(|_| ServiceAccountError::Key)?;
        let is_allowed =
            |url: &Url| url.has_host() && (url.scheme() == "https" || (allows_http && url.scheme() == "http"));
        if !Url::parse(&token_uri).is_ok_and(|url| is_allowed(&url)) {
            return Err(ServiceAccountError::TokenUri);
        }
        Ok(Self { client_email, key_id: private_key_id, key, token_uri, _private_key: secret, token: Mutex::default() })
    }

    /// The value of the header `authorization`, of a token that is valid for some minutes.
    ///
    /// # Errors
    /// `Upstream` or `Timeout` when the service refuses the account or is unreachable.
    pub(crate) async fn authorization(&self, client: &PooledHttpClient, provider: &str) -> Result<HeaderValue, Error> {
        let mut token = self.token.lock().await;
        match &*token {
            Some(Ok(known)) if Instant::now() < known.renew_at => return Ok(known.header.clone()),
            Some(Err((refusal, at))) if at.elapsed() < REFUSAL_PAUSE => return Err(refusal.clone()),
            _ => {}
        }
        let obtained = timeout(CONNECT_TIMEOUT, self.request_token(client, provider)).await;
        match obtained.unwrap_or_else(|_| Err(timeout_error(provider))) {
            Ok(new) => {
                let header = new.header.clone();
                *token = Some(Ok(new));
                Ok(header)
            }
            Err(error) => {
                *token = Some(Err((error.clone(), Instant::now())));
                Err(error)
            }
        }
    }

    async fn request_token(&self, client: &PooledHttpClient, provider: &str) -> Result<Token, Error> {
        let started = Instant::now();
        let assertion = self.assertion(SystemTime::now())?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT_TYPE)
            .append_pair("assertion", &assertion)
            .finish();
        let mut request = Request::new(Full::new(Bytes::from(form)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(self.token_uri.as_str())
            .map_err(|_| Error::internal("the address of a service account's token is not a URI"))?;
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        let timeouts = ResponseTimeout { head: CONNECT_TIMEOUT, covers_first_byte: true };
        let mut response =
            client.send(request, timeouts).await.map_err(|failure| transport_error(provider, &failure))?;
        response.body = response.body.without_redaction();
        let status = response.status;
        let body = read_prefix(response, MAX_RESPONSE_BYTES).await;
        if !status.is_success() {
            let reason: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            let reason = redact_secrets(&reason);
            tracing::warn!(provider, status = status.as_u16(), %reason, "service account was refused");
            return Err(upstream_error(provider, "refused this server's credentials"));
        }
        let token: Option<TokenBody> = serde_json::from_slice(&body).ok();
        let token = token.ok_or_else(|| upstream_error(provider, "sent no access token for its service account"))?;
        let secret = Secret::new(token.access_token.as_str());
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.access_token))
            .map_err(|_| upstream_error(provider, "sent an access token that is not text"))?;
        header.set_sensitive(true);
        let lifetime = Duration::from_secs(token.expires_in.min(86_400));
        // One that does not live so long is replaced for each request.
        let renew_at = started + lifetime.saturating_sub(RENEW_BEFORE);
        Ok(Token { header, renew_at, _secret: secret })
    }

    /// The JSON Web Token that requests an access token (RFC 7519, RS256).
    fn assertion(&self, now: SystemTime) -> Result<String, Error> {
        let issued_at = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let mut header = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let claims = json!({
            "iss": self.client_email, "scope": SCOPE, "aud": self.token_uri, "exp": issued_at + ASSERTION_SECONDS,
            "iat": issued_at,
        });
        let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign_rs256(&self.key, signed.as_bytes())?)))
    }
}

fn sign_rs256(key: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| Error::internal("a token of a service account cannot be signed"))?;
    Ok(signature)
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("client_email", &self.client_email).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
