//! The choice of the provider.

use std::sync::Arc;
use std::time::Duration;

use chat::{Chat, ErrorKind, Input, Message, Role};
use gateway::{Accounting, Caller, Gateway, Prices, Router, RoutingPolicy, RoutingPreference};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};

use crate::passthrough_helpers::pass_chat_completions;
use crate::providers::{chat, chat_provider, collect_reply, fallback, gateway_of, primary, send_chat, upstream};

#[tokio::test]
async fn a_model_is_found_by_its_id_its_provider_or_a_suffix() {
    let (one, two) = (chat_provider(&["1"]).await, chat_provider(&["2"]).await);
    let mut router = Router::default();
    router.alias_when_available("alias", "m");
    router.add_upstream(&upstream("one", &one), &["m".into(), "org/x".into()], primary());
    router.add_upstream(&upstream("two", &two), &["m".into()], fallback());
    let gateway = Gateway::new(router, Arc::default());
    let answer = async |model: &str| collect_reply(gateway.answer(&Caller::default(), chat(model)).await?).await;
    let known = [("m", "1"), ("two/m", "2"), ("one/m", "1"), ("org/x", "1"), ("one/org/x", "1"), ("alias", "1")];
    for (model, text) in known {
        assert_eq!(answer(model).await.unwrap().text, text, "{model}");
    }
    for (model, thinking) in [("m-thinking", "enabled"), ("two/m-nothinking", "disabled")] {
        answer(model).await.unwrap();
        let requests = if model.starts_with("two") { two.requests() } else { one.requests() };
        let body = requests.last().unwrap().json();
        assert_eq!((&body["model"], &body["thinking"]["type"]), (&json!("m"), &json!(thinking)));
    }
    // Ids of remote providers are compared exactly.
    for unknown in ["M", "one/n", "m-", "-thinking", ""] {
        assert_eq!(answer(unknown).await.unwrap_err().message, "Model Not Exist");
    }
    let unknown = answer("three/m").await.unwrap_err();
    assert_eq!(unknown.message, "Model Not Exist: there is no provider `three` here, only `one`, `two`");
    // A key sees the providers of the models that it may use.
    let limited = Caller { allowed_models: Some(["m".into(), "two/m".into()].into()), ..Caller::default() };
    let unknown = gateway.answer(&limited, chat("three/m")).await.err().unwrap();
    assert_eq!(unknown.message, "Model Not Exist: there is no provider `three` here, only `two`");
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let (light, heavy) = (chat_provider(&["l"]).await, chat_provider(&["h"]).await);
    let with_weight = |weight| RoutingPreference { priority: 0, weight };
    let gateway = gateway_of(&[("light", &light, with_weight(1)), ("heavy", &heavy, with_weight(4))]);
    for _ in 0..200 {
        send_chat(&gateway).await.unwrap();
    }
    let share = heavy.requests().len();
    assert!((130..190).contains(&share), "{share} of 200, expected about 160");
}

#[tokio::test]
async fn the_fastest_or_the_cheapest_provider_comes_first() {
    let slow = FakeUpstream::start(|_| {
        let mut answer = FakeResponse::chat_stream(&["slow"], 7);
        answer.steps.insert(0, BodyStep::Wait(Duration::from_millis(30)));
        answer
    })
    .await;
    let quick = chat_provider(&["quick"]).await;
    let by = |policy, prices: &str| {
        let mut router = Router::default();
        router.add_upstream(&upstream("slow", &slow), &["m".into()], primary());
        router.set_policy(policy);
        // The policy also holds for a provider that is discovered later.
        router.add_upstream(&upstream("quick", &quick), &["m".into()], primary());
        Gateway::new(router, Arc::new(Accounting::with_prices(Prices::parse(prices).unwrap())))
    };
    let gateway = by(RoutingPolicy::Latency, "");
    for _ in 0..60 {
        send_chat(&gateway).await.unwrap();
    }
    // Each gets one request to be known; then one request in twenty refreshes the estimate of the
    // slow one.
    let others = slow.requests().len();
    assert!((1..15).contains(&others), "the slow one received {others} of 60");
    let row = |provider: &str, output: u32| {
        format!("[[price]]\nprovider='{provider}'\nmodel='m'\nsource='s'\ndate='d'\ninput=1\noutput={output}\n")
    };
    let gateway = by(RoutingPolicy::Price, &(row("slow", 2) + &row("quick", 3)));
    assert_eq!(send_chat(&gateway).await.unwrap().text, "slow");
    let gateway = by(RoutingPolicy::Price, &row("quick", 3));
    assert_eq!(send_chat(&gateway).await.unwrap().text, "quick", "a provider without a price comes last");
}

#[tokio::test]
async fn an_engine_with_a_queue_comes_last() {
    let engine = |waiting: u32, word: &'static str| {
        FakeUpstream::start(move |received| match received.path.as_str() {
            "/metrics" => {
                FakeResponse::stream([BodyStep::Send(format!("vllm:num_requests_waiting {waiting}\n").into_bytes())])
            }
            _ => FakeResponse::chat_stream(&[word], 1),
        })
    };
    let (full, free) = (engine(5, "full").await, engine(0, "free").await);
    let (one, two) = (upstream("one", &full), upstream("two", &free));
    let mut router = Router::default();
    for engine in [&one, &two] {
        router.add_upstream(engine, &["m".into()], primary());
    }
    let gateway = Gateway::new(router, Arc::default());
    assert_eq!(one.reported_load(), None);
    one.poll_metrics().await.unwrap();
    two.poll_metrics().await.unwrap();
    for _ in 0..20 {
        assert_eq!(send_chat(&gateway).await.unwrap().text, "free");
    }
    let table = gateway.route_table();
    let waiting: Vec<_> = table[0].targets.iter().map(|target| target.reported_load.unwrap().waiting).collect();
    assert_eq!(waiting, [5, 0]);

    // A provider that does not report its requests is not taken to be free.
    let silent = FakeUpstream::start(|_| FakeResponse::json(200, json!({}))).await;
    let silent = upstream("p", &silent);
    assert!(silent.poll_metrics().await.unwrap_err().message.contains("metrics") && silent.reported_load().is_none());
}

#[tokio::test]
async fn a_conversation_stays_with_the_provider_of_its_prefix() {
    let (one, two) = (chat_provider(&["1"]).await, chat_provider(&["2"]).await);
    let gateway = gateway_of(&[("one", &one, primary()), ("two", &two, primary())]);
    let system = |number: usize| format!("{number} {}", "You are a helpful whale. ".repeat(40));
    let mut homes = Vec::new();
    for round in 0..4 {
        for number in 0..8 {
            let mut messages = vec![Message::new(Role::System, system(number))];
            messages.extend((0..=round).map(|turn| Message::new(Role::User, format!("turn {turn}"))));
            let chat = Chat { input: Input::Messages(messages), ..chat("m") };
            let reply = collect_reply(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
            match homes.get(number) {
                Some(home) => assert_eq!(*home, reply.text, "conversation {number}, round {round}"),
                None => homes.push(reply.text),
            }
        }
    }
    // The same holds for bodies that are passed through.
    let hello = [json!({"role": "user", "content": "hello ".repeat(200)})];
    let body = json!({"model": "m", "stream": true, "messages": hello}).to_string();
    let count = || one.requests().len();
    let before = count();
    for _ in 0..6 {
        pass_chat_completions(&gateway, &Caller::default(), &body).await.unwrap().unwrap();
    }
    assert!([0, 6].contains(&(count() - before)), "{} of 6", count() - before);
}

#[tokio::test]
async fn gateways_agree_without_communication_where_a_prompt_goes() {
    let fakes = [chat_provider(&["0"]).await, chat_provider(&["1"]).await, chat_provider(&["2"]).await];
    let with_weight = |weight| RoutingPreference { priority: 0, weight };
    let ranked = [("a", &fakes[0], with_weight(1)), ("b", &fakes[1], with_weight(1)), ("c", &fakes[2], with_weight(2))];
    let gateways = [gateway_of(&ranked), gateway_of(&ranked)];
    for number in 0..60 {
        let system = Message::new(Role::System, format!("{number} {}", "You are a helpful whale. ".repeat(40)));
        let mut homes = Vec::new();
        for gateway in &gateways {
            let chat = Chat { input: Input::Messages(vec![system.clone()]), ..chat("m") };
            homes.push(collect_reply(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap().text);
        }
        assert_eq!(homes[0], homes[1]);
    }
    // Prompts are still shared by weight.
    let share = fakes[2].requests().len() / 2;
    assert!((20..=40).contains(&share), "{share} of 60, expected about 30");
}

#[tokio::test]
async fn a_model_of_a_provider_that_cannot_be_reached_is_unavailable_and_not_unknown() {
    let fake = chat_provider(&["x"]).await;
    let provider = upstream("p", &fake);
    let mut router = Router::default();
    router.await_models(provider.name());
    let gateway = Gateway::new(router, Arc::default());
    let refused = gateway.answer(&Caller::default(), chat("m")).await.err().unwrap();
    assert_eq!((refused.kind, refused.message.contains("`m`")), (ErrorKind::Overloaded, true), "{refused:?}");
    gateway.add_upstream(&provider, &["m".into()], primary());
    assert!(gateway.answer(&Caller::default(), chat("m")).await.is_ok());
    let unknown = gateway.answer(&Caller::default(), chat("n")).await.err().unwrap();
    assert_eq!(unknown.message, "Model Not Exist");
}
