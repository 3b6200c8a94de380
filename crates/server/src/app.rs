//! The state that every handler shares, and the errors of a server that cannot start.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use gateway::{Gateway, InflightBudget};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::ServerConfig;
use crate::control::ConfigController;
use crate::sign_in::SignIn;
use crate::tail_slots::TailSlots;

/// The state of the server, shared by all handlers.
pub(crate) struct AppState {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) config: ServerConfig,
    /// Reloads the configuration; `None` where it cannot be changed.
    pub(crate) controller: Option<Arc<dyn ConfigController>>,
    /// The address that the server listens on.
    pub(crate) listen: SocketAddr,
    pub(crate) metrics: PrometheusHandle,
    /// The memory budget of requests in flight.
    pub(crate) memory: InflightBudget,
    pub(crate) sign_in: SignIn,
    /// The secret for signatures of thinking blocks, new at each start.
    pub(crate) signing_key: [u8; 32],
    /// The places for tails of requests.
    pub(crate) tails: Arc<TailSlots>,
    /// Cancelled when a shutdown starts, and open responses may still end by themselves.
    pub(crate) shutdown_started: CancellationToken,
    /// Turns true when open responses must end.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// The reasons why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Without keys, everybody who can reach the address could use the server.
    #[error(
        "no keys are configured, and `{0}` can be reached by others: make a key (`cachalot key add NAME`), set `admin_token_env`, or listen on 127.0.0.1"
    )]
    NoKeys(SocketAddr),
    /// The operating system does not report the address of the listener.
    #[error("the address of the listener is unknown: {0}")]
    Address(#[from] io::Error),
    /// Another metrics recorder is installed in this process.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
    /// The operating system returns no random numbers.
    #[error("the operating system returned no random numbers: {0}")]
    Random(String),
}
