//! The cost of a request while others watch: 500 requests a second with and without four readers of
//! `GET /admin/tail`, one of which never reads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::Client;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::load_generator::{LoadGenerator, Target, chat_body};
use crate::processes::{Process, binary, cachalot, start, thread_cpu_seconds};
use crate::{median, spread};

const ROUNDS: usize = 10;
const REQUESTS_PER_SECOND: usize = 500;
const ROUND_SECONDS: usize = 5;
/// The readers that read.
const ACTIVE_READERS: usize = 3;
/// The most that a request may cost with readers, by the most that it costs without.
const MAX_RATIO: f64 = 1.03;

/// Prints the CPU time of a request in both cases, in turn.
///
/// # Panics
/// When a reader receives nothing, or the readers cost more than 3 % beyond the spread of the
/// rounds without them.
pub async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = start(&["provider"]).await;
    let (cachalot, key) = cachalot(&binary(), folder.path(), provider.address).await;
    let token = std::fs::read_to_string(folder.path().join("admin-token")).expect("the admin token");
    let url = format!("http://{}/v1/chat/completions", cachalot.address);
    let target = Arc::new(Target { name: "cachalot", url, pid: Some(cachalot.pid) });
    let load = LoadGenerator::new(key);
    let body = chat_body(json!({"max_tokens": 20}), "Say hi");
    load.complete_requests(&target, &body, 32, 2000).await;
    let (mut alone, mut watched, mut events) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        alone.push(cpu_per_request(&cachalot, &load, &target, &body).await);
        let readers = Readers::start(cachalot.address, token.trim()).await;
        watched.push(cpu_per_request(&cachalot, &load, &target, &body).await);
        events += readers.stop().await;
    }
    let (least, most) = spread(&alone);
    let (least_watched, most_watched) = spread(&watched);
    let (alone, watched) = (median(alone), median(watched));
    println!(
        "{REQUESTS_PER_SECOND} requests a second, {ROUNDS} rounds of {ROUND_SECONDS} s in turn, CPU of a request:"
    );
    println!("no reader:                 {alone:.1} µs (median; {least:.1} to {most:.1})");
    println!(
        "four readers, one stalled: {watched:.1} µs (median; {least_watched:.1} to {most_watched:.1}), {:+.1} %",
        (watched / alone - 1.0) * 100.0
    );
    println!("events received: {events}");
    assert!(watched <= most * MAX_RATIO, "the readers cost more than 3 % beyond the spread");
}

/// The CPU time of a request in microseconds, over a round.
async fn cpu_per_request(cachalot: &Process, load: &Arc<LoadGenerator>, target: &Arc<Target>, body: &Bytes) -> f64 {
    let before = thread_cpu_seconds(cachalot.pid);
    let requests = REQUESTS_PER_SECOND * ROUND_SECONDS;
    let mut pace = interval(Duration::from_secs(1) / REQUESTS_PER_SECOND as u32);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = Vec::new();
    for _ in 0..requests {
        pace.tick().await;
        let (load, target, body) = (load.clone(), target.clone(), body.clone());
        running.push(tokio::spawn(async move { load.complete_requests(&target, &body, 1, 1).await }));
    }
    for request in running {
        request.await.expect("it ends");
    }
    (thread_cpu_seconds(cachalot.pid) - before) * 1e6 / requests as f64
}

/// Readers of the tail.
struct Readers {
    active: Vec<JoinHandle<usize>>,
    _stalled: TcpStream,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Readers {
    async fn start(address: SocketAddr, token: &str) -> Self {
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let client = Client::builder().no_proxy().build().expect("a client");
        let mut active = Vec::new();
        for _ in 0..ACTIVE_READERS {
            let request = client.get(format!("http://{address}/admin/tail")).bearer_auth(token);
            let response = request.send().await.expect("a response");
            assert!(response.status().is_success(), "{}", response.status());
            let mut stopping = stopping.clone();
            active.push(tokio::spawn(async move {
                let mut chunks = response.bytes_stream();
                let mut events = 0;
                loop {
                    tokio::select! {
                        _ = stopping.changed() => return events,
                        chunk = chunks.next() => {
                            let chunk = chunk.expect("the tail goes on").expect("bytes");
                            events += chunk.windows(7).filter(|bytes| bytes == b"event: ").count();
                        }
                    }
                }
            }));
        }
        let mut stalled = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET /admin/tail HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n");
        stalled.write_all(request.as_bytes()).await.expect("the request is sent");
        Self { active, _stalled: stalled, stop }
    }

    /// Ends the readers. Returns the number of events that they received.
    async fn stop(self) -> usize {
        self.stop.send_replace(true);
        let mut events = 0;
        for reader in self.active {
            let received = reader.await.expect("it ends");
            assert!(received > 0, "a reader received nothing");
            events += received;
        }
        events
    }
}
