//! The admin API of a running server.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};

use crate::app::TestApp;

/// A server with a configuration file, a store and an admin token.
pub(crate) struct AdminApp {
    pub(crate) app: TestApp,
    pub(crate) folder: TempDir,
    pub(crate) token: String,
}

impl AdminApp {
    /// Starts a server whose configuration file has this text.
    pub(crate) async fn start(file: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), file).await
    }

    /// Starts a server in a folder that may hold a database already.
    pub(crate) async fn start_in(folder: TempDir, file: &str) -> Self {
        let path = folder.path().join("cachalot.toml");
        std::fs::write(&path, file).unwrap();
        let mut from_file = cachalot::config::Config::load(Some(&path)).unwrap();
        from_file.cache.disk = false;
        from_file.store.journal = Some(folder.path().join("journal"));
        let store = format!("sqlite:{}", folder.path().join("cachalot.db").display());
        let app = TestApp::start_with_config(&["--store", &store], |config| *config = from_file).await;
        let token = std::fs::read_to_string(folder.path().join("admin-token")).unwrap().trim().to_owned();
        crate::secrets::register_secret(&token);
        Self { app, folder, token }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, key: &str, body: Value) -> (u16, Value) {
        let request = self.app.client.request(method, self.app.url(path)).bearer_auth(key).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path, &self.token, json!(null)).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) async fn call_ok(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, &self.token, body).await;
        assert!([200, 201].contains(&status), "{path}: {answer}");
        answer
    }

    /// Sends a request that is refused. Returns status and error message.
    pub(crate) async fn call_refused(&self, method: Method, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.call(method, path, &self.token, body).await;
        (status, answer["error"]["message"].as_str().expect("an error message").to_owned())
    }

    pub(crate) async fn chat(&self, key: &str, model: &str) -> (u16, Value) {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3});
        self.call(Method::POST, "/v1/chat/completions", key, body).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_projects_and_keys_are_made_changed_and_removed() {
    let server = AdminApp::start("").await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(server.folder.path().join("admin-token")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner can read it");
    }
    let me = server.get("/admin/me").await;
    assert_eq!((&me["name"], &me["role"], &me["session"]), (&json!("admin token"), &json!("admin"), &json!(null)));
    let features = json!({"store": true, "local_model": true, "traces": false});
    assert_eq!((&me["features"], &me["keys"]), (&features, &json!([])));
    server.call_ok(Method::POST, "/admin/users", json!({"name": "olga", "role": "viewer"})).await;
    server.call_ok(Method::POST, "/admin/projects", json!({"name": "team", "budget": "1.5"})).await;
    let made = server
        .call_ok(
            Method::POST,
            "/admin/keys",
            json!({"name": "olga's", "project": "team", "user": "olga", "budget": 0.25, "models": ["deepseek-chat"]}),
        )
        .await;
    let (key, id) = (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
    assert_eq!(
        (&made["budget"], &made["user"], &made["project"]),
        (&json!("0.250000000"), &json!("olga"), &json!("team"))
    );
    crate::secrets::register_secret(&key);
    // Changes are valid at once, not within a second.
    assert_eq!(server.chat(&key, "deepseek-chat").await.0, 200);
    assert_eq!(server.chat(&key, "deepseek-reasoner").await.0, 403);
    assert_eq!(server.chat(&server.token, "deepseek-chat").await.0, 403);
    assert_eq!(server.call(Method::GET, "/admin/keys", &key, json!(null)).await.0, 200, "a viewer reads");
    assert_eq!(server.call(Method::DELETE, "/admin/aliases/x", &key, json!(null)).await.0, 403, "and does not change");

    let path = format!("/admin/keys/{id}");
    let changed = server.call_ok(Method::PATCH, &path, json!({"models": null, "requests_per_minute": 1000})).await;
    assert_eq!((&changed["models"], &changed["budget"]), (&json!(null), &json!("0.250000000")));
    assert_eq!(server.chat(&key, "deepseek-reasoner").await.0, 200);
    server.call_ok(Method::PATCH, "/admin/users/olga", json!({"disabled": true})).await;
    assert_eq!(server.chat(&key, "deepseek-chat").await.0, 401);
    server.call_ok(Method::PATCH, "/admin/users/olga", json!({"disabled": false, "role": "member"})).await;
    assert_eq!(server.chat(&key, "deepseek-chat").await.0, 200);
    let (status, own) = server.call(Method::GET, "/admin/keys", &key, json!(null)).await;
    assert_eq!((status, &own["data"][0]["id"]), (200, &json!(id)), "a member sees its own keys");
    assert_eq!(server.call(Method::GET, "/admin/users", &key, json!(null)).await.0, 403);
    server.call_ok(Method::PATCH, "/admin/projects/team", json!({"budget": "0"})).await;
    assert_eq!(server.chat(&key, "deepseek-chat").await.0, 402);
    server.call_ok(Method::PATCH, "/admin/projects/team", json!({"budget": null})).await;
    // Usage records are committed in batches, a moment after their answers.
    let mut quota = Value::Null;
    for _ in 0..100 {
        let text = server.app.get(&format!("/user/quota?key={key}")).await;
        quota = serde_json::from_str(&text).unwrap();
        if quota["request_count"] != 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(
        quota["total_quota"] == -1 && quota["keys"][0]["name"] == "olga's" && quota["request_count"].as_i64() > Some(0),
        "{quota}"
    );
    server.call_ok(Method::DELETE, &path, json!(null)).await;
    assert_eq!(server.chat(&key, "deepseek-chat").await.0, 401);

    for (method, path, body, status, word) in [
        (Method::POST, "/admin/users", json!({"name": "olga", "role": "admin"}), 409, "already"),
        (Method::POST, "/admin/users", json!({"name": "x", "role": "king"}), 400, "king"),
        (Method::POST, "/admin/users", json!({"name": "", "role": "member"}), 400, "1 to 64"),
        (Method::POST, "/admin/users", json!({"name": "a\u{202e}b", "role": "member"}), 400, "1 to 64"),
        (Method::POST, "/admin/projects", json!({"name": "a\u{2066}b"}), 400, "1 to 64"),
        (Method::POST, "/admin/keys", json!({"name": "a\u{200f}b"}), 400, "1 to 64"),
        (Method::PUT, "/admin/providers/a%E2%80%AEb", json!({"row": "vllm"}), 400, "is shown"),
        (Method::PUT, "/admin/aliases/a%1B%5B1mb", json!("deepseek-chat"), 400, "1 to 256"),
        (Method::POST, "/admin/users", json!({"name": "a\u{202e}", "role": "member"}), 400, "1 to 64"),
        (Method::POST, "/admin/projects", json!({"name": "x".repeat(65)}), 400, "1 to 64"),
        (Method::POST, "/admin/keys", json!({"name": "a\u{1b}[31m"}), 400, "1 to 64"),
        (Method::POST, "/admin/keys", json!({"name": "x", "models": ["a\u{202e}"]}), 400, "models"),
        (Method::POST, "/admin/keys", json!({"name": "x", "expires_at": i64::MAX}), 400, "expires_at"),
        (Method::POST, "/admin/keys", json!({"name": "x", "expires_at": -1}), 400, "expires_at"),
        (Method::POST, "/admin/keys", json!({"name": "x", "expires_at": 1_700_000_000}), 400, "in the past"),
        (Method::POST, "/admin/keys", json!({"name": "x", "models": ["deepseek-chat", "orca"]}), 400, "`orca`"),
        (Method::POST, "/admin/keys", json!({"name": "x", "user": "nobody"}), 404, "nobody"),
        (Method::POST, "/admin/keys", json!({"name": "x", "bugdet": 5}), 400, "bugdet"),
        (Method::POST, "/admin/keys", json!({"name": "x", "budget": "five"}), 400, "five"),
        (Method::POST, "/admin/keys", json!({"name": "x", "networks": ["10.0.0.0/99"]}), 400, "10.0.0.0/99"),
        (Method::POST, "/admin/keys", json!({"name": "x", "concurrency": 0}), 400, "concurrency"),
        (Method::PATCH, "/admin/keys/nobody", json!({}), 404, "nobody"),
        (Method::PATCH, "/admin/projects/nobody", json!({"budget": 1}), 404, "nobody"),
        (Method::GET, "/admin/usage?by=mood", json!(null), 400, "mood"),
        (Method::GET, "/admin/records?limit=0", json!(null), 400, "limit"),
    ] {
        let (got, message) = server.call_refused(method.clone(), path, body).await;
        assert!(got == status && message.contains(word), "{method} {path}: {got} {message}");
    }
    let keys = server.get("/admin/keys").await;
    assert!(!keys.to_string().contains(&key) && keys["data"][0]["revoked_at"].is_i64(), "{keys}");
    // Usage records are committed in a moment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.get("/admin/usage?by=project").await["data"][0]["of"], "team");
    assert_eq!(server.get("/admin/usage?by=user").await["data"][0]["of"], "olga");
    assert!(server.get("/admin/records?limit=2").await["data"].as_array().unwrap().len() == 2);
    assert_eq!(server.get("/admin/openapi.json").await["openapi"], "3.1.0");
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_aliases_and_prices_change_while_streams_run() {
    let slow = FakeUpstream::start(|request| match request.path.as_str() {
        "/v1/models" => FakeResponse::json(200, json!({"data": [{"id": "whale"}]})),
        _ if request.json()["stream"] != true => FakeResponse::json(
            200,
            json!({"id": "up", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
        ),
        _ => {
            let mut answer = FakeResponse::chat_stream(&["one", "two", "three"], 5);
            let words = std::mem::take(&mut answer.steps).into_iter();
            answer.steps = words.flat_map(|piece| [BodyStep::Wait(Duration::from_millis(150)), piece]).collect();
            answer
        }
    })
    .await;
    let file = format!(
        "[[providers]]\nname = 'filed'\nbase_url = '{}'\ndialect = 'deepseek'\nprivate = true\nmodels = ['orca']\n[aliases]\ngpt-4o-mini = 'deepseek-chat'\n",
        slow.base_url()
    );
    let server = AdminApp::start(&file).await;
    let provider = json!({"base_url": slow.base_url(), "dialect": "deepseek", "private": true, "models": ["whale"]});
    server.call_ok(Method::PUT, "/admin/providers/added", provider.clone()).await;
    let listed = server.get("/admin/providers").await;
    let sources: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["name"].as_str(), entry["source"].as_str()))
        .collect();
    assert_eq!(sources, [(Some("filed"), Some("file")), (Some("added"), Some("store"))]);

    // A stream that begins under one configuration ends under the next.
    let body = json!({"model": "whale", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let streaming = server.app.client.post(server.app.url("/v1/chat/completions")).json(&body).send().await.unwrap();
    server.call_ok(Method::DELETE, "/admin/providers/added", json!(null)).await;
    assert_eq!(server.chat("", "whale").await.0, 400, "no provider offers it any more");
    let text = streaming.text().await.unwrap();
    assert!(text.contains("three") && text.contains("[DONE]") && !text.contains("error"), "{text}");

    // The provider's own list of models, and a price and an alias for one of them.
    let discovering = json!({"base_url": slow.base_url(), "dialect": "deepseek", "private": true});
    server.call_ok(Method::PUT, "/admin/providers/added", discovering).await;
    for _ in 0..40 {
        if server.chat("", "whale").await.0 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let price = json!({"source": "here", "date": "2026-01-01", "per_call": 2});
    server.call_ok(Method::PUT, "/admin/prices/added:whale", price).await;
    server.call_ok(Method::PUT, "/admin/aliases/big-fish", json!("whale")).await;
    assert_eq!(server.chat("", "big-fish").await.0, 200);
    let models = server.get("/admin/models").await;
    let alias = models["data"].as_array().unwrap().iter().find(|model| model["id"] == "big-fish").unwrap().clone();
    assert_eq!(
        (&alias["targets"][0]["price"], &alias["targets"][0]["works"]),
        (&json!("added/whale@2026-01-01"), &json!(true))
    );
    server.call_ok(Method::DELETE, "/admin/aliases/big-fish", json!(null)).await;
    assert_eq!(server.chat("", "big-fish").await.0, 400);

    for (method, path, body, status, word) in [
        (Method::PUT, "/admin/providers/filed", provider.clone(), 409, "configuration file"),
        (Method::DELETE, "/admin/providers/filed", json!(null), 409, "configuration file"),
        (Method::PUT, "/admin/providers/bad", json!({"dialect": "deepseek"}), 400, "base_url"),
        (
            Method::PUT,
            "/admin/providers/bad",
            json!({"base_url": "http://10.0.0.1", "dialect": "openai"}),
            400,
            "private",
        ),
        (Method::PUT, "/admin/providers/bad", json!({"key": "sk-secret"}), 400, "unknown field `key`"),
        (Method::PUT, "/admin/providers/local", provider.clone(), 400, "local engine"),
        (Method::DELETE, "/admin/providers/nobody", json!(null), 404, "nobody"),
        (Method::PUT, "/admin/aliases/gpt-4o-mini", json!("whale"), 409, "configuration file"),
        (Method::PUT, "/admin/aliases/x", json!("nobody"), 400, "nobody"),
        (Method::PUT, &format!("/admin/aliases/{}", "x".repeat(65)), json!("whale"), 400, "1 to 64"),
        (Method::PUT, "/admin/aliases/a%E2%80%AEb", json!("whale"), 400, "is shown"),
        (Method::PUT, "/admin/providers/a%E2%80%AEb", provider, 400, "is shown"),
        (Method::PUT, "/admin/prices/a:b%00", json!({"source": "s", "date": "d"}), 400, "is shown"),
        (Method::PUT, "/admin/aliases/whale", json!("orca"), 400, "already the id"),
        (Method::PUT, "/admin/prices/whale", json!({}), 400, "provider:model"),
        (Method::PUT, "/admin/prices/added:whale", json!({"source": "s", "date": "d", "input": -1}), 400, "input"),
    ] {
        let (got, message) = server.call_refused(method.clone(), path, body).await;
        assert!(got == status && message.contains(word), "{method} {path}: {got} {message}");
    }

    // A changed file is reloaded; an invalid one leaves the active configuration as it was.
    let path = server.folder.path().join("cachalot.toml");
    std::fs::write(&path, file.replace("orca", "narwhal")).unwrap();
    server.call_ok(Method::POST, "/admin/reload", json!(null)).await;
    assert_eq!((server.chat("", "narwhal").await.0, server.chat("", "orca").await.0), (200, 400));
    std::fs::write(&path, "[serverr]").unwrap();
    let (status, message) = server.call_refused(Method::POST, "/admin/reload", json!(null)).await;
    assert!(status == 400 && message.contains("serverr"), "{message}");
    assert_eq!(server.chat("", "narwhal").await.0, 200);
    server.app.stop().await;
}
