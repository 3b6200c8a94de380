//! The test of a provider.

use std::time::Duration;

use chat::ErrorKind;
use gateway::ProviderTest;
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse, ReceivedRequest};
use wire::upstream::Dialect;

use crate::providers::{upstream, upstream_with_dialect};

fn has_key(request: &ReceivedRequest) -> bool {
    request.header("authorization") == Some("Bearer sk-operator")
}

fn models() -> FakeResponse {
    FakeResponse::json(200, json!({"data": [{"id": "m"}, {"id": "n"}]}))
}

fn refused() -> FakeResponse {
    FakeResponse::json(401, json!({"error": {"message": "the key sk-operator is wrong"}}))
}

async fn test(fake: &FakeUpstream) -> ProviderTest {
    upstream("acme", fake).test().await.unwrap()
}

#[tokio::test]
async fn a_key_is_good_if_the_list_of_models_needs_it() {
    let fake = FakeUpstream::start(|request| if has_key(request) { models() } else { refused() }).await;
    let result = test(&fake).await;
    assert_eq!((result.reached, result.tls, result.key_good), (true, None, Some(true)));
    assert_eq!(result.models.as_deref(), Some(&["m".to_owned(), "n".to_owned()][..]));
    assert!(result.milliseconds > 0 && result.error.is_none() && result.succeeded());
    assert!(result.summary().ends_with("ms, key good, 2 models"), "{}", result.summary());
}

#[tokio::test]
async fn a_public_list_says_nothing_about_the_key_but_an_empty_chat_does() {
    type Script = fn(&ReceivedRequest) -> FakeResponse;
    let chat: [(Script, Option<bool>); 3] = [
        (|request| if has_key(request) { FakeResponse::json(400, json!({})) } else { refused() }, Some(true)),
        (|_| refused(), Some(false)),
        (|_| FakeResponse::json(400, json!({})), None),
    ];
    for (script, key_good) in chat {
        let list =
            move |request: &ReceivedRequest| if request.path == "/v1/models" { models() } else { script(request) };
        let fake = FakeUpstream::start(list).await;
        let result = test(&fake).await;
        assert_eq!((result.reached, result.key_good), (true, key_good));
        assert_eq!(result.succeeded(), key_good != Some(false), "{}", result.summary());
        assert!(fake.requests().iter().all(|request| request.method == "GET" || request.body == b"{}"));
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_a_result_without_the_key() {
    let fake = FakeUpstream::start(|_| refused()).await;
    let result = test(&fake).await;
    assert_eq!((result.reached, result.key_good, &result.models), (true, Some(false), &None));
    let error = result.error.clone().unwrap();
    assert!(error.contains("credentials") && !format!("{result:?}").contains("sk-operator"), "{result:?}");
    // A fault of the provider says nothing about the key.
    let broken = FakeUpstream::start(|_| FakeResponse::json(500, json!({}))).await;
    let result = test(&broken).await;
    assert!(result.reached && result.key_good.is_none() && !result.succeeded(), "{result:?}");
    let gemini = FakeUpstream::start(|_| {
        let info = json!({"reason": "API_KEY_INVALID"});
        FakeResponse::json(400, json!({"error": {"code": 400, "message": "API key not valid", "details": [info]}}))
    })
    .await;
    let result = upstream_with_dialect("g", &gemini, Dialect::Gemini).test().await.unwrap();
    assert_eq!((result.reached, result.key_good), (true, Some(false)), "{result:?}");
    let odd = FakeUpstream::start(|_| FakeResponse::json(200, json!("hello"))).await;
    assert!(test(&odd).await.error.unwrap().contains("no list of models"));

    let gone = crate::upstream::upstream("acme", "http://127.0.0.1:1/v1".into(), Dialect::OpenAi);
    let result = gone.test().await.unwrap();
    assert!(!result.reached && result.tls.is_none(), "{result:?}");
    assert!(result.error.unwrap().contains("refused"));
    // A server without TLS at an address with it.
    let address = fake.base_url().replace("http://", "https://");
    let result = crate::upstream::upstream("acme", address, Dialect::OpenAi).test().await.unwrap();
    assert_eq!((result.reached, result.tls, result.key_good), (true, Some(false), None), "{result:?}");
}

#[tokio::test]
async fn a_provider_without_a_list_is_only_reached() {
    let fake = FakeUpstream::start(|_| FakeResponse::json(404, json!({}))).await;
    let result = upstream_with_dialect("mj", &fake, Dialect::Midjourney).test().await.unwrap();
    assert_eq!((result.reached, result.key_good), (true, None));
    assert!(result.models.is_some_and(|models| !models.is_empty()));
}

#[tokio::test]
async fn a_provider_is_tested_once_at_a_time() {
    let fake = FakeUpstream::start(|_| {
        let mut slow = models();
        slow.steps.insert(0, BodyStep::Wait(Duration::from_millis(300)));
        slow
    })
    .await;
    let provider = upstream("acme", &fake);
    let (first, second) = tokio::join!(provider.test(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        provider.test().await
    });
    assert!(first.unwrap().milliseconds >= 300);
    assert_eq!(second.unwrap_err().kind, ErrorKind::RateLimited);
    assert!(provider.test().await.unwrap().succeeded());
}
