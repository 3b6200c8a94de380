//! Export of request spans to an OpenTelemetry collector, as OTLP over HTTP. It uses the HTTP
//! client of the gateway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio::time::timeout;
use url::Url;

use crate::upstream::body_prefix::read_prefix;
use crate::upstream::http_client::{PooledHttpClient, ResponseTimeout};

/// The time limit until the collector responds to a batch, and for the last spans when the server
/// stops.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of bytes that are read of the collector's response.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// A reason why the export could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("`otlp` takes the address of a collector, such as http://127.0.0.1:4318")]
    Address,
    #[error("`otlp` takes an address without a user, a password or a query: put those into OTEL_EXPORTER_OTLP_HEADERS")]
    Credentials,
    #[error("{0}")]
    Client(#[from] std::io::Error),
    #[error("{0}")]
    Exporter(#[from] ExporterBuildError),
}

/// An environment variable that is neither absent nor blank.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The exporter of spans, which sends them in batches.
pub struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Starts the export to the collector at `otlp`, else to that of the environment:
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, which is the whole URL, or
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`. Other variables of OpenTelemetry set the headers, the service
    /// name and the sampler.
    ///
    /// Returns `None` if no collector is configured, or if `OTEL_SDK_DISABLED` is `true`.
    ///
    /// # Errors
    /// `otlp` is not an HTTP URL, or has credentials or a query. The system's certificates cannot
    /// be read. An address in the environment is not a URL.
    ///
    /// # Panics
    /// Outside a Tokio runtime, if a collector is configured.
    pub fn start(otlp: Option<&str>) -> Result<Option<Self>, TelemetryError> {
        let is_named = otlp.is_some() || Self::is_in_environment();
        if !is_named || variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let client = PooledHttpClient::new(true)?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(OtlpHttpClient { client, runtime: Handle::current(), failing: AtomicBool::new(false) })
            .with_protocol(Protocol::HttpBinary);
        if let Some(otlp) = otlp {
            exporter = exporter.with_endpoint(traces_endpoint(otlp)?);
        }
        let exporter = exporter.build()?;
        let names_itself = variable("OTEL_SERVICE_NAME").is_some()
            || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
        let mut resource = Resource::builder();
        if !names_itself {
            resource = resource.with_service_name("cachalot");
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = resource.with_attribute(version).build();
        Ok(Some(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())))
    }

    /// Whether the environment names a collector.
    pub fn is_in_environment() -> bool {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        names.into_iter().any(|name| variable(name).is_some())
    }

    /// A tracer whose spans are exported.
    pub fn tracer(&self) -> SdkTracer {
        self.0.tracer("cachalot")
    }

    /// Exports the remaining spans, for at most 10 s. A failure is logged.
    pub async fn finish(self) {
        let finished = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        match finished {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to export the last spans"),
            Err(error) => tracing::warn!(%error, "failed to export the last spans"),
        }
    }
}

/// The URL at which the collector at `otlp` receives spans.
fn traces_endpoint(otlp: &str) -> Result<String, TelemetryError> {
    let url = Url::parse(otlp).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or(TelemetryError::Address)?;
    match url.username().is_empty() && url.password().is_none() && url.query().is_none() {
        true => Ok(format!("{}/v1/traces", url.as_str().trim_end_matches('/'))),
        false => Err(TelemetryError::Credentials),
    }
}

/// The HTTP client of the exporter. The exporter calls it on a thread without a runtime, so
/// requests are spawned on the runtime of the server.
#[derive(Debug)]
struct OtlpHttpClient {
    client: PooledHttpClient,
    runtime: Handle,
    /// Whether the last batch failed.
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for OtlpHttpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let timeouts = ResponseTimeout { head: EXPORT_TIMEOUT, covers_first_byte: true };
        let sending = async move {
            let response = timeout(EXPORT_TIMEOUT, client.send(request.map(Into::into), timeouts)).await??;
            let mut builder = Response::builder().status(response.status);
            builder.headers_mut().into_iter().for_each(|headers| headers.clone_from(&response.headers));
            Ok(builder.body(read_prefix(response, MAX_RESPONSE_BYTES).await.into())?)
        };
        let sent: Result<_, HttpError> = self.runtime.spawn(sending).await?;
        // The SDK logs each lost batch; the cause is logged once, until a batch succeeds.
        match &sent {
            Ok(_) => self.failing.store(false, Ordering::Relaxed),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "failed to send spans to the OpenTelemetry collector");
            }
            Err(_) => {}
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_no_secret() {
        assert_eq!(traces_endpoint("http://c:4318").unwrap(), "http://c:4318/v1/traces");
        assert_eq!(traces_endpoint("https://c.example/otlp/").unwrap(), "https://c.example/otlp/v1/traces");
        for bad in ["c:4318", "ftp://c", "http://u:hunter2@c", "http://c/?key=hunter2"] {
            let error = traces_endpoint(bad).expect_err(bad).to_string();
            assert!(error.contains("otlp") && !error.contains("hunter2"), "{error}");
        }
    }
}
