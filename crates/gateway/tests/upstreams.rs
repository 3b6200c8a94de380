//! Providers elsewhere, over HTTP: what is asked of them, what is heard, and what
//! happens when they fail.
#![forbid(unsafe_code)]

#[path = "common/fixture.rs"]
mod fixture;
#[path = "common/upstream.rs"]
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chat::{Chat, Delta, Error, ErrorKind, Input, Message, Reply, Role, fold};
use futures_util::StreamExt;
use gateway::{
    Accounting, BodyKind, Caller, Gateway, MeteredStream, PassthroughRequest, Prices, RawRequest, Router,
    RoutingPolicy, RoutingPreference, Upstream, UpstreamModel,
};
use http::{HeaderName, HeaderValue};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::fixture::GatewayFixture;

fn upstream_with_dialect(name: &str, fake: &FakeUpstream, dialect: Dialect) -> Arc<Upstream> {
    upstream::upstream(name, fake.base_url(), dialect)
}

fn upstream(name: &str, fake: &FakeUpstream) -> Arc<Upstream> {
    upstream_with_dialect(name, fake, Dialect::DeepSeek)
}

/// A gateway to these, in the order of their ranks, each with the model `m`.
fn gateway(fakes: &[(&str, &FakeUpstream, RoutingPreference)]) -> Gateway {
    let mut router = Router::default();
    for (name, fake, rank) in fakes {
        router.add_upstream(&upstream(name, fake), &["m".into()], *rank);
    }
    Gateway::new(router, Arc::default())
}

fn primary() -> RoutingPreference {
    RoutingPreference::default()
}

fn fallback() -> RoutingPreference {
    RoutingPreference { priority: 1, weight: 1 }
}

fn chat(model: &str) -> Chat {
    Chat { model: model.into(), input: Input::Messages(vec![Message::new(Role::User, "hi")]), ..Chat::default() }
}

async fn ask(gateway: &Gateway) -> Result<Reply, Error> {
    collect_reply(gateway.answer(&Caller::default(), chat("m")).await?).await
}

async fn collect_reply(answer: MeteredStream) -> Result<Reply, Error> {
    fold(answer.collect::<Vec<_>>().await)
}

async fn chat_provider(words: &'static [&'static str]) -> FakeUpstream {
    FakeUpstream::start(move |_| FakeResponse::chat_stream(words, 7)).await
}

#[tokio::test]
async fn a_chat_is_asked_in_the_providers_dialect_with_the_operators_key() {
    let fake = chat_provider(&["Hel", "lo"]).await;
    let gateway = gateway(&[("p", &fake, primary())]);
    let reply = ask(&gateway).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.unwrap().prompt_tokens), ("Hello", 7));
    let asked = &fake.requests()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(asked.header("authorization"), Some("Bearer sk-operator"));
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
                      "stream_options": {"include_usage": true}});
    assert_eq!(asked.json(), body);
}

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
        let asked = if model.starts_with("two") { two.requests() } else { one.requests() };
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
        let gateway = gateway(&[("bad", &bad, primary()), ("good", &good, fallback())]);
        assert_eq!(ask(&gateway).await.unwrap().text, "ok", "{name}");
        assert_eq!(bad.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone_for_a_while() {
    let failures = Arc::new(AtomicUsize::new(1));
    let script = move |_: &_| match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
        Ok(_) => FakeResponse::json(429, json!({"error": {"message": "slow down"}})).header("retry-after", "0.2"),
        Err(_) => FakeResponse::chat_stream(&["flaky"], 1),
    };
    let flaky = FakeUpstream::start(script).await;
    let good = chat_provider(&["good"]).await;
    let gateway = gateway(&[("flaky", &flaky, primary()), ("good", &good, fallback())]);
    for _ in 0..5 {
        assert_eq!(ask(&gateway).await.unwrap().text, "good");
    }
    assert_eq!(flaky.requests().len(), 1);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(ask(&gateway).await.unwrap().text, "flaky");
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let (light, heavy) = (chat_provider(&["l"]).await, chat_provider(&["h"]).await);
    let weighs = |weight| RoutingPreference { priority: 0, weight };
    let gateway = gateway(&[("light", &light, weighs(1)), ("heavy", &heavy, weighs(4))]);
    for _ in 0..200 {
        ask(&gateway).await.unwrap();
    }
    let share = heavy.requests().len();
    assert!((130..190).contains(&share), "{share} of 200, expected about 160");
}

#[tokio::test]
async fn the_quickest_or_the_cheapest_is_asked_first() {
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
        // One that is discovered later is chosen by the same.
        router.add_upstream(&upstream("quick", &quick), &["m".into()], primary());
        Gateway::new(router, Arc::new(Accounting::with_prices(Prices::parse(prices).unwrap())))
    };
    let gateway = by(RoutingPolicy::Latency, "");
    for _ in 0..60 {
        ask(&gateway).await.unwrap();
    }
    // Each is asked once to be known; then one request in twenty finds out how the
    // slow one has become.
    let others = slow.requests().len();
    assert!((1..15).contains(&others), "the slow one was asked {others} times of 60");
    let row = |provider: &str, output: u32| {
        format!("[[price]]\nprovider='{provider}'\nmodel='m'\nsource='s'\ndate='d'\ninput=1\noutput={output}\n")
    };
    let gateway = by(RoutingPolicy::Price, &(row("slow", 2) + &row("quick", 3)));
    assert_eq!(ask(&gateway).await.unwrap().text, "slow");
    let gateway = by(RoutingPolicy::Price, &row("quick", 3));
    assert_eq!(ask(&gateway).await.unwrap().text, "quick", "what has no price comes last");
}

#[tokio::test]
async fn what_a_provider_cannot_be_told_is_said() {
    let fake = chat_provider(&["x"]).await;
    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("claude", &fake, Dialect::Anthropic), &["m".into()], primary());
    let gateway = Gateway::new(router, Arc::default());
    let mut asks = chat("m");
    (asks.sampling.seed, asks.n) = (Some(1), Some(2));
    let answer = gateway.answer(&Caller::default(), asks).await.unwrap();
    assert_eq!(answer.notes, ["dropped: n, seed"]);
}

#[tokio::test]
async fn what_the_caller_did_wrong_is_asked_once_and_told_in_the_providers_words() {
    let refuses = |status| async move {
        FakeUpstream::start(move |_| FakeResponse::json(status, json!({"error": {"message": "temperature is odd"}})))
            .await
    };
    let (bad, good) = (refuses(400).await, chat_provider(&["ok"]).await);
    let both = gateway(&[("bad", &bad, primary()), ("good", &good, fallback())]);
    let error = ask(&both).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InvalidRequest, "temperature is odd"));
    assert_eq!((bad.requests().len(), good.requests().len()), (1, 0));
    let only = refuses(422).await;
    assert_eq!(ask(&gateway(&[("p", &only, primary())])).await.unwrap_err().kind, ErrorKind::Upstream(422));
}

#[tokio::test]
async fn a_429_of_the_only_provider_stays_one_with_its_words_and_its_patience() {
    let busy =
        |_: &_| FakeResponse::json(429, json!({"error": {"message": "TPM exceeded"}})).header("retry-after", "17");
    let busy = FakeUpstream::start(busy).await;
    let error = ask(&gateway(&[("p", &busy, primary())])).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::RateLimited, "TPM exceeded"));
    assert_eq!((error.retry_after, busy.requests().len()), (Some(Duration::from_secs(17)), 1));
}

#[tokio::test]
async fn the_only_provider_is_asked_again_when_it_breaks_before_its_first_word() {
    let times = AtomicUsize::new(0);
    let fake = FakeUpstream::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => FakeResponse::stream([BodyStep::Disconnect]),
        _ => FakeResponse::chat_stream(&["ok"], 1),
    })
    .await;
    assert_eq!(ask(&gateway(&[("p", &fake, primary())])).await.unwrap().text, "ok");
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test]
async fn after_the_first_word_a_failure_is_told_and_nobody_else_is_asked() {
    let pieces = [word_event("wo"), BodyStep::Wait(Duration::from_millis(20)), BodyStep::Disconnect];
    let (bad, good) =
        (FakeUpstream::start(move |_| FakeResponse::stream(pieces.clone())).await, chat_provider(&["ok"]).await);
    let gateway = gateway(&[("bad", &bad, primary()), ("good", &good, fallback())]);
    let items: Vec<_> = gateway.answer(&Caller::default(), chat("m")).await.unwrap().collect().await;
    assert!(matches!(&items[1], Ok(Delta::Text { text, .. }) if text == "wo"), "{items:?}");
    assert_eq!(items.last().unwrap().as_ref().unwrap_err().kind, ErrorKind::Upstream(502));
    assert_eq!((items.len(), good.requests().len()), (3, 0));
}

#[tokio::test]
async fn odd_framing_is_understood() {
    let text = ": OPENROUTER PROCESSING\n\nevent: x\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é\"}}]}\r\n\r\n\
                data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    // Byte by byte, without [DONE].
    let pieces: Vec<_> = text.bytes().map(|byte| BodyStep::Send(vec![byte])).collect();
    let fake = FakeUpstream::start(move |_| FakeResponse::stream(pieces.clone())).await;
    let reply = ask(&gateway(&[("p", &fake, primary())])).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.unwrap().completion_tokens), ("é", 1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other_host = chat_provider(&["leaked"]).await;
    let target = format!("{}/x", other_host.base_url());
    let redirects = FakeUpstream::start(move |_| FakeResponse::json(307, json!({})).header("location", &target)).await;
    let error = ask(&gateway(&[("p", &redirects, primary())])).await.unwrap_err();
    assert_eq!((error.kind, other_host.requests().len()), (ErrorKind::Upstream(502), 0));
}

fn word_event(word: &str) -> BodyStep {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": word}}]});
    BodyStep::Send(format!("data: {chunk}\n\n").into_bytes())
}

/// A nano-dollar a token of the prompt, two a token of the answer.
const PRICES: &str = "[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\n";

async fn fixture(fake: &FakeUpstream) -> GatewayFixture {
    fixture_of(upstream("p", fake)).await
}

async fn fixture_of(provider: Arc<Upstream>) -> GatewayFixture {
    let mut router = Router::default();
    router.add_upstream(&provider, &["m".into()], primary());
    GatewayFixture::start(router, PRICES, Some(1_000_000), None).await
}

#[tokio::test]
async fn a_caller_who_leaves_cancels_the_provider_and_pays_for_what_came() {
    let pieces = [word_event("one"), word_event("two"), word_event("three"), BodyStep::Wait(Duration::from_secs(60))];
    let fake = FakeUpstream::start(move |_| FakeResponse::stream(pieces.clone())).await;
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
async fn what_the_provider_counted_is_billed_and_a_refusal_is_not() {
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
    let told: Vec<_> = records.iter().rev().map(|r| (&*r.outcome, r.cost, &*r.upstream, &*r.price)).collect();
    assert_eq!(told, [("stop", 104, "p", "p/m@d"), ("invalid", 0, "p", "p/m@d")]);
    assert_eq!(fixture.alice.api_key.as_ref().unwrap().remaining_budget(), Some(1_000_000 - 104));
}

#[tokio::test]
async fn a_providers_own_list_is_offered() {
    let fake = FakeUpstream::start(|asked| match asked.path.as_str() {
        "/v1/models" => FakeResponse::json(200, json!({"object": "list", "data": [{"id": "a"}, {"id": "b"}]})),
        _ => FakeResponse::chat_stream(&["ok"], 1),
    })
    .await;
    let gateway = Gateway::new(Router::default(), Arc::default());
    let upstream = upstream("p", &fake);
    let models: Vec<_> = upstream.models().await.unwrap().into_iter().map(UpstreamModel::from).collect();
    for _ in 0..2 {
        gateway.add_upstream(&upstream, &models, primary());
    }
    let listed: Vec<_> = gateway.models(&Caller::default()).iter().map(|model| model.id.to_string()).collect();
    assert_eq!(listed, ["a", "p/a", "b", "p/b"]);
    assert!(collect_reply(gateway.answer(&Caller::default(), chat("b")).await.unwrap()).await.is_ok());
}

async fn pass_chat_completions(
    gateway: &Gateway,
    caller: &Caller,
    body: &str,
) -> Result<Option<(String, Option<Error>)>, Error> {
    pass_through(gateway, caller, ApiEndpoint::ChatCompletions, body).await
}

async fn pass_through(
    gateway: &Gateway,
    caller: &Caller,
    passage: ApiEndpoint,
    body: &str,
) -> Result<Option<(String, Option<Error>)>, Error> {
    let body = body.to_owned().into();
    let Some(request) = gateway.passthrough(caller, RawRequest::new(passage, &body)).await? else { return Ok(None) };
    read_response(request).await.map(Some)
}

async fn read_response(request: PassthroughRequest) -> Result<(String, Option<Error>), Error> {
    let streams = request.body_kind() == BodyKind::Sse;
    let mut response = request.send().await?;
    if !streams {
        let (bytes, _) = response.read_to_end().await?;
        return Ok((String::from_utf8(bytes.to_vec()).unwrap(), None));
    }
    let (mut text, mut failure) = (Vec::new(), None);
    while let Some(item) = response.next().await {
        match item {
            Ok(bytes) => text.extend_from_slice(&bytes),
            Err(error) => failure = Some(error),
        }
    }
    Ok((String::from_utf8(text).unwrap(), failure))
}

/// What `Answer::words` sends, without the event that has usage alone if `hidden`.
fn sent_text(words: &[&str], prompt: u64, hides_usage: bool) -> String {
    let pieces = FakeResponse::chat_stream(words, prompt).steps.into_iter();
    let events = pieces
        .map(|piece| if let BodyStep::Send(bytes) = piece { String::from_utf8(bytes).unwrap() } else { String::new() });
    events.filter(|event| !hides_usage || !event.contains("\"choices\":[]")).collect()
}

#[tokio::test]
async fn a_body_of_the_same_dialect_passes_byte_by_byte() {
    let fake = FakeUpstream::start(|asked| match asked.json()["stream"] == true {
        true => FakeResponse::chat_stream(&["a", "b"], 100),
        false => FakeResponse::json(
            200,
            json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "z": 1,
                                          "usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
        ),
    })
    .await;
    let fixture = fixture(&fake).await;
    let pass =
        async |body: &str| pass_chat_completions(&fixture.gateway, &fixture.alice, body).await.unwrap().unwrap().0;

    let plain = "{ \"unknown\": [1, 2.50],\n\"model\":\"m\",\"messages\":[ ] }";
    assert_eq!(
        pass(plain).await,
        r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"z":1,"usage":{"prompt_tokens":5,"completion_tokens":1}}"#
    );
    assert_eq!(fake.requests()[0].body, plain.as_bytes());

    let asks = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    assert_eq!(pass(asks).await, sent_text(&["a", "b"], 100, false));
    assert_eq!(fake.requests()[1].body, asks.as_bytes());

    // Who does not ask for usage does not get it, but it is billed all the same.
    assert_eq!(pass(r#"{"model":"p/m","stream":true,"messages":[]}"#).await, sent_text(&["a", "b"], 100, true));
    let asked = r#"{"model":"m","stream":true,"messages":[],"stream_options":{"include_usage":true}}"#;
    assert_eq!(String::from_utf8_lossy(&fake.requests()[2].body), asked);
    pass(r#"{"model":"m-thinking","messages":[],"thinking":null}"#).await;
    assert_eq!(fake.requests()[3].body, br#"{"model":"m","messages":[],"thinking":{"type":"enabled"}}"#);

    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
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
        true => FakeResponse::stream(sent.clone().map(|event| BodyStep::Send(event.into_bytes()))),
        false => FakeResponse::json(200, serde_json::from_str(sent[1].trim_start_matches("data: ")).unwrap()),
    })
    .await;
    let fixture = fixture_of(upstream_with_dialect("p", &fake, Dialect::Gemini)).await;
    let body = "{ \"contents\":[{\"parts\":[{\"text\":\"hi\"}]}], \"unknown\": 2.50,\n\"generationConfig\":{\"maxOutputTokens\":9}}";
    let bytes = body.to_owned().into();
    let pass = async |model, stream| {
        let asked = RawRequest {
            model_in_path: Some((model, stream)),
            ..RawRequest::new(ApiEndpoint::GenerateContent, &bytes)
        };
        match fixture.gateway.passthrough(&fixture.alice, asked).await.unwrap() {
            Some(request) => Some(read_response(request).await.unwrap()),
            None => None,
        }
    };
    let (text, failure) = pass("m", true).await.unwrap();
    assert_eq!((text, failure.is_none()), (whole, true));
    let (text, _) = pass("p/m", false).await.unwrap();
    assert!(text.contains("\"finishReason\":\"STOP\""), "{text}");
    // What the id says of thinking has to be said in words.
    assert!(pass("m-thinking", true).await.is_none());
    let paths: Vec<_> = fake.requests().iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths, ["/v1/models/m:streamGenerateContent?alt=sse", "/v1/models/m:generateContent"]);
    assert!(fake.requests().iter().all(|asked| asked.body == body.as_bytes()));

    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    let told: Vec<_> = records.iter().map(|r| (r.prompt_tokens, r.completion_tokens, r.cost, &*r.outcome)).collect();
    assert_eq!(told, [(100, 2, 104, "stop"), (100, 2, 104, "stop")]);
}

#[tokio::test]
async fn a_provider_may_call_a_model_otherwise() {
    let fake = chat_provider(&["x"]).await;
    let mut router = Router::default();
    router.add_upstream(
        &upstream("p", &fake),
        &[UpstreamModel { id: "m".into(), upstream_name: "org/m-2".into() }],
        primary(),
    );
    let gateway = Gateway::new(router, Arc::default());
    let answer = gateway.answer(&Caller::default(), chat("m")).await.unwrap();
    let chosen = answer.selected_target().clone();
    collect_reply(answer).await.unwrap();
    pass_chat_completions(&gateway, &Caller::default(), r#"{"model":"p/m","messages":[],"stream":true}"#)
        .await
        .unwrap()
        .unwrap();
    let models: Vec<_> = fake.requests().iter().map(|asked| asked.json()["model"].clone()).collect();
    assert_eq!((models, &**chosen.provider()), (vec![json!("org/m-2"), json!("org/m-2")], "p"));
}

#[tokio::test]
async fn an_engine_at_which_others_wait_is_asked_later() {
    let engine = |waiting: u32, word: &'static str| {
        FakeUpstream::start(move |asked| match asked.path.as_str() {
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
        assert_eq!(ask(&gateway).await.unwrap().text, "free");
    }
    let table = gateway.route_table();
    let said: Vec<_> = table[0].targets.iter().map(|target| target.reported_load.unwrap().waiting).collect();
    assert_eq!(said, [5, 0]);

    // What says nothing of its requests is not believed to be free.
    let silent = FakeUpstream::start(|_| FakeResponse::json(200, json!({}))).await;
    let silent = upstream("p", &silent);
    assert!(silent.poll_metrics().await.unwrap_err().message.contains("metrics") && silent.reported_load().is_none());
}

#[tokio::test]
async fn what_does_not_pass_is_left_to_whoever_parses_it() {
    let fake = chat_provider(&["x"]).await;
    let gateway = gateway(&[("p", &fake, primary())]);
    for body in ["", "{", r#"{"model":7}"#, r#"{"model":"nobody"}"#, r#"{"model":"m","model":"m"}"#, "[]"] {
        assert!(pass_chat_completions(&gateway, &Caller::default(), body).await.unwrap().is_none(), "{body}");
    }
    let models = Some(Arc::from(["n".to_owned()]));
    let bob = Caller { key_name: Some("bob".into()), allowed_models: models, ..Caller::default() };
    let error = pass_chat_completions(&gateway, &bob, r#"{"model":"m","messages":[]}"#).await.unwrap_err();
    assert_eq!((error.kind, fake.requests().len()), (ErrorKind::Forbidden, 0));
}

#[tokio::test]
async fn a_stream_that_breaks_is_told_and_one_that_never_begins_is_replaced() {
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let pieces =
        [word_event("one"), word_event("two"), BodyStep::Wait(Duration::from_millis(20)), BodyStep::Disconnect];
    let fake = FakeUpstream::start(move |_| FakeResponse::stream(pieces.clone())).await;
    let fixture = fixture(&fake).await;
    let (text, failure) = pass_chat_completions(&fixture.gateway, &fixture.alice, body).await.unwrap().unwrap();
    assert!(text.contains("one") && text.contains("two"));
    assert_eq!(failure.unwrap().kind, ErrorKind::Upstream(502));
    fixture.background_tasks.finish().await;
    let record = &fixture.store.latest_records(1).await.unwrap()[0];
    assert_eq!((&*record.outcome, record.completion_tokens, record.estimated), ("error", 2, true));

    // Cut off without a word of its end.
    let cut = FakeUpstream::start(|_| FakeResponse::stream([word_event("one")])).await;
    let (_, failure) =
        pass_chat_completions(&gateway(&[("p", &cut, primary())]), &Caller::default(), body).await.unwrap().unwrap();
    assert!(failure.unwrap().message.contains("broke off"));

    for failing in [
        FakeResponse::stream([BodyStep::Disconnect]),
        FakeResponse::stream([]),
        FakeResponse::json(503, json!({})),
        FakeResponse::events(["{\"error\":{\"message\":\"no room\"}}"]),
    ] {
        let name = format!("{failing:?}");
        let bad = FakeUpstream::start(move |_| failing.clone()).await;
        let good = chat_provider(&["ok"]).await;
        let both = gateway(&[("bad", &bad, primary()), ("good", &good, fallback())]);
        let (text, failure) = pass_chat_completions(&both, &Caller::default(), body).await.unwrap().unwrap();
        assert!(failure.is_none() && text.contains("ok"), "{name}");
    }
}

/// A message with thinking, words and a call, as Anthropic's service sends it.
fn anthropic_answer() -> FakeResponse {
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
        BodyStep::Send(format!("event: {name}\ndata: {event}\n\n").into_bytes())
    };
    FakeResponse::stream(events.map(send))
}

#[tokio::test]
async fn thinking_goes_back_to_anthropic_with_the_signature_it_came_with() {
    let fake = FakeUpstream::start(|_| anthropic_answer()).await;
    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("claude", &fake, Dialect::Anthropic), &["m".into()], primary());
    let gateway = Gateway::new(router, Arc::default());
    assert!(
        pass_chat_completions(&gateway, &Caller::default(), r#"{"model":"m","messages":[]}"#).await.unwrap().is_none()
    );

    let mut chat = Chat { thinking: Some(true), ..chat("m") };
    let reply = collect_reply(gateway.answer(&Caller::default(), chat.clone()).await.unwrap()).await.unwrap();
    assert_eq!((reply.reasoning.as_str(), reply.tool_calls[0].arguments.as_str()), ("hm", "{}"));
    let usage = reply.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens), (24, 4, 7));
    let asked = &fake.requests()[0];
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
    collect_reply(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap();
    assert_eq!(
        fake.requests()[1].json()["messages"],
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
        "/v1/embeddings" => FakeResponse::json(200, json!({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 6, "total_tokens": 6}})),
        "/v1/completions" => FakeResponse::json(200, json!({"choices": [{"text": "x", "finish_reason": "length"}], "usage": {"prompt_tokens": 2, "completion_tokens": 1}})),
        _ => anthropic_answer(),
    })
    .await;
    let fixture = fixture(&fake).await;
    let pass = async |passage, body: &str| pass_through(&fixture.gateway, &fixture.alice, passage, body).await.unwrap();
    assert!(pass(ApiEndpoint::Embeddings, r#"{"model":"m","input":"x"}"#).await.unwrap().0.contains("0.5"));
    assert!(pass(ApiEndpoint::Completions, r#"{"model":"m","prompt":"x"}"#).await.unwrap().0.contains("length"));
    assert!(
        pass(ApiEndpoint::Messages, r#"{"model":"m","messages":[]}"#).await.is_none(),
        "it speaks chat completions"
    );
    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(9).await.unwrap();
    let told: Vec<_> = records.iter().rev().map(|r| (r.prompt_tokens, r.cost, &*r.outcome)).collect();
    assert_eq!(told, [(6, 6, "stop"), (2, 4, "length")]);

    let mut router = Router::default();
    router.add_upstream(&upstream_with_dialect("claude", &fake, Dialect::Anthropic), &["m".into()], primary());
    let gateway = Gateway::new(router, Arc::default());
    let body = r#"{"model":"claude/m","stream":true,"max_tokens":5,"messages":[]}"#;
    let (text, failure) =
        pass_through(&gateway, &Caller::default(), ApiEndpoint::Messages, body).await.unwrap().unwrap();
    let pieces = anthropic_answer()
        .steps
        .into_iter()
        .map(|piece| if let BodyStep::Send(bytes) = piece { bytes } else { vec![] });
    assert_eq!((text.into_bytes(), failure), (pieces.flatten().collect(), None));
    let asked = fake.requests().pop().unwrap();
    assert_eq!(asked.body, br#"{"model":"m","stream":true,"max_tokens":5,"messages":[]}"#);
    // The caller's own version takes the place of ours.
    let version = (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2024-01-01"));
    let bytes = body.to_owned().into();
    let asked =
        RawRequest { headers: [version].into_iter().collect(), ..RawRequest::new(ApiEndpoint::Messages, &bytes) };
    read_response(gateway.passthrough(&Caller::default(), asked).await.unwrap().unwrap()).await.unwrap();
    let asked = fake.requests().pop().unwrap();
    let versions = asked.headers.iter().filter(|(name, _)| name == "anthropic-version");
    assert_eq!(versions.map(|(_, version)| version.as_str()).collect::<Vec<_>>(), ["2024-01-01"]);
    assert!(
        pass_through(&gateway, &Caller::default(), ApiEndpoint::Messages, r#"{"model":"m-thinking","messages":[]}"#)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_conversation_stays_where_its_beginning_was_read() {
    let (one, two) = (chat_provider(&["1"]).await, chat_provider(&["2"]).await);
    let gateway = gateway(&[("one", &one, primary()), ("two", &two, primary())]);
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
    // The same holds for bodies that pass.
    let hello = [json!({"role": "user", "content": "hello ".repeat(200)})];
    let body = json!({"model": "m", "stream": true, "messages": hello}).to_string();
    let asked = || one.requests().len();
    let before = asked();
    for _ in 0..6 {
        pass_chat_completions(&gateway, &Caller::default(), &body).await.unwrap().unwrap();
    }
    assert!([0, 6].contains(&(asked() - before)), "{} of 6", asked() - before);
}

#[tokio::test]
async fn gateways_that_know_nothing_of_each_other_agree_where_a_prompt_goes() {
    let fakes = [chat_provider(&["0"]).await, chat_provider(&["1"]).await, chat_provider(&["2"]).await];
    let weighs = |weight| RoutingPreference { priority: 0, weight };
    let ranked = [("a", &fakes[0], weighs(1)), ("b", &fakes[1], weighs(1)), ("c", &fakes[2], weighs(2))];
    let gateways = [gateway(&ranked), gateway(&ranked)];
    for number in 0..60 {
        let system = Message::new(Role::System, format!("{number} {}", "You are a helpful whale. ".repeat(40)));
        let mut homes = Vec::new();
        for gateway in &gateways {
            let chat = Chat { input: Input::Messages(vec![system.clone()]), ..chat("m") };
            homes.push(collect_reply(gateway.answer(&Caller::default(), chat).await.unwrap()).await.unwrap().text);
        }
        assert_eq!(homes[0], homes[1]);
    }
    // Prompts are shared by weight all the same.
    let share = fakes[2].requests().len() / 2;
    assert!((20..=40).contains(&share), "{share} of 60, expected about 30");
}
