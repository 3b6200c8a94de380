//! Amazon Bedrock, as far as its documents describe it: signed requests, binary event streams.

use std::sync::Arc;

use chat::{Chat, ErrorKind, Input, Message, Role};
use gateway::{AwsCredentials, Caller, Gateway, Router, Secret, Service, Upstream, UpstreamConfig};
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::event_stream::message;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use wire::upstream::Dialect;

use crate::providers::{chat, collect_reply, primary};

const MODEL: &str = "anthropic.claude-sonnet-4-5-v1:0";

fn gateway_to(fake: &FakeUpstream) -> Gateway {
    gateway_with(fake, MODEL)
}

fn gateway_with(fake: &FakeUpstream, model: &str) -> Gateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = UpstreamConfig {
        name: "bedrock".into(),
        preset: None,
        base_url: format!("http://{}", fake.address),
        dialect: Dialect::Bedrock,
        key: None,
        private: true,
        metrics: None,
    };
    let credentials = AwsCredentials {
        access_key: Secret::new("AKIDEXAMPLE"),
        secret_key: Secret::new("a-secret-access-key"),
        session_token: Some(Secret::new("a-session-token")),
    };
    let service = Service::bedrock(credentials, "us-east-1".into());
    let upstream = Arc::new(Upstream::new(config).unwrap().with_service(service).unwrap());
    let mut router = Router::default();
    router.add_upstream(&upstream, &[model.into()], primary());
    Gateway::new(router, Arc::default())
}

fn event(kind: &str, payload: Value) -> Vec<u8> {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    message(&headers, payload.to_string().as_bytes())
}

fn exception(kind: &str) -> Vec<u8> {
    message(&[(":exception-type", kind), (":message-type", "exception")], br#"{"message":"Too many requests"}"#)
}

/// An answer of these messages, in chunks of seven bytes.
fn events(messages: &[Vec<u8>]) -> FakeResponse {
    let steps = messages.concat().chunks(7).map(|bytes| BodyStep::Send(bytes.to_vec())).collect();
    let headers = vec![("content-type".into(), "application/vnd.amazon.eventstream".into())];
    FakeResponse { status: 200, headers, steps }
}

fn text(text: &str) -> Vec<u8> {
    event("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": text}}))
}

fn call_with_reasoning() -> Vec<Vec<u8>> {
    let delta =
        |index: u64, delta: Value| event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}));
    let stop = |index: u64| event("contentBlockStop", json!({"contentBlockIndex": index}));
    vec![
        event("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "sig"}})),
        stop(0),
        event(
            "contentBlockStart",
            json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "tooluse_1", "name": "f"}}}),
        ),
        delta(1, json!({"toolUse": {"input": "{\"x\":1}"}})),
        stop(1),
        event("messageStop", json!({"stopReason": "tool_use"})),
        event(
            "metadata",
            json!({"usage": {"inputTokens": 20, "outputTokens": 7, "totalTokens": 31, "cacheReadInputTokens": 4}}),
        ),
    ]
}

#[tokio::test]
async fn a_chat_is_signed_and_its_binary_events_are_read() {
    let fake = FakeUpstream::start(|_| events(&call_with_reasoning())).await;
    let gateway = gateway_to(&fake);
    let mut chat = Chat { thinking: Some(true), ..chat(MODEL) };
    let reply = collect_reply(gateway.answer(&Caller::default(), chat.clone()).await.unwrap()).await.unwrap();
    assert_eq!((reply.reasoning.as_str(), reply.tool_calls[0].arguments.as_str()), ("hm", "{\"x\":1}"));
    let usage = reply.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens), (24, 4, 7));
    let received = &fake.requests()[0];
    assert_eq!(received.path, "/model/anthropic.claude-sonnet-4-5-v1%3A0/converse-stream");
    let authorization = received.header("authorization").unwrap();
    let date = received.header("x-amz-date").unwrap();
    let scope = format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{}/us-east-1/bedrock/aws4_request, ", &date[..8]);
    assert!(authorization.starts_with(&scope), "{authorization}");
    let signed = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(authorization.contains(signed) && !authorization.contains("a-secret"), "{authorization}");
    assert_eq!(received.header("x-amz-security-token"), Some("a-session-token"));
    assert_eq!(received.json()["messages"], json!([{"role": "user", "content": [{"text": "hi"}]}]));

    let Input::Messages(messages) = &mut chat.input else { unreachable!() };
    let assistant = Message {
        content: None,
        reasoning: Some(reply.reasoning),
        tool_calls: Some(reply.tool_calls),
        ..Message::new(Role::Assistant, "")
    };
    let result = Message { tool_call_id: Some("tooluse_1".into()), ..Message::new(Role::Tool, "42") };
    messages.extend([assistant, result]);
    collect_reply(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
    assert_eq!(
        fake.requests()[1].json()["messages"][1]["content"][0],
        json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}})
    );
}

/// The body that a model gets, and the notes on it.
async fn sent(model: &str, change: impl FnOnce(&mut Chat)) -> (Value, String) {
    let fake = FakeUpstream::start(|_| events(&call_with_reasoning())).await;
    let mut chat = Chat { max_tokens: Some(8000), ..chat(model) };
    change(&mut chat);
    let answer = gateway_with(&fake, model).answer(&Caller::default(), chat).await.unwrap();
    let notes = answer.note_source();
    collect_reply(answer).await.unwrap();
    (fake.requests()[0].json(), notes.notes().join("; "))
}

#[tokio::test]
async fn rows_of_what_models_take_hold_here_too() {
    let (body, notes) = sent(MODEL, |chat| {
        chat.sampling.temperature = Some(0.5);
        chat.sampling.top_p = Some(0.5);
        chat.engine_fields.top_k = Some(5);
    })
    .await;
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 8000, "temperature": 0.5}));
    assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 5}));
    assert_eq!(notes, "dropped: top_p");

    let (body, notes) = sent(MODEL, |chat| {
        chat.thinking = Some(true);
        chat.sampling.temperature = Some(0.5);
    })
    .await;
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 8000}));
    assert_eq!(notes, "dropped: temperature");

    let newer = "us.anthropic.claude-opus-4-8-v1:0";
    let (body, _) = sent(newer, |chat| chat.reasoning_effort = Some("low".into())).await;
    let thinking = json!({"type": "adaptive", "display": "summarized"});
    let own = json!({"thinking": thinking, "output_config": {"effort": "low"}});
    assert_eq!(body["additionalModelRequestFields"], own);

    let (body, notes) = sent("amazon.nova-pro-v1:0", |chat| {
        chat.thinking = Some(true);
        chat.sampling.temperature = Some(0.5);
        chat.engine_fields.top_k = Some(5);
    })
    .await;
    assert_eq!(body["inferenceConfig"]["temperature"], 0.5);
    assert_eq!(body["additionalModelRequestFields"], json!({"inferenceConfig": {"topK": 5}}));
    assert!(notes.starts_with("dropped: thinking"), "{notes}");

    // Nova 2 reasons, also behind calls whose reasoning it has not signed.
    let (body, notes) = sent("us.amazon.nova-2-lite-v1:0", |chat| {
        chat.reasoning_effort = Some("low".into());
        let call = chat::ToolCall { id: "1".into(), name: "f".into(), arguments: "{}".into() };
        let called = Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, "") };
        let result = Message { tool_call_id: Some("1".into()), ..Message::new(Role::Tool, "ok") };
        if let Input::Messages(messages) = &mut chat.input {
            messages.extend([called, result]);
        }
    })
    .await;
    let config = json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}});
    assert_eq!((&body["additionalModelRequestFields"], notes.as_str()), (&config, ""));
}

#[tokio::test]
async fn long_names_of_tools_are_whole_in_the_answer() {
    let long = format!("mcp__server__{}", "x".repeat(70));
    let fake = FakeUpstream::start(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let name = &body["toolConfig"]["tools"][0]["toolSpec"]["name"];
        let start = json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": name}}});
        events(&[
            event("messageStart", json!({"role": "assistant"})),
            event("contentBlockStart", start),
            event("contentBlockStop", json!({"contentBlockIndex": 0})),
            event("messageStop", json!({"stopReason": "tool_use"})),
            event("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 1}})),
        ])
    })
    .await;
    let function = serde_json::Map::from_iter([("name".to_owned(), Value::from(long.as_str()))]);
    let tool = chat::Tool { name: long.clone(), strict: false, function };
    let chat = Chat { tools: vec![tool], ..chat(MODEL) };
    let reply = collect_reply(gateway_to(&fake).answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
    assert_eq!(reply.tool_calls[0].name, long);
    let sent = fake.requests()[0].json()["toolConfig"]["tools"][0]["toolSpec"]["name"].as_str().unwrap().len();
    assert_eq!(sent, 64);
}

#[tokio::test]
async fn a_whole_answer_is_json() {
    let fake = FakeUpstream::start(|_| {
        let message = json!({"role": "assistant", "content": [{"text": "Hello"}]});
        let usage = json!({"inputTokens": 5, "outputTokens": 2, "totalTokens": 7});
        FakeResponse::json(200, json!({"output": {"message": message}, "stopReason": "end_turn", "usage": usage}))
    })
    .await;
    let chat = Chat { takes_whole: true, ..chat(MODEL) };
    let reply = collect_reply(gateway_to(&fake).answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.unwrap().prompt_tokens), ("Hello", 5));
    assert_eq!(fake.requests()[0].path, "/model/anthropic.claude-sonnet-4-5-v1%3A0/converse");
}

#[tokio::test]
async fn exceptions_and_damaged_streams_are_failures() {
    let end = event("messageStop", json!({"stopReason": "end_turn"}));
    let mut damaged = text("b");
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    for (messages, kind, words) in [
        (vec![exception("throttlingException")], ErrorKind::RateLimited, "Too many requests"),
        (vec![text("a"), exception("modelStreamErrorException")], ErrorKind::Upstream(502), "Too many requests"),
        (vec![text("a"), damaged, end], ErrorKind::Upstream(502), "not of its dialect"),
        (vec![text("a")], ErrorKind::Upstream(502), "broke off"),
    ] {
        let fake = FakeUpstream::start(move |_| events(&messages)).await;
        let gateway = gateway_to(&fake);
        let error = match gateway.answer(&Caller::default(), chat(MODEL)).await {
            Ok(answer) => collect_reply(answer).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind, kind, "{words}: {error}");
        assert!(error.message.contains(words), "{error}");
    }
}
