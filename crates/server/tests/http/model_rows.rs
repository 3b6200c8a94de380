//! The notes on what a model does not take, in both ways through the gateway.

use std::sync::Arc;

use gateway::{Accounting, Gateway, Router, RoutingPreference, Secret, Upstream, UpstreamConfig};
use serde_json::{Value, json};
use server::{KeyConfig, ServerConfig};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use tokio::net::TcpListener;
use wire::upstream::Dialect;

use crate::app::KEY;
use crate::client::{Request, Response};

/// Answers a stream or a whole, as the request asks.
fn answer(request: &testkit::fake_upstream::ReceivedRequest) -> FakeResponse {
    if request.json()["stream"] == true {
        return FakeResponse::chat_stream(&["Hello"], 7);
    }
    let message = json!({"role": "assistant", "content": "Hello"});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    FakeResponse::json(200, json!({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}))
}

async fn ask(path: &str, body: Value) -> (Response, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fake = FakeUpstream::start(answer).await;
    let config = UpstreamConfig {
        name: "p".into(),
        preset: None,
        base_url: fake.base_url(),
        dialect: Dialect::OpenAi,
        key: Some(Secret::new("sk-operator")),
        private: true,
        metrics: None,
    };
    let mut router = Router::default();
    router.add_upstream(&Arc::new(Upstream::new(config).unwrap()), &["gpt-5.6".into()], RoutingPreference::default());
    let gateway = Arc::new(Gateway::new(router, Arc::<Accounting>::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = ServerConfig { keys: vec![KeyConfig::new("alice", KEY)].into(), ..ServerConfig::default() };
    tokio::spawn(server::serve(listener, gateway, config, std::future::pending()));
    let request = Request::new(address, "POST", path).header("authorization", &format!("Bearer {KEY}"));
    let response = request.json(body).send().await;
    (response, fake.requests()[0].json())
}

#[tokio::test]
async fn a_response_says_what_was_changed_for_the_model() {
    let user = json!([{"role": "user", "content": "hi"}]);
    let function = json!({"name": "f", "parameters": {"type": "object"}});
    let tools = json!([{"type": "function", "function": function}]);
    let of_claude = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    for stream in [false, true] {
        let forwarded = json!({"model": "gpt-5.6", "messages": user, "tools": tools, "stream": stream});
        let converted =
            json!({"model": "gpt-5.6", "messages": user, "tools": of_claude, "max_tokens": 500, "stream": stream});
        for (path, body) in [("/v1/chat/completions", forwarded), ("/v1/messages", converted)] {
            let (response, sent) = ask(path, body).await;
            assert_eq!((response.status, &sent["reasoning_effort"]), (200, &json!("none")), "{path}");
            let note = response.header("x-compat-note").unwrap_or_default();
            assert!(note.starts_with("changed: `reasoning_effort` to none") && note.contains("/responses"), "{note}");
        }
    }
    let plain = json!({"model": "gpt-5.6", "messages": user});
    let (response, sent) = ask("/v1/chat/completions", plain.clone()).await;
    assert_eq!((response.header("x-compat-note"), sent), (None, plain));
}

#[tokio::test]
async fn a_choice_without_tools_is_not_sent() {
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let body = json!({"model": "gpt-5.6", "max_tokens": 10, "messages": [{"role": "user", "content": "whales"}],
        "tools": [search], "tool_choice": {"type": "tool", "name": "web_search"}});
    let (response, sent) = ask("/v1/messages", body).await;
    assert_eq!((response.status, sent.get("tools"), sent.get("tool_choice")), (200, None, None));
    let note = response.header("x-compat-note").unwrap_or_default();
    assert!(note.contains("web_search"), "{note}");
    let auto = json!({"model": "gpt-5.6", "input": "hi", "tool_choice": "auto", "tools": []});
    let (response, sent) = ask("/v1/responses", auto).await;
    assert_eq!((response.status, sent.get("tool_choice")), (200, None));
    let search = json!({"contents": [{"parts": [{"text": "whales"}]}], "tools": [{"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}});
    let (response, sent) = ask("/v1beta/models/gpt-5.6:generateContent", search).await;
    assert_eq!((response.status, sent.get("tool_choice")), (200, None));
    let note = response.header("x-compat-note").unwrap_or_default();
    assert!(note.contains("googleSearch"), "{note}");
}
