//! A provider elsewhere: where it is, how it is asked, what its refusals mean.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat::{BoxDeltaStream, BoxFuture, Chat, Error, Provider};
use futures_util::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
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
use crate::redaction::Secret;
use crate::routing::failover::OutgoingChat;
use crate::upstream::delta_stream::DeltaStream;
use crate::upstream::error::{check_content_type, redact_error, timeout_error, transport_error, upstream_error};
use crate::upstream::http_client::{
    CONNECT_TIMEOUT, DEFAULT_FIRST_BYTE_TIMEOUT, PooledHttpClient, READ_TIMEOUT, Response, ResponseTimeout,
};
use crate::upstream::ip_filter::is_private_literal;
use crate::upstream::reported_load::{ReportedLoad, ReportedLoadCell};
use crate::upstream::signature_cache::SignatureCache;

/// What is read of a list of models.
const MAX_MODEL_LIST_BYTES: usize = 16 << 20;
/// What is read of a refusal.
const MAX_ERROR_BODY_BYTES: usize = 16 << 10;
/// What is read of its metrics, and how long they may take.
const MAX_METRICS_BYTES: usize = 4 << 20;
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// The trace a request belongs to (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where a provider is and how it is spoken to.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    pub name: String,
    /// What price rows call it that do not name it as the operator does: the provider built in
    /// that it is one of.
    pub preset: Option<String>,
    /// With the version, as the provider documents it: `https://api.example.org/v1`.
    pub base_url: String,
    pub dialect: Dialect,
    /// `None` for engines that ask for none.
    pub key: Option<Secret>,
    /// It may be at a private address: an engine in one's own network.
    pub private: bool,
    /// The path of its metrics, on the same host: that of an engine which says how busy it is.
    pub metrics: Option<String>,
}

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("provider `{0}`: `base_url` is no http(s) address without a user or a query: `{1}`")]
    Url(String, String),
    #[error("provider `{0}`: its address {1} is private; `private = true` allows that")]
    Private(String, String),
    #[error("provider `{0}`: `metrics` is a path such as `/metrics`, not `{1}`")]
    Metrics(String, String),
    #[error("provider `{0}`: its key has characters that no header can carry")]
    Key(String),
    #[error("provider `{0}`: {1}")]
    Client(String, io::Error),
}

/// One provider elsewhere.
pub struct Upstream {
    name: Arc<str>,
    preset: Option<String>,
    private: bool,
    base_url: Url,
    /// That of what passes, by `Passage`: parsed once.
    passthrough_uris: [Uri; ApiEndpoint::ALL.len()],
    dialect: Dialect,
    headers: HeaderMap,
    /// Held, so that nothing it says can hold it.
    _key: Option<Secret>,
    client: PooledHttpClient,
    signatures: Arc<SignatureCache>,
    metrics_uri: Option<Uri>,
    reported_load: ReportedLoadCell,
    /// How long it may take to begin an answer.
    first_byte_timeout: Duration,
}

impl Upstream {
    /// # Errors
    /// An address or key that cannot be used.
    pub fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        let UpstreamConfig { name, preset: row, base_url, dialect, key, private, metrics } = config;
        let base = parse_base_url(&base_url).ok_or_else(|| UpstreamError::Url(name.clone(), base_url.clone()))?;
        if !private && base.host_str().is_some_and(is_private_literal) {
            return Err(UpstreamError::Private(name, base.host_str().unwrap_or_default().to_owned()));
        }
        let metrics = match metrics {
            Some(path) if path.starts_with('/') => {
                let mut url = base.clone();
                url.set_path(&path);
                Some(to_uri(&url).ok_or_else(|| UpstreamError::Metrics(name.clone(), path))?)
            }
            Some(path) => return Err(UpstreamError::Metrics(name, path)),
            None => None,
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("cachalot/", env!("CARGO_PKG_VERSION"))));
        for &(name, value) in dialect.headers() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(key) = key.as_ref().map(Secret::expose) {
            let (header, before) = dialect.credential_header();
            let mut value =
                HeaderValue::try_from(format!("{before}{key}")).map_err(|_| UpstreamError::Key(name.clone()))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        let client = PooledHttpClient::new(private).map_err(|error| UpstreamError::Client(name.clone(), error))?;
        let mut passages = ApiEndpoint::ALL.map(|_| Uri::default());
        for passage in ApiEndpoint::ALL {
            let uri = to_uri(&join_path(&base, passage.path()));
            passages[passage as usize] = uri.ok_or_else(|| UpstreamError::Url(name.clone(), base_url.clone()))?;
        }
        let (name, signatures, occupancy) = (name.into(), Arc::default(), ReportedLoadCell::default());
        Ok(Self {
            name,
            preset: row,
            private,
            base_url: base,
            passthrough_uris: passages,
            dialect,
            headers,
            _key: key,
            client,
            signatures,
            metrics_uri: metrics,
            reported_load: occupancy,
            first_byte_timeout: DEFAULT_FIRST_BYTE_TIMEOUT,
        })
    }

    /// How long it may take to begin an answer.
    pub(crate) fn first_byte_timeout(&self) -> Duration {
        self.first_byte_timeout
    }

    /// The same with another time to begin its answers in.
    pub fn with_first_byte_timeout(self, timeout: Duration) -> Self {
        Self { first_byte_timeout: timeout, ..self }
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The provider built in that it is one of.
    pub(crate) fn preset(&self) -> Option<&str> {
        self.preset.as_deref()
    }

    /// The ids of the models it offers, by its own list.
    ///
    /// # Errors
    /// `Upstream` or `Timeout` when it cannot be asked, or answers what is no list.
    pub async fn models(&self) -> Result<Vec<String>, Error> {
        if let Some(models) = self.dialect.built_in_models() {
            return Ok(models.iter().map(|&model| model.to_owned()).collect());
        }
        let list = self.fetch(self.endpoint_uri("models", None)?, MAX_MODEL_LIST_BYTES, CONNECT_TIMEOUT).await?;
        let read =
            offload(&RequestMemory::default(), list.len(), move || Ok(wire::upstream::parse_model_list(&list))).await?;
        let mut ids = read.ok_or_else(|| upstream_error(&self.name, "sent no list of models"))?;
        let listed = ids.len();
        ids.retain(|id| store::is_model_id(id));
        if ids.len() < listed {
            tracing::warn!(
                provider = &*self.name,
                left_out = listed - ids.len(),
                "models whose ids cannot be shown are left out"
            );
        }
        Ok(ids)
    }

    /// It may be asked how busy it is.
    pub fn has_metrics(&self) -> bool {
        self.metrics_uri.is_some()
    }

    /// Asks how busy it is. What was known before is forgotten when that is not told.
    ///
    /// # Errors
    /// `Upstream` or `Timeout` when it cannot be asked, or says nothing of its requests.
    pub async fn poll_metrics(&self) -> Result<(), Error> {
        let Some(uri) = &self.metrics_uri else { return Ok(()) };
        let read = async {
            let bytes = self.fetch(uri.clone(), MAX_METRICS_BYTES, METRICS_TIMEOUT).await?;
            let read = move || Ok(ReportedLoad::parse_metrics(&String::from_utf8_lossy(&bytes)));
            let occupancy = offload(&RequestMemory::default(), MAX_METRICS_BYTES, read).await?;
            occupancy.ok_or_else(|| upstream_error(&self.name, "says nothing of its requests at its metrics"))
        };
        let read = read.await;
        self.reported_load.set(read.as_ref().ok().copied());
        read.map(drop)
    }

    /// How busy it is; `None` where it does not say.
    pub fn reported_load(&self) -> Option<ReportedLoad> {
        self.reported_load.get()
    }

    /// Passes a body on that is for its `model`; the answer is a success, and comes as events if
    /// `stream`. `headers` are the caller's own.
    ///
    /// # Errors
    /// What the provider's refusal means (API document 4.5); `Upstream` or `Timeout` when it
    /// cannot be reached.
    pub(crate) async fn forward(
        &self,
        passage: ApiEndpoint,
        model: &str,
        stream: bool,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Error> {
        let uri = match passage {
            ApiEndpoint::GenerateContent => {
                let (path, query) = self.dialect.chat_path(model, stream);
                self.endpoint_uri(&path, query)?
            }
            _ => self.passthrough_uris[passage as usize].clone(),
        };
        let head = match passage.media_name() {
            // Pictures and sound are made before anything is sent.
            Some(_) => self.first_byte_timeout.max(READ_TIMEOUT),
            None => self.first_byte_timeout,
        };
        self.send(Method::POST, uri, headers, body, ResponseTimeout { head, covers_first_byte: stream }).await
    }

    /// Asks for something else, below its base URL and with a query if `path` has one; the
    /// answer is a success.
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

    /// What it says of itself: at most so many bytes, within that time.
    async fn fetch(&self, uri: Uri, max_bytes: usize, time_limit: Duration) -> Result<Vec<u8>, Error> {
        let body = async {
            let response =
                self.send(Method::GET, uri, &HeaderMap::new(), Bytes::new(), self.response_timeout(true)).await?;
            let read = read_prefix(response, max_bytes + 1).await;
            if read.len() > max_bytes {
                Err(ProviderLimitExceeded::Bytes(max_bytes).to_error(&self.name))
            } else {
                Ok(read)
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
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        for (name, value) in extra_headers {
            // What runs in one's own network is of no interest to others.
            if self.private || name != TRACEPARENT {
                headers.insert(name, value.clone());
            }
        }
        let response =
            self.client.send(request, timeouts).await.map_err(|failure| transport_error(&self.name, &failure))?;
        if response.status.is_success() {
            return Ok(response);
        }
        let (status, retry_after) = (response.status.as_u16(), parse_retry_after(&response.headers));
        tracing::warn!(provider = &*self.name, status, "a provider refused a request");
        Err(redact_error(map_error(
            &self.name,
            status,
            retry_after,
            &read_prefix(response, MAX_ERROR_BODY_BYTES).await,
        )))
    }

    fn endpoint_uri(&self, path: &str, query: Option<&str>) -> Result<Uri, Error> {
        let mut url = join_path(&self.base_url, path);
        url.set_query(query);
        to_uri(&url).ok_or_else(|| Error::invalid("The path is too long to be passed on"))
    }
}

impl Upstream {
    /// Asks for an answer of its `model`. The body is made aside, where the chat is large.
    ///
    /// # Errors
    /// Chats that the dialect cannot express, and the provider's refusal; `TooLarge` or `Overload`
    /// when there is no memory for the body.
    pub(crate) async fn stream_chat(&self, outgoing: &OutgoingChat, model: &Arc<str>) -> Result<BoxDeltaStream, Error> {
        let (dialect, mut reservation) = (self.dialect, outgoing.memory.reserve(outgoing.chat_bytes)?);
        let (chat, name, signatures) = (outgoing.chat.clone(), model.clone(), self.signatures.clone());
        let body = offload(&outgoing.memory, outgoing.chat_bytes, move || {
            let mut body = dialect.request_body(&chat, &name, signatures.as_ref())?.into_bytes();
            body.shrink_to_fit();
            reservation.resize(body.len())?;
            Ok(reservation.attach_to(body))
        });
        let (body, chat) = (body.await?, &outgoing.chat);
        let (path, query) = self.dialect.chat_path(model, true);
        let extra_headers = HeaderMap::from_iter(traceparent_header(chat.traceparent.as_deref()));
        let response = self
            .send(Method::POST, self.endpoint_uri(&path, query)?, &extra_headers, body, self.response_timeout(true))
            .await?;
        check_content_type(&self.name, BodyFormat::EventStream, &response)?;
        let reader = self.dialect.event_reader(chat);
        let (signatures, memory) = (self.signatures.clone(), outgoing.memory.clone());
        Ok(DeltaStream::new(self.name.clone(), response.body, reader, signatures, memory).into_deltas())
    }
}

impl Provider for Upstream {
    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<BoxDeltaStream, Error>> {
        Box::pin(async move {
            let (model, bytes) = (chat.model.as_str().into(), chat.memory_bytes());
            let outgoing = OutgoingChat { chat: Arc::new(chat), chat_bytes: bytes, memory: RequestMemory::default() };
            self.stream_chat(&outgoing, &model).await
        })
    }
}

/// The header that tells of a trace.
pub(crate) fn traceparent_header(trace: Option<&str>) -> Option<(HeaderName, HeaderValue)> {
    Some((TRACEPARENT, HeaderValue::try_from(trace?).ok()?))
}

/// The first bytes of a body, at most so many, of what arrives within [`CONNECT_TIMEOUT`].
pub(crate) async fn read_prefix(response: Response, max_bytes: usize) -> Vec<u8> {
    let (mut bytes, mut read) = (response.body, Vec::new());
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    while read.len() < max_bytes {
        // What did not arrive is not told.
        let Ok(Some(Ok(more))) = timeout_at(deadline, bytes.next()).await else { break };
        read.extend_from_slice(&more[..more.len().min(max_bytes - read.len())]);
    }
    read
}

/// There is no memory for an answer: not the caller's fault, but the same request may need
/// less another time.
pub(crate) fn answer_memory_error(error: Error, provider: &str) -> Error {
    let message = format!("The answer of the provider `{provider}` is larger than the memory there is for it now");
    Error { kind: chat::ErrorKind::Overloaded, message, ..error }
}

/// Seconds; a date would need the provider's clock, and none of them sends one.
fn parse_retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait <= Duration::from_secs(86_400))
}

fn join_path(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

/// `None` where it is longer than any address may be.
fn to_uri(url: &Url) -> Option<Uri> {
    Uri::try_from(url.as_str()).ok()
}

fn parse_base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let has_only_origin_and_path =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && has_only_origin_and_path).then_some(url)
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("base", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
