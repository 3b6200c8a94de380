//! Remote providers behind every API surface of the server.

use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{FakeResponse, ReceivedRequest};

use crate::app::TestApp;
use crate::commands::stdout;

/// A provider of chat completions under `/v1`. The last message can request an error: `refuse` or
/// `busy`.
async fn fake_provider() -> FakeUpstream {
    FakeUpstream::start(|request: &ReceivedRequest| {
        let body = request.json();
        let last = body["messages"].as_array().and_then(|messages| messages.last()).cloned().unwrap_or_default();
        match (request.path.as_str(), last["content"].as_str()) {
            ("/v1/models", _) => FakeResponse::json(200, json!({"data": [{"id": "gpt-x"}, {"id": "org/y"}]})),
            (path @ ("/v1/completions" | "/v1/embeddings"), _) => {
                FakeResponse::json(200, json!({"id": format!("echo of {path}"), "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}], "data": []}))
            }
            (_, Some("refuse")) => {
                FakeResponse::json(401, json!({"error": {"message": "Incorrect API key: sk-operator"}}))
            }
            (_, Some("busy")) => {
                FakeResponse::json(429, json!({"error": {"message": "slow down"}})).header("retry-after", "9")
            }
            _ if body["stream"] == true => FakeResponse::chat_stream(&["Hel", "lo"], 11),
            _ => FakeResponse::json(
                200,
                json!({"id": "up", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop"}], "usage": {"prompt_tokens": 11, "completion_tokens": 2}}),
            ),
        }
    })
    .await
}

async fn app_with_provider(service: &FakeUpstream, switches: &[&str], models: &str) -> TestApp {
    let provider = format!(
        "[[providers]]\nname = 'own'\nbase_url = '{}'\ndialect = 'openai'\nprivate = true\n{models}",
        service.base_url()
    );
    let providers = toml::from_str::<cachalot::config::Config>(&provider).unwrap().providers;
    let set = |config: &mut cachalot::config::Config| {
        config.providers = providers;
        // The alias leads to the local model.
        config.aliases.clear();
    };
    TestApp::start_with_config(switches, set).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_surface_reaches_a_remote_provider() {
    let service = fake_provider().await;
    let app = app_with_provider(&service, &["--model", "none"], "models = ['gpt-x']").await;
    let chat = json!({"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(app.reply(chat.clone()).await["choices"][0]["message"]["content"], "Hello");
    let events = app.stream(chat.clone()).await;
    assert_eq!(crate::app::stream_text(&events).1, "Hello");
    assert_eq!(events.last().unwrap(), "[DONE]");

    let post = async |path: &str, body: Value| {
        let response = app.client.post(app.url(path)).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, text) =
        post("/v1/messages", json!({"model": "own/gpt-x", "max_tokens": 9, "messages": chat["messages"]})).await;
    let message: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &message["content"]), (200, &json!([{"type": "text", "text": "Hello"}])));
    assert_eq!(message["usage"]["input_tokens"], 11);
    let (status, text) = post("/responses", json!({"model": "gpt-x", "input": "hi"})).await;
    let response: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &response["output"][0]["content"][0]["text"]), (200, &json!("Hello")));
    // Other requests than chats are passed through unchanged.
    let (status, text) = post("/completions", json!({"model": "gpt-x", "prompt": "hi"})).await;
    assert!(status == 200 && text.contains("echo of /v1/completions"), "{text}");
    let (status, text) = post("/v1/embeddings", json!({"model": "gpt-x", "input": "hi"})).await;
    assert!(status == 200 && text.contains("echo of /v1/embeddings"), "{text}");
    let (status, text) = post("/v1/embeddings", json!({"model": "nobody", "input": "hi"})).await;
    assert!(status == 400 && text.contains("Model Not Exist"), "{text}");
    let (status, text) = post("/v1/embeddings", json!({"input": "hi"})).await;
    assert!(status == 400 && text.contains("missing field `model`"), "{text}");
    let (status, text) =
        post("/chat/completions", json!({"model": "deepseek-chat", "messages": chat["messages"]})).await;
    assert!(status == 400 && text.contains("Model Not Exist"), "{text}");

    let listed: Value = serde_json::from_str(&app.get("/v1/models").await).unwrap();
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["gpt-x", "own/gpt-x"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_and_remaining_requests_are_in_the_headers_where_allowed() {
    let (service, folder) = (fake_provider().await, tempfile::tempdir().unwrap());
    let store = format!("sqlite:{}", folder.path().join("cachalot.db").display());
    let key = stdout(&["key", "add", "alice", "--rpm", "3", "--store", &store]).trim().to_owned();
    crate::secrets::register_secret(&key);
    let provider = format!(
        "name = 'own'\nbase_url = '{}'\ndialect = 'openai'\nprivate = true\nmodels = ['gpt-x']",
        service.base_url()
    );
    for exposed in [true, false] {
        let (provider, journal) = (toml::from_str(&provider).unwrap(), folder.path().join("journal"));
        let set = |config: &mut cachalot::config::Config| {
            config.providers = vec![provider];
            config.aliases.clear();
            config.gateway.expose_provider = exposed;
            config.store.journal = Some(journal);
        };
        let app = TestApp::start_with_config(&["--model", "none", "--store", &store], set).await;
        let send = async |path: &str, body: Value| {
            let answer = app.client.post(app.url(path)).bearer_auth(&key).json(&body).send().await.unwrap();
            let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let left = header("x-ratelimit-remaining-requests");
            assert_eq!(header("x-ratelimit-limit-requests").as_deref(), Some("3"));
            assert_eq!(header("x-ratelimit-limit-tokens"), None, "the header is absent without a limit");
            (
                answer.status().as_u16(),
                left.unwrap(),
                header("x-ratelimit-reset-requests").unwrap(),
                header("x-gateway-provider"),
            )
        };
        let (messages, own) = (json!([{"role": "user", "content": "hi"}]), exposed.then(|| "own".to_owned()));
        // One request is passed through, the other one is converted.
        let (status, left, reset, provider) =
            send("/chat/completions", json!({"model": "gpt-x", "messages": messages})).await;
        assert_eq!((status, left.as_str(), &provider), (200, "2", &own));
        let reset: f64 = reset.strip_suffix('s').unwrap().parse().unwrap();
        assert!((15.0..=20.0).contains(&reset), "{reset}");
        let message = json!({"model": "gpt-x", "max_tokens": 9, "stream": true, "messages": messages});
        let (status, left, _, provider) = send("/v1/messages", message.clone()).await;
        assert_eq!((status, left.as_str(), &provider), (200, "1", &own));
        send("/v1/messages", message.clone()).await;
        let (status, left, _, provider) = send("/v1/messages", message).await;
        assert_eq!((status, left.as_str(), provider), (429, "0", None));
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_refusal_is_returned_without_the_operators_secrets() {
    let service = fake_provider().await;
    // Any variable that exists is a key.
    let app = app_with_provider(&service, &["--model", "none"], "models = ['gpt-x']\nkey_env = 'PATH'").await;
    for (word, stream) in [("refuse", false), ("refuse", true), ("busy", false), ("busy", true)] {
        let body = json!({"model": "gpt-x", "stream": stream, "messages": [{"role": "user", "content": word}]});
        let response = app.post(&body).await;
        let (status, retry) = (response.status().as_u16(), response.headers().get("retry-after").cloned());
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let text = response.text().await.unwrap();
        if word == "refuse" {
            assert!(status == 502 && text.contains(&format!("(request id: {id})")), "{status} {text}");
            assert!(!text.contains("sk-"), "{text}");
        } else {
            assert_eq!((status, retry.unwrap().to_str().unwrap()), (429, "9"));
            assert!(text.contains("slow down"), "{text}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovered_models_are_listed_beside_the_local_ones() {
    let service = fake_provider().await;
    let app = app_with_provider(&service, &[], "").await;
    let catalogue = async || serde_json::from_str::<Value>(&app.get("/api/models").await).unwrap();
    let mut listed = catalogue().await;
    for _ in 0..100 {
        if listed["data"].as_array().unwrap().iter().any(|model| model["id"] == "org/y") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        listed = catalogue().await;
    }
    let find = |id: &str| listed["data"].as_array().unwrap().iter().find(|model| model["id"] == id).cloned();
    let remote = find("org/y").expect("it was discovered");
    assert_eq!((&remote["provider"], &remote["pricing"]["input"]), (&json!("own"), &Value::Null));
    let local = find("deepseek-v3.2-exp").unwrap();
    assert_eq!(local["pricing"]["input"], 0.28);
    assert_eq!((&listed["success"], &listed["page"]), (&json!(true), &json!(0)));
    assert_eq!(listed["total"], listed["data"].as_array().unwrap().len());
    let body = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4});
    app.reply(body("deepseek-chat")).await;
    assert_eq!(app.reply(body("org/y")).await["choices"][0]["message"]["content"], "Hello");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_slow_provider_gets_keep_alives() {
    use std::time::Duration;
    use testkit::fake_upstream::BodyStep;
    let slow = FakeUpstream::start(|request: &ReceivedRequest| {
        let quick = match request.json()["stream"] == true {
            true => FakeResponse::chat_stream(&["late"], 1),
            false => {
                let choice =
                    json!({"index": 0, "message": {"role": "assistant", "content": "late"}, "finish_reason": "stop"});
                FakeResponse::json(
                    200,
                    json!({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
                )
            }
        };
        FakeResponse {
            steps: [BodyStep::Wait(Duration::from_millis(1500))].into_iter().chain(quick.steps).collect(),
            ..quick
        }
    })
    .await;
    let provider = format!(
        "[server]\nstream_keepalive_s = 1\nreply_keepalive_s = 1\n[[providers]]\nname = 'own'\nbase_url = '{}'\ndialect = 'openai'\n\
         private = true\nmodels = ['m']",
        slow.base_url()
    );
    let slow_config: cachalot::config::Config = toml::from_str(&provider).unwrap();
    let app = TestApp::start_with_config(&["--model", "none"], |config| {
        config.server = slow_config.server;
        config.providers = slow_config.providers;
        config.aliases.clear();
    })
    .await;
    let send = async |stream: bool| {
        let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
        app.post(&body).await.text().await.unwrap()
    };
    let (events, whole) = (send(true).await, send(false).await);
    assert!(events.starts_with(": keep-alive\n\ndata: ") && events.ends_with("data: [DONE]\n\n"), "{events}");
    assert!(whole.starts_with("\n{\"choices\""), "{whole}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failover_reaches_another_model_under_the_same_id() {
    let fails = FakeUpstream::start(|_| FakeResponse::json(503, json!({"error": {"message": "no"}}))).await;
    let answers = fake_provider().await;
    let block = |name: &str, fake: &FakeUpstream, more: &str| {
        let base_url = fake.base_url();
        format!(
            "[[providers]]\nname='{name}'\nbase_url='{base_url}'\ndialect='openai'\nprivate=true\nmodels=[]\n{more}\n"
        )
    };
    let text =
        block("one", &fails, "rename={smart='large'}") + &block("two", &answers, "rename={smart='other'}\npriority=1");
    let providers = toml::from_str::<cachalot::config::Config>(&text).unwrap().providers;
    let app = TestApp::start_with_config(&["--model", "none"], |config| {
        config.providers = providers;
        config.aliases.clear();
    })
    .await;
    let chat = json!({"model": "smart", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(app.reply(chat.clone()).await["choices"][0]["message"]["content"], "Hello");
    let converted = app.client.post(app.url("/v1/messages")).json(&chat).send().await.unwrap();
    assert_eq!(converted.json::<Value>().await.unwrap()["content"][0]["text"], "Hello");
    let models =
        |fake: &FakeUpstream| fake.requests().iter().map(|request| request.json()["model"].clone()).collect::<Vec<_>>();
    // The circuit breaker of the failed provider is open.
    assert_eq!((models(&fails), models(&answers)), (vec![json!("large")], vec![json!("other"), json!("other")]));
    app.stop().await;
}
