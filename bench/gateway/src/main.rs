//! What a request costs through cachalot, beside a direct connection and a minimal pass-through
//! of the same stack.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Uri;
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const ROUNDS: usize = 7;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("fake"), _) => fake().await,
        (Some("floor"), Some(upstream)) => floor(upstream).await,
        (Some("bare"), Some(upstream)) => bare(upstream).await,
        (Some("flat"), minutes) => flat(minutes.map_or(60, |minutes| minutes.parse().expect("minutes"))).await,
        (None, _) => bench().await,
        _ => eprintln!("bench-gateway, or bench-gateway flat [MINUTES]"),
    }
}

/// Binds a port, and tells it on the first line of the output.
async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    listener
}

fn chunk(content: &str, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": {"content": content}, "logprobs": null, "finish_reason": finish});
    format!("data: {}\n\n", json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}))
}

/// A provider. `max_tokens` is how many chunks it streams, `seed` how many microseconds it
/// waits before each.
async fn fake() {
    let answer = async |request: Request| {
        let bytes = to_bytes(request.into_body(), 64 << 20).await.expect("a body");
        // The end of the body tells what is wanted: a large body is not parsed.
        let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(300)..]).into_owned();
        let number = |key: &str| {
            let rest = &tail[tail.find(key)? + key.len()..];
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        if !tail.contains("\"stream\":true") {
            let body = json!({"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant",
                "content": "Hello there."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}});
            return Response::builder().header("content-type", "application/json").body(Body::from(body.to_string())).expect("a response");
        }
        let (chunks, pause) = (number("\"max_tokens\":").unwrap_or(20), Duration::from_micros(number("\"seed\":").unwrap_or(0)));
        let events = stream::iter(0..chunks).then(move |_| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            Ok::<_, Infallible>(Bytes::from(chunk("word ", None)))
        });
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": chunks}});
        let last = format!("{}data: {usage}\n\ndata: [DONE]\n\n", chunk("", Some("stop")));
        let body = Body::from_stream(events.chain(stream::iter([Ok(Bytes::from(last))])));
        Response::builder().header("content-type", "text/event-stream").body(body).expect("a response")
    };
    serve(listen().await, Router::new().fallback(answer)).await;
}

async fn serve(listener: TcpListener, router: Router) {
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|socket| socket.set_nodelay(true).expect("TCP_NODELAY"));
    axum::serve(listener, router).await.expect("a server");
}

/// The floor: reads a body, posts it on, and sends back what comes.
async fn floor(upstream: String) {
    let client = Client::builder().no_proxy().build().expect("a client");
    let pass = async |State((client, upstream)): State<(Client, String)>, request: Request| {
        let bytes = to_bytes(request.into_body(), 64 << 20).await.expect("a body");
        let sent = client.post(upstream).header("content-type", "application/json").body(bytes).send().await;
        let answer = sent.expect("the provider answers");
        let kind = answer.headers()["content-type"].clone();
        Response::builder().header("content-type", kind).body(Body::from_stream(answer.bytes_stream())).expect("a response")
    };
    let router = Router::new().fallback(pass).with_state((client, format!("http://{upstream}/v1/chat/completions")));
    serve(listen().await, router).await;
}

/// The same on hyper's own client, which cachalot has.
async fn bare(upstream: String) {
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let pass = async |State((client, upstream)): State<(_, Uri)>, request: Request| {
        let client: hyper_util::client::legacy::Client<_, Full<Bytes>> = client;
        let bytes = to_bytes(request.into_body(), 64 << 20).await.expect("a body");
        let sent = Request::post(upstream).header("content-type", "application/json").body(Full::new(bytes));
        let answer = client.request(sent.expect("a request")).await.expect("the provider answers");
        let kind = answer.headers()["content-type"].clone();
        Response::builder().header("content-type", kind).body(Body::new(answer.into_body())).expect("a response")
    };
    let upstream: Uri = format!("http://{upstream}/v1/chat/completions").parse().expect("an address");
    serve(listen().await, Router::new().fallback(pass).with_state((client, upstream))).await;
}

struct Process {
    _child: Child,
    pid: u32,
    address: SocketAddr,
}

async fn start(arguments: &[&str]) -> Process {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let own = std::env::current_exe().expect("our own path");
    let mut child = Command::new(own).args(arguments).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = lines.next_line().await.expect("a line").expect("an address").parse().expect("an address");
    Process { pid: child.id().expect("it runs"), _child: child, address }
}

/// cachalot with everything on. Returns the key too.
async fn cachalot(folder: &Path, upstream: SocketAddr) -> (Process, String) {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/dist/cachalot");
    let binary = std::env::var_os("CACHALOT").map_or(default, PathBuf::from);
    assert!(binary.exists(), "{} is missing: run cargo build --profile dist in the root", binary.display());
    let store = format!("sqlite:{}", folder.join("cachalot.db").display());
    let journal = folder.join("journal");
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("it is bound");
    let prices = "[[price]]\nprovider = 'fake'\nmodel = 'm'\nsource = 's'\ndate = 'd'\ninput = 1\noutput = 2\n";
    std::fs::write(folder.join("prices.toml"), prices).expect("a file");
    let config = format!(
        "[store]\nurl = '{store}'\njournal = '{}'\n[gateway]\nprices = '{}'\n[[providers]]\nname = 'fake'\nbase_url = 'http://{upstream}/v1'\n\
         dialect = 'deepseek'\nprivate = true\nmodels = ['m']\n",
        journal.display(),
        folder.join("prices.toml").display()
    );
    std::fs::write(folder.join("cachalot.toml"), config).expect("a file");
    let config = folder.join("cachalot.toml");
    let config = config.to_str().expect("a plain path");
    let limits = ["--budget", "1000000", "--rpm", "1000000000", "--tpm", "1000000000000", "--concurrency", "100000"];
    let added = Command::new(&binary).args(["key", "add", "bench", "--config", config]).args(limits).output().await.expect("it runs");
    let key = String::from_utf8(added.stdout).expect("text").trim().to_owned();
    assert!(key.starts_with("sk-"), "{}", String::from_utf8_lossy(&added.stderr));
    let mut serve = Command::new(&binary);
    serve.args(["serve", "--model", "none", "--config", config, "--listen", &port.to_string()]);
    let child = serve.env("CACHALOT_LOG", "warn").kill_on_drop(true).spawn().expect("it starts");
    let process = Process { pid: child.id().expect("it runs"), _child: child, address: port };
    let client = Client::builder().no_proxy().build().expect("a client");
    for _ in 0..200 {
        if client.get(format!("http://{port}/healthz")).send().await.is_ok() {
            return (process, key);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("cachalot did not start");
}

/// CPU seconds of a process so far.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a stat line").1.split_whitespace().collect();
    // Fields 14 and 15 of the line, in ticks of 10 ms.
    (fields[11].parse::<f64>().expect("ticks") + fields[12].parse::<f64>().expect("ticks")) / 100.0
}

/// Resident bytes of a process, in MiB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a VmRSS line");
    line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
}

struct Target {
    name: &'static str,
    url: String,
    pid: Option<u32>,
}

struct Load {
    client: Client,
    key: String,
}

impl Load {
    async fn post(&self, target: &Target, body: Bytes) -> reqwest::Response {
        let request = self.client.post(&target.url).header("content-type", "application/json");
        let response = request.header("authorization", format!("Bearer {}", self.key)).body(body).send().await;
        let response = response.expect("an answer");
        assert!(response.status().is_success(), "{}: {}", target.name, response.status());
        response
    }

    /// `requests` over `connections`; returns seconds each took.
    async fn whole(self: &Arc<Self>, target: &Arc<Target>, body: &Bytes, connections: usize, requests: usize) -> Vec<f64> {
        let left = Arc::new(AtomicUsize::new(requests));
        let workers = (0..connections).map(|_| {
            let (load, target, body, left) = (self.clone(), target.clone(), body.clone(), left.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let began = Instant::now();
                    load.post(&target, body.clone()).await.bytes().await.expect("a body");
                    times.push(began.elapsed().as_secs_f64());
                }
                times
            })
        });
        let mut times = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            times.extend(worker.await.expect("it ends"));
        }
        times
    }

    /// Streams side by side; returns seconds to the first byte, and how many chunks came in all.
    async fn streams(self: &Arc<Self>, target: &Arc<Target>, body: &Bytes, streams: usize) -> (Vec<f64>, usize) {
        let end = if target.url.contains("/v1beta/") { "\"finishReason\":\"STOP\"" } else { "data: [DONE]\n\n" };
        let workers = (0..streams).map(|_| {
            let (load, target, body) = (self.clone(), target.clone(), body.clone());
            tokio::spawn(async move {
                let began = Instant::now();
                let mut bytes = load.post(&target, body).await.bytes_stream();
                let (mut first, mut text) = (None, Vec::new());
                while let Some(more) = bytes.next().await {
                    first.get_or_insert_with(|| began.elapsed().as_secs_f64());
                    text.extend_from_slice(&more.expect("bytes"));
                }
                let text = String::from_utf8(text).expect("text");
                let last = text.trim_end().rfind("data: ").expect("an event");
                assert!(text[last..].contains(end), "a stream without its end");
                (first.expect("a byte"), text.matches("word ").count())
            })
        });
        let (mut times, mut chunks) = (Vec::new(), 0);
        for worker in workers.collect::<Vec<_>>() {
            let (first, came) = worker.await.expect("it ends");
            times.push(first);
            chunks += came;
        }
        (times, chunks)
    }
}

/// A chat in Gemini's words: the provider speaks others, so that it is converted,
/// and its answer too.
fn converted(chunks: usize, pause_us: usize) -> Bytes {
    let config = json!({"maxOutputTokens": chunks, "seed": pause_us});
    json!({"contents": [{"parts": [{"text": "Say hi"}]}], "generationConfig": config}).to_string().into()
}

/// Paced streams, passed and converted, and whole answers, minute after minute: what is
/// resident may not grow.
async fn flat(minutes: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let provider = start(&["fake"]).await;
    let (cachalot, key) = cachalot(folder.path(), provider.address).await;
    let target = |path: &str| {
        Arc::new(Target { name: "cachalot", url: format!("http://{}{path}", cachalot.address), pid: Some(cachalot.pid) })
    };
    let (chat, gemini) = (target("/v1/chat/completions"), target("/v1beta/models/m:streamGenerateContent?alt=sse"));
    let client = Client::builder().no_proxy().pool_max_idle_per_host(512).build().expect("a client");
    let load = Arc::new(Load { client, key });
    let passed = body(json!({"stream": true, "max_tokens": 100, "seed": 100_000}), "Say hi");
    let (written, small) = (converted(100, 100_000), body(json!({"max_tokens": 20}), "Say hi"));
    let idle = resident(cachalot.pid);
    println!("resident: {idle:.1} MiB when idle after the start");
    let (began, mut sizes, mut chunks) = (Instant::now(), Vec::new(), 0);
    while began.elapsed() < Duration::from_secs(60 * minutes as u64) {
        let minute = Instant::now();
        while minute.elapsed() < Duration::from_secs(60) {
            let all = tokio::join!(
                load.streams(&chat, &passed, 64),
                load.streams(&gemini, &written, 64),
                load.whole(&chat, &small, 4, 400)
            );
            assert_eq!((all.0.1, all.1.1), (64 * 100, 64 * 100), "chunks are missing");
            chunks += all.0.1 + all.1.1;
        }
        sizes.push(resident(cachalot.pid));
        println!("minute {}: {:.1} MiB, {chunks} chunks so far, none lost", sizes.len(), sizes[sizes.len() - 1]);
    }
    // After the first tenth everything that is kept has been filled.
    let (before, after) = (sizes[sizes.len() / 10], sizes[sizes.len() - 1]);
    println!("{before:.1} MiB after a tenth of the time, {after:.1} MiB at the end");
    assert!(after <= before * 1.1 + 1.0, "it grows");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn body(more: Value, text: &str) -> Bytes {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    for (key, value) in more.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body.to_string().into()
}

/// One measurement of every target in turn, `ROUNDS` times; the median of each.
async fn rounds(targets: &[Arc<Target>], measure: impl AsyncFn(&Arc<Target>) -> f64) -> Vec<f64> {
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
    let provider = start(&["fake"]).await;
    let floor = start(&["floor", &provider.address.to_string()]).await;
    let (cachalot, key) = cachalot(folder.path(), provider.address).await;
    let idle = resident(cachalot.pid);
    let target = |name, address: SocketAddr, pid| Arc::new(Target { name, url: format!("http://{address}/v1/chat/completions"), pid });
    let targets = [
        target("direct", provider.address, None),
        target("floor", floor.address, Some(floor.pid)),
        target("cachalot", cachalot.address, Some(cachalot.pid)),
    ];
    let client = Client::builder().no_proxy().pool_max_idle_per_host(512).build().expect("a client");
    let load = Arc::new(Load { client, key });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, shared by client, provider and proxies; medians of {ROUNDS} rounds in turn\n");
    println!("| | direct | floor | cachalot | cachalot beside the floor |\n|---|---:|---:|---:|---:|");
    let line = |what: &str, values: &[f64], unit: &str, factor: bool| {
        let beside = if factor { format!("{:.2} x", values[2] / values[1]) } else { format!("{:+.3} {unit}", values[2] - values[1]) };
        let shown = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.3} {unit}") };
        println!("| {what} | {} | {} | {} | {beside} |", shown(values[0]), shown(values[1]), shown(values[2]));
    };

    let small = body(json!({"max_tokens": 20}), "Say hi");
    for target in &targets {
        load.whole(target, &small, 32, 2000).await;
    }
    let spent = async |target: &Arc<Target>, work: std::pin::Pin<Box<dyn Future<Output = usize> + '_>>| {
        let before = target.pid.map(cpu);
        let units = work.await;
        before.zip(target.pid).map_or(f64::NAN, |(before, pid)| (cpu(pid) - before) * 1e6 / units as f64)
    };
    let values = rounds(&targets, async |target| {
        spent(target, Box::pin(async { load.whole(target, &small, 32, 4000).await.len() })).await
    });
    line("CPU a request, 32 connections", &values.await, "µs", true);
    let bare = start(&["bare", &provider.address.to_string()]).await;
    let on_hyper = [targets[1].clone(), target("bare", bare.address, Some(bare.pid)), targets[2].clone()];
    for target in &on_hyper {
        load.whole(target, &small, 32, 2000).await;
    }
    let values = rounds(&on_hyper, async |target| {
        spent(target, Box::pin(async { load.whole(target, &small, 32, 4000).await.len() })).await
    });
    let bare = values.await[1];
    let values = rounds(&targets, async |target| median(load.whole(target, &small, 1, 1000).await) * 1e3);
    line("p50, one connection", &values.await, "ms", false);
    let large = body(json!({"max_tokens": 20}), &"x".repeat(1 << 20));
    let values = rounds(&targets, async |target| median(load.whole(target, &large, 1, 60).await) * 1e3);
    line("p50, a body of 1 MB", &values.await, "ms", true);
    let values = rounds(&targets, async |target| {
        spent(target, Box::pin(async { load.whole(target, &large, 1, 100).await.len() })).await
    });
    line("CPU a request with a body of 1 MB", &values.await, "µs", true);
    let one = body(json!({"stream": true, "max_tokens": 4}), "Say hi");
    let values = rounds(&targets, async |target| {
        let mut times = Vec::new();
        for _ in 0..300 {
            times.extend(load.streams(target, &one, 1).await.0);
        }
        median(times) * 1e3
    });
    line("time to first token, reused connection", &values.await, "ms", false);
    let long = body(json!({"stream": true, "max_tokens": 500, "seed": 2000}), "Say hi");
    let values = rounds(&targets, async |target| {
        spent(target, Box::pin(async {
            let (_, chunks) = load.streams(target, &long, 32).await;
            assert_eq!(chunks, 32 * 500, "{}: chunks are missing", target.name);
            chunks
        }))
        .await
    });
    line("CPU a passed chunk, 32 streams", &values.await, "µs", true);
    let url = format!("http://{}/v1beta/models/m:streamGenerateContent?alt=sse", cachalot.address);
    let gemini = Arc::new(Target { name: "cachalot", url, pid: Some(cachalot.pid) });
    let long = converted(500, 2000);
    let mut values = Vec::new();
    for _ in 0..ROUNDS {
        values.push(spent(&gemini, Box::pin(async {
            let (_, chunks) = load.streams(&gemini, &long, 32).await;
            assert_eq!(chunks, 32 * 500, "chunks are missing");
            chunks
        }))
        .await);
    }
    println!("| CPU a converted chunk, 32 streams | - | - | {:.3} µs | |", median(values));

    let paced = body(json!({"stream": true, "max_tokens": 100, "seed": 20000}), "Say hi");
    let (_, chunks) = load.streams(&targets[2], &paced, 256).await;
    println!("\nCPU a request of the floor on hyper's own client: {bare:.3} µs");
    println!("256 paced streams of 100 chunks through cachalot: {chunks} of 25600 arrived");
    println!("resident: {idle:.1} MiB when idle after the start, {:.1} MiB now", resident(cachalot.pid));
}
