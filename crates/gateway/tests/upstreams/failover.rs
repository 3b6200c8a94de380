//! Failover, retries, and providers that are avoided.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chat::{Delta, ErrorKind};
use futures_util::StreamExt;
use gateway::Caller;
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};

use crate::providers::{chat, chat_provider, fallback, gateway_of, primary, send_chat, word_event};

#[tokio::test]
async fn a_provider_that_fails_before_its_first_token_is_replaced() {
    for failing in [
        FakeResponse::json(500, json!({"error": {"message": "broken"}})),
        FakeResponse::json(401, json!({"error": {"message": "bad key sk-operator"}})),
        FakeResponse::json(429, json!({"error": {"message": "slow down"}})).header("retry-after", "1"),
        FakeResponse::json(404, json!({"error": {"message": "no such model"}})),
        FakeResponse::stream([BodyStep::Disconnect]),
        FakeResponse::events(["{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}"]),
        FakeResponse::events(["{\"error\":{\"message\":\"overloaded\"}}"]),
        FakeResponse::stream([BodyStep::Send(b"data: nonsense\n\n".to_vec())]),
    ] {
        let name = format!("{failing:?}");
        let bad = FakeUpstream::start(move |_| failing.clone()).await;
        let good = chat_provider(&["ok"]).await;
        let gateway = gateway_of(&[("bad", &bad, primary()), ("good", &good, fallback())]);
        assert_eq!(send_chat(&gateway).await.unwrap().text, "ok", "{name}");
        assert_eq!(bad.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_failed_provider_is_avoided_for_a_while() {
    let failures = Arc::new(AtomicUsize::new(1));
    let script = move |_: &_| match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
        Ok(_) => FakeResponse::json(429, json!({"error": {"message": "slow down"}})).header("retry-after", "0.2"),
        Err(_) => FakeResponse::chat_stream(&["flaky"], 1),
    };
    let flaky = FakeUpstream::start(script).await;
    let good = chat_provider(&["good"]).await;
    let gateway = gateway_of(&[("flaky", &flaky, primary()), ("good", &good, fallback())]);
    for _ in 0..5 {
        assert_eq!(send_chat(&gateway).await.unwrap().text, "good");
    }
    assert_eq!(flaky.requests().len(), 1);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(send_chat(&gateway).await.unwrap().text, "flaky");
}

#[tokio::test]
async fn a_callers_error_is_sent_once_and_returned_in_the_providers_words() {
    let refuses = |status| async move {
        FakeUpstream::start(move |_| FakeResponse::json(status, json!({"error": {"message": "temperature is odd"}})))
            .await
    };
    let (bad, good) = (refuses(400).await, chat_provider(&["ok"]).await);
    let both = gateway_of(&[("bad", &bad, primary()), ("good", &good, fallback())]);
    let error = send_chat(&both).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InvalidRequest, "temperature is odd"));
    assert_eq!((bad.requests().len(), good.requests().len()), (1, 0));
    let only = refuses(422).await;
    assert_eq!(send_chat(&gateway_of(&[("p", &only, primary())])).await.unwrap_err().kind, ErrorKind::Upstream(422));
}

#[tokio::test]
async fn a_model_that_one_provider_lacks_is_missing_only_if_all_lack_it() {
    let answers = |status, error: serde_json::Value| async move {
        FakeUpstream::start(move |_| FakeResponse::json(status, json!({ "error": error }))).await
    };
    let unknown = || answers(404, json!({"message": "The model `m` does not exist", "code": "model_not_found"}));
    let down = || answers(500, json!({"message": "broken"}));
    let ask = async |first: &FakeUpstream, second: &FakeUpstream| {
        let gateway = gateway_of(&[("one", first, primary()), ("two", second, fallback())]);
        let error = send_chat(&gateway).await.unwrap_err();
        (error.kind, first.requests().len(), second.requests().len())
    };
    // One that lacks the model is not retried, and does not hide that the other is down.
    assert_eq!(ask(&unknown().await, &unknown().await).await, (ErrorKind::NotFound, 1, 1));
    assert_eq!(ask(&unknown().await, &down().await).await, (ErrorKind::Upstream(502), 1, 2));
    assert_eq!(ask(&down().await, &unknown().await).await, (ErrorKind::Upstream(502), 2, 1));
    // The ways in which DeepSeek and OpenAI's `/responses` say it.
    for error in [json!({"message": "Model Not Exist"}), json!({"message": "no", "code": "model_not_found"})] {
        let (lacking, good) = (answers(400, error).await, chat_provider(&["ok"]).await);
        let gateway = gateway_of(&[("one", &lacking, primary()), ("two", &good, fallback())]);
        assert_eq!(send_chat(&gateway).await.unwrap().text, "ok");
        assert_eq!(ask(&lacking, &lacking).await.0, ErrorKind::InvalidRequest);
    }
}

#[tokio::test]
async fn a_429_of_the_only_provider_is_returned_with_its_message_and_retry_after() {
    let busy =
        |_: &_| FakeResponse::json(429, json!({"error": {"message": "TPM exceeded"}})).header("retry-after", "17");
    let busy = FakeUpstream::start(busy).await;
    let error = send_chat(&gateway_of(&[("p", &busy, primary())])).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::RateLimited, "TPM exceeded"));
    assert_eq!((error.retry_after, busy.requests().len()), (Some(Duration::from_secs(17)), 1));
}

#[tokio::test]
async fn the_only_provider_is_retried_when_it_breaks_before_its_first_token() {
    let times = AtomicUsize::new(0);
    let fake = FakeUpstream::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => FakeResponse::stream([BodyStep::Disconnect]),
        _ => FakeResponse::chat_stream(&["ok"], 1),
    })
    .await;
    assert_eq!(send_chat(&gateway_of(&[("p", &fake, primary())])).await.unwrap().text, "ok");
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test]
async fn a_failure_after_the_first_token_is_returned_without_failover() {
    let steps = [word_event("wo"), BodyStep::Wait(Duration::from_millis(20)), BodyStep::Disconnect];
    let (bad, good) =
        (FakeUpstream::start(move |_| FakeResponse::stream(steps.clone())).await, chat_provider(&["ok"]).await);
    let gateway = gateway_of(&[("bad", &bad, primary()), ("good", &good, fallback())]);
    let items: Vec<_> = gateway.answer(&Caller::default(), chat("m")).await.unwrap().collect().await;
    assert!(matches!(&items[1], Ok(Delta::Text { text, .. }) if text == "wo"), "{items:?}");
    assert_eq!(items.last().unwrap().as_ref().unwrap_err().kind, ErrorKind::Upstream(502));
    assert_eq!((items.len(), good.requests().len()), (3, 0));
}
