//! Money at the border: counts that cannot be true, prices that are known beforehand, and budgets
//! that nothing may overdraw.
#![forbid(unsafe_code)]

#[path = "common/fixture.rs"]
mod fixture;
#[path = "common/upstream.rs"]
mod upstream;

use bytes::Bytes;
use chat::{Chat, Error, ErrorKind, Input, Message, Reply, Role, fold};
use futures_util::StreamExt;
use gateway::{Overdraft, RawRequest, Router, RoutingPreference, TaskSubmission};
use http::HeaderMap;
use serde_json::{Value, json};
use store::{IMPLAUSIBLE, UsageRecord};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use wire::passthrough::ApiEndpoint;
use wire::tasks::TaskKind;
use wire::upstream::Dialect;

use crate::fixture::GatewayFixture;
use crate::upstream::upstream;

const DOLLAR: i64 = 1_000_000_000;

/// A nano-dollar a token of the prompt, two a token of the answer; dollars by the
/// call and the second.
const PRICES: &str = "
    [[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\n
    [[price]]\nprovider='p'\nmodel='small'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\ncontext=1000\n
    [[price]]\nprovider='p'\nmodel='limited'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\ncontext=100000\nmax_output=500\n
    [[price]]\nprovider='p'\nmodel='dear'\nsource='s'\ndate='d'\ninput=1000000\noutput=1000000\n
    [[price]]\nprovider='p'\nmodel='picture'\nsource='s'\ndate='d'\nper_call=1\n
    [[price]]\nprovider='p'\nmodel='film'\nsource='s'\ndate='d'\nper_call=1\nper_second=0.1\n
    [[price]]\nprovider='p'\nmodel='palace'\nsource='s'\ndate='d'\nper_call=600000\n
    [[price]]\nprovider='p'\nmodel='called'\nsource='s'\ndate='d'\nper_call=1\noutput=1000\n";
const MODELS: [&str; 8] = ["m", "small", "limited", "dear", "picture", "film", "palace", "called"];

async fn fixture_of(fake: &FakeUpstream, dialect: Dialect, budget: i64, overdraft: Overdraft) -> GatewayFixture {
    fixture_with(fake, dialect, Some(budget), None, overdraft).await
}

async fn fixture_with(
    fake: &FakeUpstream,
    dialect: Dialect,
    key: Option<i64>,
    team: Option<i64>,
    overdraft: Overdraft,
) -> GatewayFixture {
    let mut router = Router::default();
    router.add_upstream(
        &upstream("p", fake.base_url(), dialect),
        &MODELS.map(Into::into),
        RoutingPreference::default(),
    );
    router.allow_overdraft(overdraft);
    GatewayFixture::start(router, PRICES, key, team).await
}

impl GatewayFixture {
    async fn ask(&self, chat: Chat) -> Result<Reply, Error> {
        fold(self.gateway.answer(&self.alice, chat).await?.collect::<Vec<_>>().await)
    }

    /// Passes a body on; the bytes that come back.
    async fn pass_through(
        &self,
        passage: ApiEndpoint,
        path: Option<(&str, bool)>,
        body: &Value,
    ) -> Result<Bytes, Error> {
        let body = Bytes::from(body.to_string());
        let asked = RawRequest { model_in_path: path, ..RawRequest::new(passage, &body) };
        let request = self.gateway.passthrough(&self.alice, asked).await?.expect("it passes");
        let streams = path.map_or(body.windows(13).any(|bytes| bytes == b"\"stream\":true"), |(_, stream)| stream);
        let mut response = request.send().await?;
        if !streams {
            return Ok(response.read_to_end().await?.0);
        }
        let mut all = Vec::new();
        while let Some(bytes) = response.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all.into())
    }

    async fn submit_video(&self, body: Value, remix: Option<&str>) -> Result<(), Error> {
        let body = Bytes::from(body.to_string());
        let path = remix.map_or("videos".to_owned(), |id| format!("videos/{id}/remix"));
        let headers = HeaderMap::new();
        let submission =
            TaskSubmission { kind: TaskKind::Video, model: None, path: &path, parent: remix, body: &body, headers };
        self.gateway.submit_task(&self.alice, submission).await.map(drop)
    }

    /// Stops, and returns the records, the newest first.
    async fn records(self) -> Vec<UsageRecord> {
        self.background_tasks.finish().await;
        assert!(self.store.check_integrity(&[]).await.unwrap().mismatches.is_empty());
        self.store.latest_records(100).await.unwrap()
    }
}

fn chat(model: &str, max_tokens: Option<i64>) -> Chat {
    let input = Input::Messages(vec![Message::new(Role::User, "hi")]);
    Chat { model: model.into(), input, max_tokens, ..Chat::default() }
}

/// Two words with these counts, in a dialect's events. What cannot be in a `Value` is text.
fn answer_events(dialect: Dialect, counts: &str) -> Vec<String> {
    match dialect {
        Dialect::Anthropic => vec![
            format!(r#"{{"type":"message_start","message":{{"usage":{counts}}}}}"#),
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#.into(),
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"two "}}"#.into(),
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"words"}}"#.into(),
            r#"{"type":"content_block_stop","index":0}"#.into(),
            format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{counts}}}"#),
            r#"{"type":"message_stop"}"#.into(),
        ],
        Dialect::Gemini => {
            let part = |text: &str, end: &str| {
                format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}{end}}}]"#)
            };
            vec![
                part("two ", "") + "}",
                part("words", r#","finishReason":"STOP""#) + &format!(r#","usageMetadata":{counts}}}"#),
            ]
        }
        _ => {
            let chunk = |delta: Value, end: Value| {
                json!({"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}).to_string()
            };
            vec![
                chunk(json!({"content": "two "}), Value::Null),
                chunk(json!({"content": "words"}), Value::Null),
                chunk(json!({}), "stop".into()),
                format!(r#"{{"choices":[],"usage":{counts}}}"#),
                "[DONE]".into(),
            ]
        }
    }
}

/// The names of the counts of input, of cached input and of output.
fn usage_fields(dialect: Dialect) -> [&'static str; 3] {
    match dialect {
        Dialect::Anthropic => ["input_tokens", "cache_read_input_tokens", "output_tokens"],
        Dialect::Gemini => ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount"],
        _ => ["prompt_tokens", "prompt_cache_hit_tokens", "completion_tokens"],
    }
}

/// JSON that is not a plausible count.
const ABSURD_COUNTS: [&str; 14] = [
    "9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "16777217",
    "-1",
    "1.5",
    "1e30",
    "1e400",
    "\"12\"",
    "true",
    "[1]",
    "{}",
    "-9223372036854775808",
];

#[tokio::test]
async fn an_answer_with_absurd_counts_is_whole_and_settled_by_estimate() {
    for dialect in [Dialect::DeepSeek, Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
        let mut usages: Vec<String> = ["\"none\"", "[9,9]", "5", "true"].map(str::to_owned).into();
        for name in usage_fields(dialect) {
            usages.extend(ABSURD_COUNTS.map(|absurd| {
                let others = usage_fields(dialect)
                    .into_iter()
                    .filter(|other| *other != name)
                    .map(|other| format!(r#""{other}":3,"#));
                format!(r#"{{{}"{name}":{absurd}}}"#, others.collect::<String>())
            }));
        }
        let (count, answers) = (usages.len(), std::sync::Mutex::new(usages.clone().into_iter()));
        let fake = FakeUpstream::start(move |_| {
            FakeResponse::events(answer_events(dialect, &answers.lock().unwrap().next().unwrap()))
        })
        .await;
        let fixture = fixture_of(&fake, dialect, DOLLAR, Overdraft::LastRequest).await;
        for counts in &usages {
            let reply =
                fixture.ask(chat("m", None)).await.unwrap_or_else(|error| panic!("{dialect:?} {counts}: {error}"));
            assert_eq!(reply.text, "two words", "{counts}");
            let told = reply.usage.expect("an estimate");
            assert!(
                told.prompt_tokens < 100 && told.completion_tokens == 2 && told.cached_tokens <= told.prompt_tokens,
                "{counts}: {told:?}"
            );
            let works =
                fixture.gateway.route_table().into_iter().find(|route| &*route.id == "m").unwrap().targets[0].healthy;
            assert!(!works, "{counts}: the provider has failed");
        }
        let records = fixture.records().await;
        assert_eq!(records.len(), count);
        for record in records {
            assert_eq!((&*record.outcome, record.estimated), (IMPLAUSIBLE, true), "{record:?}");
            assert!(record.prompt_tokens < 100 && record.completion_tokens == 2, "{record:?}");
            assert_eq!(record.cost, record.prompt_tokens + 2 * record.completion_tokens);
        }
    }
}

#[tokio::test]
async fn an_answer_that_passes_stays_as_it_is_and_its_absurd_counts_are_not_booked() {
    for (dialect, passage) in [
        (Dialect::DeepSeek, ApiEndpoint::ChatCompletions),
        (Dialect::Anthropic, ApiEndpoint::Messages),
        (Dialect::Gemini, ApiEndpoint::GenerateContent),
        (Dialect::DeepSeek, ApiEndpoint::Embeddings),
        (Dialect::DeepSeek, ApiEndpoint::ImageGenerations),
    ] {
        let [input, _, output] = usage_fields(dialect);
        let (input, output) =
            if passage == ApiEndpoint::ImageGenerations { ("input_tokens", "output_tokens") } else { (input, output) };
        let field = if dialect == Dialect::Gemini { "usageMetadata" } else { "usage" };
        for absurd in ABSURD_COUNTS {
            let counts = format!(r#"{{"{input}":3,"{output}":{absurd}}}"#);
            let said = match passage {
                ApiEndpoint::Messages => r#""content":[{"type":"text","text":"two words"}],"stop_reason":"end_turn""#,
                ApiEndpoint::GenerateContent => r#""candidates":[{"content":{"parts":[{"text":"two words"}]}}]"#,
                ApiEndpoint::ChatCompletions => {
                    r#""choices":[{"index":0,"message":{"content":"two words"},"finish_reason":"stop"}]"#
                }
                _ => r#""data":[]"#,
            };
            let whole = format!(r#"{{{said},"{field}":{counts}}}"#);
            for stream in [true, false] {
                if stream && (passage.media_name().is_some() || passage == ApiEndpoint::Embeddings) {
                    continue;
                }
                let answer = match stream {
                    true => FakeResponse::events(answer_events(dialect, &counts)),
                    false => {
                        let mut answer = FakeResponse::json(200, Value::Null);
                        answer.steps = vec![testkit::fake_upstream::BodyStep::Send(whole.clone().into_bytes())];
                        answer
                    }
                };
                let want: Vec<u8> = answer
                    .steps
                    .iter()
                    .flat_map(|piece| match piece {
                        testkit::fake_upstream::BodyStep::Send(bytes) => bytes.clone(),
                        _ => vec![],
                    })
                    .collect();
                let fake = FakeUpstream::start(move |_| answer.clone()).await;
                let fixture = fixture_of(&fake, dialect, DOLLAR, Overdraft::LastRequest).await;
                let path = (dialect == Dialect::Gemini).then_some(("m", stream));
                let body = json!({"model": "m", "messages": [], "stream": stream, "stream_options": {"include_usage": true}, "max_tokens": 900});
                let got = fixture.pass_through(passage, path, &body).await.unwrap();
                assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&want), "bytes stay bytes");
                let record = fixture.records().await.remove(0);
                assert_eq!(
                    (&*record.outcome, record.estimated),
                    (IMPLAUSIBLE, true),
                    "{passage:?} {absurd} {record:?}"
                );
                assert!(record.cost < 1000 && record.completion_tokens < 100, "{record:?}");
            }
        }
    }
}

#[tokio::test]
async fn counts_are_bounded_by_the_context_the_request_and_the_cost() {
    let counts =
        |prompt: u64, completion: u64| format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}"#);
    for (model, most, counts, fits) in [
        ("small", None, counts(4000, 4000), true),
        ("small", None, counts(4001, 1), false),
        ("small", None, counts(1, 4001), false),
        ("m", Some(10), counts(1, 4116), true),
        ("m", Some(10), counts(1, 4117), false),
        ("m", None, counts(1 << 24, 1 << 24), true),
        ("dear", None, counts(500_000, 500_000), true),
        ("dear", None, counts(500_001, 500_000), false),
        // Parts that some count apart from their wholes are no fault.
        ("m", None, r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_cache_hit_tokens":9,"completion_tokens_details":{"reasoning_tokens":7}}"#.into(), true),
        // Nothing is counted: that is no fault either.
        ("m", None, "{}".into(), true),
    ] {
        let told = counts.clone();
        let fake = FakeUpstream::start(move |_| FakeResponse::events(answer_events(Dialect::DeepSeek, &told))).await;
        let fixture = fixture_of(&fake, Dialect::DeepSeek, 2_000_000 * DOLLAR, Overdraft::LastRequest).await;
        fixture.ask(chat(model, most)).await.unwrap();
        let record = fixture.records().await.remove(0);
        assert_eq!(record.outcome == "stop", fits, "{model} {counts}: {record:?}");
        assert!(record.cost <= 1_000_000 * DOLLAR, "{record:?}");
    }
}

async fn media_provider() -> FakeUpstream {
    FakeUpstream::start(|asked| match asked.path.as_str() {
        "/v1/chat/completions" => FakeResponse::chat_stream(&["ok"], 7),
        path if path.contains("/videos") => FakeResponse::json(
            200,
            json!({"id": format!("video_{}", uuid::Uuid::now_v7().simple()), "status": "queued"}),
        ),
        "/v1/completions" => FakeResponse::json(200, json!({"choices": [{"text": "ok", "finish_reason": "stop"}]})),
        _ => FakeResponse::json(200, json!({"created": 1, "data": []})),
    })
    .await
}

#[tokio::test]
async fn what_has_a_price_beforehand_is_refused_above_what_is_left() {
    let fake = media_provider().await;
    // Of the key and of the project, whichever has less.
    for (key, team) in [(Some(5 * DOLLAR), None), (None, Some(5 * DOLLAR)), (Some(9 * DOLLAR), Some(5 * DOLLAR))] {
        for overdraft in [Overdraft::LastRequest, Overdraft::AtMost(0), Overdraft::AtMost(DOLLAR)] {
            let fixture = fixture_with(&fake, Dialect::DeepSeek, key, team, overdraft).await;
            let asked = fake.requests().len();
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
            assert_eq!(fake.requests().len(), asked, "nobody was asked");
            fixture.pass_through(ApiEndpoint::ImageGenerations, None, &pictures(3)).await.unwrap();
            // Two are left: too little for four seconds and the call, enough for a picture.
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
async fn an_overdraft_pays_for_tokens_and_for_nothing_else() {
    let fake = media_provider().await;
    // A dollar a call, and a thousandth of one a token.
    for (budget, most, admitted) in [
        (DOLLAR - 1, None, false),
        (DOLLAR - 1, Some(1), false),
        (DOLLAR, None, true),
        (DOLLAR, Some(500), true),
        (DOLLAR, Some(501), false),
        (DOLLAR + DOLLAR / 2, Some(1000), true),
    ] {
        let fixture = fixture_of(&fake, Dialect::DeepSeek, budget, Overdraft::AtMost(DOLLAR / 2)).await;
        let answer = fixture.ask(chat("called", most)).await;
        assert_eq!(answer.is_ok(), admitted, "{budget} {most:?}: {answer:?}");
    }
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 5 * DOLLAR, Overdraft::AtMost(DOLLAR)).await;
    for turn in 0..8 {
        let answer = fixture.pass_through(ApiEndpoint::ImageGenerations, None, &json!({"model": "picture"})).await;
        assert_eq!(answer.is_ok(), turn < 5, "{turn}");
    }
}

#[tokio::test]
async fn two_at_once_do_not_spend_the_same_dollar() {
    let fake = media_provider().await;
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 3 * DOLLAR, Overdraft::LastRequest).await;
    let pictures = json!({"model": "picture", "n": 2});
    let asks = (0..8).map(|_| fixture.pass_through(ApiEndpoint::ImageGenerations, None, &pictures));
    let got = futures_util::future::join_all(asks).await;
    assert_eq!(got.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(fixture.records().await.len(), 1);
}

#[tokio::test]
async fn what_is_billed_is_what_the_provider_is_told() {
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
        "what is billed is said"
    );
    for (passage, body, field) in [
        (ApiEndpoint::ImageGenerations, json!({"model": "picture", "n": 10_001}), "'n'"),
        (ApiEndpoint::ImageGenerations, json!({"model": "picture", "n": -1}), "'n'"),
        (ApiEndpoint::ChatCompletions, json!({"model": "m", "messages": [], "n": u64::MAX}), "'n'"),
        (ApiEndpoint::ChatCompletions, json!({"model": "m", "messages": [], "n": 0.5}), "'n'"),
    ] {
        let error = fixture.pass_through(passage, None, &body).await.unwrap_err();
        assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains(field), "{error}");
    }
    let error = fixture.ask(Chat { n: Some(-1), ..chat("m", None) }).await.unwrap_err();
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
    let told = fixture.gateway.submit_task(&fixture.alice, submission).await.unwrap();
    let id = serde_json::from_slice::<Value>(&told.bytes).unwrap()["id"].as_str().unwrap().to_owned();
    fixture.submit_video(json!({"prompt": "again"}), Some(&id)).await.unwrap();
    assert_eq!(fake.requests().last().unwrap().json()["seconds"], Value::Null);
    let costs: Vec<_> = fixture.records().await.iter().map(|record| record.cost).collect();
    assert_eq!(costs, [2_200_000_000, 2_200_000_000]);
}

#[tokio::test]
async fn an_overdraft_in_dollars_bounds_what_a_request_may_cost() {
    let fake = media_provider().await;
    // A byte of the prompt is a token at most: 2 of text and 12 of the message. 87 nano-dollars are
    // left for 43 tokens.
    for overdraft in [0, 40] {
        let fixture = fixture_of(&fake, Dialect::DeepSeek, 101 - overdraft, Overdraft::AtMost(overdraft)).await;
        let error = fixture.ask(chat("m", Some(44))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InsufficientBalance);
        assert!(error.message.contains("`max_tokens` of at most 43"), "{error}");
        fixture.ask(chat("m", Some(43))).await.unwrap();
        assert_eq!(fake.requests().last().unwrap().json()["max_tokens"], 43);
        // 9 are spent: the answer that has no bound is given one.
        fixture.ask(chat("m", None)).await.unwrap();
        assert_eq!(fake.requests().last().unwrap().json()["max_tokens"], 39);
        // One that is no bound is none.
        fixture.ask(chat("m", Some(-1))).await.unwrap();
        assert_eq!(fake.requests().last().unwrap().json()["max_tokens"], 34);
        assert_eq!(fixture.records().await.len(), 3);
    }
}

#[tokio::test]
async fn a_cap_goes_into_bodies_that_pass() {
    let fake = media_provider().await;
    let told = || fake.requests().last().unwrap().json();
    let fixture = fixture_of(&fake, Dialect::OpenAi, 1000, Overdraft::AtMost(0)).await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true});
    let worst = 1000 - body.to_string().len() as i64;
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &body).await.unwrap();
    assert_eq!(told()["max_completion_tokens"], worst / 2);
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 1000, Overdraft::AtMost(0)).await;
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &body).await.unwrap();
    assert_eq!(told()["max_tokens"], worst / 2);
    // Two answers get half of it each.
    let mut two = body.clone();
    two["n"] = json!(2);
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 1000, Overdraft::AtMost(0)).await;
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &two).await.unwrap();
    assert_eq!(told()["max_tokens"], (1000 - two.to_string().len() as i64) / 4);
    // What the caller bounds stays as it is, or is refused.
    let mut bounded = body.clone();
    bounded["max_completion_tokens"] = json!(5);
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &bounded).await.unwrap();
    assert_eq!((&told()["max_tokens"], &told()["max_completion_tokens"]), (&Value::Null, &json!(5)));
    bounded["max_tokens"] = json!(100_000);
    let error = fixture.pass_through(ApiEndpoint::ChatCompletions, None, &bounded).await.unwrap_err();
    assert!(
        error.kind == ErrorKind::InsufficientBalance && error.message.contains("`max_tokens` of at most"),
        "{error}"
    );
    // A model that gives less than there is money for is told nothing.
    let fixture = fixture_of(&fake, Dialect::DeepSeek, DOLLAR, Overdraft::AtMost(0)).await;
    let mut limited = body.clone();
    limited["model"] = json!("limited");
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &limited).await.unwrap();
    assert_eq!(told()["max_tokens"], Value::Null);
    // A legacy completion has the sixteen tokens that its surface documents, and not all
    // there is money for.
    let fixture = fixture_of(&fake, Dialect::DeepSeek, DOLLAR, Overdraft::AtMost(0)).await;
    let completion = json!({"model": "m", "prompt": "once"});
    fixture.pass_through(ApiEndpoint::Completions, None, &completion).await.unwrap();
    assert_eq!(told()["max_tokens"], 16);
    // Without a budget nothing changes.
    let fixture = fixture_with(&fake, Dialect::DeepSeek, None, None, Overdraft::AtMost(0)).await;
    fixture.pass_through(ApiEndpoint::ChatCompletions, None, &body).await.unwrap();
    assert_eq!(told()["max_tokens"], Value::Null);

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
    // The provider gives as many words as it may, and counts them right.
    let fake = FakeUpstream::start(|asked| {
        let most = asked.json()["max_tokens"].as_u64().expect("a bound");
        FakeResponse::chat_stream(&vec!["w"; most as usize], 14)
    })
    .await;
    let fixture = fixture_of(&fake, Dialect::DeepSeek, 5000, Overdraft::AtMost(0)).await;
    for turn in 0..200 {
        let most = [None, Some(100), Some(7), Some(100_000)][turn % 4];
        let asks = (0..3).map(|_| fixture.ask(chat("m", most)));
        for answer in futures_util::future::join_all(asks).await {
            assert!(answer.is_ok() || answer.is_err_and(|error| error.kind == ErrorKind::InsufficientBalance));
        }
    }
    let spent: i64 = fixture.records().await.iter().map(|record| record.cost).sum();
    assert!((4900..=5000).contains(&spent), "{spent}");
}
