//! Images, sound, and tasks that run elsewhere, with what they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse, ReceivedRequest};

use crate::app::TestApp;
use crate::commands::stdout;

/// A service with everything that is no text. Its tasks fail while `fails` is set.
async fn fake_task_provider(fails: Arc<AtomicBool>) -> FakeUpstream {
    FakeUpstream::start(move |asked: &ReceivedRequest| {
        let status = |good: &str, bad: &str| if fails.load(Ordering::SeqCst) { bad.to_owned() } else { good.to_owned() };
        let mj = |id: &str| json!({"id": id, "status": status("SUCCESS", "FAILURE"), "progress": "100%", "imageUrl": "x", "buttons": []});
        let song = |id: &str| json!({"task_id": id, "action": "MUSIC", "status": status("SUCCESS", "FAILURE"), "data": []});
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/v1/images/generations") => FakeResponse::json(200, json!({"created": 1, "data": [{"url": "https://x/1.png"}]})),
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
            ("POST", "/mj-fast/mj/submit/imagine" | "/mj/submit/imagine" | "/mj-fast/submit/imagine") if asked.json()["prompt"] == "banned" => {
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

struct TaskApp {
    app: TestApp,
    folder: TempDir,
    alice: String,
    bob: String,
}

const PRICES: &str = "
    [[price]]\nprovider='own'\nmodel='paint'\nsource='s'\ndate='d'\nper_call=0.04\n
    [[price]]\nprovider='own'\nmodel='voice'\nsource='s'\ndate='d'\nper_call=0.01\n
    [[price]]\nprovider='own'\nmodel='sora-2'\nsource='s'\ndate='d'\nper_second=0.1\n
    [[price]]\nprovider='midjourney'\nmodel='*'\nsource='s'\ndate='d'\nper_call=0.08\n
    [[price]]\nprovider='suno'\nmodel='*'\nsource='s'\ndate='d'\nper_call=0.02\n";

impl TaskApp {
    /// Two projects with a key each, which may spend a dollar.
    async fn start(service: &FakeUpstream) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prices = folder.path().join("prices.toml");
        std::fs::write(&prices, PRICES).unwrap();
        let root = format!("http://{}", service.address);
        let providers = format!(
            "[[providers]]\nname='own'\nbase_url='{root}/v1'\ndialect='openai'\nprivate=true\nmodels=['paint','voice','sora-2']\n
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
        // Two of the providers are given this as their key.
        crate::secrets::register_secret(&std::env::var("PATH").unwrap());
        let journal = folder.path().join("journal");
        let app = TestApp::start_with_config(&["--store", &store], |config| {
            config.store.journal = Some(journal);
            config.gateway.prices = Some(prices);
            config.providers = providers;
        })
        .await;
        let server = Self { app, folder, alice, bob };
        // Models are found a moment after the start.
        for _ in 0..100 {
            let models = server.get(&server.alice, "/v1/models").await.1.to_string();
            if ["mj_imagine", "suno_music"].iter().all(|model| models.contains(model)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    async fn request(&self, key: &str, request: reqwest::RequestBuilder) -> (u16, String, Vec<u8>) {
        let response = request.bearer_auth(key).send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), kind, response.bytes().await.unwrap().to_vec())
    }

    async fn post(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, bytes) = self.request(key, self.app.client.post(self.app.url(path)).json(&body)).await;
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn get(&self, key: &str, path: &str) -> (u16, Value) {
        let (status, _, bytes) = self.request(key, self.app.client.get(self.app.url(path))).await;
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// What the key has left, in US dollars; asked for until it is so much.
    async fn wait_for_balance(&self, key: &str, left: &str) {
        let mut last = Value::Null;
        for _ in 0..60 {
            last = self.get(key, "/user/balance").await.1["balance_infos"][0]["total_balance"].clone();
            if last == left {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{last} is left, not {left}");
    }

    async fn stop_and_report(self) -> String {
        self.app.stop().await;
        let store = format!("sqlite:{}", self.folder.path().join("cachalot.db").display());
        stdout(&["usage", "--by", "model", "--store", &store])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_sound_pass_and_are_paid_by_the_piece() {
    let service = fake_task_provider(Arc::default()).await;
    let server = TaskApp::start(&service).await;
    let TaskApp { app, alice, .. } = &server;
    let (status, image) =
        server.post(alice, "/v1/images/generations", json!({"model": "own/paint", "prompt": "a whale", "n": 3})).await;
    assert_eq!((status, &image["data"][0]["url"]), (200, &json!("https://x/1.png")));
    assert_eq!(service.requests().last().unwrap().json()["model"], "paint");
    server.wait_for_balance(alice, "0.88").await;

    let form = |model: &str| {
        Form::new()
            .text("model", model.to_owned())
            .text("prompt", "x")
            .part("image", Part::bytes(vec![1; 2000]).file_name("a.png"))
    };
    let edit = app.client.post(app.url("/v1/images/edits")).multipart(form("own/paint"));
    let (status, _, _) = server.request(alice, edit).await;
    let asked = service.requests().pop().unwrap();
    let text = String::from_utf8_lossy(&asked.body).into_owned();
    assert!(status == 200 && text.contains("\r\n\r\npaint\r\n") && asked.body.len() > 2000, "{text}");
    assert!(asked.header("content-type").unwrap().starts_with("multipart/form-data; boundary="));
    server.wait_for_balance(alice, "0.84").await;

    let speak =
        app.client.post(app.url("/v1/audio/speech")).json(&json!({"model": "voice", "input": "hi", "voice": "low"}));
    let (status, kind, bytes) = server.request(alice, speak).await;
    assert_eq!((status, kind.as_str(), bytes), (200, "audio/mpeg", b"ID3\n\n\x00\xff\n\n".to_vec()));
    server.wait_for_balance(alice, "0.83").await;

    let form = Form::new()
        .text("model", "voice")
        .text("response_format", "srt")
        .part("file", Part::bytes(vec![1; 9]).file_name("a.wav"));
    let (status, kind, bytes) =
        server.request(alice, app.client.post(app.url("/v1/audio/transcriptions")).multipart(form)).await;
    assert_eq!((status, kind.as_str(), bytes), (200, "text/plain", b"1\n00:00 whale song\n".to_vec()));

    for (path, body, word) in [
        ("/v1/images/generations", json!({"prompt": "x"}), "missing field `model`"),
        ("/v1/images/generations", json!({"model": "nobody", "prompt": "x"}), "Model Not Exist"),
        (
            "/images/generations",
            json!({"model": "deepseek-chat", "prompt": "x"}),
            "Model 'deepseek-chat' does not support image generation",
        ),
        ("/v1/audio/speech", json!({"model": "mj_imagine", "input": "x"}), "does not support speech"),
        (
            "/v1/chat/completions",
            json!({"model": "mj_imagine", "messages": [{"role": "user", "content": "x"}]}),
            "does not chat",
        ),
    ] {
        let (status, refused) = server.post(alice, path, body).await;
        assert!(status == 400 && refused["error"]["message"].as_str().unwrap().contains(word), "{path}: {refused}");
    }
    let (status, refused) = server.post(alice, "/v1/audio/transcriptions", json!({"model": "voice"})).await;
    assert!(status == 415 && refused.to_string().contains("multipart/form-data"), "{refused}");
    let usage = server.stop_and_report().await;
    assert!(usage.contains("paint") && usage.contains("voice"), "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_an_owner_is_paid_once_and_given_back_when_it_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let service = fake_task_provider(fails.clone()).await;
    let server = TaskApp::start(&service).await;
    let TaskApp { app, alice, bob, .. } = &server;

    let (status, refused) = server.post(alice, "/mj/submit/imagine", json!({"prompt": "banned"})).await;
    assert_eq!((status, &refused["code"]), (200, &json!(24)));
    server.wait_for_balance(alice, "1.00").await;
    let (status, submitted) =
        server.post(alice, "/mj-fast/submit/imagine", json!({"prompt": "a whale", "odd": [1]})).await;
    let mj = submitted["result"].as_str().unwrap().to_owned();
    assert!(status == 200 && mj.len() == 19 && mj.bytes().all(|byte| byte.is_ascii_digit()), "{submitted}");
    assert_eq!(service.requests().last().unwrap().json(), json!({"prompt": "a whale", "odd": [1]}));
    server.wait_for_balance(alice, "0.92").await;
    for path in [format!("/mj/task/{mj}/fetch"), format!("/mj/image/{mj}")] {
        assert_eq!(server.get(bob, &path).await.1["error"]["code"], "task_not_found");
        assert_eq!(server.get(alice, &path).await.0, 200);
    }
    assert_eq!(server.get(alice, &format!("/mj/task/{mj}/fetch")).await.1["id"], mj.as_str());
    for id in ["nobody", "..%2f..%2fkeys", "a%20b"] {
        assert_eq!(server.get(alice, &format!("/mj/task/{id}/fetch")).await.0, 404);
    }
    let list = json!({"ids": [mj, "other"]});
    assert_eq!(server.post(alice, "/mj/task/list-by-condition", list.clone()).await.1.as_array().unwrap().len(), 1);
    assert_eq!(server.post(bob, "/mj/task/list-by-condition", list).await.1, json!([]));
    // A picture goes on from another only for its owner.
    let action = json!({"taskId": mj, "customId": "U1"});
    assert_eq!(server.post(bob, "/mj/submit/action", action.clone()).await.0, 404);
    assert_eq!(server.post(alice, "/mj/submit/action", action).await.0, 200);
    server.wait_for_balance(alice, "0.84").await;

    let submitted =
        server.post(alice, "/suno/submit/music", json!({"gpt_description_prompt": "x", "mv": "chirp-v4"})).await.1;
    let song = submitted["data"].as_str().unwrap().to_owned();
    assert_eq!(song.len(), 36, "{submitted}");
    server.wait_for_balance(alice, "0.82").await;
    // It fails, which is heard of twice and given back once.
    fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(server.get(alice, &format!("/suno/fetch/{song}")).await.1["data"]["status"], "FAILURE");
        assert_eq!(
            server.post(alice, "/suno/fetch", json!({"ids": [song], "action": "MUSIC"})).await.1["data"][0]["task_id"],
            song.as_str()
        );
    }
    server.wait_for_balance(alice, "0.84").await;

    let (status, video) =
        server.post(alice, "/v1/videos", json!({"model": "own/sora-2", "prompt": "a whale", "seconds": "8"})).await;
    let film = video["id"].as_str().unwrap().to_owned();
    assert!(status == 200 && film.starts_with("video_") && film.len() == 38, "{video}");
    assert_eq!(service.requests().last().unwrap().json()["model"], "sora-2");
    server.wait_for_balance(alice, "0.04").await;
    let poor = server.post(alice, &format!("/v1/videos/{film}/remix"), json!({"prompt": "more"})).await;
    assert_eq!(poor.0, 402, "a price that is known before has to be there");
    let content =
        server.request(alice, app.client.get(app.url(&format!("/v1/videos/{film}/content?variant=video")))).await;
    assert_eq!(content, (200, "video/mp4".into(), vec![0, 0, 0, 24]));
    assert_eq!(server.get(bob, &format!("/v1/videos/{film}")).await.0, 404);
    assert_eq!(server.post(bob, "/v1/videos", json!({"model": "deepseek-chat", "prompt": "x"})).await.0, 400);

    for (path, status) in [("/mj/submit/paint", 404), ("/suno/submit/noise", 404)] {
        assert_eq!(server.post(alice, path, json!({})).await.0, status);
    }
    let secret =
        app.client.get(app.url(&format!("/mj/task/{mj}/fetch"))).header("mj-api-secret", alice).send().await.unwrap();
    assert_eq!(secret.status(), 200);
    let usage = server.stop_and_report().await;
    assert!(usage.contains("suno_music"), "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_their_providers_tasks_are_refused_as_documented() {
    let app = TestApp::start(&[]).await;
    let post = async |path: &str, body: Value| {
        let response = app.client.post(app.url(path)).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, refused) = post("/mj/submit/imagine", json!({"prompt": "x"})).await;
    let want =
        json!({"code": 4, "description": "No Midjourney provider is configured", "result": null, "properties": {}});
    assert_eq!((status, refused), (200, want));
    let (status, refused) = post("/suno/submit/music", json!({"prompt": "x"})).await;
    assert_eq!((status, &refused["error"]["message"]), (400, &json!("Model Not Exist")));
    let (status, refused) = post("/v1/videos", json!({"model": "sora-2", "prompt": "x"})).await;
    assert_eq!((status, &refused["error"]["message"]), (400, &json!("Model Not Exist")));
    app.stop().await;
}

/// A service that calls every task the same, and tells what it was asked.
async fn fake_with_colliding_ids() -> FakeUpstream {
    FakeUpstream::start(|asked: &ReceivedRequest| {
        let path = asked.path.as_str();
        match (asked.method.as_str(), path) {
            ("POST", "/mj/submit/imagine" | "/mj/submit/action" | "/mj/submit/modal") => FakeResponse::json(
                200,
                json!({"code": 1, "description": "ok", "result": "task-0001", "properties": {}}),
            ),
            ("GET", "/mj/task/task-0001/fetch") => FakeResponse::json(
                200,
                json!({"id": "task-0001", "status": "SUCCESS", "imageUrl": "https://cdn.example/task-0001.png",
                    "buttons": [{"customId": "MJ::JOB::upsample::task-0001::1"}]}),
            ),
            ("POST", "/mj/task/list-by-condition") => {
                FakeResponse::json(200, json!([{"id": "task-0001", "status": "SUCCESS"}]))
            }
            ("POST", "/suno/submit/music") => {
                FakeResponse::json(200, json!({"code": "success", "message": "", "data": "song-1"}))
            }
            ("GET", "/suno/fetch/song-1") => {
                FakeResponse::json(200, json!({"code": "success", "data": {"task_id": "song-1", "status": "SUCCESS"}}))
            }
            ("POST", "/v1/videos") => FakeResponse::json(200, json!({"id": "video_1", "status": "queued"})),
            ("POST", "/v1/videos/video_1/remix") => FakeResponse::json(
                200,
                json!({"id": "video_1", "status": "queued", "remixed_from_video_id": "video_1"}),
            ),
            ("GET", "/v1/videos/video_1") => FakeResponse::json(200, json!({"id": "video_1", "status": "completed"})),
            (method, path) => FakeResponse::json(404, json!({"error": {"message": format!("no {method} {path}")}})),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_a_provider_calls_the_same_stay_with_those_who_submitted_them() {
    let service = fake_with_colliding_ids().await;
    let server = TaskApp::start(&service).await;
    let TaskApp { alice, bob, .. } = &server;
    for (path, body, id, follow) in [
        ("/mj/submit/imagine", json!({"prompt": "x"}), "result", "/mj/task/ID/fetch"),
        ("/suno/submit/music", json!({"prompt": "x"}), "data", "/suno/fetch/ID"),
        ("/v1/videos", json!({"model": "sora-2", "prompt": "x", "seconds": "1"}), "id", "/v1/videos/ID"),
    ] {
        let mut ids = Vec::new();
        for key in [alice, bob, alice] {
            let (status, submitted) = server.post(key, path, body.clone()).await;
            assert_eq!(status, 200, "{submitted}");
            ids.push(submitted[id].as_str().unwrap().to_owned());
        }
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        for (key, id, status) in [(alice, 0, 200), (bob, 1, 200), (alice, 2, 200), (bob, 0, 404), (alice, 1, 404)] {
            let (got, task) = server.get(key, &follow.replace("ID", &ids[id])).await;
            assert_eq!(got, status, "{path} {task}");
            let text = task.to_string();
            assert!(status == 404 || text.contains(&ids[id]), "{text}");
            assert!(!text.contains("song-1") && !text.contains("video_1\""), "{text}");
        }
    }
    // Where ids stand in other things, they lead to the provider as its own.
    let mj = server.post(alice, "/mj/submit/imagine", json!({"prompt": "x"})).await.1["result"].clone();
    let task = server.get(alice, &format!("/mj/task/{}/fetch", mj.as_str().unwrap())).await.1;
    let custom = task["buttons"][0]["customId"].clone();
    assert!(custom.as_str().unwrap().contains(mj.as_str().unwrap()), "{task}");
    assert_eq!(task["imageUrl"], "https://cdn.example/task-0001.png");
    server.post(alice, "/mj/submit/action", json!({"taskId": mj, "customId": custom, "odd": [1]})).await;
    let want = json!({"taskId": "task-0001", "customId": "MJ::JOB::upsample::task-0001::1", "odd": [1]});
    assert_eq!(service.requests().last().unwrap().json(), want);
    // Also where an id is written as a number.
    let number: u64 = mj.as_str().unwrap().parse().unwrap();
    assert_eq!(server.post(alice, "/mj/submit/modal", json!({"taskId": number})).await.0, 200);
    assert_eq!(service.requests().last().unwrap().json(), json!({"taskId": "task-0001"}));
    assert_eq!(server.post(bob, "/mj/submit/modal", json!({"taskId": number})).await.0, 404);
    let listed = server.post(alice, "/mj/task/list-by-condition", json!({"ids": [mj, "nobody"]})).await.1;
    assert_eq!(listed, json!([{"id": mj, "status": "SUCCESS"}]));
    assert_eq!(service.requests().last().unwrap().json()["ids"], json!(["task-0001"]));
    // Callbacks come from the provider itself: its id is good for the owner alone.
    assert_eq!(server.get(alice, "/mj/task/task-0001/fetch").await.0, 200);
    assert_eq!(server.get(bob, "/suno/fetch/song-1").await.0, 200);
    let video = server.post(alice, "/v1/videos", json!({"model": "sora-2", "prompt": "x", "seconds": "1"})).await.1;
    let path = format!("/v1/videos/{}/remix", video["id"].as_str().unwrap());
    let remix = server.post(alice, &path, json!({"prompt": "more", "seconds": "1"})).await.1;
    assert!(remix["id"] != video["id"] && remix["id"].as_str().unwrap().len() == 38, "{remix}");
    server.stop_and_report().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_answer_that_is_none_costs_nothing() {
    for (kind, body) in [
        ("text/html", "<html>It works!</html>"),
        ("application/json", "<html>It works!</html>"),
        ("application/json", ""),
        ("application/json", "[]"),
        ("application/json", "{\"status\":\"ok\"}"),
        ("application/json", "{\"code\":1,\"result\":null}"),
        ("application/json", "{\"code\":\"success\",\"data\":\"../x\"}"),
    ] {
        let fake = FakeUpstream::start(move |_| FakeResponse {
            status: 200,
            headers: vec![("content-type".into(), kind.into())],
            steps: if body.is_empty() { vec![] } else { vec![BodyStep::Send(body.as_bytes().to_vec())] },
        });
        let fake = fake.await;
        let server = TaskApp::start(&fake).await;
        for (path, request) in [
            ("/mj/submit/imagine", json!({"prompt": "x"})),
            ("/suno/submit/music", json!({"prompt": "x"})),
            ("/v1/videos", json!({"model": "sora-2", "prompt": "x", "seconds": "1"})),
        ] {
            // What another family would answer is not this one's.
            let (status, answer) = server.post(&server.alice, path, request).await;
            assert!(status == 502 && !answer.to_string().contains("It works"), "{path} {body}: {status} {answer}");
        }
        server.wait_for_balance(&server.alice, "1.00").await;
        server.stop_and_report().await;
    }
}
