//! [`TaskApp`]: a server whose providers offer images, audio and asynchronous tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse, ReceivedRequest};

use crate::app::TestApp;
use crate::commands::stdout;

/// A provider of images, audio, Midjourney, Suno and videos. Its tasks fail while `fails` is set.
pub(crate) async fn fake_task_provider(fails: Arc<AtomicBool>) -> FakeUpstream {
    FakeUpstream::start(move |request: &ReceivedRequest| {
        let status = |good: &str, bad: &str| if fails.load(Ordering::SeqCst) { bad.to_owned() } else { good.to_owned() };
        let mj = |id: &str| json!({"id": id, "status": status("SUCCESS", "FAILURE"), "progress": "100%", "imageUrl": "x", "buttons": []});
        let song = |id: &str| json!({"task_id": id, "action": "MUSIC", "status": status("SUCCESS", "FAILURE"), "data": []});
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/images/generations") => FakeResponse::json(200, json!({"created": 1, "data": [{"url": "https://x/1.png"}]})),
            ("POST", "/v1/moderations") => FakeResponse::json(200, json!({"id": "modr-1", "model": "guard", "results": [{"flagged": false}]})),
            ("POST", "/v1/rerank") => FakeResponse::json(200, json!({"results": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 9}})),
            ("POST", "/v1/images/edits") => FakeResponse::json(200, json!({"created": 1, "data": [], "usage": {"input_tokens": 7, "output_tokens": 5}})),
            ("POST", "/v1/audio/speech") => FakeResponse {
                status: 200,
                headers: vec![("content-type".into(), "audio/mpeg".into())],
                steps: vec![BodyStep::Send(b"ID3\n\n".to_vec()), BodyStep::Wait(Duration::from_millis(20)), BodyStep::Send(vec![0, 255, b'\n', b'\n'])],
            },
            ("POST", "/v1/audio/transcriptions") => FakeResponse {
                status: 200,
                headers: vec![("content-type".into(), "text/plain".into())],
                steps: vec![BodyStep::Send(b"1\n00:00 whale song\n".to_vec())],
            },
            ("POST", "/mj-fast/mj/submit/imagine" | "/mj/submit/imagine" | "/mj-fast/submit/imagine") if request.json()["prompt"] == "banned" => {
                FakeResponse::json(200, json!({"code": 24, "description": "banned words", "result": null, "properties": {}}))
            }
            ("POST", "/mj/submit/imagine" | "/mj-fast/submit/imagine" | "/mj/submit/action") => {
                FakeResponse::json(200, json!({"code": 1, "description": "ok", "result": "mj1", "properties": {}}))
            }
            ("GET", "/mj/task/mj1/fetch") => FakeResponse::json(200, mj("mj1")),
            ("POST", "/mj/task/list-by-condition") => FakeResponse::json(200, json!([mj("mj1"), mj("somebody-elses")])),
            ("GET", "/mj/image/mj1") => FakeResponse { status: 200, headers: vec![("content-type".into(), "image/png".into())], steps: vec![BodyStep::Send(vec![137, 80])] },
            ("POST", "/suno/submit/music") => FakeResponse::json(200, json!({"code": "success", "message": "", "data": "song-1"})),
            ("GET", "/suno/fetch/song-1") => FakeResponse::json(200, json!({"code": "success", "message": "", "data": song("song-1")})),
            ("POST", "/suno/fetch") => FakeResponse::json(200, json!({"code": "success", "message": "", "data": [song("song-1")]})),
            ("POST", "/v1/videos" | "/v1/videos/video_1/remix") => FakeResponse::json(200, json!({"id": "video_1", "object": "video", "model": "sora-2", "status": "queued"})),
            ("GET", "/v1/videos/video_1") => FakeResponse::json(200, json!({"id": "video_1", "status": status("completed", "failed")})),
            ("GET", "/v1/videos/video_1/content?variant=video") => FakeResponse { status: 200, headers: vec![("content-type".into(), "video/mp4".into())], steps: vec![BodyStep::Send(vec![0, 0, 0, 24])] },
            (method, path) => FakeResponse::json(404, json!({"error": {"message": format!("no {method} {path}")}})),
        }
    })
    .await
}

/// A server with the providers of tasks, and the keys of two projects.
pub(crate) struct TaskApp {
    pub(crate) app: TestApp,
    folder: TempDir,
    pub(crate) alice: String,
    pub(crate) bob: String,
}

const PRICES: &str = "
    [[price]]\nprovider='own'\nmodel='paint'\nsource='s'\ndate='d'\nper_call=0.04\n
    [[price]]\nprovider='own'\nmodel='voice'\nsource='s'\ndate='d'\nper_call=0.01\n
    [[price]]\nprovider='own'\nmodel='sora-2'\nsource='s'\ndate='d'\nper_second=0.1\n
    [[price]]\nprovider='own'\nmodel='writer'\nsource='s'\ndate='d'\noutput=10000\n
    [[price]]\nprovider='midjourney'\nmodel='*'\nsource='s'\ndate='d'\nper_call=0.08\n
    [[price]]\nprovider='suno'\nmodel='*'\nsource='s'\ndate='d'\nper_call=0.02\n";

impl TaskApp {
    /// Starts a server with two projects, each with a key that has a budget of one dollar.
    pub(crate) async fn start(service: &FakeUpstream) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prices = folder.path().join("prices.toml");
        std::fs::write(&prices, PRICES).unwrap();
        let root = format!("http://{}", service.address);
        let providers = format!(
            "[[providers]]\nname='own'\nbase_url='{root}/v1'\ndialect='openai'\nprivate=true\nmodels=['paint','voice','sora-2','writer']\n
             [[providers]]\nname='midjourney'\nbase_url='{root}'\nprivate=true\nkey_env='PATH'\n
             [[providers]]\nname='suno'\nbase_url='{root}'\nprivate=true\nkey_env='PATH'\n"
        );
        let providers = toml::from_str::<cachalot::config::Config>(&providers).unwrap().providers;
        let store = format!("sqlite:{}", folder.path().join("cachalot.db").display());
        let add = |name: &str| {
            stdout(&["project", "add", name, "--store", &store]);
            stdout(&["key", "add", name, "--project", name, "--budget", "1", "--store", &store]).trim().to_owned()
        };
        let (alice, bob) = (add("alice"), add("bob"));
        crate::secrets::register_secret(&alice);
        crate::secrets::register_secret(&bob);
        // Two of the providers get this as their API key.
        crate::secrets::register_secret(&std::env::var("PATH").unwrap());
        let journal = folder.path().join("journal");
        let app = TestApp::start_with_config(&["--store", &store], |config| {
            config.store.journal = Some(journal);
            config.gateway.prices = Some(prices);
            config.providers = providers;
        })
        .await;
        let server = Self { app, folder, alice, bob };
        // Models are discovered a moment after the start.
        for _ in 0..100 {
            let models = server.get(&server.alice, "/v1/models").await.1.to_string();
            if ["mj_imagine", "suno_music"].iter().all(|model| models.contains(model)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// Sends a request. Returns status, content type and body.
    pub(crate) async fn request(&self, key: &str, request: reqwest::RequestBuilder) -> (u16, String, Vec<u8>) {
        let response = request.bearer_auth(key).send().await.unwrap();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), content_type, response.bytes().await.unwrap().to_vec())
    }

    pub(crate) async fn post(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, bytes) = self.request(key, self.app.client.post(self.app.url(path)).json(&body)).await;
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> (u16, Value) {
        let (status, _, bytes) = self.request(key, self.app.client.get(self.app.url(path))).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Waits until the balance of a key is `expected` US dollars.
    pub(crate) async fn wait_for_balance(&self, key: &str, expected: &str) {
        let mut last = Value::Null;
        for _ in 0..60 {
            last = self.get(key, "/user/balance").await.1["balance_infos"][0]["total_balance"].clone();
            if last == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the balance is {last}, not {expected}");
    }

    /// Stops the server. Returns the usage by model.
    pub(crate) async fn stop_and_report(self) -> String {
        self.app.stop().await;
        let store = format!("sqlite:{}", self.folder.path().join("cachalot.db").display());
        stdout(&["usage", "--by", "model", "--store", &store])
    }
}
