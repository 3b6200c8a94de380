//! The cost of a request through two builds of cachalot, in turn.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::load_generator::{LoadGenerator, Target, chat_body};
use crate::processes::{binary, cachalot, start, thread_cpu_seconds};
use crate::{median, spread};

const ROUNDS: usize = 10;
const REQUESTS: usize = 4000;
const CONNECTIONS: usize = 32;

/// Prints the CPU time of a request of `other` and of the usual program.
pub async fn bench(other: &Path) {
    let provider = start(&["provider"]).await;
    let usual = binary();
    let programs = [other, usual.as_path()];
    let mut builds = Vec::new();
    for program in programs {
        let folder = tempfile::tempdir().expect("a folder");
        let (process, key) = cachalot(program, folder.path(), provider.address).await;
        let url = format!("http://{}/v1/chat/completions", process.address);
        let target = Arc::new(Target { name: "cachalot", url, pid: Some(process.pid) });
        builds.push((folder, process, LoadGenerator::new(key), target, Vec::new()));
    }
    let body = chat_body(json!({"max_tokens": 20}), "Say hi");
    // The first round of each fills caches.
    for _ in 0..=ROUNDS {
        for (_, process, load, target, values) in &mut builds {
            let before = thread_cpu_seconds(process.pid);
            load.complete_requests(target, &body, CONNECTIONS, REQUESTS).await;
            values.push((thread_cpu_seconds(process.pid) - before) * 1e6 / REQUESTS as f64);
        }
    }
    println!("CPU of a request, {ROUNDS} rounds of {REQUESTS} requests over {CONNECTIONS} connections in turn:");
    let mut medians = Vec::new();
    for (program, (.., values)) in programs.iter().zip(&builds) {
        let (least, most) = spread(&values[1..]);
        medians.push(median(values[1..].to_vec()));
        println!("{:.1} µs (median; {least:.1} to {most:.1})  {}", medians[medians.len() - 1], program.display());
    }
    println!("{:+.1} %", (medians[1] / medians[0] - 1.0) * 100.0);
}
