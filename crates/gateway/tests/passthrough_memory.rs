//! Passthrough requests reserve memory for their body, its copies and the answer.
#![forbid(unsafe_code)]

#[path = "common/upstream.rs"]
mod upstream;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use chat::{Chat, Error, ErrorKind, Input, MemoryGuard, Message, Role, fold};
use futures_util::StreamExt;
use gateway::{
    Caller, Gateway, InflightBudget, InflightLimits, PassthroughRequest, RawRequest, Router, RoutingPreference,
    UpstreamModel,
};
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::upstream::upstream;

const MIB: usize = 1 << 20;

/// A caller whose requests may hold `share_mib` MiB.
fn caller_with_share(share_mib: usize) -> (InflightBudget, Caller) {
    let budget = InflightBudget::new(InflightLimits { bytes: 4 * share_mib * MIB, share: share_mib * MIB });
    let owner = Caller::default().memory_owner(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let caller = Caller { memory: budget.request(owner), ..Caller::default() };
    (budget, caller)
}

fn chat_body(text_bytes: usize, stream: bool) -> Bytes {
    let messages = json!([{"role": "user", "content": "x".repeat(text_bytes)}]);
    json!({"model": "m", "messages": messages, "stream": stream}).to_string().into()
}

async fn admit_passthrough(
    gateway: &Gateway,
    caller: &Caller,
    body: &Bytes,
) -> Result<Option<PassthroughRequest>, Error> {
    gateway.passthrough(caller, RawRequest::new(ApiEndpoint::ChatCompletions, body)).await
}

#[tokio::test]
async fn large_and_small_bodies_are_rewritten_alike_for_each_provider() {
    let (budget, caller) = caller_with_share(16);
    for text in [10, 300_000] {
        // New providers each time, because a failed one is avoided for a while.
        let broken = FakeUpstream::start(|_| FakeResponse::json(500, json!({}))).await;
        let fake = FakeUpstream::start(|_| FakeResponse::chat_stream(&["Hi"], 7)).await;
        let mut router = Router::default();
        let named = |name: &str| [UpstreamModel { id: "m".into(), upstream_name: name.into() }];
        router.add_upstream(
            &upstream("one", broken.base_url(), Dialect::DeepSeek),
            &named("first"),
            RoutingPreference::default(),
        );
        router.add_upstream(
            &upstream("two", fake.base_url(), Dialect::DeepSeek),
            &named("second"),
            RoutingPreference { priority: 1, weight: 1 },
        );
        let gateway = Gateway::new(router, Arc::default());
        let body = chat_body(text, true);
        let request = admit_passthrough(&gateway, &caller, &body).await.unwrap().unwrap();
        let events: Vec<_> = request.send().await.unwrap().collect().await;
        assert!(events.iter().all(Result::is_ok));
        let (first_body, second_body) =
            (broken.requests().last().unwrap().json(), fake.requests().last().unwrap().json());
        assert_eq!((&first_body["model"], &second_body["model"]), (&json!("first"), &json!("second")));
        assert_eq!(
            (&first_body["stream_options"], &second_body["stream_options"]["include_usage"]),
            (&json!({"include_usage": true}), &json!(true))
        );
        let content = |body: &Value| body["messages"][0]["content"].as_str().map(str::len);
        assert_eq!((content(&first_body), content(&second_body)), (Some(text), Some(text)));
    }
    assert_eq!(budget.used(), 0, "all memory is released");
}

#[tokio::test]
async fn a_copy_beyond_the_share_is_refused_before_a_provider_is_called() {
    let fake = FakeUpstream::start(|_| FakeResponse::chat_stream(&["Hi"], 7)).await;
    let mut router = Router::default();
    router.add_upstream(
        &upstream("p", fake.base_url(), Dialect::DeepSeek),
        &[UpstreamModel { id: "m".into(), upstream_name: "other".into() }],
        RoutingPreference::default(),
    );
    router.add_upstream(
        &upstream("a", fake.base_url(), Dialect::Anthropic),
        &["c".into()],
        RoutingPreference::default(),
    );
    let gateway = Gateway::new(router, Arc::default());
    let (budget, caller) = caller_with_share(1);
    let refused = admit_passthrough(&gateway, &caller, &chat_body(2 * MIB, false)).await.err().unwrap();
    assert_eq!((refused.kind, refused.code), (ErrorKind::TooLarge, Some("memory_share_exceeded")));

    let input = Input::Messages(vec![Message::new(Role::User, "x".repeat(MIB / 2))]);
    let mut chat = Chat { model: "c".into(), input, ..Chat::default() };
    chat.memory_guard = MemoryGuard::new(caller.memory.reserve(MIB / 2 + 1000).unwrap());
    let answer = gateway.answer(&caller, chat).await.unwrap();
    let refused = fold(answer.collect::<Vec<_>>().await).unwrap_err();
    assert_eq!((refused.kind, refused.code), (ErrorKind::TooLarge, Some("memory_share_exceeded")));
    assert!(fake.requests().is_empty());
    assert_eq!(budget.used(), 0, "the chat is dropped, and its memory released");
}

#[tokio::test]
async fn a_whole_answer_is_reserved_until_it_is_sent_and_one_that_does_not_fit_is_refused() {
    let fake = FakeUpstream::start(|received| {
        let size = if received.json()["messages"][0]["content"].as_str().map_or(0, str::len) > 5 { 3 * MIB } else { MIB / 2 };
        let message = json!({"role": "assistant", "content": "x".repeat(size)});
        let choices = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2});
        FakeResponse::json(200, json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}))
    })
    .await;
    let mut router = Router::default();
    router.add_upstream(
        &upstream("p", fake.base_url(), Dialect::DeepSeek),
        &["m".into()],
        RoutingPreference::default(),
    );
    let gateway = Gateway::new(router, Arc::default());
    let (budget, caller) = caller_with_share(2);
    let whole = async |text| {
        let body = chat_body(text, false);
        let request = admit_passthrough(&gateway, &caller, &body).await.unwrap().unwrap();
        Ok::<_, Error>(request.send().await?.into_whole())
    };
    let (answer, usage) = whole(3).await.unwrap();
    assert_eq!(usage.unwrap().completion_tokens, 1);
    assert!(budget.used() >= MIB / 2, "{}", budget.used());
    drop(answer);
    assert_eq!(budget.used(), 0);
    let refused = whole(10).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Overloaded, "{refused}");
    assert_eq!(budget.used(), 0);
}
