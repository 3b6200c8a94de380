//! Rows of what models take: the same changes in converted and in forwarded requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat::{Chat, Tool, ToolChoice};
use gateway::{Caller, Gateway, ModelRows, RawRequest, Router, Secret, Upstream, UpstreamConfig};
use serde_json::{Map, Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use testkit::transcripts::{Scenario, stream_response};
use wire::model_rules::ModelRow;
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::passthrough_helpers::read_response;
use crate::providers::{
    anthropic_answer, chat, chat_provider, collect_reply, fallback, primary, upstream_with_dialect,
};

fn gateway_to(fake: &FakeUpstream, dialect: Dialect, model: &str) -> Gateway {
    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("p", fake, dialect), &[model.into()], primary());
    Gateway::new(router, Arc::default())
}

/// Sends a chat that is converted, and returns the notes.
async fn convert(gateway: &Gateway, chat: Chat) -> String {
    let answer = gateway.answer(&Caller::default(), chat).await.unwrap();
    let notes = answer.note_source();
    collect_reply(answer).await.unwrap();
    notes.notes().join("; ")
}

/// Sends a body that is forwarded, and returns the notes.
async fn forward(gateway: &Gateway, endpoint: ApiEndpoint, body: &str) -> String {
    let body = body.to_owned().into();
    let request = gateway.passthrough(&Caller::default(), RawRequest::new(endpoint, &body)).await.unwrap().unwrap();
    let notes = request.note_source();
    read_response(request).await.unwrap();
    notes.notes().join("; ")
}

async fn claude() -> FakeUpstream {
    FakeUpstream::start(|_| anthropic_answer()).await
}

fn tool(name: &str) -> Tool {
    let function = Map::from_iter([("name".to_owned(), Value::from(name))]);
    Tool { name: name.into(), strict: false, function }
}

#[tokio::test]
async fn newer_claude_models_think_adaptively() {
    let fake = claude().await;
    let gateway = gateway_to(&fake, Dialect::Anthropic, "claude-opus-4-8");
    let mut wish = Chat { reasoning_effort: Some("low".into()), max_tokens: Some(32000), ..chat("claude-opus-4-8") };
    wish.sampling.temperature = Some(0.2);
    convert(&gateway, wish.clone()).await;
    let body = fake.requests()[0].json();
    assert_eq!((&body["thinking"]["type"], &body["output_config"]), (&json!("adaptive"), &json!({"effort": "low"})));
    assert_eq!((body["thinking"].get("budget_tokens"), body.get("temperature")), (None, None));

    let quick = Chat { reasoning_effort: Some("none".into()), ..wish };
    assert_eq!(convert(&gateway, quick).await, "dropped: temperature");
    let body = fake.requests()[1].json();
    assert_eq!((body.get("thinking"), body.get("output_config"), body.get("temperature")), (None, None, None));

    let own = r#"{ "model":"claude-opus-4-8", "max_tokens": 32000, "stream":true, "temperature":0.5,
        "thinking": {"type":"enabled","budget_tokens":2048}, "messages":[{"role":"user","content":"hi"}] }"#;
    let notes = forward(&gateway, ApiEndpoint::Messages, own).await;
    let want = r#"{ "model":"claude-opus-4-8", "max_tokens": 32000, "stream":true,
        "thinking": {"type":"adaptive","display":"summarized"}, "messages":[{"role":"user","content":"hi"}] ,"output_config":{"effort":"low"}}"#;
    assert_eq!(String::from_utf8_lossy(&fake.requests()[2].body), want, "all other bytes stay");
    assert!(notes.starts_with("dropped: temperature; changed: `thinking.budget_tokens`"), "{notes}");
}

#[tokio::test]
async fn older_claude_models_get_a_budget_that_follows_the_effort() {
    let fake = claude().await;
    let gateway = gateway_to(&fake, Dialect::Anthropic, "claude-sonnet-4-5");
    let wish = Chat { reasoning_effort: Some("low".into()), max_tokens: Some(32000), ..chat("claude-sonnet-4-5") };
    assert_eq!(convert(&gateway, wish).await, "");
    let body = fake.requests()[0].json();
    assert_eq!(
        (&body["thinking"], body.get("output_config")),
        (&json!({"type": "enabled", "budget_tokens": 6400}), None)
    );
}

#[tokio::test]
async fn a_forced_call_excludes_thinking_in_both_ways() {
    let fake = claude().await;
    let gateway = gateway_to(&fake, Dialect::Anthropic, "claude-sonnet-4-6");
    let wish = Chat {
        thinking: Some(true),
        max_tokens: Some(8000),
        tools: vec![tool("read_file")],
        tool_choice: Some(ToolChoice::Required),
        ..chat("claude-sonnet-4-6")
    };
    assert_eq!(convert(&gateway, wish).await, "dropped: thinking");
    let own = json!({"model": "claude-sonnet-4-6", "max_tokens": 8000, "stream": true, "messages": [],
        "thinking": {"type": "enabled", "budget_tokens": 2000}, "tool_choice": {"type": "any"}, "tools": [{"name": "f"}]});
    assert_eq!(forward(&gateway, ApiEndpoint::Messages, &own.to_string()).await, "dropped: thinking");
    for received in fake.requests() {
        let body = received.json();
        assert_eq!((body.get("thinking"), &body["tool_choice"]), (None, &json!({"type": "any"})));
    }
}

#[tokio::test]
async fn deepseek_gets_its_own_names_in_both_ways() {
    let fake = chat_provider(&["x"]).await;
    let gateway = gateway_to(&fake, Dialect::DeepSeek, "m");
    let own = r#"{"model":"m","messages":[{"role":"developer","content":"Be brief"},{"role":"user","content":"hi"}],"max_completion_tokens":7,"stream":true}"#;
    let notes = forward(&gateway, ApiEndpoint::ChatCompletions, own).await;
    let body = fake.requests()[0].json();
    assert_eq!(body["messages"], json!([{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hi"}]));
    assert_eq!((&body["max_tokens"], body.get("max_completion_tokens")), (&json!(7), None));
    assert_eq!(notes, "changed: the role `developer` to `system`, `max_completion_tokens` to `max_tokens`");
    // The output limit that a budget sets takes the same way.
    convert(&gateway, Chat { max_completion_tokens: Some(7), ..chat("m") }).await;
    assert_eq!(fake.requests()[1].json()["max_tokens"], 7);
    let openai = gateway_to(&fake, Dialect::OpenAi, "gpt-5.1");
    let own = r#"{"model":"gpt-5.1","messages":[{"role":"developer","content":"x"}],"max_tokens":7,"stream":true}"#;
    assert_eq!(
        forward(&openai, ApiEndpoint::ChatCompletions, own).await,
        "changed: `max_tokens` to `max_completion_tokens`"
    );
    let body = fake.requests()[2].json();
    assert_eq!((&body["messages"][0]["role"], &body["max_completion_tokens"]), (&json!("developer"), &json!(7)));
}

#[tokio::test]
async fn a_large_body_is_changed_too() {
    let fake = chat_provider(&["x"]).await;
    let gateway = gateway_to(&fake, Dialect::DeepSeek, "m");
    let text = "whale ".repeat(20_000);
    let own = json!({"model": "m", "stream": true, "messages": [{"role": "developer", "content": text}]});
    assert!(!forward(&gateway, ApiEndpoint::ChatCompletions, &own.to_string()).await.is_empty());
    assert_eq!(fake.requests()[0].json()["messages"], json!([{"role": "system", "content": text}]));
}

#[tokio::test]
async fn tools_turn_reasoning_off_where_the_endpoint_excludes_both() {
    let fake = chat_provider(&["x"]).await;
    let gateway = gateway_to(&fake, Dialect::OpenAi, "gpt-5.6");
    let wish = Chat { tools: vec![tool("read_file")], max_tokens: Some(500), ..chat("gpt-5.6") };
    let notes = convert(&gateway, wish).await;
    assert!(notes.contains("/responses"), "{notes}");
    let own = json!({"model": "gpt-5.6", "stream": true, "messages": [], "reasoning_effort": "high",
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    assert_eq!(forward(&gateway, ApiEndpoint::ChatCompletions, &own.to_string()).await, notes);
    for received in fake.requests() {
        assert_eq!(received.json()["reasoning_effort"], "none");
    }
}

#[tokio::test]
async fn a_forwarded_response_is_changed_as_a_chat_is() {
    let fake = FakeUpstream::start(|_| stream_response("responses", Scenario::Text)).await;
    let gateway = gateway_to(&fake, Dialect::Responses, "gpt-5.6");
    let body = r#"{"model":"gpt-5.6","input":"hi","stream":true,"temperature":0.5,"reasoning":{"effort":"minimal"},"tools":[{"type":"web_search"}]}"#;
    let notes = forward(&gateway, ApiEndpoint::Responses, body).await;
    assert_eq!(notes, "dropped: temperature; changed: `reasoning.effort` minimal to low");
    let want = r#"{"model":"gpt-5.6","input":"hi","stream":true,"reasoning":{"effort":"low"},"tools":[{"type":"web_search"}]}"#;
    assert_eq!(String::from_utf8_lossy(&fake.requests()[0].body), want);
}

#[tokio::test]
async fn a_long_name_of_a_tool_is_shortened_and_given_back() {
    let long = format!("mcp__server__{}", "x".repeat(60));
    let fake = FakeUpstream::start(|request| {
        let name = request.json()["tools"][0]["function"]["name"].clone();
        let call = json!({"index": 0, "id": "1", "type": "function", "function": {"name": name, "arguments": "{}"}});
        let chunk =
            |delta: Value, finish: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        FakeResponse::events([
            chunk(json!({"tool_calls": [call]}), Value::Null).to_string(),
            chunk(json!({}), json!("tool_calls")).to_string(),
            "[DONE]".to_owned(),
        ])
    })
    .await;
    let gateway = gateway_to(&fake, Dialect::OpenAi, "gpt-4o");
    let wish = Chat { tools: vec![tool(&long)], ..chat("gpt-4o") };
    let answer = gateway.answer(&Caller::default(), wish).await.unwrap();
    let reply = collect_reply(answer).await.unwrap();
    assert_eq!(reply.tool_calls[0].name, long);
    let sent = fake.requests()[0].json()["tools"][0]["function"]["name"].as_str().unwrap().to_owned();
    assert!(sent.len() == 64 && sent.starts_with("mcp__server__xxx"), "{sent}");
}

#[tokio::test]
async fn each_provider_gets_the_body_that_its_model_takes() {
    let failing = FakeUpstream::start(|_| FakeResponse::json(503, json!({"error": {"message": "busy"}}))).await;
    let answering = chat_provider(&["x"]).await;
    let mut router = Router::default();
    let named = |name: &str| gateway::UpstreamModel { id: "smart".into(), upstream_name: name.into() };
    router.add_upstream(&upstream_with_dialect("a", &failing, Dialect::OpenAi), &[named("o3")], primary());
    router.add_upstream(&upstream_with_dialect("b", &answering, Dialect::OpenAi), &[named("gpt-4o")], fallback());
    let gateway = Gateway::new(router, Arc::default());
    let own = r#"{"model":"smart","messages":[],"temperature":0.5,"reasoning_effort":"low","stream":true}"#;
    assert_eq!(forward(&gateway, ApiEndpoint::ChatCompletions, own).await, "dropped: reasoning_effort");
    let wish = Chat { reasoning_effort: Some("low".into()), ..chat("smart") };
    assert_eq!(convert(&gateway, wish).await, "dropped: reasoning_effort");
    let (first, second) = (failing.requests()[0].json(), answering.requests()[0].json());
    assert_eq!((first.get("temperature"), &first["reasoning_effort"]), (None, &json!("low")));
    assert_eq!((&second["temperature"], second.get("reasoning_effort")), (&json!(0.5), None));
}

#[tokio::test]
async fn the_operator_adds_to_every_request_of_a_provider() {
    let fake = chat_provider(&["x"]).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = UpstreamConfig {
        name: "p".into(),
        preset: None,
        base_url: fake.base_url(),
        dialect: Dialect::DeepSeek,
        key: Some(Secret::new("sk-operator")),
        private: true,
        metrics: None,
    };
    let of = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let row = ModelRow {
        set: BTreeMap::from([("provider.sort".to_owned(), json!("price"))]),
        drop: vec!["user".into()],
        ..ModelRow::default()
    };
    let upstream = Upstream::new(config).unwrap().with_headers(&of("x-team", "a")).unwrap();
    let upstream = upstream.with_query(&of("api-version", "2026 01")).unwrap().with_body_row(row).unwrap();
    let mut router = Router::default();
    let rows = [ModelRow { default: BTreeMap::from([("seed".to_owned(), json!(4))]), ..everything() }];
    router.set_model_rows(ModelRows::with_configured(&rows).unwrap());
    router.add_upstream(&Arc::new(upstream), &["m".into()], primary());
    let gateway = Gateway::new(router, Arc::default());
    convert(&gateway, chat("m")).await;
    let own = r#"{"model":"m","messages":[],"user":"u","stream":true,"provider":{"only":["x"]}}"#;
    assert_eq!(forward(&gateway, ApiEndpoint::ChatCompletions, own).await, "dropped: user");
    for received in fake.requests() {
        assert_eq!(received.path, "/v1/chat/completions?api-version=2026+01");
        assert_eq!(
            (received.header("x-team"), received.header("authorization")),
            (Some("a"), Some("Bearer sk-operator"))
        );
        let body = received.json();
        assert_eq!((&body["provider"]["sort"], &body["seed"], body.get("user")), (&json!("price"), &json!(4), None));
    }
    assert_eq!(fake.requests()[1].json()["provider"], json!({"only": ["x"], "sort": "price"}));
}

fn everything() -> ModelRow {
    serde_json::from_value(json!({"match": "*"})).unwrap()
}
