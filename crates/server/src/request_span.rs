//! The span of a request, by OpenTelemetry's conventions for HTTP and for generative AI. Spans
//! never contain prompts or answers.

use std::net::SocketAddr;

use chat::Usage;
use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::request_outcome::RequestOutcome;

/// Paths without a span: health checks and Prometheus poll them every few seconds.
const PROBE_PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Suffixes of paths, and the names that the conventions give to their operations. The first suffix
/// that matches counts, so `/chat/completions` stands before `/completions`.
const GEN_AI_OPERATIONS: [(&str, &str); 7] = [
    ("/chat/completions", "chat"),
    ("/messages", "chat"),
    ("/responses", "chat"),
    ("/completions", "text_completion"),
    ("/embeddings", "embeddings"),
    (":generateContent", "generate_content"),
    (":streamGenerateContent", "generate_content"),
];

/// A started span.
pub(crate) struct RequestSpan(Span);

impl RequestSpan {
    /// Starts a span, as a child of the caller's if the `traceparent` header names one. `None` for
    /// [`PROBE_PATHS`].
    pub(crate) fn start(tracer: &SdkTracer, headers: &HeaderMap, path: &str) -> Option<Self> {
        if PROBE_PATHS.contains(&path) {
            return None;
        }
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let span = tracer.span_builder("request").with_kind(SpanKind::Server);
        Some(Self(span.start_with_context(tracer, &parent)))
    }

    /// The `traceparent` header of the span.
    pub(crate) fn traceparent(&self) -> String {
        let span = self.0.span_context();
        let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
        format!("00-{trace}-{id}-{flags:02x}")
    }

    /// Ends the span with the outcome of the request.
    pub(crate) fn end(self, method: &str, path: &str, id: &str, peer: SocketAddr, outcome: &RequestOutcome) {
        let Self(mut span) = self;
        let operation = GEN_AI_OPERATIONS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, operation)| *operation);
        match (operation, &outcome.model) {
            (Some(operation), Some(model)) => span.update_name(format!("{operation} {model}")),
            (Some(operation), None) => span.update_name(operation),
            // The path may contain ids, so the method alone is the name.
            _ => span.update_name(method.to_owned()),
        }
        let mut set_attribute =
            |key: &'static str, value: opentelemetry::Value| span.set_attribute(KeyValue::new(key, value));
        set_attribute("http.request.method", method.to_owned().into());
        set_attribute("url.path", path.to_owned().into());
        set_attribute("client.address", peer.ip().to_string().into());
        set_attribute("cachalot.request.id", id.to_owned().into());
        if let Some(key) = &outcome.key {
            set_attribute("cachalot.key", key.clone().into());
        }
        if let Some(status) = outcome.status {
            set_attribute("http.response.status_code", i64::from(status.as_u16()).into());
        }
        if let Some(operation) = operation {
            set_attribute("gen_ai.operation.name", operation.into());
        }
        if let Some(model) = &outcome.model {
            set_attribute("gen_ai.request.model", model.clone().into());
        }
        if let Some(provider) = &outcome.provider {
            set_attribute("gen_ai.provider.name", provider.clone().into());
        }
        if let Some(first) = outcome.time_to_first_chunk {
            set_attribute("gen_ai.response.time_to_first_chunk", first.as_secs_f64().into());
        }
        let number = |tokens: u64| opentelemetry::Value::from(i64::try_from(tokens).unwrap_or(i64::MAX));
        if let Some(usage) = outcome.usage {
            let Usage { prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens, .. } =
                usage;
            set_attribute("gen_ai.usage.input_tokens", number(prompt_tokens));
            set_attribute("gen_ai.usage.cache_read.input_tokens", number(cached_tokens));
            set_attribute("gen_ai.usage.cache_creation.input_tokens", number(cache_write_tokens));
            set_attribute("gen_ai.usage.output_tokens", number(completion_tokens));
            set_attribute("gen_ai.usage.reasoning.output_tokens", number(reasoning_tokens.unwrap_or(0)));
        }
        // By the conventions for HTTP, a client error (4xx) is not an error of the server's span.
        let failure = match outcome.status {
            // The client left before the response.
            None => Some("cancelled".to_owned()),
            Some(status) if status.is_server_error() => Some(status.as_u16().to_string()),
            // The stream failed after its headers were sent.
            Some(_) => outcome.failed.then(|| "broken_off".to_owned()),
        };
        if let Some(failure) = failure {
            set_attribute("error.type", failure.into());
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
