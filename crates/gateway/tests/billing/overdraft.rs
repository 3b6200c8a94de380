//! The overdraft of a budget.

use chat::ErrorKind;
use gateway::Overdraft;
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use testkit::transcripts::{Scenario, stream_response};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::helpers::{DOLLAR, answer_events, chat, fixture_of, fixture_with, media_provider};

#[tokio::test]
async fn an_overdraft_pays_for_tokens_alone() {
    let fake = media_provider().await;
    // The price is a dollar per call, and a thousandth of a dollar per token.
    for (budget, max_tokens, admitted) in [
        (DOLLAR - 1, None, false),
        (DOLLAR - 1, Some(1), false),
        (DOLLAR, None, true),
        (DOLLAR, Some(500), true),
        (DOLLAR, Some(501), false),
        (DOLLAR + DOLLAR / 2, Some(1000), true),
    ] {
        let fixture = fixture_of(&fake, Dialect::DeepSeek, budget, Overdraft::AtMost(DOLLAR / 2)).await;
        let answer = fixture.send_chat(chat("called", max_tokens)).await;
        assert_eq!(answer.is_ok(), admitted, "{budget} {max_tokens:?}: {answer:?}");
    }
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 5 * DOLLAR, Overdraft::AtMost(DOLLAR)).await;
    for turn in 0..8 {
        let answer = fixture.pass_through(ApiEndpoint::ImageGenerations, None, &json!({"model": "picture"})).await;
        assert_eq!(answer.is_ok(), turn < 5, "{turn}");
    }
}

#[tokio::test]
async fn an_overdraft_in_dollars_bounds_what_a_request_may_cost() {
    let fake = media_provider().await;
    // Each byte of the prompt counts as a token: 2 of the text and 12 of the message. 87
    // nano-dollars are left for 43 output tokens.
    for overdraft in [0, 40] {
        let fixture = fixture_of(&fake, Dialect::DeepSeek, 101 - overdraft, Overdraft::AtMost(overdraft)).await;
        let error = fixture.send_chat(chat("m", Some(44))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InsufficientBalance);
        assert!(error.message.contains("`max_tokens` of at most 43"), "{error}");
        fixture.send_chat(chat("m", Some(43))).await.unwrap();
        assert_eq!(fake.requests().last().unwrap().json()["max_tokens"], 43);
        // 9 are spent: an answer without a limit gets one.
        fixture.send_chat(chat("m", None)).await.unwrap();
        assert_eq!(fake.requests().last().unwrap().json()["max_tokens"], 39);
        // A negative limit counts as none.
        fixture.send_chat(chat("m", Some(-1))).await.unwrap();
        assert_eq!(fake.requests().last().unwrap().json()["max_tokens"], 34);
        assert_eq!(fixture.records().await.len(), 3);
    }
}

#[tokio::test]
async fn forwarded_bodies_receive_the_output_cap() {
    let fake = media_provider().await;
    let sent_body = || fake.requests().last().unwrap().json();
    let fixture = fixture_of(&fake, Dialect::OpenAi, 1000, Overdraft::AtMost(0)).await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true});
    let worst = 1000 - body.to_string().len() as i64;
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &body).await.unwrap();
    assert_eq!(sent_body()["max_completion_tokens"], worst / 2);
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 1000, Overdraft::AtMost(0)).await;
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &body).await.unwrap();
    assert_eq!(sent_body()["max_tokens"], worst / 2);
    // Each of two answers gets half of the budget.
    let mut two = body.clone();
    two["n"] = json!(2);
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 1000, Overdraft::AtMost(0)).await;
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &two).await.unwrap();
    assert_eq!(sent_body()["max_tokens"], (1000 - two.to_string().len() as i64) / 4);
    // A request with a limit gets no other, or is refused. DeepSeek's name of the limit is
    // `max_tokens`.
    let mut bounded = body.clone();
    bounded["max_completion_tokens"] = json!(5);
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &bounded).await.unwrap();
    assert_eq!((&sent_body()["max_tokens"], &sent_body()["max_completion_tokens"]), (&json!(5), &Value::Null));
    bounded["max_tokens"] = json!(100_000);
    let error = fixture.pass_through(ApiEndpoint::ChatCompletions, None, &bounded).await.unwrap_err();
    assert!(
        error.kind == ErrorKind::InsufficientBalance && error.message.contains("`max_tokens` of at most"),
        "{error}"
    );
    // A model whose largest answer is affordable gets no limit.
    let fixture = fixture_of(&fake, Dialect::DeepSeek, DOLLAR, Overdraft::AtMost(0)).await;
    let mut limited = body.clone();
    limited["model"] = json!("limited");
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &limited).await.unwrap();
    assert_eq!(sent_body()["max_tokens"], Value::Null);
    // A legacy completion gets the documented default of sixteen tokens, not all
    // that is affordable.
    let fixture = fixture_of(&fake, Dialect::DeepSeek, DOLLAR, Overdraft::AtMost(0)).await;
    let completion = json!({"model": "m", "prompt": "once"});
    fixture.pass_through(ApiEndpoint::Completions, None, &completion).await.unwrap();
    assert_eq!(sent_body()["max_tokens"], 16);
    // Without a budget the body is not changed.
    let fixture = fixture_with(&fake, Dialect::DeepSeek, None, None, Overdraft::AtMost(0)).await;
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &body).await.unwrap();
    assert_eq!(sent_body()["max_tokens"], Value::Null);

    let responses = FakeUpstream::start(|_| stream_response("responses", Scenario::Text)).await;
    let fixture = fixture_of(&responses, Dialect::Responses, 1000, Overdraft::AtMost(0)).await;
    let body = json!({"model": "m", "input": "hi", "stream": true});
    fixture.pass_through(ApiEndpoint::Responses, None, &body).await.unwrap();
    let worst = 1000 - body.to_string().len() as i64;
    assert_eq!(responses.requests().last().unwrap().json()["max_output_tokens"], worst / 2);
    let content = FakeUpstream::start(|_| {
        FakeResponse::events(answer_events(Dialect::Gemini, r#"{"promptTokenCount":3,"candidatesTokenCount":2}"#))
    })
    .await;
    let fixture = fixture_of(&content, Dialect::Gemini, 1000, Overdraft::AtMost(0)).await;
    let body = json!({"contents": [], "generationConfig": {"temperature": 1}});
    fixture.pass_through(ApiEndpoint::GenerateContent, Some(("m", true)), &body).await.unwrap();
    let config = content.requests().last().unwrap().json()["generationConfig"].clone();
    assert_eq!(config, json!({"temperature": 1, "maxOutputTokens": (1000 - body.to_string().len() as i64) / 2}));
}

#[tokio::test]
async fn a_budget_without_overdraft_is_never_overdrawn() {
    // The provider sends as many words as the limit allows, and counts them correctly.
    let fake = FakeUpstream::start(|received| {
        let max_tokens = received.json()["max_tokens"].as_u64().expect("a limit");
        FakeResponse::chat_stream(&vec!["w"; max_tokens as usize], 14)
    })
    .await;
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 5000, Overdraft::AtMost(0)).await;
    for turn in 0..200 {
        let max_tokens = [None, Some(100), Some(7), Some(100_000)][turn % 4];
        let answers = (0..3).map(|_| fixture.send_chat(chat("m", max_tokens)));
        for answer in futures_util::future::join_all(answers).await {
            assert!(answer.is_ok() || answer.is_err_and(|error| error.kind == ErrorKind::InsufficientBalance));
        }
    }
    let spent: i64 = fixture.records().await.iter().map(|record| record.cost).sum();
    assert!((4900..=5000).contains(&spent), "{spent}");
}
