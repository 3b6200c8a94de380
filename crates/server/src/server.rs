//! The life of the listener: accept connections, serve them, shut down.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use gateway::{Accounting, Gateway, InflightBudget};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{AppState, ServeError};
use crate::config::ServerConfig;
use crate::connection::ConnectionHandle;
use crate::control::ConfigController;
use crate::metrics;
use crate::middleware;
use crate::routes::routes;

/// The most bytes of headers that hyper buffers. It refuses longer ones itself.
const MAX_HEADER_BUFFER: usize = 128 << 10;
/// The time for sending final events after the grace period has ended.
const FINAL_EVENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time in which the tasks of aborted connections end. They end when they are polled next.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

impl ServerConfig {
    /// Checks that these settings are safe at the address `listen`. [`serve`] checks it too; a
    /// program that loads a model first can fail early.
    ///
    /// # Errors
    /// `NoKeys` when others can reach a server without keys.
    pub fn validate_listen_address(&self, listen: SocketAddr, accounting: &Accounting) -> Result<(), ServeError> {
        // With the admin token, keys can be created. Until then, nobody has access.
        let keys_can_be_created = self.admin_token.is_some() && accounting.store().is_some();
        let has_keys = !self.keys.is_empty() || accounting.keys.requires_key();
        if !has_keys && !listen.ip().is_loopback() && !keys_can_be_created {
            return Err(ServeError::NoKeys(listen));
        }
        Ok(())
    }
}

/// Serves until `shutdown` resolves and open responses have ended. Those that outlast the grace
/// period are interrupted.
///
/// # Errors
/// See [`ServeError`]. All of them occur before the first connection is accepted.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_with(listener, gateway, config, None, shutdown).await
}

/// Serves like [`serve`], with a configuration that the admin API can change.
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
        sign_in: Default::default(),
        signing_key,
        tails: Arc::default(),
        shutdown_started: CancellationToken::new(),
        stopping,
        config,
    });
    let server = Server { router: routes().with_state(app.clone()), app, streams: TaskTracker::new() };

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
                // Usually out of file descriptors: open responses will free some.
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    server.app.shutdown_started.cancel();
    tracing::info!(running = graceful.count(), "shutdown started: no new connections");

    upkeep.abort();
    let mut ended = pin!(graceful.shutdown());
    if tokio::time::timeout(grace, &mut ended).await.is_err() {
        tracing::info!("shutdown: grace period ended, ending open responses");
        stop.send_replace(true);
        if tokio::time::timeout(FINAL_EVENT_TIMEOUT, &mut ended).await.is_err() {
            tracing::warn!("shutdown: some clients did not read the final event within 5 s");
        }
    }
    // A response that is dropped settles its charge, so all are dropped before the caller of this
    // function commits the last usage records.
    server.streams.close();
    let aborted = async {
        connections.shutdown().await;
        server.streams.wait().await;
    };
    if tokio::time::timeout(ABORT_TIMEOUT, aborted).await.is_err() {
        tracing::warn!("shutdown: some connections did not end: the journal keeps their usage records");
    }
    Ok(())
}

#[derive(Clone)]
struct Server {
    router: Router,
    app: Arc<AppState>,
    /// The tasks of HTTP/2 streams. Unlike an HTTP/1 response they outlive their connection's task.
    streams: TaskTracker,
}

/// Spawns the tasks of HTTP/2 streams so that the end of all can be awaited.
#[derive(Clone)]
struct StreamExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Server {
    /// Serves one connection until it closes, or after the start of a shutdown until the response
    /// to its current request has ended.
    async fn serve_connection(self, socket: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let read_timeout = self.app.config.read_timeout;
        // Streams send small segments, which Nagle's algorithm would delay.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let received_request = AtomicBool::new(false);
        let handle = ConnectionHandle::default();
        let service = service_fn(|mut request| {
            received_request.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(handle.clone());
            let server = self.clone();
            async move { middleware::handle(server.router, &server.app, request, peer).await }
        });
        let mut builder = auto::Builder::new(StreamExecutor(self.streams.clone()));
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(read_timeout)
            .max_buf_size(MAX_HEADER_BUFFER)
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(read_timeout)
            .max_header_list_size(MAX_HEADER_BUFFER as u32);
        // Before the first bytes distinguish HTTP/1 from HTTP/2, no timeout of the builder runs.
        let first_request_timeout = async {
            tokio::time::sleep(read_timeout).await;
            if received_request.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let connection = watcher.watch(builder.serve_connection(TokioIo::new(socket), service));
        tokio::select! {
            result = connection => if let Err(error) = result {
                tracing::debug!(%peer, %error, "connection failed");
            },
            () = handle.closed() => tracing::debug!(%peer, "connection closed: its client does not read"),
            () = first_request_timeout => tracing::debug!(%peer, "connection closed without a request"),
        }
    }
}
