//! Requests whose price is known before they are sent.

use bytes::Bytes;
use chat::{Chat, Error, ErrorKind};
use gateway::{Overdraft, TaskSubmission};
use http::HeaderMap;
use serde_json::{Value, json};
use wire::passthrough::ApiEndpoint;
use wire::tasks::TaskKind;
use wire::upstream::Dialect;

use crate::helpers::{DOLLAR, chat, fixture_of, fixture_with, media_provider};

#[tokio::test]
async fn a_known_price_above_the_remaining_budget_is_refused() {
    let fake = media_provider().await;
    // The smaller of the budgets of key and project applies.
    for (key_budget, project_budget) in
        [(Some(5 * DOLLAR), None), (None, Some(5 * DOLLAR)), (Some(9 * DOLLAR), Some(5 * DOLLAR))]
    {
        for overdraft in [Overdraft::LastRequest, Overdraft::AtMost(0), Overdraft::AtMost(DOLLAR)] {
            let fixture = fixture_with(&fake, Dialect::DeepSeek, key_budget, project_budget, overdraft).await;
            let request_count = fake.requests().len();
            let kind = |result: Result<(), Error>| result.unwrap_err().kind;
            assert_eq!(
                kind(fixture.submit_video(json!({"model": "film", "seconds": "41"}), None).await),
                ErrorKind::InsufficientBalance
            );
            assert_eq!(
                kind(fixture.submit_video(json!({"model": "film", "seconds": 1_000_000}), None).await),
                ErrorKind::InsufficientBalance
            );
            let pictures = |n: u64| json!({"model": "picture", "n": n});
            assert_eq!(
                kind(fixture.pass_through(ApiEndpoint::ImageGenerations, None, &pictures(6)).await.map(drop)),
                ErrorKind::InsufficientBalance
            );
            assert_eq!(fake.requests().len(), request_count, "no provider received a request");
            fixture.pass_through(ApiEndpoint::ImageGenerations, None, &pictures(3)).await.unwrap();
            // Two dollars are left: enough for a video of four seconds, after which an image is too
            // expensive.
            fixture.submit_video(json!({"model": "film", "seconds": "4"}), None).await.unwrap();
            assert_eq!(
                kind(fixture.pass_through(ApiEndpoint::ImageGenerations, None, &pictures(1)).await.map(drop)),
                ErrorKind::InsufficientBalance
            );
            let records = fixture.records().await;
            assert_eq!(records.iter().map(|record| record.cost).sum::<i64>(), 4_400_000_000);
        }
    }
}

#[tokio::test]
async fn concurrent_requests_do_not_spend_the_same_dollar() {
    let fake = media_provider().await;
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 3 * DOLLAR, Overdraft::LastRequest).await;
    let pictures = json!({"model": "picture", "n": 2});
    let requests = (0..8).map(|_| fixture.pass_through(ApiEndpoint::ImageGenerations, None, &pictures));
    let got = futures_util::future::join_all(requests).await;
    assert_eq!(got.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(fixture.records().await.len(), 1);
}

#[tokio::test]
async fn the_billed_quantity_is_the_one_that_the_provider_receives() {
    let fake = media_provider().await;
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 900_000 * DOLLAR, Overdraft::LastRequest).await;
    fixture.pass_through(ApiEndpoint::ImageGenerations, None, &json!({"model": "picture", "n": 200})).await.unwrap();
    assert_eq!(fake.requests().last().unwrap().json()["n"], 200);
    fixture.submit_video(json!({"model": "film", "seconds": 1_000_000}), None).await.unwrap();
    assert_eq!(fake.requests().last().unwrap().json()["seconds"], 1_000_000);
    fixture.submit_video(json!({"model": "film"}), None).await.unwrap();
    assert_eq!(
        fake.requests().last().unwrap().json(),
        json!({"model": "film", "seconds": "4"}),
        "the body states the billed length"
    );
    for (endpoint, body, field) in [
        (ApiEndpoint::ImageGenerations, json!({"model": "picture", "n": 10_001}), "'n'"),
        (ApiEndpoint::ImageGenerations, json!({"model": "picture", "n": -1}), "'n'"),
        (ApiEndpoint::ChatCompletions, json!({"model": "m", "messages": [], "n": u64::MAX}), "'n'"),
        (ApiEndpoint::ChatCompletions, json!({"model": "m", "messages": [], "n": 0.5}), "'n'"),
    ] {
        let error = fixture.pass_through(endpoint, None, &body).await.unwrap_err();
        assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains(field), "{error}");
    }
    let error = fixture.send_chat(Chat { n: Some(-1), ..chat("m", None) }).await.unwrap_err();
    assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains("'n'"), "{error}");
    for odd in [json!(0), json!(-4), json!("4.5"), json!([]), json!(10_000_001), json!(true)] {
        let error = fixture.submit_video(json!({"model": "film", "seconds": odd}), None).await.unwrap_err();
        assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains("'seconds'"), "{odd}: {error}");
    }
    // No request may cost more than a million dollars.
    let error = fixture
        .pass_through(ApiEndpoint::ImageGenerations, None, &json!({"model": "palace", "n": 2}))
        .await
        .unwrap_err();
    assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains("$1000000"), "{error}");
    let costs: Vec<_> = fixture.records().await.iter().rev().map(|record| record.cost / 1_000_000).collect();
    assert_eq!(costs, [200_000, 100_001_000, 1_400]);
}

#[tokio::test]
async fn a_remix_costs_what_its_parent_did() {
    let fake = media_provider().await;
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 100 * DOLLAR, Overdraft::LastRequest).await;
    let body = Bytes::from(json!({"model": "film", "seconds": "12"}).to_string());
    let submission = TaskSubmission {
        kind: TaskKind::Video,
        model: None,
        path: "videos",
        parent: None,
        body: &body,
        headers: HeaderMap::new(),
    };
    let reply = fixture.gateway.submit_task(&fixture.alice, submission).await.unwrap();
    let id = serde_json::from_slice::<Value>(&reply.bytes).unwrap()["id"].as_str().unwrap().to_owned();
    fixture.submit_video(json!({"prompt": "again"}), Some(&id)).await.unwrap();
    assert_eq!(fake.requests().last().unwrap().json()["seconds"], Value::Null);
    let costs: Vec<_> = fixture.records().await.iter().map(|record| record.cost).collect();
    assert_eq!(costs, [2_200_000_000, 2_200_000_000]);
}
