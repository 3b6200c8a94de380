//! HTTP to providers: connections of both versions that are kept and used again, through the
//! proxies that the environment names. Redirects are not followed: nobody but the operator says
//! where a request goes.
//!
//! This is hyper's own client. A library around it would parse the address of every request again,
//! which costs a tenth of a small one (`bench/gateway`).

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::iter::successors;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::ext::on_informational;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use crate::redaction::Redactor;
use crate::upstream::deadline_timer::DeadlineTimer;
use crate::upstream::ip_filter::FilteredResolver;

/// How long a provider may take to be reached.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may stay silent, before its first byte and between two. Providers keep queued
/// requests alive by comments.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(300);
/// How long it may take to begin its answer, where the operator says nothing else.
pub(crate) const DEFAULT_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
/// Most headers of an answer, and most bytes of all of them.
const MAX_HEADERS: usize = 128;
const MAX_HEADER_BYTES: usize = 256 << 10;
/// Most responses (1xx) that may come before the one that counts.
const MAX_INFORMATIONAL_RESPONSES: usize = 32;
/// How long a connection is kept that nobody uses.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The head of an answer, and the body that follows.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyStream,
}

type BoxError = Box<dyn Error + Send + Sync>;
type ConnectFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Why an answer did not come, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("it said nothing in time")]
    Timeout,
    #[error("no connection: {0}")]
    Connect(String),
    #[error("{0}")]
    Interrupted(String),
}

/// How long an answer may take to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseTimeout {
    /// Until the head of the response.
    pub(crate) head: Duration,
    /// The first byte of the body is due in the same time. Of an answer that is made before it is
    /// sent, the head is the sign of life, and the body may take as long as any silence.
    pub(crate) covers_first_byte: bool,
}

/// Its connections are shared by its clones.
#[derive(Clone, Debug)]
pub(crate) struct PooledHttpClient {
    pool: legacy::Client<ConnectTimeout<HttpsConnector<Connector>>, Full<Bytes>>,
    read_timeout: Duration,
}

impl PooledHttpClient {
    /// With `private`, names may lead to private addresses.
    ///
    /// # Errors
    /// Certificates of this system that cannot be read.
    pub(crate) fn new(private: bool) -> io::Result<Self> {
        let mut direct = HttpConnector::new_with_resolver(FilteredResolver { allow_private: private });
        direct.enforce_http(false);
        direct.set_nodelay(true);
        // Proxies are the operator's own.
        let mut to_proxy = HttpConnector::new_with_resolver(FilteredResolver { allow_private: true });
        to_proxy.set_nodelay(true);
        let connector = Connector { direct, to_proxy, proxies: Arc::new(Matcher::from_env()) };
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(Arc::new(rustls::crypto::ring::default_provider()))?;
        let connector = ConnectTimeout(tls.https_or_http().enable_all_versions().wrap_connector(connector));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.http1_max_headers(MAX_HEADERS).http1_max_buf_size(MAX_HEADER_BYTES);
        builder.http2_max_header_list_size(MAX_HEADER_BYTES as u32);
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE_TIMEOUT);
        Ok(Self { pool: builder.build(connector), read_timeout: READ_TIMEOUT })
    }

    /// The answer to a request; `None` when too many informational ones come before it.
    async fn response_head(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Option<Result<http::Response<Incoming>, legacy::Error>> {
        let (informational, too_many) = (AtomicUsize::new(0), Arc::new(Notify::new()));
        let limit_reached = too_many.clone();
        on_informational(&mut request, move |_| {
            if informational.fetch_add(1, Ordering::Relaxed) >= MAX_INFORMATIONAL_RESPONSES {
                limit_reached.notify_one();
            }
        });
        tokio::select! {
            answered = self.pool.request(request) => Some(answered),
            () = too_many.notified() => None,
        }
    }

    /// Resolves with the head of the response; its body goes on arriving.
    ///
    /// # Errors
    /// A provider that cannot be reached, breaks off, or says nothing in time.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeouts: ResponseTimeout,
    ) -> Result<Response, TransportError> {
        let sent_at = Instant::now();
        let outcome = match timeout(timeouts.head, self.response_head(request)).await {
            Ok(Some(answered)) => Ok(answered),
            Ok(None) => {
                return Err(TransportError::Interrupted(format!(
                    "it sent more than {MAX_INFORMATIONAL_RESPONSES} responses before its answer"
                )));
            }
            Err(late) => Err(late),
        };
        match outcome {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                let body_stream = BodyStream {
                    incoming: body,
                    last_received: if timeouts.covers_first_byte { sent_at } else { Instant::now() },
                    time_limit: if timeouts.covers_first_byte { timeouts.head } else { self.read_timeout },
                    read_timeout: self.read_timeout,
                    idle_timer: DeadlineTimer::default(),
                    redactor: Redactor::new(),
                    end: None,
                };
                Ok(Response { status: head.status, headers: head.headers, body: body_stream })
            }
            Ok(Err(error)) if is_connect_timeout(&error) => Err(TransportError::Timeout),
            Ok(Err(error)) if error.is_connect() => Err(TransportError::Connect(error_chain(&error))),
            Ok(Err(error)) => Err(TransportError::Interrupted(error_chain(&error))),
            Err(_) => Err(TransportError::Timeout),
        }
    }
}

/// The pieces of a body, as they arrive, without the secrets in force.
pub(crate) struct BodyStream {
    incoming: Incoming,
    last_received: Instant,
    /// How long it may stay silent now, and from its first byte on.
    time_limit: Duration,
    read_timeout: Duration,
    /// It is given up then, if it stays silent.
    idle_timer: DeadlineTimer,
    redactor: Redactor,
    /// How it ended, while the last bytes go on.
    end: Option<Option<TransportError>>,
}

impl BodyStream {
    /// The next piece as it came.
    fn poll_raw(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    (self.last_received, self.time_limit) = (Instant::now(), self.read_timeout);
                    // Trailers say nothing that is wanted.
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(TransportError::Interrupted(error_chain(&error)))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let deadline = self.last_received + self.time_limit;
                    std::task::ready!(self.idle_timer.poll_until(deadline, context));
                    return Poll::Ready(Some(Err(TransportError::Timeout)));
                }
            }
        }
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(end) = &mut self.end {
                return Poll::Ready(end.take().map(Err));
            }
            let redacted = match std::task::ready!(self.poll_raw(context)) {
                Some(Ok(bytes)) => self.redactor.redact(bytes),
                Some(Err(failure)) => {
                    self.end = Some(Some(failure));
                    self.redactor.finish()
                }
                None => {
                    self.end = Some(None);
                    self.redactor.finish()
                }
            };
            if !redacted.is_empty() {
                return Poll::Ready(Some(Ok(redacted)));
            }
        }
    }
}

/// Gives up what cannot be connected in time, names and TLS included.
#[derive(Clone)]
struct ConnectTimeout<C>(C);

#[derive(Debug, thiserror::Error)]
#[error("not connected within {CONNECT_TIMEOUT:?}")]
struct ConnectTimedOut;

impl<C: Service<Uri, Error = BoxError, Future: Send + 'static>> Service<Uri> for ConnectTimeout<C> {
    type Response = C::Response;
    type Error = BoxError;
    type Future = ConnectFuture<C::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(CONNECT_TIMEOUT, self.0.call(uri));
        Box::pin(async { connecting.await.unwrap_or_else(|_| Err(ConnectTimedOut.into())) })
    }
}

/// Connects to a host, by a proxy where the environment names one for it (`HTTPS_PROXY`,
/// `NO_PROXY` and the like).
#[derive(Clone)]
struct Connector {
    direct: HttpConnector<FilteredResolver>,
    to_proxy: HttpConnector<FilteredResolver>,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = ConnectFuture<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self.proxies.intercept(&uri) {
            None => Box::pin(connect(self.direct.clone(), uri)),
            Some(proxy) => {
                let tunnel = Tunnel::new(proxy.uri().clone(), self.to_proxy.clone());
                let auth = proxy.basic_auth().cloned();
                let tunnel = if let Some(auth) = auth { tunnel.with_auth(auth) } else { tunnel };
                Box::pin(connect(tunnel, uri))
            }
        }
    }
}

async fn connect<C: Service<Uri, Error: Into<BoxError>>>(mut connector: C, uri: Uri) -> Result<C::Response, BoxError> {
    poll_fn(|context| connector.poll_ready(context)).await.map_err(Into::into)?;
    connector.call(uri).await.map_err(Into::into)
}

fn is_connect_timeout(error: &legacy::Error) -> bool {
    causes(error).any(|cause| cause.is::<ConnectTimedOut>())
}

/// An error and its causes, in words. For the log: they may hold the address, which is no business
/// of the caller's.
fn error_chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A proxy that tells the first line of what it was asked, and lets nobody through.
    async fn proxy() -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = [0; 512];
            let read = socket.read(&mut head).await.unwrap();
            socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        (format!("http://alice:secret@{address}"), asked)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_tunnel() {
        let (proxy, asked) = proxy().await;
        let lookup = || HttpConnector::new_with_resolver(FilteredResolver { allow_private: true });
        let proxies = Arc::new(Matcher::builder().https(proxy).no("127.0.0.2").build());
        let mut connector = Connector { direct: lookup(), to_proxy: lookup(), proxies };
        assert!(connector.call("https://api.example.org/v1".parse().unwrap()).await.is_err());
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("CONNECT api.example.org:443 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_lowercase().contains("proxy-authorization: basic ywxpy2u6c2vjcmv0"), "{asked}");
        assert!(connector.proxies.intercept(&"https://127.0.0.2/".parse().unwrap()).is_none());
    }

    #[tokio::test]
    async fn who_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let quiet = tokio::spawn(async move {
            let mut kept = Vec::new();
            for words in
                ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nword"]
            {
                let (mut socket, _) = listener.accept().await.unwrap();
                assert!(socket.read(&mut [0; 512]).await.unwrap() > 0);
                socket.write_all(words.as_bytes()).await.unwrap();
                kept.push(socket);
            }
            std::future::pending::<()>().await;
        });
        let client =
            PooledHttpClient { read_timeout: Duration::from_millis(300), ..PooledHttpClient::new(true).unwrap() };
        let timeouts = ResponseTimeout { head: Duration::from_millis(300), covers_first_byte: true };
        let request = || Request::get(format!("http://{address}/")).body(Full::default()).unwrap();
        let ask = async || client.send(request(), timeouts).await;
        assert_eq!(ask().await.err(), Some(TransportError::Timeout));
        let mut pieces = ask().await.unwrap().body;
        let first = poll_fn(|context| Pin::new(&mut pieces).poll_next(context)).await;
        assert_eq!(first, Some(Err(TransportError::Timeout)), "a head alone is no beginning");
        let mut pieces = ask().await.unwrap().body;
        let mut next = async || poll_fn(|context| Pin::new(&mut pieces).poll_next(context)).await;
        assert_eq!(next().await, Some(Ok(Bytes::from_static(b"word"))));
        assert_eq!(next().await, Some(Err(TransportError::Timeout)));
        quiet.abort();
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_told() {
        let client = PooledHttpClient::new(false).unwrap();
        let ask = async |uri: &str| {
            client
                .send(
                    Request::get(uri).body(Full::default()).unwrap(),
                    ResponseTimeout { head: DEFAULT_FIRST_BYTE_TIMEOUT, covers_first_byte: true },
                )
                .await
                .err()
                .unwrap()
        };
        let TransportError::Connect(words) = ask("http://localhost:1/").await else { panic!("it was reached") };
        assert!(words.contains("no public address"), "{words}");
        assert!(matches!(ask("http://127.0.0.1:1/").await, TransportError::Connect(_)));
    }
}
