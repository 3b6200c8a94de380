//! Connections to providers: through the proxies that the environment names, within a time limit.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use crate::upstream::ip_filter::FilteredResolver;

/// The time limit of a connection, with name lookup and TLS handshake.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn Error + Send + Sync>;
type ConnectFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Limits the connection time of `C` to [`CONNECT_TIMEOUT`].
#[derive(Clone)]
pub(super) struct ConnectTimeout<C>(pub(super) C);

#[derive(Debug, thiserror::Error)]
#[error("not connected within {CONNECT_TIMEOUT:?}")]
pub(super) struct ConnectTimedOut;

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

/// Connects to a host, through a proxy if the environment names one for it (`HTTPS_PROXY`,
/// `NO_PROXY` and the like).
#[derive(Clone)]
pub(super) struct Connector {
    direct: HttpConnector<FilteredResolver>,
    to_proxy: HttpConnector<FilteredResolver>,
    proxies: Arc<Matcher>,
}

impl Connector {
    /// A connector with the proxies of the environment. `allow_private`: names of hosts may resolve
    /// to private addresses. Names of proxies always may, because the operator chose them.
    pub(super) fn new(allow_private: bool) -> Self {
        let mut direct = HttpConnector::new_with_resolver(FilteredResolver { allow_private });
        direct.enforce_http(false);
        direct.set_nodelay(true);
        let mut to_proxy = HttpConnector::new_with_resolver(FilteredResolver { allow_private: true });
        to_proxy.set_nodelay(true);
        Self { direct, to_proxy, proxies: Arc::new(Matcher::from_env()) }
    }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A proxy that refuses every request, and returns the head of the first.
    async fn proxy() -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let request_head = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = [0; 512];
            let read = socket.read(&mut head).await.unwrap();
            socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        (format!("http://alice:secret@{address}"), request_head)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_tunnel() {
        let (proxy, request_head) = proxy().await;
        let lookup = || HttpConnector::new_with_resolver(FilteredResolver { allow_private: true });
        let proxies = Arc::new(Matcher::builder().https(proxy).no("127.0.0.2").build());
        let mut connector = Connector { direct: lookup(), to_proxy: lookup(), proxies };
        assert!(connector.call("https://api.example.org/v1".parse().unwrap()).await.is_err());
        let request_head = request_head.await.unwrap();
        assert!(request_head.starts_with("CONNECT api.example.org:443 HTTP/1.1\r\n"), "{request_head}");
        assert!(request_head.to_lowercase().contains("proxy-authorization: basic ywxpy2u6c2vjcmv0"), "{request_head}");
        assert!(connector.proxies.intercept(&"https://127.0.0.2/".parse().unwrap()).is_none());
    }
}
