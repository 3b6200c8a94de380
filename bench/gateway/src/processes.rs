//! The server processes of a measurement, their CPU time and memory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::Client;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// A server process, killed when it is dropped.
pub struct Process {
    _child: Child,
    pub pid: u32,
    pub address: SocketAddr,
}

/// Starts this program with `arguments`, one of the servers.
pub async fn start(arguments: &[&str]) -> Process {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let own = std::env::current_exe().expect("our own path");
    let mut child =
        Command::new(own).args(arguments).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = lines.next_line().await.expect("a line").expect("an address").parse().expect("an address");
    Process { pid: child.id().expect("it runs"), _child: child, address }
}

/// The program that `CACHALOT` names, else that of the profile `dist`.
pub fn binary() -> PathBuf {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/dist/cachalot");
    std::env::var_os("CACHALOT").map_or(default, PathBuf::from)
}

/// Starts cachalot with a store, prices and limits. Returns the process and a key.
pub async fn cachalot(binary: &Path, folder: &Path, upstream: SocketAddr) -> (Process, String) {
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
    let added = Command::new(binary)
        .args(["key", "add", "bench", "--config", config])
        .args(limits)
        .output()
        .await
        .expect("it runs");
    let key = String::from_utf8(added.stdout).expect("text").trim().to_owned();
    assert!(key.starts_with("sk-"), "{}", String::from_utf8_lossy(&added.stderr));
    let mut serve = Command::new(binary);
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
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a stat line").1.split_whitespace().collect();
    // Fields 14 and 15 of the line, in ticks of 10 ms.
    (fields[11].parse::<f64>().expect("ticks") + fields[12].parse::<f64>().expect("ticks")) / 100.0
}

/// CPU seconds of the threads that a process has now, in steps of nanoseconds.
pub fn thread_cpu_seconds(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let nanoseconds = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// Resident memory of a process in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a VmRSS line");
    line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
}
