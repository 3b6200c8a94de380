//! Routes at a glance, and the life of the listener: accept, serve, stop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use gateway::{Accounting, Gateway, InflightBudget};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{AppState, ServeError};
use crate::config::ServerConfig;
use crate::control::ConfigController;
use crate::metrics;
use crate::middleware;
use crate::routes::routes;

/// What hyper holds of a request's headers before it refuses them by itself.
const MAX_HEADER_BUFFER: usize = 128 << 10;
/// What streams get for their last words once they were told to end.
const FINAL_EVENT_TIMEOUT: Duration = Duration::from_secs(5);

impl ServerConfig {
    /// Whether these settings are safe at `listen`. [`serve`] asks as well; who loads a model
    /// first may ask before.
    ///
    /// # Errors
    /// `NoKeys` when everybody could reach a server without keys.
    pub fn validate_listen_address(&self, listen: SocketAddr, books: &Accounting) -> Result<(), ServeError> {
        // With the token, keys can be made. Until then, nobody is let in.
        let can_be_opened = self.admin_token.is_some() && books.store().is_some();
        if self.keys.is_empty() && !books.keys.requires_key() && !listen.ip().is_loopback() && !can_be_opened {
            return Err(ServeError::NoKeys(listen));
        }
        Ok(())
    }
}

/// Serves until `shutdown` resolves and running answers have ended, or were ended after
/// the grace period.
///
/// # Errors
/// See [`ServeError`]; all of them before the first connection is accepted.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_with(listener, gateway, config, None, shutdown).await
}

/// The same, with a configuration that the admin API can change.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    config: ServerConfig,
    controller: Option<Arc<dyn ConfigController>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listen = listener.local_addr()?;
    config.validate_listen_address(listen, gateway.accounting())?;
    let (stop, stopping) = watch::channel(false);
    let grace = config.shutdown_grace;
    let mut signing_key = [0; 32];
    getrandom::fill(&mut signing_key).map_err(|error| ServeError::Random(error.to_string()))?;
    let memory = InflightBudget::new(config.inflight);
    let app = Arc::new(AppState {
        memory,
        gateway,
        controller,
        listen,
        metrics: metrics::recorder()?,
        signing_key,
        stopping,
        config,
    });
    let server = Server { router: routes().with_state(app.clone()), app };

    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let upkeep = connections.spawn(metrics::run_upkeep(server.app.metrics.clone()));
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    connections.spawn(server.clone().serve_connection(socket, peer, graceful.watcher()));
                }
                // Usually out of file descriptors: running answers will free some.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    tracing::info!(running = graceful.count(), "stopping: no new connections");

    upkeep.abort();
    let mut ended = pin!(graceful.shutdown());
    if tokio::time::timeout(grace, &mut ended).await.is_err() {
        tracing::info!("stopping: ending the answers still running");
        stop.send_replace(true);
        if tokio::time::timeout(FINAL_EVENT_TIMEOUT, &mut ended).await.is_err() {
            tracing::warn!("stopping: some clients did not take their last words");
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Server {
    router: Router,
    app: Arc<AppState>,
}

impl Server {
    /// Serves one connection until it closes, or until its current request is answered
    /// once shutdown began.
    async fn serve_connection(self, socket: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let read_timeout = self.app.config.read_timeout;
        // Streams send small pieces that must not wait for each other.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let received_request = AtomicBool::new(false);
        let service = service_fn(|request| {
            received_request.store(true, Ordering::Relaxed);
            let server = self.clone();
            async move { middleware::handle(server.router, &server.app, request, peer).await }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(read_timeout)
            .max_buf_size(MAX_HEADER_BUFFER)
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(read_timeout)
            .max_header_list_size(MAX_HEADER_BUFFER as u32);
        // Until the first bytes tell HTTP/1 from HTTP/2, no timeout of the builder runs.
        let first_request_timeout = async {
            tokio::time::sleep(read_timeout).await;
            if received_request.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let connection = watcher.watch(builder.serve_connection(TokioIo::new(socket), service));
        tokio::select! {
            result = connection => if let Err(error) = result {
                tracing::debug!(%peer, %error, "a connection broke");
            },
            () = first_request_timeout => tracing::debug!(%peer, "a connection never asked anything"),
        }
    }
}
