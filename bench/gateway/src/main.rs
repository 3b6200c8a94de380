//! The cost of a request through cachalot, compared with a direct connection and a minimal
//! pass-through of the same stack.

mod compare;
mod load_generator;
mod processes;
mod servers;
mod tail;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use load_generator::{LoadGenerator, Target, chat_body, gemini_request};
use processes::{binary, cachalot, cpu_seconds, resident_mib, start};

const ROUNDS: usize = 7;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("provider"), _) => servers::provider().await,
        (Some("baseline"), Some(upstream)) => servers::baseline(upstream).await,
        (Some("baseline-hyper"), Some(upstream)) => servers::baseline_hyper(upstream).await,
        (Some("soak"), minutes) => soak(minutes.map_or(60, |minutes| minutes.parse().expect("minutes"))).await,
        (Some("tail"), _) => tail::bench().await,
        (Some("compare"), Some(other)) => compare::bench(other.as_ref()).await,
        (None, _) => bench().await,
        _ => eprintln!(
            "bench-gateway, bench-gateway soak [MINUTES], bench-gateway tail or bench-gateway compare PROGRAM"
        ),
    }
}

/// Runs paced streams, forwarded and converted, and non-streaming requests for `minutes` minutes.
///
/// # Panics
/// When chunks are lost or resident memory grows.
async fn soak(minutes: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = start(&["provider"]).await;
    let (cachalot, key) = cachalot(&binary(), folder.path(), provider.address).await;
    let target = |path: &str| {
        Arc::new(Target {
            name: "cachalot",
            url: format!("http://{}{path}", cachalot.address),
            pid: Some(cachalot.pid),
        })
    };
    let chat = target("/v1/chat/completions");
    let gemini = target("/v1beta/models/m:streamGenerateContent?alt=sse");
    let load = LoadGenerator::new(key);
    let forwarded = chat_body(json!({"stream": true, "max_tokens": 100, "seed": 100_000}), "Say hi");
    let converted = gemini_request(100, 100_000);
    let small = chat_body(json!({"max_tokens": 20}), "Say hi");
    let idle = resident_mib(cachalot.pid);
    println!("resident: {idle:.1} MiB when idle after the start");
    let started = Instant::now();
    let mut sizes = Vec::new();
    let mut chunks = 0;
    while started.elapsed() < Duration::from_secs(60 * minutes as u64) {
        let minute = Instant::now();
        while minute.elapsed() < Duration::from_secs(60) {
            let all = tokio::join!(
                load.stream_requests(&chat, &forwarded, 64),
                load.stream_requests(&gemini, &converted, 64),
                load.complete_requests(&chat, &small, 4, 400)
            );
            assert_eq!((all.0.1, all.1.1), (64 * 100, 64 * 100), "chunks are missing");
            chunks += all.0.1 + all.1.1;
        }
        sizes.push(resident_mib(cachalot.pid));
        println!("minute {}: {:.1} MiB, {chunks} chunks so far, none lost", sizes.len(), sizes[sizes.len() - 1]);
    }
    // Caches are full after the first tenth.
    let (before, after) = (sizes[sizes.len() / 10], sizes[sizes.len() - 1]);
    println!("{before:.1} MiB after a tenth of the time, {after:.1} MiB at the end");
    assert!(after <= before * 1.1 + 1.0, "resident memory grows");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The smallest and the largest value.
fn spread(values: &[f64]) -> (f64, f64) {
    (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(0.0, f64::max))
}

/// Measures every target in turn, `ROUNDS` times; returns the median of each.
async fn median_of_rounds(targets: &[Arc<Target>], measure: impl AsyncFn(&Arc<Target>) -> f64) -> Vec<f64> {
    let mut values = vec![Vec::new(); targets.len()];
    for _ in 0..ROUNDS {
        for (target, values) in targets.iter().zip(&mut values) {
            values.push(measure(target).await);
        }
    }
    values.into_iter().map(median).collect()
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = start(&["provider"]).await;
    let baseline = start(&["baseline", &provider.address.to_string()]).await;
    let (cachalot, key) = cachalot(&binary(), folder.path(), provider.address).await;
    let idle = resident_mib(cachalot.pid);
    let target = |name, address: SocketAddr, pid| {
        Arc::new(Target { name, url: format!("http://{address}/v1/chat/completions"), pid })
    };
    let targets = [
        target("direct", provider.address, None),
        target("baseline", baseline.address, Some(baseline.pid)),
        target("cachalot", cachalot.address, Some(cachalot.pid)),
    ];
    let load = LoadGenerator::new(key);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, shared by client, provider and proxies; medians of {ROUNDS} rounds in turn\n");
    println!("| | direct | baseline | cachalot | cachalot beside the baseline |\n|---|---:|---:|---:|---:|");
    let print_row = |what: &str, values: &[f64], unit: &str, factor: bool| {
        let beside = if factor {
            format!("{:.2} x", values[2] / values[1])
        } else {
            format!("{:+.3} {unit}", values[2] - values[1])
        };
        let shown = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.3} {unit}") };
        println!("| {what} | {} | {} | {} | {beside} |", shown(values[0]), shown(values[1]), shown(values[2]));
    };

    let small = chat_body(json!({"max_tokens": 20}), "Say hi");
    for target in &targets {
        load.complete_requests(target, &small, 32, 2000).await;
    }
    let cpu_per_unit = async |target: &Arc<Target>, work: std::pin::Pin<Box<dyn Future<Output = usize> + '_>>| {
        let before = target.pid.map(cpu_seconds);
        let units = work.await;
        before.zip(target.pid).map_or(f64::NAN, |(before, pid)| (cpu_seconds(pid) - before) * 1e6 / units as f64)
    };
    let values = median_of_rounds(&targets, async |target| {
        cpu_per_unit(target, Box::pin(async { load.complete_requests(target, &small, 32, 4000).await.len() })).await
    });
    print_row("CPU per request, 32 connections", &values.await, "µs", true);
    let hyper = start(&["baseline-hyper", &provider.address.to_string()]).await;
    let on_hyper = [targets[1].clone(), target("baseline-hyper", hyper.address, Some(hyper.pid)), targets[2].clone()];
    for target in &on_hyper {
        load.complete_requests(target, &small, 32, 2000).await;
    }
    let values = median_of_rounds(&on_hyper, async |target| {
        cpu_per_unit(target, Box::pin(async { load.complete_requests(target, &small, 32, 4000).await.len() })).await
    });
    let cpu_on_hyper = values.await[1];
    let values =
        median_of_rounds(&targets, async |target| median(load.complete_requests(target, &small, 1, 1000).await) * 1e3);
    print_row("p50, one connection", &values.await, "ms", false);
    let large = chat_body(json!({"max_tokens": 20}), &"x".repeat(1 << 20));
    let values =
        median_of_rounds(&targets, async |target| median(load.complete_requests(target, &large, 1, 60).await) * 1e3);
    print_row("p50, a body of 1 MB", &values.await, "ms", true);
    let values = median_of_rounds(&targets, async |target| {
        cpu_per_unit(target, Box::pin(async { load.complete_requests(target, &large, 1, 100).await.len() })).await
    });
    print_row("CPU per request with a body of 1 MB", &values.await, "µs", true);
    let one = chat_body(json!({"stream": true, "max_tokens": 4}), "Say hi");
    let values = median_of_rounds(&targets, async |target| {
        let mut times = Vec::new();
        for _ in 0..300 {
            times.extend(load.stream_requests(target, &one, 1).await.0);
        }
        median(times) * 1e3
    });
    print_row("time to first token, reused connection", &values.await, "ms", false);
    let long = chat_body(json!({"stream": true, "max_tokens": 500, "seed": 2000}), "Say hi");
    let values = median_of_rounds(&targets, async |target| {
        cpu_per_unit(
            target,
            Box::pin(async {
                let (_, chunks) = load.stream_requests(target, &long, 32).await;
                assert_eq!(chunks, 32 * 500, "{}: chunks are missing", target.name);
                chunks
            }),
        )
        .await
    });
    print_row("CPU per forwarded chunk, 32 streams", &values.await, "µs", true);
    let url = format!("http://{}/v1beta/models/m:streamGenerateContent?alt=sse", cachalot.address);
    let gemini = Arc::new(Target { name: "cachalot", url, pid: Some(cachalot.pid) });
    let long = gemini_request(500, 2000);
    let mut values = Vec::new();
    for _ in 0..ROUNDS {
        values.push(
            cpu_per_unit(
                &gemini,
                Box::pin(async {
                    let (_, chunks) = load.stream_requests(&gemini, &long, 32).await;
                    assert_eq!(chunks, 32 * 500, "chunks are missing");
                    chunks
                }),
            )
            .await,
        );
    }
    println!("| CPU per converted chunk, 32 streams | - | - | {:.3} µs | |", median(values));

    let paced = chat_body(json!({"stream": true, "max_tokens": 100, "seed": 20000}), "Say hi");
    let (_, chunks) = load.stream_requests(&targets[2], &paced, 256).await;
    println!("\nCPU per request of the baseline on hyper's own client: {cpu_on_hyper:.3} µs");
    println!("256 paced streams of 100 chunks through cachalot: {chunks} of 25600 arrived");
    println!("resident: {idle:.1} MiB when idle after the start, {:.1} MiB now", resident_mib(cachalot.pid));
}
