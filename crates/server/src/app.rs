//! The state that every handler shares, and the errors of a server that cannot start.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use gateway::{Gateway, InflightBudget};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::config::ServerConfig;
use crate::control::ConfigController;

/// Everything a handler needs.
pub(crate) struct AppState {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) config: ServerConfig,
    /// Whoever can read the configuration again.
    pub(crate) controller: Option<Arc<dyn ConfigController>>,
    pub(crate) listen: SocketAddr,
    pub(crate) metrics: PrometheusHandle,
    /// The memory budget of requests in flight.
    pub(crate) memory: InflightBudget,
    /// Signs what clients hand back.
    pub(crate) signing_key: [u8; 32],
    /// Turns true when running answers must end.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "no keys are configured, and `{0}` can be reached by others: make a key (`cachalot key add NAME`), set `admin_token_env`, or listen on 127.0.0.1"
    )]
    NoKeys(SocketAddr),
    #[error("the address of the listener is unknown: {0}")]
    Address(#[from] io::Error),
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}
