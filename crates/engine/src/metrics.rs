//! What an operator sees of the engine: its metrics, and its load.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::page_allocator::PageAllocator;
use crate::scheduler::Scheduler;

/// Tells the recorder what the numbers mean, and the one thing that never changes:
/// how attention runs.
pub(crate) fn describe(attention: &'static str) {
    describe_gauge!("cachalot_cache_pages_total", "Pages of the latent cache, 64 positions each");
    describe_gauge!("cachalot_cache_pages_used", "Pages held by requests");
    describe_gauge!("cachalot_cache_pages_cached", "Pages nobody holds, kept for prompts that begin the same");
    describe_gauge!("cachalot_running", "Requests being answered");
    describe_gauge!("cachalot_waiting", "Requests in the queue, paused ones included");
    describe_counter!("cachalot_prompt_tokens_total", "Tokens of prompts, cached ones included");
    describe_counter!("cachalot_prefix_hit_tokens_total", "Tokens of prompts found in the prefix cache");
    describe_counter!("cachalot_generated_tokens_total", "Tokens generated");
    describe_counter!("cachalot_preemptions_total", "Requests paused because the cache was full");
    describe_counter!("cachalot_engine_panics_total", "Steps that panicked");
    describe_histogram!("cachalot_step_seconds", "Seconds of one step: forward pass and sampling");
    describe_gauge!("cachalot_attention", "1 at the path attention takes");
    gauge!("cachalot_attention", "path" => attention).set(1.0);
    for name in ["cachalot_prompt_tokens_total", "cachalot_prefix_hit_tokens_total", "cachalot_generated_tokens_total"]
    {
        counter!(name).increment(0);
    }
    counter!("cachalot_preemptions_total").increment(0);
    counter!("cachalot_engine_panics_total").increment(0);
}

/// What an engine is doing, as of its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests being answered.
    pub running: usize,
    /// Requests in the queue, paused ones included.
    pub waiting: usize,
    pub pages_total: usize,
    /// Held by requests.
    pub pages_used: usize,
    /// Held by nobody, kept for prompts that begin the same.
    pub pages_cached: usize,
}

impl Load {
    pub(crate) fn of(scheduler: &Scheduler, pages: &PageAllocator) -> Self {
        Self {
            running: scheduler.running(),
            waiting: scheduler.waiting(),
            pages_total: pages.total(),
            pages_used: pages.used(),
            pages_cached: pages.cached(),
        }
    }

    pub(crate) fn record(&self) {
        gauge!("cachalot_cache_pages_total").set(self.pages_total as f64);
        gauge!("cachalot_cache_pages_used").set(self.pages_used as f64);
        gauge!("cachalot_cache_pages_cached").set(self.pages_cached as f64);
        gauge!("cachalot_running").set(self.running as f64);
        gauge!("cachalot_waiting").set(self.waiting as f64);
    }
}

pub(crate) fn record_prompt_tokens(prompt_tokens: usize) {
    counter!("cachalot_prompt_tokens_total").increment(prompt_tokens as u64);
}

pub(crate) fn record_prefix_hit(tokens: usize) {
    counter!("cachalot_prefix_hit_tokens_total").increment(tokens as u64);
}

pub(crate) fn record_disk_hit(tokens: usize) {
    counter!("cachalot_disk_cache_hit_tokens_total").increment(tokens as u64);
}

pub(crate) fn record_generated_token() {
    counter!("cachalot_generated_tokens_total").increment(1);
}

pub(crate) fn record_step(seconds: f64) {
    histogram!("cachalot_step_seconds").record(seconds);
}

pub(crate) fn record_preemption() {
    counter!("cachalot_preemptions_total").increment(1);
}

pub(crate) fn record_panic() {
    counter!("cachalot_engine_panics_total").increment(1);
}
