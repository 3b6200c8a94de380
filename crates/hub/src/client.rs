//! The HTTP client of a hub: its requests, the addresses that receive the token, and the meaning of
//! refusals.

use std::error::Error as _;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, LOCATION, RANGE};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Response};
use url::Url;

use crate::retry::{Retries, rate_limit_seconds};
use crate::{Error, HubSettings, ModelId, ModelRef, RepoFile, Repository, RetryPolicy, Token};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest silence of a hub, before and within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 8;
/// Attempts of the first request, that for the list of files.
const MAX_FIRST_ATTEMPTS: u32 = 4;
/// The most bytes of the API's answer about a model.
const MAX_API_BYTES: u64 = 64 << 20;

/// A client of one hub. Clones share their connections.
#[derive(Clone, Debug)]
pub struct HubClient {
    http: Client,
    endpoint: Url,
    token: Option<Token>,
    offline: bool,
    retry: RetryPolicy,
}

impl HubClient {
    /// A client of the hub of `settings`, through the proxies that the environment names.
    ///
    /// # Errors
    /// The system's certificates cannot be read.
    ///
    /// # Panics
    /// When the process has not installed a TLS provider.
    pub fn new(settings: &HubSettings) -> Result<Self, Error> {
        let builder = Client::builder()
            .user_agent(concat!("cachalot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .referer(false)
            // Followed by `send`, which decides about the token for each address.
            .redirect(reqwest::redirect::Policy::none());
        let host = host_of(&settings.endpoint);
        let http = builder.build().map_err(|error| Error::Connect { host, reason: causes(&error) })?;
        let (endpoint, token, offline) = (settings.endpoint.clone(), settings.token.clone(), settings.offline);
        Ok(Self { http, endpoint, token, offline, retry: RetryPolicy::default() })
    }

    /// The same client with other attempts and pauses.
    pub fn with_retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// The host of the hub, with its port unless that is the usual one.
    pub fn host(&self) -> String {
        host_of(&self.endpoint)
    }

    /// Whether the token would be sent without encryption to another machine.
    pub fn sends_token_in_clear(&self) -> bool {
        let is_local = match self.endpoint.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.token.is_some() && self.endpoint.scheme() == "http" && !is_local
    }

    pub(crate) fn retries(&self) -> Retries {
        Retries::new(self.retry)
    }

    /// The files of a model, and the commit that its revision names.
    ///
    /// # Errors
    /// A model or revision that does not exist or needs another token; a hub that cannot be
    /// reached, or whose answer cannot be read.
    pub async fn repository(&self, model: &ModelRef) -> Result<Repository, Error> {
        let parts = ["api", "models", model.id.org(), model.id.name(), "revision", &model.revision];
        let mut url = self.address(parts);
        url.set_query(Some("blobs=true"));
        let subject = Subject { id: &model.id, revision: &model.revision, file: None };
        // A hub that cannot be reached at all is reported soon.
        let attempts = self.retry.attempts.min(MAX_FIRST_ATTEMPTS);
        let mut retries = Retries::new(RetryPolicy { attempts, ..self.retry });
        loop {
            let answer = async {
                let answer = self.get(&url, None, &subject).await?;
                self.read_body(answer, MAX_API_BYTES).await
            };
            match answer.await {
                Ok(json) => return Repository::from_json(&model.id, &self.host(), &json),
                Err(error) => tokio::time::sleep(retries.pause_after(error)?).await,
            }
        }
    }

    /// Reads a small file.
    ///
    /// # Errors
    /// As [`HubClient::repository`]; a file of more than `limit` bytes, or one whose checksum is
    /// wrong twice.
    pub async fn read_file(&self, repository: &Repository, file: &RepoFile, limit: u64) -> Result<Vec<u8>, Error> {
        let (size, expected) = file.content.as_ref().ok_or_else(|| Error::NoChecksum { file: file.path.clone() })?;
        if *size > limit {
            let reason = format!("`{}` is longer than {limit} bytes", file.path);
            return Err(Error::Malformed { host: self.host(), reason });
        }
        let mut found = String::new();
        for _ in 0..2 {
            let bytes = self.read_start(repository, file, *size).await?;
            if expected.is_of(&bytes) {
                return Ok(bytes);
            }
            let mut hasher = expected.hasher(bytes.len() as u64);
            hasher.update(&bytes);
            found = hasher.finish().to_string();
        }
        Err(Error::Damaged { file: file.path.clone(), found, expected: expected.to_string() })
    }

    /// Reads the first `bytes` bytes of a file, or all of a shorter one. Checks no checksum.
    ///
    /// # Errors
    /// As [`HubClient::repository`].
    pub async fn read_start(&self, repository: &Repository, file: &RepoFile, bytes: u64) -> Result<Vec<u8>, Error> {
        if bytes == 0 || file.bytes() == 0 {
            return Ok(Vec::new());
        }
        let mut retries = self.retries();
        loop {
            let read = async {
                let answer = self.open(repository, &file.path, Some((0, Some(bytes - 1)))).await?;
                self.read_up_to(answer, bytes).await
            };
            match read.await {
                Ok(found) => return Ok(found),
                Err(error) => tokio::time::sleep(retries.pause_after(error)?).await,
            }
        }
    }

    /// Requests a file of a commit, once. `range` is the first and the last byte; a hub may answer
    /// with the whole file.
    pub(crate) async fn open(
        &self,
        repository: &Repository,
        path: &str,
        range: Option<(u64, Option<u64>)>,
    ) -> Result<Response, Error> {
        let id = &repository.id;
        let parts = [id.org(), id.name(), "resolve", &repository.commit];
        let url = self.address(parts.into_iter().chain(path.split('/')));
        let subject = Subject { id, revision: &repository.commit, file: Some(path) };
        self.get(&url, range, &subject).await
    }

    fn address<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut().expect("an http address has a path").pop_if_empty().extend(parts);
        url
    }

    /// Sends a request and follows redirects. The token is sent to the hub itself only, never to
    /// another host, port or scheme.
    async fn get(
        &self,
        url: &Url,
        range: Option<(u64, Option<u64>)>,
        subject: &Subject<'_>,
    ) -> Result<Response, Error> {
        if self.offline {
            return Err(Error::Offline);
        }
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some((first, last)) = range {
                let last = last.map_or_else(String::new, |last| last.to_string());
                request = request.header(RANGE, format!("bytes={first}-{last}"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| self.is_hub(&url)) {
                request = request.bearer_auth(token.reveal());
            }
            let answer = request.send().await.map_err(|error| transport_error(&url, error))?;
            match answer.status() {
                status if status.is_success() => return Ok(answer),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => url = redirect_target(&url, answer.headers())?,
                _ => return Err(self.refusal(&url, answer, subject).await),
            }
        }
        Err(Error::Redirect { host: self.host(), reason: format!("more than {MAX_REDIRECTS} addresses") })
    }

    /// Whether the address has the scheme, host and port of the hub.
    fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    /// The meaning of a status that is not a success. `X-Error-Code` tells apart what the hub
    /// answers with the same status.
    async fn refusal(&self, url: &Url, answer: Response, subject: &Subject<'_>) -> Error {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (host, id) = (host_of(url), subject.id.to_string());
        if status == 429 {
            return Error::RateLimited { host, seconds: rate_limit_seconds(&headers).unwrap_or(1) };
        }
        if !self.is_hub(url) && (400..500).contains(&status) {
            // A link to a file's store expires; the hub gives a new one.
            return Error::Interrupted { host, reason: format!("HTTP {status} for a link of the hub") };
        }
        let has_token = self.token.is_some();
        match (status, text("x-error-code").as_str(), subject.file) {
            (_, "GatedRepo", _) => {
                let page = self.address([subject.id.org(), subject.id.name()]).to_string();
                Error::Gated { id, page }
            }
            (_, "RevisionNotFound", _) => Error::NoRevision { id, revision: subject.revision.to_owned() },
            (404, "EntryNotFound", Some(file)) => Error::NoFile { id, file: file.to_owned() },
            // Without a token, the hub answers 401 for a model that does not exist or is private.
            (_, "RepoNotFound", _) | (404, _, None) => Error::NoModel { host, id, has_token },
            (401, _, _) if !has_token => Error::NoModel { host, id, has_token },
            (404, _, Some(file)) => Error::NoFile { id, file: file.to_owned() },
            (401 | 403, _, _) if has_token => Error::Unauthorized { host, status },
            _ => Error::Status { host, status, message: self.printable(&text("x-error-message")) },
        }
    }

    /// A message of the hub for a terminal: short, of one line, without the token.
    fn printable(&self, message: &str) -> String {
        let message: String = message.chars().filter(|character| !character.is_control()).take(300).collect();
        match &self.token {
            Some(token) => message.replace(token.reveal(), "(token)"),
            None => message,
        }
    }

    /// Reads a body of at most `limit` bytes.
    async fn read_body(&self, answer: Response, limit: u64) -> Result<Vec<u8>, Error> {
        let host = host_of(answer.url());
        let body = self.read_up_to(answer, limit + 1).await?;
        if body.len() as u64 > limit {
            return Err(Error::Malformed { host, reason: format!("it is longer than {limit} bytes") });
        }
        Ok(body)
    }

    /// Reads the first `bytes` bytes of a body, or all of a shorter one.
    async fn read_up_to(&self, mut answer: Response, bytes: u64) -> Result<Vec<u8>, Error> {
        let url = answer.url().clone();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| transport_error(&url, error))? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 >= bytes {
                body.truncate(bytes as usize);
                break;
            }
        }
        Ok(body)
    }
}

/// The subject of a request, for messages.
struct Subject<'a> {
    id: &'a ModelId,
    revision: &'a str,
    file: Option<&'a str>,
}

/// The next address of a redirect.
fn redirect_target(from: &Url, headers: &HeaderMap) -> Result<Url, Error> {
    let wrong = |reason: &str| Error::Redirect { host: host_of(from), reason: reason.to_owned() };
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| from.join(location).ok());
    let url = url.filter(|url| url.has_host()).ok_or_else(|| wrong("an address that is missing or invalid"))?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") if url.username().is_empty() && url.password().is_none() => Ok(url),
        ("https", "http") => Err(wrong("an address without encryption")),
        _ => Err(wrong("an address with another scheme or with credentials")),
    }
}

/// The host of an address, and its port unless that is the usual one. Path and query are left out:
/// they can be a key to a file.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A failure of the connection, without the address.
pub(crate) fn transport_error(url: &Url, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let (host, reason) = (host_of(url), causes(&error));
    if error.is_connect() { Error::Connect { host, reason } } else { Error::Interrupted { host, reason } }
}

/// The last cause of an error, which is the one that says most.
fn causes(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it timed out".to_owned();
    }
    let mut last = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    last
}
