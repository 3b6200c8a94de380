//! The load of an engine as its own metrics report it (Prometheus text): requests from all clients,
//! not only from this gateway.

use std::sync::atomic::{AtomicU64, Ordering};

/// The gauges of an engine for its running and its waiting requests.
struct Gauges {
    running: &'static str,
    waiting: Option<&'static str>,
}

/// The gauges of the known engines, of which the first that the metrics have is read. The last
/// entry is the gauge of a cachalot server's gateway: all its requests, those of its engine (queued
/// ones included) and those that it forwards.
const GAUGES: [Gauges; 6] = [
    Gauges { running: "vllm:num_requests_running", waiting: Some("vllm:num_requests_waiting") },
    Gauges { running: "sglang:num_running_reqs", waiting: Some("sglang:num_queue_reqs") },
    Gauges { running: "llamacpp:requests_processing", waiting: Some("llamacpp:requests_deferred") },
    Gauges { running: "cachalot_engine_requests_running", waiting: Some("cachalot_engine_requests_waiting") },
    // Names of version 0.1.
    Gauges { running: "cachalot_running", waiting: Some("cachalot_waiting") },
    Gauges { running: "cachalot_requests_running", waiting: None },
];

/// The requests of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedLoad {
    pub running: u32,
    pub waiting: u32,
}

impl ReportedLoad {
    /// Parses metrics, and adds up all models and ranks of the engine. Requests that a cachalot
    /// server forwards count as running. `None` if the metrics have no known gauge, or one of
    /// them has no number.
    pub(crate) fn parse_metrics(metrics: &str) -> Option<Self> {
        let mut loads = [const { None::<Self> }; GAUGES.len()];
        for line in metrics.lines() {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let has_name = |gauges: &Gauges| gauges.running == name || gauges.waiting == Some(name);
            let Some(index) = GAUGES.iter().position(has_name) else { continue };
            // The value follows the labels, which may contain any character. A
            // timestamp may follow.
            let rest = line.rsplit_once('}').map_or(&line[name.len()..], |(_, rest)| rest);
            let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
            let load = loads[index].get_or_insert_default();
            let count = if GAUGES[index].running == name { &mut load.running } else { &mut load.waiting };
            *count = count.saturating_add(value as u32);
        }
        let [engines @ .., server] = loads;
        match (engines.into_iter().flatten().next(), server) {
            (Some(engine), Some(server)) => {
                Some(Self { running: engine.running.max(server.running.saturating_sub(engine.waiting)), ..engine })
            }
            (engine, server) => engine.or(server),
        }
    }
}

/// The latest known load; at first it is unknown.
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
    fn the_gauges_of_every_engine_are_read() {
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
    fn requests_of_a_cachalot_server_are_counted_once() {
        let gateway = "cachalot_requests_running 7\ncachalot_requests_total{model=\"m\"} 90\n";
        let load = |engine: &str| ReportedLoad::parse_metrics(&format!("{gateway}{engine}")).unwrap();
        let new = "cachalot_engine_requests_running 4\ncachalot_engine_requests_waiting 3\n";
        assert_eq!(load(new), ReportedLoad { running: 4, waiting: 3 });
        let old = "cachalot_running 5\ncachalot_waiting 2\n";
        assert_eq!(load(old), ReportedLoad { running: 5, waiting: 2 });
        // Its engine is idle, or it has none: all requests are forwarded.
        let idle = "cachalot_engine_requests_running 0\ncachalot_engine_requests_waiting 0\n";
        assert_eq!(load(idle), ReportedLoad { running: 7, waiting: 0 });
        assert_eq!(load(""), ReportedLoad { running: 7, waiting: 0 });
    }

    #[test]
    fn a_stored_load_is_read_back() {
        let latest = ReportedLoadCell::default();
        assert_eq!(latest.get(), None);
        let load = ReportedLoad { running: 3, waiting: 70_000 };
        latest.set(Some(load));
        assert_eq!(latest.get(), Some(load));
        latest.set(None);
        assert_eq!(latest.get(), None);
    }
}
