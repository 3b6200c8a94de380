//! What is measured of each model. Handles are looked up once: doing so for every request would
//! cost more than counting.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use chat::Usage;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Tells the recorder what the gateway's metrics mean.
pub fn describe_metrics() {
    metrics::describe_gauge!("cachalot_requests_running", "answers being given right now");
    metrics::describe_counter!("cachalot_requests_total", "requests by model and outcome");
    metrics::describe_counter!("cachalot_tokens_total", "tokens by model and kind; cached is part of prompt");
    metrics::describe_histogram!("cachalot_time_to_first_token_seconds", "from the request to its first token");
    metrics::describe_gauge!("cachalot_records_unbooked", "usage records that the store does not have yet");
    metrics::describe_gauge!("cachalot_inflight_bytes", "memory that is reserved for requests in flight");
    metrics::describe_counter!(
        "cachalot_inflight_refused_total",
        "reservations refused: by the caller's own share (413), or by the budget (503)"
    );
    metrics::describe_counter!(
        "cachalot_records_quarantined_total",
        "usage records that the store refused and that were set aside"
    );
    metrics::describe_counter!(
        "cachalot_implausible_usage_total",
        "answers whose provider counted what cannot be true, by provider"
    );
    metrics::describe_histogram!("cachalot_request_seconds", "from the request to the end of its answer");
}

/// Of one model, by the id that the list of models spells.
#[derive(Debug)]
pub(crate) struct ModelMetrics {
    pub(crate) model: Arc<str>,
    /// Made at the first request: before it there may be no recorder yet.
    handles: OnceLock<MetricHandles>,
}

struct MetricHandles {
    in_flight: Gauge,
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
        f.write_str("Handles")
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
                in_flight: gauge!("cachalot_requests_running"),
                first_token: histogram!("cachalot_time_to_first_token_seconds", "model" => model()),
                duration: histogram!("cachalot_request_seconds", "model" => model()),
                prompt_tokens: tokens("prompt"),
                cached_tokens: tokens("cached"),
                completion_tokens: tokens("completion"),
                reasoning_tokens: tokens("reasoning"),
                outcomes: Mutex::default(),
            }
        })
    }

    pub(crate) fn record_start(&self) {
        self.handles().in_flight.increment(1.0);
    }

    pub(crate) fn record_first_token(&self, after: Duration) {
        self.handles().first_token.record(after);
    }

    pub(crate) fn record_end(&self, outcome: &'static str, usage: Option<Usage>, after: Duration) {
        let handles = self.handles();
        handles.in_flight.decrement(1.0);
        handles.duration.record(after);
        // A pair is pushed whole.
        let mut outcomes = handles.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let index = outcomes.iter().position(|(word, _)| *word == outcome).unwrap_or_else(|| {
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
