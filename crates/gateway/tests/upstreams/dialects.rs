//! Chats in the dialect of their provider.

use std::sync::Arc;

use chat::{Chat, ErrorKind, Input, Message, Role};
use gateway::{Caller, Gateway, Router, UpstreamModel};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use wire::upstream::Dialect;

use crate::passthrough_helpers::pass_chat_completions;
use crate::providers::{
    anthropic_answer, chat, chat_provider, collect_reply, gateway_of, primary, send_chat, upstream,
    upstream_with_dialect,
};

#[tokio::test]
async fn a_chat_is_sent_in_the_providers_dialect_with_the_operators_key() {
    let fake = chat_provider(&["Hel", "lo"]).await;
    let gateway = gateway_of(&[("p", &fake, primary())]);
    let reply = send_chat(&gateway).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.unwrap().prompt_tokens), ("Hello", 7));
    let received = &fake.requests()[0];
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(received.header("authorization"), Some("Bearer sk-operator"));
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
                      "stream_options": {"include_usage": true}});
    assert_eq!(received.json(), body);
}

#[tokio::test]
async fn unsupported_parameters_are_noted() {
    let fake = chat_provider(&["x"]).await;
    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("claude", &fake, Dialect::Anthropic), &["m".into()], primary());
    let gateway = Gateway::new(router, Arc::default());
    let mut request = chat("m");
    (request.sampling.seed, request.n) = (Some(1), Some(2));
    request.uncarried = vec!["metadata"];
    let answer = gateway.answer(&Caller::default(), request).await.unwrap();
    // They are known when the request has been sent, also if its answer is a failure.
    let notes = answer.note_source();
    assert!(collect_reply(answer).await.is_err());
    assert_eq!(notes.notes(), ["dropped: metadata, n, seed"]);
}

#[tokio::test]
async fn unusual_framing_is_parsed() {
    let text = ": OPENROUTER PROCESSING\n\nevent: x\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é\"}}]}\r\n\r\n\
                data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    // Byte by byte, and without [DONE].
    let steps: Vec<_> = text.bytes().map(|byte| BodyStep::Send(vec![byte])).collect();
    let fake = FakeUpstream::start(move |_| FakeResponse::stream(steps.clone())).await;
    let reply = send_chat(&gateway_of(&[("p", &fake, primary())])).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.unwrap().completion_tokens), ("é", 1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other_host = chat_provider(&["leaked"]).await;
    let target = format!("{}/x", other_host.base_url());
    let redirects = FakeUpstream::start(move |_| FakeResponse::json(307, json!({})).header("location", &target)).await;
    let error = send_chat(&gateway_of(&[("p", &redirects, primary())])).await.unwrap_err();
    assert_eq!((error.kind, other_host.requests().len()), (ErrorKind::Upstream(502), 0));
}

#[tokio::test]
async fn thinking_is_sent_back_to_anthropic_with_its_signature() {
    let fake = FakeUpstream::start(|_| anthropic_answer()).await;
    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("claude", &fake, Dialect::Anthropic), &["m".into()], primary());
    let gateway = Gateway::new(router, Arc::default());
    assert!(
        pass_chat_completions(&gateway, &Caller::default(), r#"{"model":"m","messages":[]}"#).await.unwrap().is_none()
    );

    let mut chat = Chat { thinking: Some(true), ..chat("m") };
    let reply = collect_reply(gateway.answer(&Caller::default(), chat.clone()).await.unwrap()).await.unwrap();
    assert_eq!((reply.reasoning.as_str(), reply.tool_calls[0].arguments.as_str()), ("hm", "{}"));
    let usage = reply.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens), (24, 4, 7));
    let received = &fake.requests()[0];
    assert_eq!((received.path.as_str(), received.header("x-api-key")), ("/v1/messages", Some("sk-operator")));
    assert_eq!((received.header("anthropic-version"), received.header("authorization")), (Some("2023-06-01"), None));

    let Input::Messages(messages) = &mut chat.input else { unreachable!() };
    let assistant = Message {
        content: None,
        reasoning: Some(reply.reasoning),
        tool_calls: Some(reply.tool_calls),
        ..Message::new(Role::Assistant, "")
    };
    let result = Message { tool_call_id: Some("toolu_1".into()), ..Message::new(Role::Tool, "42") };
    messages.extend([assistant, result]);
    collect_reply(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
    assert_eq!(
        fake.requests()[1].json()["messages"],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
                                              {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}]}])
    );
}

#[tokio::test]
async fn a_signature_that_the_client_returns_is_valid_at_another_server() {
    let fake = FakeUpstream::start(|_| anthropic_answer()).await;
    let server = || {
        let mut router = Router::default();
        router.add_upstream(&upstream_with_dialect("claude", &fake, Dialect::Anthropic), &["m".into()], primary());
        Gateway::new(router, Arc::default())
    };
    let mut chat = Chat { thinking: Some(true), ..chat("m") };
    let reply = collect_reply(server().answer(&Caller::default(), chat.clone()).await.unwrap()).await.unwrap();
    let Input::Messages(messages) = &mut chat.input else { unreachable!() };
    let returned = |signatures| Message {
        content: None,
        reasoning: Some(reply.reasoning.clone()),
        signatures,
        tool_calls: Some(reply.tool_calls.clone()),
        ..Message::new(Role::Assistant, "")
    };
    messages.push(returned(reply.signatures.clone()));
    messages.push(Message { tool_call_id: Some("toolu_1".into()), ..Message::new(Role::Tool, "42") });
    let answer = server().answer(&Caller::default(), chat.clone()).await.unwrap();
    let notes = answer.note_source();
    collect_reply(answer).await.unwrap();
    assert!(notes.notes().is_empty(), "{:?}", notes.notes());
    let sent = fake.requests()[1].json();
    let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "sig"});
    assert_eq!((&sent["messages"][1]["content"][0], &sent["thinking"]["type"]), (&thinking, &json!("enabled")));

    // Without it the other server sends no thinking, and says so.
    let Input::Messages(messages) = &mut chat.input else { unreachable!() };
    messages[1] = returned(Vec::new());
    let answer = server().answer(&Caller::default(), chat).await.unwrap();
    let notes = answer.note_source();
    collect_reply(answer).await.unwrap();
    assert_eq!(notes.notes(), ["dropped: reasoning_content, thinking"]);
    assert_eq!(fake.requests()[2].json().get("thinking"), None);
}

#[tokio::test]
async fn a_provider_may_have_another_name_for_a_model() {
    let fake = chat_provider(&["x"]).await;
    let mut router = Router::default();
    router.add_upstream(
        &upstream("p", &fake),
        &[UpstreamModel { id: "m".into(), upstream_name: "org/m-2".into() }],
        primary(),
    );
    let gateway = Gateway::new(router, Arc::default());
    let answer = gateway.answer(&Caller::default(), chat("m")).await.unwrap();
    let selected = answer.selected_target().clone();
    collect_reply(answer).await.unwrap();
    pass_chat_completions(&gateway, &Caller::default(), r#"{"model":"p/m","messages":[],"stream":true}"#)
        .await
        .unwrap()
        .unwrap();
    let models: Vec<_> = fake.requests().iter().map(|received| received.json()["model"].clone()).collect();
    assert_eq!((models, &**selected.provider()), (vec![json!("org/m-2"), json!("org/m-2")], "p"));
}

#[tokio::test]
async fn the_models_of_a_providers_own_list_are_offered() {
    let fake = FakeUpstream::start(|received| match received.path.as_str() {
        "/v1/models" => FakeResponse::json(200, json!({"object": "list", "data": [{"id": "a"}, {"id": "b"}]})),
        _ => FakeResponse::chat_stream(&["ok"], 1),
    })
    .await;
    let gateway = Gateway::new(Router::default(), Arc::default());
    let upstream = upstream("p", &fake);
    let models: Vec<_> = upstream.models().await.unwrap().into_iter().map(UpstreamModel::from).collect();
    for _ in 0..2 {
        gateway.add_upstream(&upstream, &models, primary());
    }
    let listed: Vec<_> = gateway.models(&Caller::default()).iter().map(|model| model.id.to_string()).collect();
    assert_eq!(listed, ["a", "p/a", "b", "p/b"]);
    assert!(collect_reply(gateway.answer(&Caller::default(), chat("b")).await.unwrap()).await.is_ok());
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_or_estimated() {
    let count = async |dialect, answer: FakeResponse| {
        let fake = FakeUpstream::start(move |_| answer.clone()).await;
        let mut router = Router::default();
        router.add_upstream(
            &upstream_with_dialect("p", &fake, dialect),
            &[UpstreamModel { id: "m".into(), upstream_name: "theirs".into() }],
            primary(),
        );
        let counted = Gateway::new(router, Arc::default()).count_tokens(&Caller::default(), chat("m")).await;
        (counted, fake.requests().first().map(|request| request.path.clone()))
    };
    let exact = |tokens| Ok(gateway::PromptTokens { tokens, is_estimate: false });
    let anthropic = FakeResponse::json(200, json!({"input_tokens": 14}));
    assert_eq!(count(Dialect::Anthropic, anthropic).await, (exact(14), Some("/v1/messages/count_tokens".into())));
    let gemini = FakeResponse::json(200, json!({"totalTokens": 31}));
    assert_eq!(count(Dialect::Gemini, gemini).await, (exact(31), Some("/v1/models/theirs:countTokens".into())));
    // No count, no endpoint, no provider: a message counts as 12 bytes beside its text, and three
    // bytes as a token.
    let estimate = Ok(gateway::PromptTokens { tokens: 5, is_estimate: true });
    for status in [200, 404, 405, 500, 501] {
        for dialect in [Dialect::Anthropic, Dialect::Gemini] {
            let answer = FakeResponse::json(status, json!({}));
            assert_eq!(count(dialect, answer).await.0, estimate, "{status}");
        }
    }
    assert_eq!(count(Dialect::OpenAi, FakeResponse::json(200, json!({}))).await, (estimate, None));
    let refused = FakeResponse::json(400, json!({"error": {"type": "invalid_request_error", "message": "no"}}));
    assert_eq!(count(Dialect::Anthropic, refused).await.0.unwrap_err().kind, ErrorKind::InvalidRequest);
}
