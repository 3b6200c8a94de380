//! The test of a provider: whether it can be reached, whether it accepts its key, and which models
//! it lists.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use chat::{Error, ErrorKind};
use http::{HeaderName, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use memchr::memmem;
use serde::Serialize;
use tokio::time::timeout;
use wire::upstream::map_error;

use crate::redaction::redact_secrets;
use crate::upstream::body_prefix::read_prefix;
use crate::upstream::http_client::{Response, ResponseTimeout};
use crate::upstream::model_list::MAX_MODEL_LIST_BYTES;
use crate::upstream::remote_provider::{MAX_ERROR_BODY_BYTES, Upstream};
use crate::upstream::retry_headers::parse_retry_after;
use crate::upstream::transport_error::TransportError;

/// The time limit of a test.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a test. It contains no secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProviderTest {
    /// The name of the provider.
    pub name: String,
    /// Whether a connection was made.
    pub reached: bool,
    /// Whether its TLS certificate is valid; `None` for a provider without TLS, and for one that
    /// was not reached.
    pub tls: Option<bool>,
    /// Whether the provider accepts the key; `None` without a key, and where the provider's
    /// answers do not tell.
    pub key_good: Option<bool>,
    /// The ids in its list of models; `None` if it sent none.
    pub models: Option<Vec<String>>,
    /// The time until the list or the failure.
    pub milliseconds: u64,
    /// The reason why there is no list.
    pub error: Option<String>,
}

/// The credential of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Credential {
    Sent,
    Withheld,
}

impl ProviderTest {
    /// The result for a provider that is not called.
    pub fn not_tested(name: &str, reason: String) -> Self {
        Self { name: name.to_owned(), error: Some(reason), ..Self::default() }
    }

    /// Whether the provider listed its models and did not refuse the key.
    pub fn succeeded(&self) -> bool {
        self.models.is_some() && self.key_good != Some(false)
    }

    /// The result in one line: the failure, or `reached in 41 ms, TLS, key good, 46 models`.
    pub fn summary(&self) -> String {
        let Some(models) = &self.models else { return self.error.clone().unwrap_or_default() };
        let mut parts = vec![format!("reached in {} ms", self.milliseconds)];
        parts.extend((self.tls == Some(true)).then(|| "TLS".to_owned()));
        parts.extend(self.key_good.map(|good| if good { "key good" } else { "key refused" }.to_owned()));
        parts.push(format!("{} models", models.len()));
        parts.join(", ")
    }
}

impl Upstream {
    /// Tests the provider within ten seconds. It requests the list of models; where others may read
    /// it too, further requests without a body find out whether the key is accepted.
    ///
    /// # Errors
    /// `RateLimited` while another test of the provider runs. A provider that fails is a result.
    pub async fn test(&self) -> Result<ProviderTest, Error> {
        let Ok(_running) = self.test_lock.try_lock() else {
            let message = format!("The provider `{}` is being tested already", self.name());
            return Err(Error { code: Some("test_running"), ..Error::new(ErrorKind::RateLimited, message) });
        };
        let mut result = ProviderTest { name: self.name().to_string(), ..ProviderTest::default() };
        let started = Instant::now();
        if timeout(TEST_TIMEOUT, self.run_test(&mut result, started)).await.is_err() && result.milliseconds == 0 {
            result.error = Some(format!("it did not answer within {} seconds", TEST_TIMEOUT.as_secs()));
            result.milliseconds = elapsed_ms(started);
        }
        Ok(result)
    }

    async fn run_test(&self, result: &mut ProviderTest, started: Instant) {
        match self.list_models(result).await {
            Ok(models) => result.models = Some(models),
            Err(message) => result.error = Some(redact_secrets(&message).into_owned()),
        }
        result.milliseconds = elapsed_ms(started);
        if self.has_key() && result.models.is_some() && self.built_in_models().is_none() {
            result.key_good = self.check_key().await;
        }
    }

    /// Requests the list of models, and records how far that goes.
    ///
    /// # Errors
    /// The reason why there is no list.
    async fn list_models(&self, result: &mut ProviderTest) -> Result<Vec<String>, String> {
        let uri = self.endpoint_uri("models", None).map_err(|error| error.message)?;
        let is_https = uri.scheme_str() == Some("https");
        let response = self.send_test(Method::GET, uri, Credential::Sent).await;
        result.reached = !matches!(response, Err(TransportError::Connect(_) | TransportError::Timeout));
        result.tls = (is_https && result.reached).then_some(!matches!(response, Err(TransportError::Tls(_))));
        let response = response.map_err(|failure| failure.to_string())?;
        // An API without a list of models answers this with any status.
        if let Some(models) = self.built_in_models() {
            return Ok(models);
        }
        if !response.status.is_success() {
            let (status, delay) = (response.status, parse_retry_after(&response.headers, SystemTime::now()));
            if let Some(reason) = self.missing_key(status) {
                return Err(reason);
            }
            let body = read_prefix(response, MAX_ERROR_BODY_BYTES).await;
            // Gemini refuses a key with status 400.
            let is_refused = is_refused(status) || memmem::find(&body, b"API_KEY_INVALID").is_some();
            result.key_good = (self.has_key() && is_refused).then_some(false);
            return Err(map_error(self.name(), status.as_u16(), delay, &body).message);
        }
        let list = read_prefix(response, MAX_MODEL_LIST_BYTES).await;
        self.parse_model_list(list.into()).await.map_err(|error| error.message)
    }

    /// Whether the provider, which listed its models, accepts the key. Its answers with and without
    /// the key are compared: first those to the list, which some providers show to everybody, then
    /// those to an empty chat, which is invalid and costs nothing.
    async fn check_key(&self) -> Option<bool> {
        let list = self.endpoint_uri("models", None).ok()?;
        if is_refused(self.test_status(Method::GET, list, Credential::Withheld).await?) {
            return Some(true);
        }
        let (path, query) = self.dialect().chat_path("test", false);
        let chat = self.endpoint_uri(&path, query).ok()?;
        if is_refused(self.test_status(Method::POST, chat.clone(), Credential::Sent).await?) {
            return Some(false);
        }
        is_refused(self.test_status(Method::POST, chat, Credential::Withheld).await?).then_some(true)
    }

    async fn test_status(&self, method: Method, uri: Uri, credential: Credential) -> Option<StatusCode> {
        Some(self.send_test(method, uri, credential).await.ok()?.status)
    }

    /// Sends a request without a body, or with an empty object where the method has one.
    async fn send_test(&self, method: Method, uri: Uri, credential: Credential) -> Result<Response, TransportError> {
        let body = if method == Method::POST { Bytes::from_static(b"{}") } else { Bytes::new() };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&self.headers);
        if credential == Credential::Withheld {
            let header = HeaderName::from_static(self.dialect().credential_header().0);
            request.headers_mut().remove(header);
        }
        self.client.send(request, ResponseTimeout { head: TEST_TIMEOUT, covers_first_byte: true }).await
    }
}

/// Whether a status refuses the credential of a request.
fn is_refused(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
}
