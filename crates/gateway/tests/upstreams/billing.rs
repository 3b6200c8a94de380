//! Usage records of remote answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat::{Chat, Delta, ErrorKind};
use futures_util::StreamExt;
use gateway::{Caller, Router};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};

use crate::fixture::GatewayFixture;
use crate::passthrough_helpers::pass_chat_completions;
use crate::providers::{PRICES, chat, chat_provider, collect_reply, fallback, fixture, primary, upstream, word_event};

#[tokio::test]
async fn a_disconnected_caller_cancels_the_provider_and_pays_for_received_tokens() {
    let steps = [word_event("one"), word_event("two"), word_event("three"), BodyStep::Wait(Duration::from_secs(60))];
    let fake = FakeUpstream::start(move |_| FakeResponse::stream(steps.clone())).await;
    let fixture = fixture(&fake).await;
    let mut answer = fixture.gateway.answer(&fixture.alice, chat("m")).await.unwrap();
    let mut words = 0;
    while words < 3 {
        words += usize::from(matches!(answer.next().await, Some(Ok(Delta::Text { .. }))));
    }
    assert_eq!(fake.active_responses(), 1);
    drop(answer);
    let left = Instant::now();
    while fake.active_responses() > 0 {
        assert!(left.elapsed() < Duration::from_millis(100), "the provider still answers");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fixture.background_tasks.finish().await;
    let record = &fixture.store.latest_records(1).await.unwrap()[0];
    assert_eq!((&*record.outcome, record.completion_tokens, record.estimated), ("cancelled", 3, true));
    // Two bytes of text and the message around them.
    assert_eq!((record.prompt_tokens, record.cost), (5, 5 + 6));
}

#[tokio::test]
async fn the_providers_counts_are_billed_and_a_refusal_is_not() {
    let times = AtomicUsize::new(0);
    let fake = FakeUpstream::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => FakeResponse::chat_stream(&["a", "b"], 100),
        _ => FakeResponse::json(400, json!({"error": {"message": "no"}})),
    })
    .await;
    let fixture = fixture(&fake).await;
    collect_reply(fixture.gateway.answer(&fixture.alice, chat("m")).await.unwrap()).await.unwrap();
    collect_reply(fixture.gateway.answer(&fixture.alice, chat("m")).await.unwrap()).await.unwrap_err();
    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    let billed: Vec<_> = records.iter().rev().map(|r| (&*r.outcome, r.cost, &*r.upstream, &*r.price)).collect();
    assert_eq!(billed, [("stop", 104, "p", "p/m@d"), ("invalid", 0, "p", "p/m@d")]);
    assert_eq!(fixture.alice.api_key.as_ref().unwrap().remaining_budget(), Some(1_000_000 - 104));
}

#[tokio::test]
async fn the_attempts_of_a_request_are_kept_if_one_failed() {
    let times = AtomicUsize::new(0);
    let fake = FakeUpstream::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => FakeResponse::json(500, json!({"error": {"message": "broken"}})),
        _ => FakeResponse::chat_stream(&["a", "b"], 100),
    })
    .await;
    let fixture = fixture(&fake).await;
    for _ in 0..2 {
        collect_reply(fixture.gateway.answer(&fixture.alice, chat("m")).await.unwrap()).await.unwrap();
    }
    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    assert!(fixture.store.attempts(&records[0].id).await.unwrap().is_empty(), "none failed");
    let attempts = fixture.store.attempts(&records[1].id).await.unwrap();
    let kept: Vec<_> = attempts.iter().map(|a| (&*a.provider, &*a.model, a.status, a.fault.as_deref())).collect();
    assert_eq!(kept, [("p", "m", Some(502), Some("broken")), ("p", "m", Some(200), None)]);
    assert!(attempts[0].ended_at <= Some(attempts[1].started_at) && attempts[1].first_byte_at <= attempts[1].ended_at);
}

#[tokio::test]
async fn a_provider_without_a_price_answers_no_key_with_a_budget() {
    let (free, priced) = (chat_provider(&["free"]).await, chat_provider(&["priced"]).await);
    let mut router = Router::default();
    router.add_upstream(&upstream("free", &free), &["m".into(), "n".into()], primary());
    router.add_upstream(&upstream("p", &priced), &["m".into()], fallback());
    let fixture = GatewayFixture::start(router, PRICES, Some(1_000_000), None).await;
    let gateway = &fixture.gateway;
    let converted = async |caller: &Caller, model: &str| {
        collect_reply(gateway.answer(caller, chat(model)).await?).await.map(|reply| reply.text)
    };
    assert_eq!(converted(&fixture.alice, "m").await.unwrap(), "priced");
    let body = r#"{"model":"m","messages":[],"stream":true}"#;
    let (text, _) = pass_chat_completions(gateway, &fixture.alice, body).await.unwrap().unwrap();
    assert!(text.contains("priced"), "{text}");
    // Without a budget the order of the providers applies, and without any price
    // there is none to pay.
    assert_eq!(converted(&Caller::default(), "m").await.unwrap(), "free");
    let error = converted(&fixture.alice, "n").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert!(error.message.starts_with("The model `n` has no price, and this key has a budget"), "{error}");
}

#[tokio::test]
async fn a_caller_of_a_whole_answer_gets_one_that_was_sent_whole() {
    let fake = FakeUpstream::start(|received| match received.json()["stream"] == true {
        true => FakeResponse::chat_stream(&["a", "b"], 100),
        false => FakeResponse::json(
            200,
            json!({"choices": [{"message": {"content": "ab"}, "finish_reason": "length"}], "usage": {"prompt_tokens": 100, "completion_tokens": 2}}),
        ),
    })
    .await;
    let fixture = fixture(&fake).await;
    for (takes_whole, logprobs) in [(true, None), (false, None), (true, Some(true))] {
        let chat = Chat { takes_whole, logprobs, ..chat("m") };
        let reply = collect_reply(fixture.gateway.answer(&fixture.alice, chat).await.unwrap()).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.usage.unwrap().completion_tokens), ("ab", 2));
    }
    // A whole answer with log-probabilities may have too many values to be parsed at once.
    let streamed: Vec<_> = fake.requests().iter().map(|received| received.json()["stream"] == true).collect();
    assert_eq!(streamed, [false, true, true]);
    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    let billed: Vec<_> = records.iter().rev().map(|r| (&*r.outcome, r.cost, r.first_token_us.is_some())).collect();
    assert_eq!(billed, [("length", 104, true), ("stop", 104, true), ("stop", 104, true)]);
}

#[tokio::test]
async fn a_model_without_whole_answers_is_asked_for_a_stream() {
    let refusals = [
        FakeResponse::json(400, json!({"error": {"message": "This model only supports stream mode"}})),
        FakeResponse::json(500, json!({"error": {"message": "broken"}})),
    ];
    for refusal in refusals {
        let fake = FakeUpstream::start(move |received| match received.json()["stream"] == true {
            true => FakeResponse::chat_stream(&["a", "b"], 100),
            false => refusal.clone(),
        })
        .await;
        let fixture = fixture(&fake).await;
        let chat = Chat { takes_whole: true, ..chat("m") };
        let reply = collect_reply(fixture.gateway.answer(&fixture.alice, chat).await.unwrap()).await.unwrap();
        assert_eq!((reply.text.as_str(), fake.requests().len()), ("ab", 2));
    }
}
