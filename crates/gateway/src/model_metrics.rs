//! Prometheus metrics of each model, and the descriptions of all metrics of the gateway. Handles
//! are kept, because a lookup for each request would cost more than counting.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chat::Usage;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use parking_lot::Mutex;

/// Registers the descriptions of the gateway's metrics with the recorder.
pub fn describe_metrics() {
    metrics::describe_gauge!("cachalot_requests_running", "requests that are running");
    metrics::describe_counter!("cachalot_requests_total", "requests, by model and outcome");
    metrics::describe_counter!("cachalot_tokens_total", "tokens, by model and kind; cached is part of prompt");
    metrics::describe_histogram!(
        "cachalot_time_to_first_token_seconds",
        "time from the request to its first token, by model"
    );
    metrics::describe_histogram!(
        "cachalot_request_duration_seconds",
        "time from the request to the end of its response, by model"
    );
    metrics::describe_gauge!("cachalot_usage_records_pending", "usage records that are not written to the store yet");
    metrics::describe_counter!(
        "cachalot_usage_records_quarantined_total",
        "usage records that the store refused and that were quarantined"
    );
    metrics::describe_counter!(
        "cachalot_usage_reports_implausible_total",
        "responses with implausible usage, by provider"
    );
    metrics::describe_gauge!("cachalot_inflight_bytes", "memory that is reserved for requests in flight");
    metrics::describe_counter!(
        "cachalot_inflight_rejections_total",
        "rejected reservations of memory: above the caller's share (413), or above the total (503)"
    );
    metrics::describe_counter!(
        "cachalot_limit_check_errors_total",
        "checks of shared limits that failed because Redis was unavailable"
    );
}

/// The metrics of one model.
#[derive(Debug)]
pub(crate) struct ModelMetrics {
    /// The id of the model, as `GET /models` lists it.
    pub(crate) model: Arc<str>,
    /// Created by the first request, because the recorder may be installed later than the routes.
    handles: OnceLock<MetricHandles>,
}

struct MetricHandles {
    /// All models together: the gauge has no label.
    running: Gauge,
    first_token: Histogram,
    duration: Histogram,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    completion_tokens: Counter,
    reasoning_tokens: Counter,
    outcomes: Mutex<Vec<(&'static str, Counter)>>,
}

impl std::fmt::Debug for MetricHandles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetricHandles")
    }
}

impl ModelMetrics {
    pub(crate) fn new(model: Arc<str>) -> Arc<Self> {
        Arc::new(Self { model, handles: OnceLock::new() })
    }

    fn handles(&self) -> &MetricHandles {
        self.handles.get_or_init(|| {
            let model = || self.model.to_string();
            let tokens = |kind: &'static str| counter!("cachalot_tokens_total", "model" => model(), "kind" => kind);
            MetricHandles {
                running: gauge!("cachalot_requests_running"),
                first_token: histogram!("cachalot_time_to_first_token_seconds", "model" => model()),
                duration: histogram!("cachalot_request_duration_seconds", "model" => model()),
                prompt_tokens: tokens("prompt"),
                cached_tokens: tokens("cached"),
                completion_tokens: tokens("completion"),
                reasoning_tokens: tokens("reasoning"),
                outcomes: Mutex::default(),
            }
        })
    }

    /// Counts a request as running.
    pub(crate) fn record_start(&self) {
        self.handles().running.increment(1.0);
    }

    /// Records the time to the first token.
    pub(crate) fn record_first_token(&self, elapsed: Duration) {
        self.handles().first_token.record(elapsed);
    }

    /// Counts the end of a request: its outcome, duration and usage.
    pub(crate) fn record_end(&self, outcome: &'static str, usage: Option<Usage>, elapsed: Duration) {
        let handles = self.handles();
        handles.running.decrement(1.0);
        handles.duration.record(elapsed);
        let mut outcomes = handles.outcomes.lock();
        let index = outcomes.iter().position(|(known, _)| *known == outcome).unwrap_or_else(|| {
            let model = self.model.to_string();
            outcomes.push((outcome, counter!("cachalot_requests_total", "model" => model, "outcome" => outcome)));
            outcomes.len() - 1
        });
        outcomes[index].1.increment(1);
        drop(outcomes);
        if let Some(usage) = usage {
            handles.prompt_tokens.increment(usage.prompt_tokens);
            handles.cached_tokens.increment(usage.cached_tokens);
            handles.completion_tokens.increment(usage.completion_tokens);
            handles.reasoning_tokens.increment(usage.reasoning_tokens.unwrap_or(0));
        }
    }
}
