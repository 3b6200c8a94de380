//! Usage records of remote answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat::Delta;
use futures_util::StreamExt;
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};

use crate::providers::{chat, collect_reply, fixture, word_event};

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
