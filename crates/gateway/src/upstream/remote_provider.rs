//! A remote provider: sends requests in its dialect, and maps refusals to errors for the caller.

mod cloud;
mod other_requests;
mod refusal;
mod token_counting;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat::{BoxDeltaStream, BoxFuture, Chat, Error, Provider, StartedAnswer};
use futures_util::stream;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;
use tokio::time::timeout;
use url::Url;
use wire::model_rules::{ModelRow, RequestOrigin, RequestRules};
use wire::passthrough::ApiEndpoint;
use wire::passthrough::response_validation::BodyFormat;
use wire::provider_limits::{MAX_RESPONSE_BYTES, ProviderLimitExceeded};
use wire::upstream::Dialect;

use crate::memory::inflight_budget::RequestMemory;
use crate::model_rows::ModelRows;
use crate::offload::offload;
use crate::secret::Secret;
use crate::upstream::body_prefix::read_prefix;
use crate::upstream::body_stream::READ_TIMEOUT;
use crate::upstream::config::{UpstreamConfig, UpstreamError, join_path, parse_base_url, to_uri};
use crate::upstream::delta_stream::DeltaStream;
use crate::upstream::error::{check_content_type, timeout_error, transport_error};
use crate::upstream::http_client::{DEFAULT_FIRST_BYTE_TIMEOUT, PooledHttpClient, Response, ResponseTimeout};
use crate::upstream::ip_filter::is_private_literal;
use crate::upstream::outgoing_chat::OutgoingChat;
use crate::upstream::renamed_tools::RenamedTools;
use crate::upstream::reported_load::ReportedLoadCell;
use crate::upstream::request_headers::{TRACEPARENT, request_headers, traceparent_header};
use crate::upstream::service::{Service, adapt_body};
use crate::upstream::shared_notes::SharedNotes;
use crate::upstream::shared_progress::SharedProgress;
use crate::upstream::signature_cache::SignatureCache;
use crate::upstream::whole_answer::{parse_whole_answer, read_whole_body};

/// The default time limit for the head of a whole answer. Clients wait as long by default.
const WHOLE_ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
pub(super) use refusal::MAX_ERROR_BODY_BYTES;

/// A remote provider.
pub struct Upstream {
    name: Arc<str>,
    preset: Option<String>,
    private: bool,
    base_url: Url,
    /// The address of each [`ApiEndpoint`], parsed once.
    pub(super) passthrough_uris: [Uri; ApiEndpoint::ALL.len()],
    dialect: Dialect,
    pub(super) headers: HeaderMap,
    /// Keeps the credential registered, so that it is redacted from the provider's answers.
    key: Option<Secret>,
    pub(super) client: PooledHttpClient,
    signatures: Arc<SignatureCache>,
    pub(super) metrics_uri: Option<Uri>,
    pub(super) reported_load: ReportedLoadCell,
    /// The cloud that the provider is one of.
    pub(super) service: Option<Service>,
    first_byte_timeout: Option<Duration>,
    /// The query of every request, without `?`.
    pub(super) query: Option<String>,
    /// The changes of every body.
    pub(super) body_row: ModelRow,
    /// Held while the provider is tested.
    pub(super) test_lock: tokio::sync::Mutex<()>,
}

impl Upstream {
    /// A provider of this configuration. Sends no request.
    ///
    /// # Errors
    /// An address or key that cannot be used.
    pub fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        let UpstreamConfig { name, preset, base_url: base_text, dialect, key, private, metrics } = config;
        let base_url = parse_base_url(&base_text).ok_or_else(|| UpstreamError::Url(base_text.clone()))?;
        if !private && base_url.host_str().is_some_and(is_private_literal) {
            return Err(UpstreamError::Private(base_url.host_str().unwrap_or_default().to_owned()));
        }
        let metrics_uri = match metrics {
            Some(path) if path.starts_with('/') => {
                let mut url = base_url.clone();
                url.set_path(&path);
                Some(to_uri(&url).ok_or(UpstreamError::Metrics(path))?)
            }
            Some(path) => return Err(UpstreamError::Metrics(path)),
            None => None,
        };
        let headers = request_headers(dialect, key.as_ref())?;
        let client = PooledHttpClient::new(private)?;
        let mut passthrough_uris = ApiEndpoint::ALL.map(|_| Uri::default());
        for endpoint in ApiEndpoint::ALL {
            let uri = to_uri(&join_path(&base_url, endpoint.path()));
            passthrough_uris[endpoint as usize] = uri.ok_or_else(|| UpstreamError::Url(base_text.clone()))?;
        }
        let signatures = Arc::new(SignatureCache::new(&name));
        Ok(Self {
            name: name.into(),
            preset,
            private,
            base_url,
            passthrough_uris,
            dialect,
            headers,
            key,
            client,
            signatures,
            metrics_uri,
            reported_load: ReportedLoadCell::default(),
            service: None,
            first_byte_timeout: None,
            query: None,
            body_row: ModelRow::default(),
            test_lock: tokio::sync::Mutex::default(),
        })
    }

    /// The time limit for the first byte of an answer.
    pub(crate) fn first_byte_timeout(&self) -> Duration {
        self.first_byte_timeout.unwrap_or(DEFAULT_FIRST_BYTE_TIMEOUT)
    }

    /// Replaces the time limit for the first byte of an answer.
    pub fn with_first_byte_timeout(self, timeout: Duration) -> Self {
        Self { first_byte_timeout: Some(timeout), ..self }
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
            _ if self.service.is_some() || endpoint == ApiEndpoint::GenerateContent => {
                let (path, query) = self.request_path(endpoint, model, stream);
                self.endpoint_uri(&path, query.as_deref())?
            }
            _ => self.passthrough_uris[endpoint as usize].clone(),
        };
        let timeouts = match endpoint.media_name() {
            // Images and audio are generated before the head is sent.
            Some(_) => ResponseTimeout { head: self.first_byte_timeout().max(READ_TIMEOUT), covers_first_byte: stream },
            None => self.answer_timeout(stream),
        };
        self.send(Method::POST, uri, headers, body, timeouts).await
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
        ResponseTimeout { head: self.first_byte_timeout(), covers_first_byte }
    }

    /// The time limit of an answer of text.
    fn answer_timeout(&self, stream: bool) -> ResponseTimeout {
        if stream {
            return self.response_timeout(true);
        }
        ResponseTimeout { head: self.first_byte_timeout.unwrap_or(WHOLE_ANSWER_TIMEOUT), covers_first_byte: false }
    }

    async fn send(
        &self,
        method: Method,
        uri: Uri,
        extra_headers: &HeaderMap,
        body: Bytes,
        timeouts: ResponseTimeout,
    ) -> Result<Response, Error> {
        let mut request = Request::new(Full::new(body.clone()));
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
        if let Some(service) = &self.service {
            service.authorize(&self.client, &self.name, &mut request, &body).await?;
        }
        // Its memory is free as soon as it is sent.
        drop(body);
        let response =
            self.client.send(request, timeouts).await.map_err(|failure| transport_error(&self.name, &failure))?;
        if response.status.is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    pub(super) fn endpoint_uri(&self, path: &str, query: Option<&str>) -> Result<Uri, Error> {
        let mut url = join_path(&self.base_url, path);
        let query: Vec<&str> = query.into_iter().chain(self.query.as_deref()).collect();
        url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
        to_uri(&url).ok_or_else(|| Error::invalid("The path is too long to be passed on"))
    }

    /// Requests an answer of `model`. Resolves when the answer has begun, or is there as a whole;
    /// from then on `progress` has its progress. The body of a large chat is built off thread.
    ///
    /// # Errors
    /// A chat that the dialect cannot express, the provider's refusal, and the failure of an answer
    /// that has not begun; `TooLarge` or `Overload` when there is no memory for the body.
    pub(crate) async fn answer_chat(
        &self,
        outgoing: &OutgoingChat,
        model: &Arc<str>,
        rules: &Arc<RequestRules>,
        progress: SharedProgress,
    ) -> Result<BoxDeltaStream, Error> {
        let dialect = self.dialect;
        let mut reservation = outgoing.memory.reserve(outgoing.chat_bytes)?;
        let renamed = RenamedTools::new(outgoing, rules)?;
        let (chat, name, signatures) = (renamed.chat.clone(), model.clone(), self.signatures.clone());
        let (rules, service) = (rules.clone(), self.service.clone());
        let body = offload(&outgoing.memory, outgoing.chat_bytes, move || {
            let request = dialect.write_request(&chat, &name, signatures.as_ref())?;
            let (body, mut notes) = rules.apply_to_body(dialect, RequestOrigin::of_chat(&chat), request.body)?;
            notes.add_dropped(&request.dropped);
            let mut body = adapt_body(service.as_ref(), dialect, body)?;
            body.shrink_to_fit();
            reservation.resize(body.len())?;
            Ok((reservation.attach_to(body), notes.into_notes()))
        });
        let (body, notes) = body.await?;
        outgoing.notes.store(notes);
        let chat = &outgoing.chat;
        let streams = chat.wants_stream();
        let (path, query) = self.chat_path(model, streams);
        let extra_headers = HeaderMap::from_iter(traceparent_header(chat.traceparent.as_deref()));
        let response = self
            .send(
                Method::POST,
                self.endpoint_uri(&path, query.as_deref())?,
                &extra_headers,
                body,
                self.answer_timeout(streams),
            )
            .await?;
        let format = if streams { BodyFormat::EventStream } else { BodyFormat::Json };
        check_content_type(&self.name, format, &response)?;
        let reader = renamed.reader(self.dialect.event_reader(chat));
        let (signatures, memory) = (self.signatures.clone(), &outgoing.memory);
        if streams {
            let parser = dialect.frame_parser();
            let deltas = DeltaStream::new(self.name.clone(), response.body, parser, reader, signatures, memory.clone());
            return deltas.begin(progress).await;
        }
        let body = read_whole_body(&self.name, MAX_RESPONSE_BYTES, response.body, memory).await?;
        let mut answer = parse_whole_answer(&self.name, body, reader, memory).await?;
        signatures.keep(&mut answer.deltas);
        progress.store(&answer.progress);
        Ok(Box::pin(stream::iter(answer.deltas.into_iter().map(Ok))))
    }
}

impl Provider for Upstream {
    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>> {
        Box::pin(async move {
            let model: Arc<str> = chat.model.as_str().into();
            let chat_bytes = chat.memory_bytes();
            let rules = Arc::new(self.request_rules(&ModelRows::default(), &model));
            let (memory, notes) = (RequestMemory::default(), SharedNotes::default());
            let outgoing = OutgoingChat { chat: Arc::new(chat), chat_bytes, memory, notes: notes.clone() };
            let deltas = self.answer_chat(&outgoing, &model, &rules, SharedProgress::default()).await?;
            Ok(StartedAnswer { deltas, notes: notes.notes() })
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

#[cfg(test)]
mod tests;
