//! Bodies that are forwarded as they are.

use std::sync::Arc;
use std::time::Duration;

use chat::{Chat, ErrorKind};
use gateway::{Caller, Gateway, RawRequest, Router};
use http::{HeaderName, HeaderValue};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::passthrough_helpers::{pass_chat_completions, pass_through, read_response, sent_text};
use crate::providers::{
    anthropic_answer, chat, chat_provider, fallback, fixture, fixture_of, gateway_of, primary, upstream_with_dialect,
    word_event,
};

#[tokio::test]
async fn a_body_of_the_same_dialect_is_forwarded_byte_for_byte() {
    let fake = FakeUpstream::start(|received| match received.json()["stream"] == true {
        true => FakeResponse::chat_stream(&["a", "b"], 100),
        false => FakeResponse::json(
            200,
            json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "z": 1,
                                          "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
        ),
    })
    .await;
    let fixture = fixture(&fake).await;
    let pass =
        async |body: &str| pass_chat_completions(&fixture.gateway, &fixture.alice, body).await.unwrap().unwrap().0;

    let plain = "{ \"unknown\": [1, 2.50],\n\"model\":\"m\",\"messages\":[ ] }";
    assert_eq!(
        pass(plain).await,
        r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"z":1,"usage":{"prompt_tokens":5,"completion_tokens":1}}"#
    );
    assert_eq!(fake.requests()[0].body, plain.as_bytes());

    let request = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    assert_eq!(pass(request).await, sent_text(&["a", "b"], 100, false));
    assert_eq!(fake.requests()[1].body, request.as_bytes());

    // A caller that does not request the usage does not receive it; it is billed all the same.
    assert_eq!(pass(r#"{"model":"p/m","stream":true,"messages":[]}"#).await, sent_text(&["a", "b"], 100, true));
    let forwarded = r#"{"model":"m","stream":true,"messages":[],"stream_options":{"include_usage":true}}"#;
    assert_eq!(String::from_utf8_lossy(&fake.requests()[2].body), forwarded);
    pass(r#"{"model":"m-thinking","messages":[],"thinking":null}"#).await;
    assert_eq!(fake.requests()[3].body, br#"{"model":"m","messages":[],"thinking":{"type":"enabled"}}"#);

    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    let billed: Vec<_> =
        records.iter().rev().map(|r| (r.prompt_tokens, r.completion_tokens, r.cost, r.estimated)).collect();
    assert_eq!(billed, [(5, 1, 7, false), (100, 2, 104, false), (100, 2, 104, false), (5, 1, 7, false)]);
    assert!(records.iter().all(|record| record.outcome == "stop" && record.first_token_us.is_some()));
}

#[tokio::test]
async fn reasoning_under_its_new_name_is_forwarded_under_both() {
    const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}\n\n";
    const LAST: &str =
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let fake = FakeUpstream::start(|received| match received.json()["stream"] == true {
        // The event arrives in two pieces.
        true => FakeResponse::stream([&CHUNK[..20], &CHUNK[20..], LAST].map(|text| BodyStep::Send(text.into()))),
        false => FakeResponse::json(
            200,
            json!({"choices": [{"message": {"reasoning": "hm", "content": "a"}, "finish_reason": "stop"}],
                   "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
        ),
    })
    .await;
    let fixture = fixture(&fake).await;
    let pass =
        async |body: &str| pass_chat_completions(&fixture.gateway, &fixture.alice, body).await.unwrap().unwrap().0;
    let both = "{\"reasoning\":\"hm\",\"reasoning_content\":\"hm\"}";
    let stream = format!("data: {{\"choices\":[{{\"delta\":{both}}}]}}\n\n{LAST}");
    for options in ["", r#","stream_options":{"include_usage":true}"#] {
        assert_eq!(pass(&format!(r#"{{"model":"m","stream":true,"messages":[]{options}}}"#)).await, stream);
    }
    let whole = pass(r#"{"model":"m","messages":[]}"#).await;
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let expected = json!({"reasoning": "hm", "reasoning_content": "hm", "content": "a"});
    assert_eq!(whole["choices"][0]["message"], expected);
}

#[tokio::test]
async fn a_gemini_body_is_forwarded_byte_for_byte() {
    let event = |text: &str, end: &str| {
        let usage = r#""usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":2}"#;
        format!(
            "data: {{\"candidates\": [{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}}{end}}}],{usage}}}\r\n\r\n"
        )
    };
    let events = [event("a", ""), event("b", ",\"finishReason\":\"STOP\"")];
    let (whole, sent) = (events.concat(), events.clone());
    let fake = FakeUpstream::start(move |received| match received.path.contains(":streamGenerateContent") {
        true => FakeResponse::stream(sent.clone().map(|event| BodyStep::Send(event.into_bytes()))),
        false => FakeResponse::json(200, serde_json::from_str(sent[1].trim_start_matches("data: ")).unwrap()),
    })
    .await;
    let fixture = fixture_of(upstream_with_dialect("p", &fake, Dialect::Gemini)).await;
    let body = "{ \"contents\":[{\"parts\":[{\"text\":\"hi\"}]}], \"unknown\": 2.50,\n\"generationConfig\":{\"maxOutputTokens\":9}}";
    let bytes = body.to_owned().into();
    let pass = async |model, stream| {
        let request = RawRequest {
            model_in_path: Some((model, stream)),
            ..RawRequest::new(ApiEndpoint::GenerateContent, &bytes)
        };
        match fixture.gateway.passthrough(&fixture.alice, request).await.unwrap() {
            Some(request) => Some(read_response(request).await.unwrap()),
            None => None,
        }
    };
    let (text, failure) = pass("m", true).await.unwrap();
    assert_eq!((text, failure.is_none()), (whole, true));
    let (text, _) = pass("p/m", false).await.unwrap();
    assert!(text.contains("\"finishReason\":\"STOP\""), "{text}");
    // Gemini has no field for the thinking mode of an id.
    assert!(pass("m-thinking", true).await.is_none());
    let paths: Vec<_> = fake.requests().iter().map(|received| received.path.clone()).collect();
    assert_eq!(paths, ["/v1/models/m:streamGenerateContent?alt=sse", "/v1/models/m:generateContent"]);
    assert!(fake.requests().iter().all(|received| received.body == body.as_bytes()));

    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    let billed: Vec<_> = records.iter().map(|r| (r.prompt_tokens, r.completion_tokens, r.cost, &*r.outcome)).collect();
    assert_eq!(billed, [(100, 2, 104, "stop"), (100, 2, 104, "stop")]);
}

#[tokio::test]
async fn a_body_that_cannot_be_forwarded_is_left_to_its_parser() {
    let fake = chat_provider(&["x"]).await;
    let gateway = gateway_of(&[("p", &fake, primary())]);
    for body in ["", "{", r#"{"model":7}"#, r#"{"model":"nobody"}"#, r#"{"model":"m","model":"m"}"#, "[]"] {
        assert!(pass_chat_completions(&gateway, &Caller::default(), body).await.unwrap().is_none(), "{body}");
    }
    let models = Some(Arc::from(["n".to_owned()]));
    let bob = Caller { key_name: Some("bob".into()), allowed_models: models, ..Caller::default() };
    let error = pass_chat_completions(&gateway, &bob, r#"{"model":"m","messages":[]}"#).await.unwrap_err();
    assert_eq!((error.kind, fake.requests().len()), (ErrorKind::Forbidden, 0));
}

#[tokio::test]
async fn a_broken_stream_is_an_error_and_one_that_never_begins_is_replaced() {
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let steps = [word_event("one"), word_event("two"), BodyStep::Wait(Duration::from_millis(20)), BodyStep::Disconnect];
    let fake = FakeUpstream::start(move |_| FakeResponse::stream(steps.clone())).await;
    let fixture = fixture(&fake).await;
    let (text, failure) = pass_chat_completions(&fixture.gateway, &fixture.alice, body).await.unwrap().unwrap();
    assert!(text.contains("one") && text.contains("two"));
    assert_eq!(failure.unwrap().kind, ErrorKind::Upstream(502));
    fixture.background_tasks.finish().await;
    let record = &fixture.store.latest_records(1).await.unwrap()[0];
    assert_eq!((&*record.outcome, record.completion_tokens, record.estimated), ("error", 2, true));

    // The stream ends without its final event.
    let cut = FakeUpstream::start(|_| FakeResponse::stream([word_event("one")])).await;
    let (_, failure) =
        pass_chat_completions(&gateway_of(&[("p", &cut, primary())]), &Caller::default(), body).await.unwrap().unwrap();
    assert!(failure.unwrap().message.contains("broke off"));

    for failing in [
        FakeResponse::stream([BodyStep::Disconnect]),
        FakeResponse::stream([]),
        FakeResponse::json(503, json!({})),
        FakeResponse::events(["{\"error\":{\"message\":\"no room\"}}"]),
    ] {
        let name = format!("{failing:?}");
        let bad = FakeUpstream::start(move |_| failing.clone()).await;
        let good = chat_provider(&["ok"]).await;
        let both = gateway_of(&[("bad", &bad, primary()), ("good", &good, fallback())]);
        let (text, failure) = pass_chat_completions(&both, &Caller::default(), body).await.unwrap().unwrap();
        assert!(failure.is_none() && text.contains("ok"), "{name}");
    }
}

#[tokio::test]
async fn bodies_of_a_providers_endpoints_are_forwarded_and_metered() {
    let fake = FakeUpstream::start(|received| match received.path.as_str() {
        "/v1/embeddings" => FakeResponse::json(200, json!({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 6, "total_tokens": 6}})),
        "/v1/completions" => FakeResponse::json(200, json!({"choices": [{"text": "x", "finish_reason": "length"}], "usage": {"prompt_tokens": 2, "completion_tokens": 1}})),
        _ => anthropic_answer(),
    })
    .await;
    let fixture = fixture(&fake).await;
    let pass =
        async |endpoint, body: &str| pass_through(&fixture.gateway, &fixture.alice, endpoint, body).await.unwrap();
    assert!(pass(ApiEndpoint::Embeddings, r#"{"model":"m","input":"x"}"#).await.unwrap().0.contains("0.5"));
    assert!(pass(ApiEndpoint::Completions, r#"{"model":"m","prompt":"x"}"#).await.unwrap().0.contains("length"));
    assert!(
        pass(ApiEndpoint::Messages, r#"{"model":"m","messages":[]}"#).await.is_none(),
        "the dialect has no such endpoint"
    );
    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    let billed: Vec<_> = records.iter().rev().map(|r| (r.prompt_tokens, r.cost, &*r.outcome)).collect();
    assert_eq!(billed, [(6, 6, "stop"), (2, 4, "length")]);

    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("claude", &fake, Dialect::Anthropic), &["m".into()], primary());
    let gateway = Gateway::new(router, Arc::default());
    let body = r#"{"model":"claude/m","stream":true,"max_tokens":5,"messages":[]}"#;
    let (text, failure) =
        pass_through(&gateway, &Caller::default(), ApiEndpoint::Messages, body).await.unwrap().unwrap();
    let steps = anthropic_answer()
        .steps
        .into_iter()
        .map(|piece| if let BodyStep::Send(bytes) = piece { bytes } else { vec![] });
    assert_eq!((text.into_bytes(), failure), (steps.flatten().collect(), None));
    let received = fake.requests().pop().unwrap();
    assert_eq!(received.body, br#"{"model":"m","stream":true,"max_tokens":5,"messages":[]}"#);
    // The caller's version replaces the default.
    let version = (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2024-01-01"));
    let bytes = body.to_owned().into();
    let request =
        RawRequest { headers: [version].into_iter().collect(), ..RawRequest::new(ApiEndpoint::Messages, &bytes) };
    read_response(gateway.passthrough(&Caller::default(), request).await.unwrap().unwrap()).await.unwrap();
    let received = fake.requests().pop().unwrap();
    let versions = received.headers.iter().filter(|(name, _)| name == "anthropic-version");
    assert_eq!(versions.map(|(_, version)| version.as_str()).collect::<Vec<_>>(), ["2024-01-01"]);
    assert!(
        pass_through(&gateway, &Caller::default(), ApiEndpoint::Messages, r#"{"model":"m-thinking","messages":[]}"#)
            .await
            .unwrap()
            .is_none()
    );
}

/// Only the local engine understands the object `cachalot`, whichever way the body takes.
#[tokio::test]
async fn no_provider_sees_what_is_for_this_server() {
    let fake = FakeUpstream::start(|_| anthropic_answer()).await;
    for dialect in [Dialect::OpenAi, Dialect::DeepSeek, Dialect::Anthropic] {
        let fixture = fixture_of(upstream_with_dialect("p", &fake, dialect)).await;
        for own in [r#"{"attention":"dense"}"#, "{}", r#"{"unknown":1}"#] {
            let body = format!(r#"{{"model":"m","messages":[],"cachalot":{own}}}"#);
            let passed = pass_chat_completions(&fixture.gateway, &fixture.alice, &body).await;
            // A body of another dialect is parsed instead.
            let error = match passed {
                Ok(passed) => {
                    assert!(passed.is_none() && dialect == Dialect::Anthropic, "{dialect:?}");
                    let chat = Chat { is_local_only: true, ..chat("m") };
                    fixture.gateway.answer(&fixture.alice, chat).await.err().unwrap()
                }
                Err(error) => error,
            };
            assert_eq!((error.kind, error.code), (ErrorKind::InvalidRequest, Some("not_local")), "{error}");
            assert_eq!(error.param.as_deref(), Some("cachalot"));
        }
    }
    assert!(fake.requests().is_empty());
}
