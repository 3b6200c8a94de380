//! Answers of providers: secrets are redacted, and invalid answers are errors.

use std::sync::Arc;

use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse, ReceivedRequest};

use crate::app::TestApp;

/// A server with a provider of each dialect at `fake`. The API key is the value of
/// the variable PATH.
async fn app_with_providers(fake: &FakeUpstream) -> TestApp {
    crate::secrets::register_secret(&std::env::var("PATH").unwrap());
    let block = |name: &str, dialect: &str, root: &str, more: &str| {
        format!(
            "[[providers]]\nname='{name}'\nbase_url='http://{}{root}'\ndialect='{dialect}'\nprivate=true\nkey_env='PATH'\n{more}\n",
            fake.address
        )
    };
    let text = block("own", "openai", "/v1", "models=['gpt','paint','voice','sora']")
        + &block("claude", "anthropic", "/a", "models=['claude']")
        + &block("gemini", "gemini", "/g", "models=['gemini']")
        + &block("midjourney", "midjourney", "", "")
        + &block("suno", "suno", "", "");
    let providers = toml::from_str::<cachalot::config::Config>(&text).unwrap().providers;
    let app = TestApp::start_with_config(&[], |config| config.providers = providers).await;
    wait_for_models(&app, &["mj_imagine", "suno_music"]).await;
    app
}

/// Waits until models are discovered, a moment after the start.
async fn wait_for_models(app: &TestApp, models: &[&str]) {
    for _ in 0..100 {
        let listed = app.get("/v1/models").await;
        if models.iter().all(|model| listed.contains(model)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{models:?} are not offered");
}

/// A request of every kind that reaches a provider: path and body.
fn provider_requests() -> Vec<(&'static str, Value)> {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let contents = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    let mut requests = Vec::new();
    for model in ["gpt", "claude", "gemini"] {
        for stream in [false, true] {
            requests.push(("/v1/chat/completions", json!({"model": model, "messages": messages, "stream": stream})));
            requests.push((
                "/v1/messages",
                json!({"model": model, "messages": messages, "max_tokens": 9, "stream": stream}),
            ));
        }
    }
    requests.push(("/v1beta/models/gemini:generateContent", contents.clone()));
    requests.push(("/v1beta/models/gemini:streamGenerateContent?alt=sse", contents));
    requests.push(("/v1/completions", json!({"model": "gpt", "prompt": "x"})));
    requests.push(("/v1/embeddings", json!({"model": "gpt", "input": "x"})));
    requests.push(("/v1/images/generations", json!({"model": "paint", "prompt": "x"})));
    requests.push(("/v1/audio/speech", json!({"model": "voice", "input": "x", "voice": "low"})));
    requests.push(("/v1/videos", json!({"model": "sora", "prompt": "x"})));
    requests.push(("/mj/submit/imagine", json!({"prompt": "x"})));
    requests.push(("/suno/submit/music", json!({"prompt": "x"})));
    requests
}

/// Posts a body. Returns status, headers and text.
async fn post(app: &TestApp, path: &str, body: &Value) -> (u16, String, String) {
    let response = app.client.post(app.url(path)).json(body).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), format!("{:?}", response.headers()));
    (status, headers, String::from_utf8_lossy(&response.bytes().await.unwrap_or_default()).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_quotes_its_request_does_not_reveal_the_operators_key() {
    type Quote = fn(&str) -> FakeResponse;
    let quotes: [Quote; 9] = [
        |key| FakeResponse::json(400, json!({"error": {"message": format!("bad: authorization: Bearer {key}")}})),
        |key| FakeResponse::json(500, json!({"detail": format!("boom {key}")})),
        |key| FakeResponse::json(429, json!({"message": key})),
        |key| FakeResponse {
            status: 503,
            headers: vec![],
            steps: vec![BodyStep::Send(format!("oops {key}").into_bytes())],
        },
        |key| FakeResponse::json(200, json!({"error": {"message": key}})),
        |key| {
            FakeResponse::json(
                200,
                json!({"code": 1, "result": "t", "description": key, "id": "t", "choices": [{"message": {"content": key}, "finish_reason": "stop"}], "data": []}),
            )
        },
        |key| FakeResponse::events([json!({"error": {"message": key, "type": "x"}, "type": "error"}).to_string()]),
        |key| {
            let event = format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": key}}]}));
            let (a, b) = event.split_at(event.find(&key[..4]).unwrap() + 7);
            FakeResponse::stream([
                BodyStep::Send(a.as_bytes().to_vec()),
                BodyStep::Wait(std::time::Duration::from_millis(20)),
                BodyStep::Send(b.as_bytes().to_vec()),
                BodyStep::Send(b"data: [DONE]\n\n".to_vec()),
            ])
        },
        |key| FakeResponse::json(200, json!({})).header("content-type", &format!("text/plain; key={key}")),
    ];
    let key = std::env::var("PATH").unwrap();
    for quote in quotes {
        let fake = FakeUpstream::start(move |request: &ReceivedRequest| {
            let sent = ["authorization", "x-api-key", "x-goog-api-key"].iter().find_map(|name| request.header(name));
            quote(sent.unwrap().trim_start_matches("Bearer "))
        })
        .await;
        let app = app_with_providers(&fake).await;
        for (path, body) in provider_requests() {
            let (status, headers, text) = post(&app, path, &body).await;
            assert!(!text.contains(&key) && !headers.contains(&key), "{path} {body}: {status} {text}");
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passthrough_stream_is_unchanged_except_for_the_secret() {
    let key = Arc::new(std::env::var("PATH").unwrap());
    let events = [
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "see "}}]}).to_string(),
        json!({"choices": [{"index": 0, "delta": {"content": &*key}}]}).to_string(),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string(),
        "[DONE]".to_owned(),
    ];
    let want: String =
        events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>().replace(&*key, "***");
    let fake = FakeUpstream::start(move |_| FakeResponse::events(&events)).await;
    let app = app_with_providers(&fake).await;
    let body = json!({"model": "gpt", "messages": [{"role": "user", "content": "hi"}], "stream": true});
    assert_eq!(post(&app, "/v1/chat/completions", &body).await.2, want);
    app.stop().await;
}

/// Two providers of the same models. The first one answers every request with `invalid`.
async fn app_with_bad_and_good(invalid: &FakeResponse) -> (FakeUpstream, FakeUpstream, TestApp) {
    let invalid = invalid.clone();
    let bad = FakeUpstream::start(move |_| invalid.clone()).await;
    let good = FakeUpstream::start(|request: &ReceivedRequest| match request.path.as_str() {
        "/v1/chat/completions" if request.json()["stream"] == true => FakeResponse::chat_stream(&["good"], 1),
        "/v1/images/generations" => FakeResponse::json(200, json!({"data": [{"url": "good"}]})),
        "/v1/embeddings" => FakeResponse::json(200, json!({"data": [{"embedding": [1], "object": "good"}]})),
        "/v1/audio/speech" => FakeResponse { status: 200, headers: vec![("content-type".into(), "audio/mpeg".into())], steps: vec![BodyStep::Send(b"good".to_vec())] },
        _ => FakeResponse::json(200, json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "good"}, "finish_reason": "stop"}]})),
    })
    .await;
    let block = |name: &str, fake: &FakeUpstream, priority: u8| {
        format!(
            "[[providers]]\nname='{name}'\nbase_url='{}'\ndialect='openai'\nprivate=true\nmodels=['gpt','paint','voice']\npriority={priority}\n",
            fake.base_url()
        )
    };
    let text = block("bad", &bad, 0) + &block("good", &good, 1);
    let providers = toml::from_str::<cachalot::config::Config>(&text).unwrap().providers;
    let app = TestApp::start_with_config(&[], |config| config.providers = providers).await;
    (bad, good, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_without_an_answer_is_a_failure_of_the_provider() {
    let of_type = |kind: &str, body: &str| FakeResponse {
        status: 200,
        headers: if kind.is_empty() { vec![] } else { vec![("content-type".into(), kind.into())] },
        steps: if body.is_empty() { vec![] } else { vec![BodyStep::Send(body.as_bytes().to_vec())] },
    };
    let page = "<!DOCTYPE html><html><body>It works!</body></html>";
    let invalid_answers = [
        of_type("text/html; charset=utf-8", page),
        of_type("application/json", page),
        of_type("text/event-stream", page),
        of_type("", page),
        of_type("application/json", ""),
        of_type("text/event-stream", ""),
        of_type("application/json", "{\"status\":\"ok\"}"),
        of_type("application/json", "[]"),
        of_type("application/json", "{\"choices\":"),
        of_type("application/json", "{\"error\":{\"message\":\"out of credit\"}}"),
        of_type("application/xml", "<a/>"),
        of_type("text/event-stream", "data: {\"foo\":1}\n\ndata: [DONE]\n\n"),
        of_type("text/event-stream", "data: [DONE]\n\n"),
        of_type("text/event-stream", ": keep-alive\n\n"),
        of_type("application/json", "\u{1f}packed").header("content-encoding", "gzip"),
        of_type("", "{\"choices\":[],\"data\":[]}").header("content-encoding", "br"),
    ];
    let messages = json!([{"role": "user", "content": "hi"}]);
    let requests = [
        ("/v1/chat/completions", json!({"model": "gpt", "messages": messages})),
        ("/v1/chat/completions", json!({"model": "gpt", "messages": messages, "stream": true})),
        ("/v1/messages", json!({"model": "gpt", "messages": messages, "max_tokens": 9})),
        ("/v1/messages", json!({"model": "gpt", "messages": messages, "max_tokens": 9, "stream": true})),
        ("/v1/embeddings", json!({"model": "gpt", "input": "x"})),
        ("/v1/images/generations", json!({"model": "paint", "prompt": "x"})),
        ("/v1/audio/speech", json!({"model": "voice", "input": "x", "voice": "low"})),
    ];
    for answer in &invalid_answers {
        let (bad, good, app) = app_with_bad_and_good(answer).await;
        for (path, body) in &requests {
            // A stream of speech events may contain any JSON.
            if path.ends_with("speech") && format!("{answer:?}").contains("event-stream") {
                continue;
            }
            let bad_before = bad.requests().len();
            let good_before = good.requests().len();
            let (status, _, text) = post(&app, path, body).await;
            assert!(status == 200 && text.contains("good"), "{path} {body} {answer:?}: {status} {text}");
            assert!(good.requests().len() == good_before + 1 && bad.requests().len() <= bad_before + 1, "{path}");
        }
        let models: Value = serde_json::from_str(&app.get("/admin/models").await).unwrap();
        let works = |model: &&Value| model["id"] == "gpt" && model["targets"][0]["works"] == false;
        assert!(models["data"].as_array().unwrap().iter().any(|model| works(&model)), "{answer:?}: {models}");
        // Without another provider of the model the error is a bad gateway.
        for (path, body) in &requests {
            if path.ends_with("speech") && format!("{answer:?}").contains("event-stream") {
                continue;
            }
            let mut body = body.clone();
            body["model"] = format!("bad/{}", body["model"].as_str().unwrap()).into();
            let (status, _, text) = post(&app, path, &body).await;
            assert!(
                status == 502 && (text.contains("bad_gateway") || path.ends_with("messages")),
                "{path} {answer:?}: {status} {text}"
            );
            assert!(!text.contains("It works") && !text.contains("<html"), "{text}");
        }
        app.stop().await;
    }
}

/// A provider that answers every request with `head` and then stalls.
async fn stalling_provider(head: &'static str) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(head.as_bytes()).await;
            kept.push(socket);
        }
    });
    (address, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_never_answers_times_out_even_without_an_alternative() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    for head in ["", stream] {
        let (address, serving) = stalling_provider(head).await;
        let block = |name: &str, dialect: &str, models: &str| {
            format!(
                "[[providers]]\nname='{name}'\nbase_url='http://{address}'\ndialect='{dialect}'\nprivate=true\ntimeout_s=1\n{models}\n"
            )
        };
        let text = block("own", "openai", "models=['gpt','sora']")
            + &block("mj", "midjourney", "")
            + &block("singer", "suno", "");
        let providers = toml::from_str::<cachalot::config::Config>(&text).unwrap().providers;
        let app = TestApp::start_with_config(&[], |config| config.providers = providers).await;
        wait_for_models(&app, &["mj_imagine", "suno_music"]).await;
        let mut requests = vec![
            ("/v1/chat/completions", json!({"model": "gpt", "messages": messages, "stream": true})),
            ("/v1/messages", json!({"model": "gpt", "messages": messages, "max_tokens": 9})),
            ("/v1/messages", json!({"model": "gpt", "messages": messages, "max_tokens": 9, "stream": true})),
        ];
        if head.is_empty() {
            requests.push(("/v1/chat/completions", json!({"model": "gpt", "messages": messages})));
            requests.push(("/v1/embeddings", json!({"model": "gpt", "input": "x"})));
            requests.push(("/v1/videos", json!({"model": "sora", "prompt": "x"})));
            requests.push(("/mj/submit/imagine", json!({"prompt": "x"})));
            requests.push(("/suno/submit/music", json!({"prompt": "x"})));
        }
        for (path, body) in requests {
            let start = std::time::Instant::now();
            let (status, _, text) = post(&app, path, &body).await;
            assert!(
                status == 504 && start.elapsed().as_secs() < 5,
                "{path} {body}: {status} {text} {:?}",
                start.elapsed()
            );
        }
        app.stop().await;
        serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_answer_may_take_longer_than_the_timeout_after_its_headers() {
    let fake = FakeUpstream::start(|_| {
        let mut answer = FakeResponse::json(200, json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "thought"}, "finish_reason": "stop"}]}));
        answer.steps.insert(0, BodyStep::Wait(std::time::Duration::from_millis(2500)));
        answer
    })
    .await;
    let block = |name: &str| {
        format!(
            "[[providers]]\nname='{name}'\nbase_url='{}'\ndialect='openai'\nprivate=true\nmodels=['gpt']\ntimeout_s=1\n",
            fake.base_url()
        )
    };
    let providers = toml::from_str::<cachalot::config::Config>(&(block("a") + &block("b"))).unwrap().providers;
    let app = TestApp::start_with_config(&[], |config| config.providers = providers).await;
    let body = json!({"model": "gpt", "messages": [{"role": "user", "content": "hi"}]});
    let (status, _, text) = post(&app, "/v1/chat/completions", &body).await;
    assert!(status == 200 && text.contains("thought") && fake.requests().len() == 1, "{status} {text}");
    app.stop().await;
}
