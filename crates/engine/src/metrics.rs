//! The engine's metrics: descriptions, and one function for each event that is counted.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Describes the metrics and records the constant one: `attention`, the path that attention takes.
pub(crate) fn describe(attention: &'static str) {
    describe_gauge!("cachalot_cache_pages", "Pages of the latent cache, 64 positions each");
    describe_gauge!("cachalot_cache_pages_used", "Pages held by requests");
    describe_gauge!("cachalot_cache_pages_cached", "Pages held by no request, kept for prompts with the same prefix");
    describe_gauge!("cachalot_engine_requests_running", "Requests being processed by the engine");
    describe_gauge!("cachalot_engine_requests_waiting", "Requests in the engine's queue, including preempted ones");
    describe_counter!("cachalot_engine_prompt_tokens_total", "Tokens of prompts, including cached ones");
    describe_counter!("cachalot_engine_prefix_cache_hit_tokens_total", "Tokens of prompts found in the prefix cache");
    describe_counter!("cachalot_engine_generated_tokens_total", "Tokens generated");
    describe_counter!("cachalot_engine_preemptions_total", "Requests preempted because the cache was full");
    describe_counter!("cachalot_engine_panics_total", "Steps that panicked");
    describe_histogram!("cachalot_engine_step_duration_seconds", "Duration of one step: forward pass and sampling");
    describe_gauge!("cachalot_engine_info", "Always 1; the label `attention` is the path that attention takes");
    gauge!("cachalot_engine_info", "attention" => attention).set(1.0);
    for name in [
        "cachalot_engine_prompt_tokens_total",
        "cachalot_engine_prefix_cache_hit_tokens_total",
        "cachalot_engine_generated_tokens_total",
        "cachalot_engine_preemptions_total",
        "cachalot_engine_panics_total",
    ] {
        counter!(name).increment(0);
    }
}

pub(crate) fn record_prompt_tokens(prompt_tokens: usize) {
    counter!("cachalot_engine_prompt_tokens_total").increment(prompt_tokens as u64);
}

pub(crate) fn record_prefix_hit(tokens: usize) {
    counter!("cachalot_engine_prefix_cache_hit_tokens_total").increment(tokens as u64);
}

pub(crate) fn record_disk_hit(tokens: usize) {
    counter!("cachalot_disk_cache_hit_tokens_total").increment(tokens as u64);
}

pub(crate) fn record_generated_token() {
    counter!("cachalot_engine_generated_tokens_total").increment(1);
}

pub(crate) fn record_step(seconds: f64) {
    histogram!("cachalot_engine_step_duration_seconds").record(seconds);
}

pub(crate) fn record_preemption() {
    counter!("cachalot_engine_preemptions_total").increment(1);
}

pub(crate) fn record_panic() {
    counter!("cachalot_engine_panics_total").increment(1);
}
