//! How busy an engine is by its own metrics (Prometheus text): with requests from everybody,
//! not only from here.

use std::sync::atomic::{AtomicU64, Ordering};

/// What vLLM, SGLang, llama.cpp and this program call the requests that run,
const RUNNING_GAUGES: [&str; 4] = [
    "vllm:num_requests_running",
    "sglang:num_running_reqs",
    "llamacpp:requests_processing",
    "cachalot_requests_running",
];
/// and those that wait to run.
const WAITING_GAUGES: [&str; 3] = ["vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred"];

/// The requests of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedLoad {
    pub running: u32,
    pub waiting: u32,
}

impl ReportedLoad {
    /// Reads metrics, over all models and ranks of the engine; `None` where it says nothing
    /// of its requests.
    pub(crate) fn parse_metrics(metrics: &str) -> Option<Self> {
        let (mut load, mut found) = (Self::default(), false);
        for line in metrics.lines() {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let gauge = if RUNNING_GAUGES.contains(&name) {
                &mut load.running
            } else if WAITING_GAUGES.contains(&name) {
                &mut load.waiting
            } else {
                continue;
            };
            // The value follows the labels, whose texts may hold anything; a time may follow it.
            let rest = line.rsplit_once('}').map_or(&line[name.len()..], |(_, rest)| rest);
            let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
            *gauge = gauge.saturating_add(value as u32);
            found = true;
        }
        found.then_some(load)
    }
}

/// The latest that is known; nothing at first.
#[derive(Debug, Default)]
pub(crate) struct ReportedLoadCell(AtomicU64);

impl ReportedLoadCell {
    const KNOWN_BIT: u64 = 1 << 63;

    pub(crate) fn set(&self, load: Option<ReportedLoad>) {
        let bits = |ReportedLoad { running, waiting }| {
            Self::KNOWN_BIT | u64::from(waiting & 0x7fff_ffff) << 32 | u64::from(running)
        };
        self.0.store(load.map_or(0, bits), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<ReportedLoad> {
        let bits = self.0.load(Ordering::Relaxed);
        let known = bits & Self::KNOWN_BIT != 0;
        known.then_some(ReportedLoad { running: bits as u32, waiting: (bits >> 32) as u32 & 0x7fff_ffff })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engines_words_are_understood() {
        let vllm = "# HELP vllm:num_requests_running Number of requests in model execution batches.\n\
            # TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a b}c\"} 8.0\n\
            vllm:num_requests_running{engine=\"1\",model_name=\"a b}c\"} 1.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"a b}c\"} 2.0\n\
            vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 7.0\n";
        assert_eq!(ReportedLoad::parse_metrics(vllm), Some(ReportedLoad { running: 9, waiting: 2 }));
        let sglang = "sglang:num_running_reqs{model_name=\"m\"} 162.0\nsglang:num_queue_reqs{model_name=\"m\"} 2826 1700000000\n";
        assert_eq!(ReportedLoad::parse_metrics(sglang), Some(ReportedLoad { running: 162, waiting: 2826 }));
        let llama = "llamacpp:requests_processing 1\nllamacpp:requests_deferred 0\n";
        assert_eq!(ReportedLoad::parse_metrics(llama), Some(ReportedLoad { running: 1, waiting: 0 }));
        for nothing in ["", "process_cpu_seconds_total 3\n", "<html>", "vllm:num_requests_running{} many\n"] {
            assert_eq!(ReportedLoad::parse_metrics(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_is_known_is_kept_whole() {
        let latest = ReportedLoadCell::default();
        assert_eq!(latest.get(), None);
        let load = ReportedLoad { running: 3, waiting: 70_000 };
        latest.set(Some(load));
        assert_eq!(latest.get(), Some(load));
        latest.set(None);
        assert_eq!(latest.get(), None);
    }
}
