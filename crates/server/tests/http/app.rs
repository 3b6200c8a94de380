//! Starts a server for one test.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use gateway::{Accounting, Gateway, Prices, Router};
use serde_json::{Value, json};
use server::{KeyConfig, ServeError, ServerConfig};
use store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::check::Profile;
use crate::client::{Request, Response};
use crate::scripted_provider::{ScriptStep, ScriptedProvider};

pub(crate) const KEY: &str = "sk-test-0000000000000001";

/// A running server. Dropping it stops the server.
pub(crate) struct TestApp {
    pub(crate) addr: SocketAddr,
    pub(crate) provider: Arc<ScriptedProvider>,
    /// The store of a server that was started with one.
    pub(crate) store: Option<Store>,
    _folder: Option<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    /// The number of answers that still run when the server has ended.
    serving: JoinHandle<Result<usize, ServeError>>,
}

/// The provider and the configuration of a server to be started.
pub(crate) struct TestAppBuilder {
    pub(crate) provider: ScriptedProvider,
    pub(crate) config: ServerConfig,
}

impl TestAppBuilder {
    /// The setting of the conformance cases: one key, and requests validated as
    /// DeepSeek's service does.
    pub(crate) fn deepseek_profile() -> Self {
        let keys = vec![KeyConfig::new("alice", KEY)].into();
        let config = ServerConfig { keys, system_fingerprint: "fp_0123456789".into(), ..ServerConfig::default() };
        Self { provider: ScriptedProvider::new(Profile::DeepSeek), config }
    }

    /// The same, with requests validated leniently.
    pub(crate) fn lenient_profile() -> Self {
        Self::deepseek_profile().provider(|provider| provider.limits.profile = Profile::Lenient)
    }

    /// The same on a server without keys.
    pub(crate) fn without_keys() -> Self {
        Self::deepseek_profile().config(|config| config.keys = Default::default())
    }

    pub(crate) fn script(mut self, steps: impl IntoIterator<Item = ScriptStep>) -> Self {
        self.provider.script = steps.into_iter().collect();
        self
    }

    pub(crate) fn config(mut self, set: impl FnOnce(&mut ServerConfig)) -> Self {
        set(&mut self.config);
        self
    }

    pub(crate) fn provider(mut self, set: impl FnOnce(&mut ScriptedProvider)) -> Self {
        set(&mut self.provider);
        self
    }

    /// Starts the server with a store in a new folder.
    pub(crate) async fn start_with_store(self) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("cachalot.db").display())).await.unwrap();
        let mut app = self.start_on(store).await;
        app._folder = Some(folder);
        app
    }

    /// Starts the server with this store, which another server may use too.
    pub(crate) async fn start_on(self, store: Store) -> TestApp {
        let journal = tempfile::tempdir().unwrap();
        let opened = Accounting::open(store.clone(), journal.path(), Prices::default(), None).await.unwrap();
        // The tasks run until the test ends.
        std::mem::forget(opened.1);
        let mut app = self.start_with(opened.0).await;
        app.store = Some(store);
        app
    }

    pub(crate) async fn start(self) -> TestApp {
        self.start_with(Arc::default()).await
    }

    async fn start_with(self, accounting: Arc<Accounting>) -> TestApp {
        captured_logs();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let provider = Arc::new(self.provider);
        let gateway =
            Arc::new(Gateway::new(Router::for_local_model(provider.clone(), "org/Minnow", false), accounting));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            // A test that ends without stopping its server drops the sender, which stops it too.
            let _ = stopped.await;
        };
        let running = provider.running.clone();
        let serving = tokio::spawn(async move {
            server::serve(listener, gateway, self.config, shutdown).await?;
            Ok(running.load(Ordering::SeqCst))
        });
        TestApp { addr, provider, store: None, _folder: None, stop: Some(stop), serving }
    }
}

impl TestApp {
    pub(crate) fn request(&self, method: &'static str, path: &str) -> Request {
        Request::new(self.addr, method, path).header("authorization", &format!("Bearer {KEY}"))
    }

    pub(crate) fn post(&self, body: Value) -> Request {
        self.request("POST", "/chat/completions").json(body)
    }

    /// Sends a chat and asserts that it is refused with 400 and this text; a text that ends in
    /// `…` is a prefix.
    pub(crate) async fn assert_refused(&self, body: Value, text: &str) {
        let response = self.post(body.clone()).send().await;
        assert_eq!(response.status, 400, "{body}");
        let message = response.message();
        match text.strip_suffix('…') {
            Some(prefix) => assert!(message.starts_with(prefix), "{body}: {message}"),
            None => assert_eq!(message, text, "{body}"),
        }
        let mut json = response.json();
        json["error"]["message"] = Value::Null;
        let kind = "invalid_request_error";
        assert_eq!(json, json!({"error": {"message": null, "type": kind, "param": null, "code": kind}}));
    }

    /// Sends a chat and asserts that it is answered with 200.
    pub(crate) async fn assert_answered(&self, body: Value) -> Response {
        let response = self.post(body.clone()).send().await;
        assert_eq!(response.status, 200, "{body}: {}", response.text());
        response
    }

    /// Waits until the provider runs no answer, for at most a second. Returns whether it does not.
    pub(crate) async fn wait_until_idle(&self) -> bool {
        for _ in 0..100 {
            if self.provider.running.load(Ordering::SeqCst) == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Starts the shutdown of the server.
    pub(crate) fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("the server runs");
    }

    /// Waits for `serve` to return, and asserts that no answer outlives it.
    pub(crate) async fn join(self) {
        let Self { serving, stop, .. } = self;
        drop(stop);
        let ended = tokio::time::timeout(Duration::from_secs(10), serving).await.expect("the server ends");
        assert_eq!(ended.unwrap().unwrap(), 0, "answers still run");
    }
}

/// A short chat request with the fields of `more`.
pub(crate) fn chat_request(more: Value) -> Value {
    let mut body = json!({"model": "deepseek-chat", "messages": [{"role": "user", "content": "Say hi"}]});
    for (key, value) in more.as_object().expect("more fields") {
        body[key] = value.clone();
    }
    body
}

/// Everything logged by this process so far, at every level.
pub(crate) fn captured_logs() -> CapturedLogs {
    static LOGS: OnceLock<CapturedLogs> = OnceLock::new();
    LOGS.get_or_init(|| {
        let logs = CapturedLogs::default();
        let writer = logs.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        logs
    })
    .clone()
}

#[derive(Clone, Default)]
pub(crate) struct CapturedLogs(Arc<Mutex<Vec<u8>>>);

impl CapturedLogs {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for CapturedLogs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
