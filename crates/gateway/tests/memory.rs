//! Passthrough requests hold memory of the budget: for a body, its copies and the answer.
#![forbid(unsafe_code)]

#[path = "common/upstream.rs"]
mod upstream;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use chat::{Chat, Error, ErrorKind, Input, MemoryGuard, Message, Role, fold};
use futures_util::StreamExt;
use gateway::{Asked, Caller, Gateway, InflightBudget, InflightLimits, Model, Rank, Relay, Routes};
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::upstream::Answer;
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::upstream::upstream;

const MIB: usize = 1 << 20;

/// A caller whose requests may hold so many MiB.
fn caller(mib: usize) -> (InflightBudget, Caller) {
    let budget = InflightBudget::new(InflightLimits { bytes: 4 * mib * MIB, share: mib * MIB });
    let owner = Caller::default().owner(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let caller = Caller { memory: budget.request(owner), ..Caller::default() };
    (budget, caller)
}

fn body(text: usize, stream: bool) -> Bytes {
    let messages = json!([{"role": "user", "content": "x".repeat(text)}]);
    json!({"model": "m", "messages": messages, "stream": stream}).to_string().into()
}

async fn passed(gateway: &Gateway, caller: &Caller, body: &Bytes) -> Result<Option<Relay>, Error> {
    gateway.relay(caller, Asked::new(ApiEndpoint::ChatCompletions, body)).await
}

#[tokio::test]
async fn a_large_body_is_changed_for_each_provider_as_a_small_one_is() {
    let (budget, caller) = caller(16);
    for text in [10, 300_000] {
        // New ones each time: a provider that has failed is left alone for a while.
        let broken = FakeUpstream::start(|_| Answer::json(500, json!({}))).await;
        let fake = FakeUpstream::start(|_| Answer::words(&["Hi"], 7)).await;
        let mut routes = Routes::default();
        let named = |name: &str| [Model { id: "m".into(), name: name.into() }];
        routes.remote(&upstream("one", broken.base_url(), Dialect::DeepSeek), &named("first"), Rank::default());
        routes.remote(
            &upstream("two", fake.base_url(), Dialect::DeepSeek),
            &named("second"),
            Rank { priority: 1, weight: 1 },
        );
        let gateway = Gateway::new(routes, Arc::default());
        let body = body(text, true);
        let relay = passed(&gateway, &caller, &body).await.unwrap().unwrap();
        let events: Vec<_> = relay.begin().await.unwrap().collect().await;
        assert!(events.iter().all(Result::is_ok));
        let (asked, again) = (broken.asked().last().unwrap().json(), fake.asked().last().unwrap().json());
        assert_eq!((&asked["model"], &again["model"]), (&json!("first"), &json!("second")));
        assert_eq!(
            (&asked["stream_options"], &again["stream_options"]["include_usage"]),
            (&json!({"include_usage": true}), &json!(true))
        );
        let content = |body: &Value| body["messages"][0]["content"].as_str().map(str::len);
        assert_eq!((content(&asked), content(&again)), (Some(text), Some(text)));
    }
    assert_eq!(budget.used(), 0, "everything is given back");
}

#[tokio::test]
async fn a_copy_beyond_the_share_is_refused_before_anybody_is_asked() {
    let fake = FakeUpstream::start(|_| Answer::words(&["Hi"], 7)).await;
    let mut routes = Routes::default();
    routes.remote(
        &upstream("p", fake.base_url(), Dialect::DeepSeek),
        &[Model { id: "m".into(), name: "other".into() }],
        Rank::default(),
    );
    routes.remote(&upstream("a", fake.base_url(), Dialect::Anthropic), &["c".into()], Rank::default());
    let gateway = Gateway::new(routes, Arc::default());
    let (budget, caller) = caller(1);
    let refused = passed(&gateway, &caller, &body(2 * MIB, false)).await.err().unwrap();
    assert_eq!((refused.kind, refused.code), (ErrorKind::TooLarge, Some("memory_share_exceeded")));

    let input = Input::Messages(vec![Message::new(Role::User, "x".repeat(MIB / 2))]);
    let mut chat = Chat { model: "c".into(), input, ..Chat::default() };
    chat.memory_guard = MemoryGuard::new(caller.memory.hold(MIB / 2 + 1000).unwrap());
    let answer = gateway.answer(&caller, chat).await.unwrap();
    let refused = fold(answer.collect::<Vec<_>>().await).unwrap_err();
    assert_eq!((refused.kind, refused.code), (ErrorKind::TooLarge, Some("memory_share_exceeded")));
    assert!(fake.asked().is_empty());
    assert_eq!(budget.used(), 0, "the chat is gone, and what it held");
}

#[tokio::test]
async fn a_whole_answer_is_held_until_it_is_sent_and_one_that_does_not_fit_is_given_up() {
    let fake = FakeUpstream::start(|asked| {
        let size = if asked.json()["messages"][0]["content"].as_str().map_or(0, str::len) > 5 { 3 * MIB } else { MIB / 2 };
        let message = json!({"role": "assistant", "content": "x".repeat(size)});
        let choices = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2});
        Answer::json(200, json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}))
    })
    .await;
    let mut routes = Routes::default();
    routes.remote(&upstream("p", fake.base_url(), Dialect::DeepSeek), &["m".into()], Rank::default());
    let gateway = Gateway::new(routes, Arc::default());
    let (budget, caller) = caller(2);
    let whole = async |text| {
        let body = body(text, false);
        passed(&gateway, &caller, &body).await.unwrap().unwrap().begin().await?.whole().await
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
