//! A remote provider: sends requests in its dialect, and maps refusals to errors for the caller.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat::{BoxDeltaStream, BoxFuture, Chat, Error, Provider};
use futures_util::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Full;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::response_validation::BodyFormat;
use wire::provider_limits::ProviderLimitExceeded;
use wire::upstream::{Dialect, map_error};

use crate::memory::inflight_budget::RequestMemory;
use crate::offload::offload;
use crate::secret::Secret;
use crate::upstream::body_stream::READ_TIMEOUT;
use crate::upstream::config::{UpstreamConfig, UpstreamError, join_path, parse_base_url, to_uri};
use crate::upstream::connector::CONNECT_TIMEOUT;
use crate::upstream::delta_stream::DeltaStream;
use crate::upstream::error::{
    check_content_type, parse_retry_after, redact_error, timeout_error, transport_error, upstream_error,
};
use crate::upstream::http_client::{DEFAULT_FIRST_BYTE_TIMEOUT, PooledHttpClient, Response, ResponseTimeout};
use crate::upstream::ip_filter::is_private_literal;
use crate::upstream::outgoing_chat::OutgoingChat;
use crate::upstream::reported_load::ReportedLoadCell;
use crate::upstream::signature_cache::SignatureCache;

/// Most bytes of a list of models.
const MAX_MODEL_LIST_BYTES: usize = 16 << 20;
/// Most bytes that are read of a refusal.
const MAX_ERROR_BODY_BYTES: usize = 16 << 10;

/// The header that identifies the trace of a request (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A remote provider.
pub struct Upstream {
    name: Arc<str>,
    preset: Option<String>,
    private: bool,
    base_url: Url,
    /// The address of each [`ApiEndpoint`], parsed once.
    passthrough_uris: [Uri; ApiEndpoint::ALL.len()],
    dialect: Dialect,
    headers: HeaderMap,
    /// Keeps the credential registered, so that it is redacted from the provider's answers.
    _key: Option<Secret>,
    client: PooledHttpClient,
    signatures: Arc<SignatureCache>,
    pub(super) metrics_uri: Option<Uri>,
    pub(super) reported_load: ReportedLoadCell,
    first_byte_timeout: Duration,
}

impl Upstream {
    /// A provider of this configuration. Sends no request.
    ///
    /// # Errors
    /// An address or key that cannot be used.
    pub fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        let UpstreamConfig { name, preset, base_url: base_text, dialect, key, private, metrics } = config;
        let base_url = parse_base_url(&base_text).ok_or_else(|| UpstreamError::Url(name.clone(), base_text.clone()))?;
        if !private && base_url.host_str().is_some_and(is_private_literal) {
            return Err(UpstreamError::Private(name, base_url.host_str().unwrap_or_default().to_owned()));
        }
        let metrics_uri = match metrics {
            Some(path) if path.starts_with('/') => {
                let mut url = base_url.clone();
                url.set_path(&path);
                Some(to_uri(&url).ok_or_else(|| UpstreamError::Metrics(name.clone(), path))?)
            }
            Some(path) => return Err(UpstreamError::Metrics(name, path)),
            None => None,
        };
        let headers = request_headers(&name, dialect, key.as_ref())?;
        let client = PooledHttpClient::new(private).map_err(|error| UpstreamError::Client(name.clone(), error))?;
        let mut passthrough_uris = ApiEndpoint::ALL.map(|_| Uri::default());
        for endpoint in ApiEndpoint::ALL {
            let uri = to_uri(&join_path(&base_url, endpoint.path()));
            passthrough_uris[endpoint as usize] =
                uri.ok_or_else(|| UpstreamError::Url(name.clone(), base_text.clone()))?;
        }
        Ok(Self {
            name: name.into(),
            preset,
            private,
            base_url,
            passthrough_uris,
            dialect,
            headers,
            _key: key,
            client,
            signatures: Arc::default(),
            metrics_uri,
            reported_load: ReportedLoadCell::default(),
            first_byte_timeout: DEFAULT_FIRST_BYTE_TIMEOUT,
        })
    }

    /// The time limit for the first byte of an answer.
    pub(crate) fn first_byte_timeout(&self) -> Duration {
        self.first_byte_timeout
    }

    /// Replaces the time limit for the first byte of an answer.
    pub fn with_first_byte_timeout(self, timeout: Duration) -> Self {
        Self { first_byte_timeout: timeout, ..self }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The built-in provider that this one is, if any.
    pub(crate) fn preset(&self) -> Option<&str> {
        self.preset.as_deref()
    }

    /// The ids of the models in the provider's own list.
    ///
    /// # Errors
    /// `Upstream` or `Timeout` when the provider is unreachable, or its answer is not a list.
    pub async fn models(&self) -> Result<Vec<String>, Error> {
        if let Some(models) = self.dialect.built_in_models() {
            return Ok(models.iter().map(|&model| model.to_owned()).collect());
        }
        let list = self.fetch(self.endpoint_uri("models", None)?, MAX_MODEL_LIST_BYTES, CONNECT_TIMEOUT).await?;
        let ids =
            offload(&RequestMemory::default(), list.len(), move || Ok(wire::upstream::parse_model_list(&list))).await?;
        let mut ids = ids.ok_or_else(|| upstream_error(&self.name, "sent no list of models"))?;
        let listed = ids.len();
        ids.retain(|id| store::is_model_id(id));
        if ids.len() < listed {
            tracing::warn!(provider = &*self.name, skipped = listed - ids.len(), "skipped models with unprintable ids");
        }
        Ok(ids)
    }

    /// Forwards a body for `model`. The returned response is a success; it is a stream of events if
    /// `stream`. `headers` are those of the caller.
    ///
    /// # Errors
    /// The error that the provider's refusal maps to (API document 4.5); `Upstream` or `Timeout`
    /// when the provider is unreachable.
    pub(crate) async fn forward(
        &self,
        endpoint: ApiEndpoint,
        model: &str,
        stream: bool,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Error> {
        let uri = match endpoint {
            ApiEndpoint::GenerateContent => {
                let (path, query) = self.dialect.chat_path(model, stream);
                self.endpoint_uri(&path, query)?
            }
            _ => self.passthrough_uris[endpoint as usize].clone(),
        };
        let head = match endpoint.media_name() {
            // Images and audio are generated before the head is sent.
            Some(_) => self.first_byte_timeout.max(READ_TIMEOUT),
            None => self.first_byte_timeout,
        };
        self.send(Method::POST, uri, headers, body, ResponseTimeout { head, covers_first_byte: stream }).await
    }

    /// Sends any other request. `path` is below the base URL, and may have a query. The returned
    /// response is a success.
    ///
    /// # Errors
    /// As [`Upstream::forward`].
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        extra_headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Error> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        self.send(method, self.endpoint_uri(path, query)?, extra_headers, body, self.response_timeout(false)).await
    }

    /// Fetches a document of at most `max_bytes` within `time_limit`.
    pub(super) async fn fetch(&self, uri: Uri, max_bytes: usize, time_limit: Duration) -> Result<Vec<u8>, Error> {
        let body = async {
            let response =
                self.send(Method::GET, uri, &HeaderMap::new(), Bytes::new(), self.response_timeout(true)).await?;
            let body = read_prefix(response, max_bytes + 1).await;
            if body.len() > max_bytes {
                Err(ProviderLimitExceeded::Bytes(max_bytes).to_error(&self.name))
            } else {
                Ok(body)
            }
        };
        timeout(time_limit, body).await.unwrap_or_else(|_| Err(timeout_error(&self.name)))
    }

    fn response_timeout(&self, covers_first_byte: bool) -> ResponseTimeout {
        ResponseTimeout { head: self.first_byte_timeout, covers_first_byte }
    }

    async fn send(
        &self,
        method: Method,
        uri: Uri,
        extra_headers: &HeaderMap,
        body: Bytes,
        timeouts: ResponseTimeout,
    ) -> Result<Response, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        for (name, value) in extra_headers {
            // Trace ids of the operator's network stay inside it.
            if self.private || name != TRACEPARENT {
                headers.insert(name, value.clone());
            }
        }
        let response =
            self.client.send(request, timeouts).await.map_err(|failure| transport_error(&self.name, &failure))?;
        if response.status.is_success() {
            return Ok(response);
        }
        let status = response.status.as_u16();
        let retry_after = parse_retry_after(&response.headers);
        tracing::warn!(provider = &*self.name, status, "provider refused request");
        let body = read_prefix(response, MAX_ERROR_BODY_BYTES).await;
        Err(redact_error(map_error(&self.name, status, retry_after, &body)))
    }

    fn endpoint_uri(&self, path: &str, query: Option<&str>) -> Result<Uri, Error> {
        let mut url = join_path(&self.base_url, path);
        url.set_query(query);
        to_uri(&url).ok_or_else(|| Error::invalid("The path is too long to be passed on"))
    }

    /// Requests an answer of `model`. The body of a large chat is built off thread.
    ///
    /// # Errors
    /// A chat that the dialect cannot express, and the provider's refusal; `TooLarge` or `Overload`
    /// when there is no memory for the body.
    pub(crate) async fn stream_chat(&self, outgoing: &OutgoingChat, model: &Arc<str>) -> Result<BoxDeltaStream, Error> {
        let dialect = self.dialect;
        let mut reservation = outgoing.memory.reserve(outgoing.chat_bytes)?;
        let (chat, name, signatures) = (outgoing.chat.clone(), model.clone(), self.signatures.clone());
        let body = offload(&outgoing.memory, outgoing.chat_bytes, move || {
            let mut body = dialect.request_body(&chat, &name, signatures.as_ref())?.into_bytes();
            body.shrink_to_fit();
            reservation.resize(body.len())?;
            Ok(reservation.attach_to(body))
        });
        let body = body.await?;
        let chat = &outgoing.chat;
        let (path, query) = self.dialect.chat_path(model, true);
        let extra_headers = HeaderMap::from_iter(traceparent_header(chat.traceparent.as_deref()));
        let response = self
            .send(Method::POST, self.endpoint_uri(&path, query)?, &extra_headers, body, self.response_timeout(true))
            .await?;
        check_content_type(&self.name, BodyFormat::EventStream, &response)?;
        let reader = self.dialect.event_reader(chat);
        let signatures = self.signatures.clone();
        Ok(DeltaStream::new(self.name.clone(), response.body, reader, signatures, outgoing.memory.clone())
            .into_deltas())
    }
}

impl Provider for Upstream {
    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<BoxDeltaStream, Error>> {
        Box::pin(async move {
            let model = chat.model.as_str().into();
            let chat_bytes = chat.memory_bytes();
            let outgoing = OutgoingChat { chat: Arc::new(chat), chat_bytes, memory: RequestMemory::default() };
            self.stream_chat(&outgoing, &model).await
        })
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

/// The headers of every request to a provider, its credential among them.
fn request_headers(provider: &str, dialect: Dialect, key: Option<&Secret>) -> Result<HeaderMap, UpstreamError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("cachalot/", env!("CARGO_PKG_VERSION"))));
    for &(name, value) in dialect.headers() {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(key) = key.map(Secret::expose) {
        let (header, prefix) = dialect.credential_header();
        let mut value =
            HeaderValue::try_from(format!("{prefix}{key}")).map_err(|_| UpstreamError::Key(provider.to_owned()))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The header that identifies the trace of a request.
pub(crate) fn traceparent_header(trace: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
    Some((TRACEPARENT, HeaderValue::try_from(trace?).ok()?))
}

/// Reads at most `max_bytes` of a body, and only those that arrive within [`CONNECT_TIMEOUT`].
pub(crate) async fn read_prefix(response: Response, max_bytes: usize) -> Vec<u8> {
    let mut chunks = response.body;
    let mut bytes = Vec::new();
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    while bytes.len() < max_bytes {
        // A failure ends the prefix.
        let Ok(Some(Ok(chunk))) = timeout_at(deadline, chunks.next()).await else { break };
        bytes.extend_from_slice(&chunk[..chunk.len().min(max_bytes - bytes.len())]);
    }
    bytes
}

#[cfg(test)]
mod tests;
