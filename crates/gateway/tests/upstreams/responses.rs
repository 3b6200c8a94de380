//! Providers that speak OpenAI's Responses API.

use std::sync::Arc;

use chat::{Input, Message, Role};
use gateway::{Caller, Gateway, Router};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use testkit::transcripts::{Scenario, stream_events, stream_response};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::passthrough_helpers::pass_through;
use crate::providers::{chat, chat_provider, collect_reply, fallback, fixture_of, primary, upstream_with_dialect};

fn gateway_to(fake: &FakeUpstream) -> Gateway {
    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("p", fake, Dialect::Responses), &["m".into()], primary());
    Gateway::new(router, Arc::default())
}

#[tokio::test]
async fn encrypted_reasoning_returns_with_the_call_that_followed_it() {
    let fake = FakeUpstream::start(|_| stream_response("responses", Scenario::ToolCalls)).await;
    let gateway = gateway_to(&fake);
    let mut chat = chat("m");
    let reply = collect_reply(gateway.answer(&Caller::default(), chat.clone()).await.unwrap()).await.unwrap();
    assert_eq!((reply.reasoning.as_str(), reply.tool_calls.len()), ("Let me think.", 2));
    let usage = reply.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.reasoning_tokens), (11, 3, Some(4)));
    let received = &fake.requests()[0];
    assert_eq!(
        (received.path.as_str(), received.header("authorization")),
        ("/v1/responses", Some("Bearer sk-operator"))
    );
    let user = json!({"type": "message", "role": "user", "content": "hi"});
    assert_eq!(
        received.json(),
        json!({"model": "m", "input": [user], "include": ["reasoning.encrypted_content"], "store": false, "stream": true})
    );

    // Most clients of chat completions return no reasoning.
    let Input::Messages(messages) = &mut chat.input else { unreachable!() };
    messages.push(Message { content: None, tool_calls: Some(reply.tool_calls), ..Message::new(Role::Assistant, "") });
    messages.push(Message { tool_call_id: Some("call_0".into()), ..Message::new(Role::Tool, "sun") });
    collect_reply(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
    let input = fake.requests()[1].json()["input"].clone();
    assert_eq!(input[1], json!({"type": "reasoning", "summary": [], "encrypted_content": "c2lnbmVk"}));
    let kinds: Vec<&str> = input.as_array().unwrap().iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(kinds, ["message", "reasoning", "function_call", "function_call", "function_call_output"]);
}

#[tokio::test]
async fn a_response_is_forwarded_byte_for_byte_and_metered() {
    let fake = FakeUpstream::start(|received| match received.json()["stream"] == true {
        true => stream_response("responses", Scenario::Text),
        false => FakeResponse::json(200, testkit::transcripts::json_body("responses", Scenario::Text)),
    })
    .await;
    let fixture = fixture_of(upstream_with_dialect("p", &fake, Dialect::Responses)).await;
    let body = "{ \"model\":\"m\", \"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}], \"store\":true,\n\"tools\":[{\"type\":\"web_search\"}],\"stream\":true}";
    let pass =
        async |body: &str| pass_through(&fixture.gateway, &fixture.alice, ApiEndpoint::Responses, body).await.unwrap();
    let (text, failure) = pass(body).await.unwrap();
    assert_eq!((text, failure.is_none()), (stream_events("responses", Scenario::Text).concat(), true));
    assert_eq!(fake.requests()[0].body, body.as_bytes());
    let (text, _) = pass(r#"{"model":"p/m","input":"hi"}"#).await.unwrap();
    assert!(text.contains("Hello, whale."), "{text}");
    assert_eq!(fake.requests()[1].body, br#"{"model":"m","input":"hi"}"#);
    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    let billed: Vec<_> = records.iter().map(|r| (r.prompt_tokens, r.completion_tokens, &*r.outcome)).collect();
    assert_eq!(billed, [(11, 7, "stop"), (11, 7, "stop")]);
}

#[tokio::test]
async fn what_needs_state_or_this_servers_compaction_is_parsed() {
    let fake = FakeUpstream::start(|_| stream_response("responses", Scenario::Text)).await;
    let gateway = gateway_to(&fake);
    let passes = async |more: &str| {
        let body = format!(r#"{{"model":"m","input":"hi"{more}}}"#);
        pass_through(&gateway, &Caller::default(), ApiEndpoint::Responses, &body).await.unwrap().is_some()
    };
    for state in [r#","previous_response_id":"resp_1""#, r#","conversation":{"id":"c"}"#, r#","background":true"#] {
        assert!(!passes(state).await, "{state}");
    }
    for none in
        [r#","previous_response_id":null,"stream":true"#, r#","background":false,"conversation":null,"stream":true"#]
    {
        assert!(passes(none).await, "{none}");
    }
    let compacted = r#"{"model":"m","input":[{"type":"compaction","encrypted_content":"cachalot.v1.aGk"}]}"#;
    let passed = pass_through(&gateway, &Caller::default(), ApiEndpoint::Responses, compacted).await.unwrap();
    assert!(passed.is_none());
}

#[tokio::test]
async fn a_model_with_another_dialect_too_is_converted() {
    let fake = FakeUpstream::start(|_| stream_response("responses", Scenario::Text)).await;
    let other = chat_provider(&["x"]).await;
    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("p", &fake, Dialect::Responses), &["m".into()], primary());
    router.add_upstream(&upstream_with_dialect("q", &other, Dialect::OpenAi), &["m".into()], fallback());
    let gateway = Gateway::new(router, Arc::default());
    let body = r#"{"model":"m","input":"hi"}"#;
    assert!(pass_through(&gateway, &Caller::default(), ApiEndpoint::Responses, body).await.unwrap().is_none());
    let reply = collect_reply(gateway.answer(&Caller::default(), chat("m")).await.unwrap()).await.unwrap();
    assert_eq!(reply.text, "Hello, whale.");
}
