//! Providers elsewhere, over HTTP: what is asked of them, what is heard, and what happens when they fail.
#![forbid(unsafe_code)]

#[path = "common/office.rs"]
mod office;
#[path = "common/upstream.rs"]
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat::{Chat, Delta, Error, ErrorKind, Input, Message, Reply, Role, fold};
use futures_util::StreamExt;
use gateway::{Asked, Books, Caller, Gateway, Metered, Model, Policy, Prices, Rank, Relay, Routes, Shape, Upstream};
use http::{HeaderName, HeaderValue};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::upstream::{Answer, Piece};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::office::Office;

fn speaks(name: &str, fake: &FakeUpstream, dialect: Dialect) -> Arc<Upstream> {
    upstream::upstream(name, fake.base_url(), dialect)
}

fn upstream(name: &str, fake: &FakeUpstream) -> Arc<Upstream> {
    speaks(name, fake, Dialect::DeepSeek)
}

/// A gateway to these, in the order of their ranks, each with the model `m`.
fn gateway(fakes: &[(&str, &FakeUpstream, Rank)]) -> Gateway {
    let mut routes = Routes::default();
    for (name, fake, rank) in fakes {
        routes.remote(&upstream(name, fake), &["m".into()], *rank);
    }
    Gateway::new(routes, Arc::default())
}

fn first() -> Rank {
    Rank::default()
}

fn second() -> Rank {
    Rank { priority: 1, weight: 1 }
}

fn chat(model: &str) -> Chat {
    Chat { model: model.into(), input: Input::Messages(vec![Message::new(Role::User, "hi")]), ..Chat::default() }
}

async fn ask(gateway: &Gateway) -> Result<Reply, Error> {
    whole(gateway.answer(&Caller::default(), chat("m")).await?).await
}

async fn whole(answer: Metered) -> Result<Reply, Error> {
    fold(answer.collect::<Vec<_>>().await)
}

async fn says(words: &'static [&'static str]) -> FakeUpstream {
    FakeUpstream::start(move |_| Answer::words(words, 7)).await
}

#[tokio::test]
async fn a_chat_is_asked_in_the_providers_dialect_with_the_operators_key() {
    let fake = says(&["Hel", "lo"]).await;
    let gateway = gateway(&[("p", &fake, first())]);
    let reply = ask(&gateway).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.unwrap().prompt_tokens), ("Hello", 7));
    let asked = &fake.asked()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(asked.header("authorization"), Some("Bearer sk-operator"));
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
                      "stream_options": {"include_usage": true}});
    assert_eq!(asked.json(), body);
}

#[tokio::test]
async fn a_model_is_found_by_its_id_its_provider_or_a_suffix() {
    let (one, two) = (says(&["1"]).await, says(&["2"]).await);
    let mut routes = Routes::default();
    routes.alias_later("alias", "m");
    routes.remote(&upstream("one", &one), &["m".into(), "org/x".into()], first());
    routes.remote(&upstream("two", &two), &["m".into()], second());
    let gateway = Gateway::new(routes, Arc::default());
    let answer = async |model: &str| whole(gateway.answer(&Caller::default(), chat(model)).await?).await;
    let known = [("m", "1"), ("two/m", "2"), ("one/m", "1"), ("org/x", "1"), ("one/org/x", "1"), ("alias", "1")];
    for (model, text) in known {
        assert_eq!(answer(model).await.unwrap().text, text, "{model}");
    }
    for (model, thinking) in [("m-thinking", "enabled"), ("two/m-nothinking", "disabled")] {
        answer(model).await.unwrap();
        let asked = if model.starts_with("two") { two.asked() } else { one.asked() };
        let body = asked.last().unwrap().json();
        assert_eq!((&body["model"], &body["thinking"]["type"]), (&json!("m"), &json!(thinking)));
    }
    // Ids of other services count exactly.
    for unknown in ["M", "three/m", "m-", "-thinking", ""] {
        assert_eq!(answer(unknown).await.unwrap_err().message, "Model Not Exist");
    }
}

#[tokio::test]
async fn a_provider_that_fails_before_its_first_word_is_replaced() {
    for failing in [
        Answer::json(500, json!({"error": {"message": "broken"}})),
        Answer::json(401, json!({"error": {"message": "bad key sk-operator"}})),
        Answer::json(429, json!({"error": {"message": "slow down"}})).header("retry-after", "1"),
        Answer::json(404, json!({"error": {"message": "no such model"}})),
        Answer::stream([Piece::Break]),
        Answer::events(["{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}"]),
        Answer::events(["{\"error\":{\"message\":\"overloaded\"}}"]),
        Answer::stream([Piece::Send(b"data: nonsense\n\n".to_vec())]),
    ] {
        let name = format!("{failing:?}");
        let bad = FakeUpstream::start(move |_| failing.clone()).await;
        let good = says(&["ok"]).await;
        let gateway = gateway(&[("bad", &bad, first()), ("good", &good, second())]);
        assert_eq!(ask(&gateway).await.unwrap().text, "ok", "{name}");
        assert_eq!(bad.asked().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone_for_a_while() {
    let failures = Arc::new(AtomicUsize::new(1));
    let script = move |_: &_| match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
        Ok(_) => Answer::json(429, json!({"error": {"message": "slow down"}})).header("retry-after", "0.2"),
        Err(_) => Answer::words(&["flaky"], 1),
    };
    let flaky = FakeUpstream::start(script).await;
    let good = says(&["good"]).await;
    let gateway = gateway(&[("flaky", &flaky, first()), ("good", &good, second())]);
    for _ in 0..5 {
        assert_eq!(ask(&gateway).await.unwrap().text, "good");
    }
    assert_eq!(flaky.asked().len(), 1);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(ask(&gateway).await.unwrap().text, "flaky");
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let (light, heavy) = (says(&["l"]).await, says(&["h"]).await);
    let weighs = |weight| Rank { priority: 0, weight };
    let gateway = gateway(&[("light", &light, weighs(1)), ("heavy", &heavy, weighs(4))]);
    for _ in 0..200 {
        ask(&gateway).await.unwrap();
    }
    let share = heavy.asked().len();
    assert!((130..190).contains(&share), "{share} of 200, expected about 160");
}

#[tokio::test]
async fn the_quickest_or_the_cheapest_is_asked_first() {
    let slow = FakeUpstream::start(|_| {
        let mut answer = Answer::words(&["slow"], 7);
        answer.pieces.insert(0, Piece::Wait(Duration::from_millis(30)));
        answer
    })
    .await;
    let quick = says(&["quick"]).await;
    let by = |policy, prices: &str| {
        let mut routes = Routes::default();
        routes.remote(&upstream("slow", &slow), &["m".into()], first());
        routes.choose_by(policy);
        // One that is discovered later is chosen by the same.
        routes.remote(&upstream("quick", &quick), &["m".into()], first());
        Gateway::new(routes, Arc::new(Books::priced(Prices::read(prices).unwrap())))
    };
    let gateway = by(Policy::Latency, "");
    for _ in 0..60 {
        ask(&gateway).await.unwrap();
    }
    // Each is asked once to be known; then one request in twenty finds out how the slow one has become.
    let others = slow.asked().len();
    assert!((1..15).contains(&others), "the slow one was asked {others} times of 60");
    let row = |provider: &str, output: u32| {
        format!("[[price]]\nprovider='{provider}'\nmodel='m'\nsource='s'\ndate='d'\ninput=1\noutput={output}\n")
    };
    let gateway = by(Policy::Price, &(row("slow", 2) + &row("quick", 3)));
    assert_eq!(ask(&gateway).await.unwrap().text, "slow");
    let gateway = by(Policy::Price, &row("quick", 3));
    assert_eq!(ask(&gateway).await.unwrap().text, "quick", "what has no price comes last");
}

#[tokio::test]
async fn what_a_provider_cannot_be_told_is_said() {
    let fake = says(&["x"]).await;
    let mut routes = Routes::default();
    routes.remote(&speaks("claude", &fake, Dialect::Anthropic), &["m".into()], first());
    let gateway = Gateway::new(routes, Arc::default());
    let mut asks = chat("m");
    (asks.sampling.seed, asks.n) = (Some(1), Some(2));
    let answer = gateway.answer(&Caller::default(), asks).await.unwrap();
    assert_eq!(answer.notes, ["dropped: n, seed"]);
}

#[tokio::test]
async fn what_the_caller_did_wrong_is_asked_once_and_told_in_the_providers_words() {
    let refuses = |status| async move {
        FakeUpstream::start(move |_| Answer::json(status, json!({"error": {"message": "temperature is odd"}}))).await
    };
    let (bad, good) = (refuses(400).await, says(&["ok"]).await);
    let both = gateway(&[("bad", &bad, first()), ("good", &good, second())]);
    let error = ask(&both).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InvalidRequest, "temperature is odd"));
    assert_eq!((bad.asked().len(), good.asked().len()), (1, 0));
    let only = refuses(422).await;
    assert_eq!(ask(&gateway(&[("p", &only, first())])).await.unwrap_err().kind, ErrorKind::Upstream(422));
}

#[tokio::test]
async fn a_429_of_the_only_provider_stays_one_with_its_words_and_its_patience() {
    let busy = |_: &_| Answer::json(429, json!({"error": {"message": "TPM exceeded"}})).header("retry-after", "17");
    let busy = FakeUpstream::start(busy).await;
    let error = ask(&gateway(&[("p", &busy, first())])).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::RateLimited, "TPM exceeded"));
    assert_eq!((error.retry_after, busy.asked().len()), (Some(Duration::from_secs(17)), 1));
}

#[tokio::test]
async fn the_only_provider_is_asked_again_when_it_breaks_before_its_first_word() {
    let times = AtomicUsize::new(0);
    let fake = FakeUpstream::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::stream([Piece::Break]),
        _ => Answer::words(&["ok"], 1),
    })
    .await;
    assert_eq!(ask(&gateway(&[("p", &fake, first())])).await.unwrap().text, "ok");
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn after_the_first_word_a_failure_is_told_and_nobody_else_is_asked() {
    let pieces = [word("wo"), Piece::Wait(Duration::from_millis(20)), Piece::Break];
    let (bad, good) = (FakeUpstream::start(move |_| Answer::stream(pieces.clone())).await, says(&["ok"]).await);
    let gateway = gateway(&[("bad", &bad, first()), ("good", &good, second())]);
    let items: Vec<_> = gateway.answer(&Caller::default(), chat("m")).await.unwrap().collect().await;
    assert!(matches!(&items[1], Ok(Delta::Text { text, .. }) if text == "wo"), "{items:?}");
    assert_eq!(items.last().unwrap().as_ref().unwrap_err().kind, ErrorKind::Upstream(502));
    assert_eq!((items.len(), good.asked().len()), (3, 0));
}

#[tokio::test]
async fn odd_framing_is_understood() {
    let text = ": OPENROUTER PROCESSING\n\nevent: x\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é\"}}]}\r\n\r\n\
                data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    // Byte by byte, without [DONE].
    let pieces: Vec<_> = text.bytes().map(|byte| Piece::Send(vec![byte])).collect();
    let fake = FakeUpstream::start(move |_| Answer::stream(pieces.clone())).await;
    let reply = ask(&gateway(&[("p", &fake, first())])).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.unwrap().completion_tokens), ("é", 1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = says(&["leaked"]).await;
    let target = format!("{}/x", elsewhere.base_url());
    let redirects = FakeUpstream::start(move |_| Answer::json(307, json!({})).header("location", &target)).await;
    let error = ask(&gateway(&[("p", &redirects, first())])).await.unwrap_err();
    assert_eq!((error.kind, elsewhere.asked().len()), (ErrorKind::Upstream(502), 0));
}

fn word(word: &str) -> Piece {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": word}}]});
    Piece::Send(format!("data: {chunk}\n\n").into_bytes())
}

/// A nano-dollar a token of the prompt, two a token of the answer.
const PRICES: &str = "[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\n";

async fn office(fake: &FakeUpstream) -> Office {
    office_of(upstream("p", fake)).await
}

async fn office_of(provider: Arc<Upstream>) -> Office {
    let mut routes = Routes::default();
    routes.remote(&provider, &["m".into()], first());
    Office::open(routes, PRICES, Some(1_000_000), None).await
}

#[tokio::test]
async fn a_caller_who_leaves_cancels_the_provider_and_pays_for_what_came() {
    let pieces = [word("one"), word("two"), word("three"), Piece::Wait(Duration::from_secs(60))];
    let fake = FakeUpstream::start(move |_| Answer::stream(pieces.clone())).await;
    let office = office(&fake).await;
    let mut answer = office.gateway.answer(&office.alice, chat("m")).await.unwrap();
    let mut words = 0;
    while words < 3 {
        words += usize::from(matches!(answer.next().await, Some(Ok(Delta::Text { .. }))));
    }
    assert_eq!(fake.running(), 1);
    drop(answer);
    let left = Instant::now();
    while fake.running() > 0 {
        assert!(left.elapsed() < Duration::from_millis(100), "the provider still answers");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    office.keepers.finish().await;
    let record = &office.store.records(1).await.unwrap()[0];
    assert_eq!((&*record.outcome, record.completion_tokens, record.estimated), ("cancelled", 3, true));
    // Two bytes of text and the message around them.
    assert_eq!((record.prompt_tokens, record.cost), (5, 5 + 6));
}

#[tokio::test]
async fn what_the_provider_counted_is_billed_and_a_refusal_is_not() {
    let times = AtomicUsize::new(0);
    let fake = FakeUpstream::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::words(&["a", "b"], 100),
        _ => Answer::json(400, json!({"error": {"message": "no"}})),
    })
    .await;
    let office = office(&fake).await;
    whole(office.gateway.answer(&office.alice, chat("m")).await.unwrap()).await.unwrap();
    whole(office.gateway.answer(&office.alice, chat("m")).await.unwrap()).await.unwrap_err();
    office.keepers.finish().await;
    let records = office.store.records(9).await.unwrap();
    let told: Vec<_> = records.iter().rev().map(|r| (&*r.outcome, r.cost, &*r.upstream, &*r.price)).collect();
    assert_eq!(told, [("stop", 104, "p", "p/m@d"), ("invalid", 0, "p", "p/m@d")]);
    assert_eq!(office.alice.holder.as_ref().unwrap().left(), Some(1_000_000 - 104));
}

#[tokio::test]
async fn a_providers_own_list_is_offered() {
    let fake = FakeUpstream::start(|asked| match asked.path.as_str() {
        "/v1/models" => Answer::json(200, json!({"object": "list", "data": [{"id": "a"}, {"id": "b"}]})),
        _ => Answer::words(&["ok"], 1),
    })
    .await;
    let gateway = Gateway::new(Routes::default(), Arc::default());
    let upstream = upstream("p", &fake);
    let models: Vec<_> = upstream.models().await.unwrap().into_iter().map(Model::from).collect();
    for _ in 0..2 {
        gateway.offer(&upstream, &models, first());
    }
    let listed: Vec<_> = gateway.models(&Caller::default()).iter().map(|model| model.id.to_string()).collect();
    assert_eq!(listed, ["a", "p/a", "b", "p/b"]);
    assert!(whole(gateway.answer(&Caller::default(), chat("b")).await.unwrap()).await.is_ok());
}

async fn relayed(gateway: &Gateway, caller: &Caller, body: &str) -> Result<Option<(String, Option<Error>)>, Error> {
    passed(gateway, caller, ApiEndpoint::ChatCompletions, body).await
}

async fn passed(
    gateway: &Gateway,
    caller: &Caller,
    passage: ApiEndpoint,
    body: &str,
) -> Result<Option<(String, Option<Error>)>, Error> {
    let body = body.to_owned().into();
    let Some(relay) = gateway.relay(caller, Asked::new(passage, &body)).await? else { return Ok(None) };
    read(relay).await.map(Some)
}

async fn read(relay: Relay) -> Result<(String, Option<Error>), Error> {
    let streams = relay.shape() == Shape::Events;
    let mut relayed = relay.begin().await?;
    if !streams {
        let (bytes, _) = relayed.whole().await?;
        return Ok((String::from_utf8(bytes.to_vec()).unwrap(), None));
    }
    let (mut text, mut failure) = (Vec::new(), None);
    while let Some(item) = relayed.next().await {
        match item {
            Ok(bytes) => text.extend_from_slice(&bytes),
            Err(error) => failure = Some(error),
        }
    }
    Ok((String::from_utf8(text).unwrap(), failure))
}

/// What `Answer::words` sends, without the event that has usage alone if `hidden`.
fn sent(words: &[&str], prompt: u64, hidden: bool) -> String {
    let pieces = Answer::words(words, prompt).pieces.into_iter();
    let events = pieces
        .map(|piece| if let Piece::Send(bytes) = piece { String::from_utf8(bytes).unwrap() } else { String::new() });
    events.filter(|event| !hidden || !event.contains("\"choices\":[]")).collect()
}

#[tokio::test]
async fn a_body_of_the_same_dialect_passes_byte_by_byte() {
    let fake = FakeUpstream::start(|asked| match asked.json()["stream"] == true {
        true => Answer::words(&["a", "b"], 100),
        false => Answer::json(
            200,
            json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "z": 1,
                                          "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
        ),
    })
    .await;
    let office = office(&fake).await;
    let pass = async |body: &str| relayed(&office.gateway, &office.alice, body).await.unwrap().unwrap().0;

    let plain = "{ \"unknown\": [1, 2.50],\n\"model\":\"m\",\"messages\":[ ] }";
    assert_eq!(
        pass(plain).await,
        r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"z":1,"usage":{"prompt_tokens":5,"completion_tokens":1}}"#
    );
    assert_eq!(fake.asked()[0].body, plain.as_bytes());

    let asks = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    assert_eq!(pass(asks).await, sent(&["a", "b"], 100, false));
    assert_eq!(fake.asked()[1].body, asks.as_bytes());

    // Who does not ask for usage does not get it, but it is billed all the same.
    assert_eq!(pass(r#"{"model":"p/m","stream":true,"messages":[]}"#).await, sent(&["a", "b"], 100, true));
    let asked = r#"{"model":"m","stream":true,"messages":[],"stream_options":{"include_usage":true}}"#;
    assert_eq!(String::from_utf8_lossy(&fake.asked()[2].body), asked);
    pass(r#"{"model":"m-thinking","messages":[],"thinking":null}"#).await;
    assert_eq!(fake.asked()[3].body, br#"{"model":"m","messages":[],"thinking":{"type":"enabled"}}"#);

    office.keepers.finish().await;
    let records = office.store.records(9).await.unwrap();
    let told: Vec<_> =
        records.iter().rev().map(|r| (r.prompt_tokens, r.completion_tokens, r.cost, r.estimated)).collect();
    assert_eq!(told, [(5, 1, 7, false), (100, 2, 104, false), (100, 2, 104, false), (5, 1, 7, false)]);
    assert!(records.iter().all(|record| record.outcome == "stop" && record.first_token_us.is_some()));
}

#[tokio::test]
async fn geminis_own_words_pass_byte_by_byte() {
    let event = |text: &str, end: &str| {
        let usage = r#""usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":2}"#;
        format!(
            "data: {{\"candidates\": [{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}}{end}}}],{usage}}}\r\n\r\n"
        )
    };
    let events = [event("a", ""), event("b", ",\"finishReason\":\"STOP\"")];
    let (whole, sent) = (events.concat(), events.clone());
    let fake = FakeUpstream::start(move |asked| match asked.path.contains(":streamGenerateContent") {
        true => Answer::stream(sent.clone().map(|event| Piece::Send(event.into_bytes()))),
        false => Answer::json(200, serde_json::from_str(sent[1].trim_start_matches("data: ")).unwrap()),
    })
    .await;
    let office = office_of(speaks("p", &fake, Dialect::Gemini)).await;
    let body = "{ \"contents\":[{\"parts\":[{\"text\":\"hi\"}]}], \"unknown\": 2.50,\n\"generationConfig\":{\"maxOutputTokens\":9}}";
    let bytes = body.to_owned().into();
    let pass = async |model, stream| {
        let asked = Asked { path: Some((model, stream)), ..Asked::new(ApiEndpoint::GenerateContent, &bytes) };
        match office.gateway.relay(&office.alice, asked).await.unwrap() {
            Some(relay) => Some(read(relay).await.unwrap()),
            None => None,
        }
    };
    let (text, failure) = pass("m", true).await.unwrap();
    assert_eq!((text, failure.is_none()), (whole, true));
    let (text, _) = pass("p/m", false).await.unwrap();
    assert!(text.contains("\"finishReason\":\"STOP\""), "{text}");
    // What the id says of thinking has to be said in words.
    assert!(pass("m-thinking", true).await.is_none());
    let paths: Vec<_> = fake.asked().iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths, ["/v1/models/m:streamGenerateContent?alt=sse", "/v1/models/m:generateContent"]);
    assert!(fake.asked().iter().all(|asked| asked.body == body.as_bytes()));

    office.keepers.finish().await;
    let records = office.store.records(9).await.unwrap();
    let told: Vec<_> = records.iter().map(|r| (r.prompt_tokens, r.completion_tokens, r.cost, &*r.outcome)).collect();
    assert_eq!(told, [(100, 2, 104, "stop"), (100, 2, 104, "stop")]);
}

#[tokio::test]
async fn a_provider_may_call_a_model_otherwise() {
    let fake = says(&["x"]).await;
    let mut routes = Routes::default();
    routes.remote(&upstream("p", &fake), &[Model { id: "m".into(), name: "org/m-2".into() }], first());
    let gateway = Gateway::new(routes, Arc::default());
    let answer = gateway.answer(&Caller::default(), chat("m")).await.unwrap();
    let chosen = answer.chosen().clone();
    whole(answer).await.unwrap();
    relayed(&gateway, &Caller::default(), r#"{"model":"p/m","messages":[],"stream":true}"#).await.unwrap().unwrap();
    let models: Vec<_> = fake.asked().iter().map(|asked| asked.json()["model"].clone()).collect();
    assert_eq!((models, &**chosen.provider()), (vec![json!("org/m-2"), json!("org/m-2")], "p"));
}

#[tokio::test]
async fn an_engine_at_which_others_wait_is_asked_later() {
    let engine = |waiting: u32, word: &'static str| {
        FakeUpstream::start(move |asked| match asked.path.as_str() {
            "/metrics" => Answer::stream([Piece::Send(format!("vllm:num_requests_waiting {waiting}\n").into_bytes())]),
            _ => Answer::words(&[word], 1),
        })
    };
    let (full, free) = (engine(5, "full").await, engine(0, "free").await);
    let (one, two) = (upstream("one", &full), upstream("two", &free));
    let mut routes = Routes::default();
    for engine in [&one, &two] {
        routes.remote(engine, &["m".into()], first());
    }
    let gateway = Gateway::new(routes, Arc::default());
    assert_eq!(one.occupancy(), None);
    one.look().await.unwrap();
    two.look().await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&gateway).await.unwrap().text, "free");
    }
    let table = gateway.table();
    let said: Vec<_> = table[0].targets.iter().map(|target| target.occupancy.unwrap().waiting).collect();
    assert_eq!(said, [5, 0]);

    // What says nothing of its requests is not believed to be free.
    let silent = FakeUpstream::start(|_| Answer::json(200, json!({}))).await;
    let silent = upstream("p", &silent);
    assert!(silent.look().await.unwrap_err().message.contains("metrics") && silent.occupancy().is_none());
}

#[tokio::test]
async fn what_does_not_pass_is_left_to_whoever_parses_it() {
    let fake = says(&["x"]).await;
    let gateway = gateway(&[("p", &fake, first())]);
    for body in ["", "{", r#"{"model":7}"#, r#"{"model":"nobody"}"#, r#"{"model":"m","model":"m"}"#, "[]"] {
        assert!(relayed(&gateway, &Caller::default(), body).await.unwrap().is_none(), "{body}");
    }
    let models = Some(Arc::from(["n".to_owned()]));
    let bob = Caller { key: Some("bob".into()), models, ..Caller::default() };
    let error = relayed(&gateway, &bob, r#"{"model":"m","messages":[]}"#).await.unwrap_err();
    assert_eq!((error.kind, fake.asked().len()), (ErrorKind::Forbidden, 0));
}

#[tokio::test]
async fn a_stream_that_breaks_is_told_and_one_that_never_begins_is_replaced() {
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let pieces = [word("one"), word("two"), Piece::Wait(Duration::from_millis(20)), Piece::Break];
    let fake = FakeUpstream::start(move |_| Answer::stream(pieces.clone())).await;
    let office = office(&fake).await;
    let (text, failure) = relayed(&office.gateway, &office.alice, body).await.unwrap().unwrap();
    assert!(text.contains("one") && text.contains("two"));
    assert_eq!(failure.unwrap().kind, ErrorKind::Upstream(502));
    office.keepers.finish().await;
    let record = &office.store.records(1).await.unwrap()[0];
    assert_eq!((&*record.outcome, record.completion_tokens, record.estimated), ("error", 2, true));

    // Cut off without a word of its end.
    let cut = FakeUpstream::start(|_| Answer::stream([word("one")])).await;
    let (_, failure) = relayed(&gateway(&[("p", &cut, first())]), &Caller::default(), body).await.unwrap().unwrap();
    assert!(failure.unwrap().message.contains("broke off"));

    for failing in [
        Answer::stream([Piece::Break]),
        Answer::stream([]),
        Answer::json(503, json!({})),
        Answer::events(["{\"error\":{\"message\":\"no room\"}}"]),
    ] {
        let name = format!("{failing:?}");
        let bad = FakeUpstream::start(move |_| failing.clone()).await;
        let good = says(&["ok"]).await;
        let both = gateway(&[("bad", &bad, first()), ("good", &good, second())]);
        let (text, failure) = relayed(&both, &Caller::default(), body).await.unwrap().unwrap();
        assert!(failure.is_none() && text.contains("ok"), "{name}");
    }
}

/// A message with thinking, words and a call, as Anthropic's service sends it.
fn message() -> Answer {
    let events = [
        json!({"type": "message_start", "message": {"id": "msg", "usage": {"input_tokens": 20, "cache_read_input_tokens": 4}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "ping"}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ];
    let send = |event: serde_json::Value| {
        let name = event["type"].as_str().unwrap_or_default();
        Piece::Send(format!("event: {name}\ndata: {event}\n\n").into_bytes())
    };
    Answer::stream(events.map(send))
}

#[tokio::test]
async fn thinking_goes_back_to_anthropic_with_the_signature_it_came_with() {
    let fake = FakeUpstream::start(|_| message()).await;
    let mut routes = Routes::default();
    routes.remote(&speaks("claude", &fake, Dialect::Anthropic), &["m".into()], first());
    let gateway = Gateway::new(routes, Arc::default());
    assert!(relayed(&gateway, &Caller::default(), r#"{"model":"m","messages":[]}"#).await.unwrap().is_none());

    let mut chat = Chat { thinking: Some(true), ..chat("m") };
    let reply = whole(gateway.answer(&Caller::default(), chat.clone()).await.unwrap()).await.unwrap();
    assert_eq!((reply.reasoning.as_str(), reply.tool_calls[0].arguments.as_str()), ("hm", "{}"));
    let usage = reply.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens), (24, 4, 7));
    let asked = &fake.asked()[0];
    assert_eq!((asked.path.as_str(), asked.header("x-api-key")), ("/v1/messages", Some("sk-operator")));
    assert_eq!((asked.header("anthropic-version"), asked.header("authorization")), (Some("2023-06-01"), None));

    let Input::Messages(messages) = &mut chat.input else { unreachable!() };
    let said = Message {
        content: None,
        reasoning: Some(reply.reasoning),
        tool_calls: Some(reply.tool_calls),
        ..Message::new(Role::Assistant, "")
    };
    let result = Message { tool_call_id: Some("toolu_1".into()), ..Message::new(Role::Tool, "42") };
    messages.extend([said, result]);
    whole(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
    assert_eq!(
        fake.asked()[1].json()["messages"],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
                                              {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}]}])
    );
}

#[tokio::test]
async fn what_a_provider_speaks_passes_and_is_counted() {
    let fake = FakeUpstream::start(|asked| match asked.path.as_str() {
        "/v1/embeddings" => Answer::json(200, json!({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 6, "total_tokens": 6}})),
        "/v1/completions" => Answer::json(200, json!({"choices": [{"text": "x", "finish_reason": "length"}], "usage": {"prompt_tokens": 2, "completion_tokens": 1}})),
        _ => message(),
    })
    .await;
    let office = office(&fake).await;
    let pass = async |passage, body: &str| passed(&office.gateway, &office.alice, passage, body).await.unwrap();
    assert!(pass(ApiEndpoint::Embeddings, r#"{"model":"m","input":"x"}"#).await.unwrap().0.contains("0.5"));
    assert!(pass(ApiEndpoint::Completions, r#"{"model":"m","prompt":"x"}"#).await.unwrap().0.contains("length"));
    assert!(
        pass(ApiEndpoint::Messages, r#"{"model":"m","messages":[]}"#).await.is_none(),
        "it speaks chat completions"
    );
    office.keepers.finish().await;
    let records = office.store.records(9).await.unwrap();
    let told: Vec<_> = records.iter().rev().map(|r| (r.prompt_tokens, r.cost, &*r.outcome)).collect();
    assert_eq!(told, [(6, 6, "stop"), (2, 4, "length")]);

    let mut routes = Routes::default();
    routes.remote(&speaks("claude", &fake, Dialect::Anthropic), &["m".into()], first());
    let gateway = Gateway::new(routes, Arc::default());
    let body = r#"{"model":"claude/m","stream":true,"max_tokens":5,"messages":[]}"#;
    let (text, failure) = passed(&gateway, &Caller::default(), ApiEndpoint::Messages, body).await.unwrap().unwrap();
    let pieces = message().pieces.into_iter().map(|piece| if let Piece::Send(bytes) = piece { bytes } else { vec![] });
    assert_eq!((text.into_bytes(), failure), (pieces.flatten().collect(), None));
    let asked = fake.asked().pop().unwrap();
    assert_eq!(asked.body, br#"{"model":"m","stream":true,"max_tokens":5,"messages":[]}"#);
    // The caller's own version takes the place of ours.
    let version = (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2024-01-01"));
    let bytes = body.to_owned().into();
    let asked = Asked { headers: [version].into_iter().collect(), ..Asked::new(ApiEndpoint::Messages, &bytes) };
    read(gateway.relay(&Caller::default(), asked).await.unwrap().unwrap()).await.unwrap();
    let asked = fake.asked().pop().unwrap();
    let versions = asked.headers.iter().filter(|(name, _)| name == "anthropic-version");
    assert_eq!(versions.map(|(_, version)| version.as_str()).collect::<Vec<_>>(), ["2024-01-01"]);
    assert!(
        passed(&gateway, &Caller::default(), ApiEndpoint::Messages, r#"{"model":"m-thinking","messages":[]}"#)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_conversation_stays_where_its_beginning_was_read() {
    let (one, two) = (says(&["1"]).await, says(&["2"]).await);
    let gateway = gateway(&[("one", &one, first()), ("two", &two, first())]);
    let system = |number: usize| format!("{number} {}", "You are a helpful whale. ".repeat(40));
    let mut homes = Vec::new();
    for round in 0..4 {
        for number in 0..8 {
            let mut messages = vec![Message::new(Role::System, system(number))];
            messages.extend((0..=round).map(|turn| Message::new(Role::User, format!("turn {turn}"))));
            let chat = Chat { input: Input::Messages(messages), ..chat("m") };
            let reply = whole(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
            match homes.get(number) {
                Some(home) => assert_eq!(*home, reply.text, "conversation {number}, round {round}"),
                None => homes.push(reply.text),
            }
        }
    }
    // The same holds for bodies that pass.
    let hello = [json!({"role": "user", "content": "hello ".repeat(200)})];
    let body = json!({"model": "m", "stream": true, "messages": hello}).to_string();
    let asked = || one.asked().len();
    let before = asked();
    for _ in 0..6 {
        relayed(&gateway, &Caller::default(), &body).await.unwrap().unwrap();
    }
    assert!([0, 6].contains(&(asked() - before)), "{} of 6", asked() - before);
}

#[tokio::test]
async fn gateways_that_know_nothing_of_each_other_agree_where_a_prompt_goes() {
    let fakes = [says(&["0"]).await, says(&["1"]).await, says(&["2"]).await];
    let weighs = |weight| Rank { priority: 0, weight };
    let ranked = [("a", &fakes[0], weighs(1)), ("b", &fakes[1], weighs(1)), ("c", &fakes[2], weighs(2))];
    let gateways = [gateway(&ranked), gateway(&ranked)];
    for number in 0..60 {
        let system = Message::new(Role::System, format!("{number} {}", "You are a helpful whale. ".repeat(40)));
        let mut homes = Vec::new();
        for gateway in &gateways {
            let chat = Chat { input: Input::Messages(vec![system.clone()]), ..chat("m") };
            homes.push(whole(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap().text);
        }
        assert_eq!(homes[0], homes[1]);
    }
    // Prompts are shared by weight all the same.
    let share = fakes[2].asked().len() / 2;
    assert!((20..=40).contains(&share), "{share} of 60, expected about 30");
}
