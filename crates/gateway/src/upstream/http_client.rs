//! The HTTP client for providers: pooled connections of HTTP/1.1 and HTTP/2, through the proxies
//! that the environment names. It does not follow redirects: only the operator decides where a
//! request goes.
//!
//! The client is hyper's own. A library around it would parse the address of every request again,
//! which costs a tenth of a small request (`bench/gateway`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::ext::on_informational;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::upstream::body_stream::{BodyStream, READ_TIMEOUT};
use crate::upstream::connector::{ConnectTimedOut, ConnectTimeout, Connector};
use crate::upstream::transport_error::{TransportError, causes, error_chain, is_tls_failure};

/// The default time limit for the first byte of an answer.
pub(crate) const DEFAULT_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
/// Most headers of a response, and most bytes of all of them.
const MAX_HEADERS: usize = 128;
const MAX_HEADER_BYTES: usize = 256 << 10;
/// Most informational responses (1xx) before the final one.
const MAX_INFORMATIONAL_RESPONSES: usize = 32;
/// The time after which an unused connection is closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The head of a response, and its body as it arrives.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyStream,
}

/// The time limit for the beginning of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseTimeout {
    /// Until the head of the response.
    pub(crate) head: Duration,
    /// Whether the first byte of the body is due within the same time. Otherwise [`READ_TIMEOUT`]
    /// applies after the head: an answer that is generated before it is sent starts late.
    pub(crate) covers_first_byte: bool,
}

/// An HTTP client. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct PooledHttpClient {
    pool: legacy::Client<ConnectTimeout<HttpsConnector<Connector>>, Full<Bytes>>,
    read_timeout: Duration,
}

impl PooledHttpClient {
    /// A client. With `allow_private`, names may resolve to private addresses.
    ///
    /// # Errors
    /// The system's certificates cannot be read.
    pub(crate) fn new(allow_private: bool) -> io::Result<Self> {
        let connector = Connector::new(allow_private);
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(Arc::new(rustls::crypto::ring::default_provider()))?;
        let connector = ConnectTimeout(tls.https_or_http().enable_all_versions().wrap_connector(connector));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.http1_max_headers(MAX_HEADERS).http1_max_buf_size(MAX_HEADER_BYTES);
        builder.http2_max_header_list_size(MAX_HEADER_BYTES as u32);
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE_TIMEOUT);
        Ok(Self { pool: builder.build(connector), read_timeout: READ_TIMEOUT })
    }

    /// The final response to a request; `None` after too many informational ones.
    async fn final_response(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Option<Result<http::Response<Incoming>, legacy::Error>> {
        let informational = AtomicUsize::new(0);
        let limit_reached = Arc::new(Notify::new());
        let notify = limit_reached.clone();
        on_informational(&mut request, move |_| {
            if informational.fetch_add(1, Ordering::Relaxed) >= MAX_INFORMATIONAL_RESPONSES {
                notify.notify_one();
            }
        });
        tokio::select! {
            response = self.pool.request(request) => Some(response),
            () = limit_reached.notified() => None,
        }
    }

    /// Sends a request. Resolves with the head of the response, whose body continues to arrive.
    ///
    /// # Errors
    /// The provider is unreachable, closes the connection, or exceeds a time limit.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeouts: ResponseTimeout,
    ) -> Result<Response, TransportError> {
        let sent_at = Instant::now();
        let response = match timeout(timeouts.head, self.final_response(request)).await {
            Ok(Some(response)) => response,
            Ok(None) => {
                return Err(TransportError::Interrupted(format!(
                    "more than {MAX_INFORMATIONAL_RESPONSES} informational responses"
                )));
            }
            Err(_) => return Err(TransportError::Timeout),
        };
        match response {
            Ok(response) => {
                let (head, incoming) = response.into_parts();
                let body = if timeouts.covers_first_byte {
                    BodyStream::new(incoming, sent_at, timeouts.head, self.read_timeout)
                } else {
                    BodyStream::new(incoming, Instant::now(), self.read_timeout, self.read_timeout)
                };
                Ok(Response { status: head.status, headers: head.headers, body })
            }
            Err(error) if causes(&error).any(|cause| cause.is::<ConnectTimedOut>()) => Err(TransportError::Timeout),
            Err(error) if is_tls_failure(&error) => Err(TransportError::Tls(error_chain(&error))),
            Err(error) if error.is_connect() => Err(TransportError::Connect(error_chain(&error))),
            Err(error) => Err(TransportError::Interrupted(error_chain(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;

    use futures_core::Stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_silent_provider_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = tokio::spawn(async move {
            let mut kept = Vec::new();
            for sent in
                ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nword"]
            {
                let (mut socket, _) = listener.accept().await.unwrap();
                assert!(socket.read(&mut [0; 512]).await.unwrap() > 0);
                socket.write_all(sent.as_bytes()).await.unwrap();
                kept.push(socket);
            }
            std::future::pending::<()>().await;
        });
        let client =
            PooledHttpClient { read_timeout: Duration::from_millis(300), ..PooledHttpClient::new(true).unwrap() };
        let timeouts = ResponseTimeout { head: Duration::from_millis(300), covers_first_byte: true };
        let request = || Request::get(format!("http://{address}/")).body(Full::default()).unwrap();
        let send = async || client.send(request(), timeouts).await;
        assert_eq!(send().await.err(), Some(TransportError::Timeout));
        let mut body = send().await.unwrap().body;
        let first = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await;
        assert_eq!(first, Some(Err(TransportError::Timeout)), "a head alone is not the first byte");
        let mut body = send().await.unwrap().body;
        let mut next = async || poll_fn(|context| Pin::new(&mut body).poll_next(context)).await;
        // A word may arrive in parts.
        let mut word = Vec::new();
        while word.len() < 4 {
            word.extend_from_slice(&next().await.unwrap().unwrap());
        }
        assert_eq!(word, b"word");
        assert_eq!(next().await, Some(Err(TransportError::Timeout)));
        silent.abort();
    }

    #[tokio::test]
    async fn an_unreachable_address_is_a_connect_error() {
        let client = PooledHttpClient::new(false).unwrap();
        let send = async |uri: &str| {
            client
                .send(
                    Request::get(uri).body(Full::default()).unwrap(),
                    ResponseTimeout { head: DEFAULT_FIRST_BYTE_TIMEOUT, covers_first_byte: true },
                )
                .await
                .err()
                .unwrap()
        };
        let TransportError::Connect(text) = send("http://localhost:1/").await else { panic!("it was reached") };
        assert!(text.contains("no public address"), "{text}");
        assert!(matches!(send("http://127.0.0.1:1/").await, TransportError::Connect(_)));
    }
}
