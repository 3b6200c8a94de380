//! [`TestApp`]: `cachalot serve` on a loopback port, inside the test process. The model is the
//! fixture unless the switches name another.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server and an HTTP client.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    server_task: JoinHandle<anyhow::Result<()>>,
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: cachalot::commands::serve::Args,
}

impl TestApp {
    /// Starts a server with these switches.
    pub(crate) async fn start(switches: &[&str]) -> Self {
        Self::start_with_config(switches, |_| ()).await
    }

    /// Starts a server with these switches and a configuration that `set` changes.
    pub(crate) async fn start_with_config(switches: &[&str], set: impl FnOnce(&mut cachalot::config::Config)) -> Self {
        crate::secrets::capture_log();
        let model: &[&str] = if switches.contains(&"--model") { &[] } else { &["--model", "fixture"] };
        let cli = Cli::parse_from(["cachalot"].iter().chain(model).chain(switches));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut config = cachalot::config::Config::default();
        // Tests leave nothing behind, unless they name a folder.
        config.cache.disk = false;
        config.store.url = Some("off".into());
        config.aliases.insert("gpt-4o-mini".into(), "deepseek-chat".into());
        set(&mut config);
        let config = config.with_switches(cli.args.switches());
        cachalot::install_tls_provider();
        let served = tokio::spawn(async move {
            cachalot::commands::serve::serve(&cli.args, &config, listener, async {
                // A dropped sender stops the server as well.
                let _ = stopped.await;
            })
            .await
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let app = Self { address, client, stop: Some(stop), server_task: served };
        for _ in 0..600 {
            if app.get("/readyz").await.contains("ok") {
                return app;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server is not ready after 30 s");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.client.get(self.url(path)).send().await.unwrap().text().await.unwrap()
    }

    /// The value of a metric; 0 before it is first set.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await;
        let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) async fn post(&self, body: &Value) -> reqwest::Response {
        self.client.post(self.url("/v1/chat/completions")).json(body).send().await.unwrap()
    }

    /// The JSON reply to a request. Panics unless the status is 200.
    pub(crate) async fn reply(&self, body: Value) -> Value {
        let response = self.post(&body).await;
        let (status, reply) = (response.status(), response.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{reply}");
        reply
    }

    /// The data of every event of a stream. Panics unless the status is 200.
    pub(crate) async fn stream(&self, mut body: Value) -> Vec<String> {
        body["stream"] = json!(true);
        let response = self.post(&body).await;
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    /// Stops the server, waits until it has ended, and checks its log and metrics for secrets.
    pub(crate) async fn stop(mut self) {
        let metrics = self.get("/metrics").await;
        if let Some(stop) = self.stop.take() {
            // The server may have ended by itself. Its result is checked below.
            let _ = stop.send(());
        }
        self.server_task.await.unwrap().unwrap();
        crate::secrets::assert_no_secrets(&metrics);
    }
}

/// Reasoning and content of a stream.
pub(crate) fn stream_text(events: &[String]) -> (String, String) {
    let (mut reasoning, mut content) = (String::new(), String::new());
    for event in events.iter().filter(|event| *event != "[DONE]") {
        let event: Value = serde_json::from_str(event).unwrap();
        let delta = &event["choices"][0]["delta"];
        reasoning.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        content.push_str(delta["content"].as_str().unwrap_or_default());
    }
    (reasoning, content)
}
