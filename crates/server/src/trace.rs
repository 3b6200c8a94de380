//! The span of a request, by OpenTelemetry's conventions for HTTP and for generative AI. No span holds anything that was said.

use std::net::SocketAddr;

use chat::Usage;
use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::line::Known;

/// What is asked every few seconds and tells nothing.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// How the paths of models end, and what the conventions call what is done there.
const OPERATIONS: [(&str, &str); 7] = [
    ("/chat/completions", "chat"),
    ("/messages", "chat"),
    ("/responses", "chat"),
    ("/completions", "text_completion"),
    ("/embeddings", "embeddings"),
    (":generateContent", "generate_content"),
    (":streamGenerateContent", "generate_content"),
];

/// A span that has begun.
pub(crate) struct Trace(Span);

impl Trace {
    /// Begins a span below that of the caller, if its `traceparent` names one. `None` for probes.
    pub(crate) fn begin(tracer: &SdkTracer, headers: &HeaderMap, path: &str) -> Option<Self> {
        if PROBES.contains(&path) {
            return None;
        }
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let span = tracer.span_builder("request").with_kind(SpanKind::Server);
        Some(Self(span.start_with_context(tracer, &parent)))
    }

    /// Its `traceparent`.
    pub(crate) fn parent(&self) -> String {
        let span = self.0.span_context();
        let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
        format!("00-{trace}-{id}-{flags:02x}")
    }

    /// Ends it, with what has become of the request.
    pub(crate) fn end(self, method: &str, path: &str, id: &str, peer: SocketAddr, known: &Known) {
        let Self(mut span) = self;
        let operation = OPERATIONS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, operation)| *operation);
        match (operation, &known.model) {
            (Some(operation), Some(model)) => span.update_name(format!("{operation} {model}")),
            // Paths may hold ids: they make no name.
            (Some(operation), None) => span.update_name(operation),
            _ => span.update_name(method.to_owned()),
        }
        let mut set = |key: &'static str, value: opentelemetry::Value| span.set_attribute(KeyValue::new(key, value));
        set("http.request.method", method.to_owned().into());
        set("url.path", path.to_owned().into());
        set("client.address", peer.ip().to_string().into());
        set("cachalot.request.id", id.to_owned().into());
        if let Some(key) = &known.key {
            set("cachalot.key", key.clone().into());
        }
        if let Some(status) = known.status {
            set("http.response.status_code", i64::from(status.as_u16()).into());
        }
        if let Some(operation) = operation {
            set("gen_ai.operation.name", operation.into());
        }
        if let Some(model) = &known.model {
            set("gen_ai.request.model", model.clone().into());
        }
        if let Some(provider) = &known.provider {
            set("gen_ai.provider.name", provider.clone().into());
        }
        if let Some(first) = known.first_chunk {
            set("gen_ai.response.time_to_first_chunk", first.as_secs_f64().into());
        }
        let number = |tokens: u64| opentelemetry::Value::from(i64::try_from(tokens).unwrap_or(i64::MAX));
        if let Some(Usage { prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens }) =
            known.usage
        {
            set("gen_ai.usage.input_tokens", number(prompt_tokens));
            set("gen_ai.usage.cache_read.input_tokens", number(cached_tokens));
            set("gen_ai.usage.cache_creation.input_tokens", number(cache_write_tokens));
            set("gen_ai.usage.output_tokens", number(completion_tokens));
            set("gen_ai.usage.reasoning.output_tokens", number(reasoning_tokens.unwrap_or(0)));
        }
        // A caller's mistake is no error of the server's span, by the conventions for HTTP.
        let failure = match known.status {
            None => Some("cancelled".to_owned()),
            Some(status) if status.is_server_error() => Some(status.as_u16().to_string()),
            Some(_) => known.failed.then(|| "broken_off".to_owned()),
        };
        if let Some(failure) = failure {
            set("error.type", failure.into());
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
