//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use store::Role;

use crate::app::{AppState, ServeError};
use crate::auth;
use crate::error_response::error_response;
use crate::respond::{body_response, json_response};

/// Upper bounds in seconds. Without buckets a histogram would be rendered as a summary, which
/// cannot be aggregated over servers.
const HISTOGRAM_BUCKETS: [f64; 18] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the metrics recorder. [`serve`](crate::serve) does it too, but metrics recorded earlier
/// are lost: a program that starts an engine before the server calls this first.
///
/// # Errors
/// `Metrics` when another recorder is installed in this process.
pub fn install_metrics_recorder() -> Result<(), ServeError> {
    recorder().map(drop)
}

/// The metrics recorder of this process, installed by the first call.
pub(crate) fn recorder() -> Result<PrometheusHandle, ServeError> {
    static INSTALLED: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let install = || {
        let builder = PrometheusBuilder::new().set_buckets(&HISTOGRAM_BUCKETS).map_err(|error| error.to_string())?;
        let handle = builder.install_recorder().map_err(|error| error.to_string())?;
        gateway::describe_metrics();
        Ok(handle)
    };
    INSTALLED.get_or_init(install).clone().map_err(ServeError::Metrics)
}

/// Empties the recorder's buffers at intervals, also when `/metrics` is not requested.
pub(crate) async fn run_upkeep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
    }
}

pub(crate) async fn healthz() -> Response {
    json_response(r#"{"status":"ok"}"#)
}

pub(crate) async fn readyz(State(app): State<Arc<AppState>>) -> Response {
    if app.gateway.is_ready() {
        return json_response(r#"{"status":"ok"}"#);
    }
    let mut response = json_response(r#"{"status":"starting"}"#);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// `GET /metrics`, for operators. On a server without keys, only for its own machine.
pub(crate) async fn render(State(app): State<Arc<AppState>>, request: Request) -> Response {
    if let Err(error) = auth::authenticate_operator(&app, &request.into_parts().0, Role::Viewer) {
        return error_response(&error);
    }
    metrics::gauge!("cachalot_inflight_bytes").set(app.memory.used() as f64);
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    body_response(Body::from(app.metrics.render()), content_type, false)
}
