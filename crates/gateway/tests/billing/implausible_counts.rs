//! Token counts of providers that cannot be true.

use gateway::Overdraft;
use serde_json::{Value, json};
use store::IMPLAUSIBLE;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use wire::passthrough::ApiEndpoint;
use wire::upstream::Dialect;

use crate::helpers::{DOLLAR, answer_events, chat, fixture_of};

/// The names of the counts of prompt tokens, cached tokens and output tokens.
fn usage_fields(dialect: Dialect) -> [&'static str; 3] {
    match dialect {
        Dialect::Anthropic => ["input_tokens", "cache_read_input_tokens", "output_tokens"],
        Dialect::Gemini => ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount"],
        _ => ["prompt_tokens", "prompt_cache_hit_tokens", "completion_tokens"],
    }
}

/// JSON that is not a plausible count.
const IMPLAUSIBLE_COUNTS: [&str; 14] = [
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
async fn an_answer_with_implausible_counts_is_settled_by_estimate() {
    for dialect in [Dialect::DeepSeek, Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
        let mut usages: Vec<String> = ["\"none\"", "[9,9]", "5", "true"].map(str::to_owned).into();
        for name in usage_fields(dialect) {
            usages.extend(IMPLAUSIBLE_COUNTS.map(|implausible| {
                let others = usage_fields(dialect)
                    .into_iter()
                    .filter(|other| *other != name)
                    .map(|other| format!(r#""{other}":3,"#));
                format!(r#"{{{}"{name}":{implausible}}}"#, others.collect::<String>())
            }));
        }
        let (count, answers) = (usages.len(), std::sync::Mutex::new(usages.clone().into_iter()));
        let fake = FakeUpstream::start(move |_| {
            FakeResponse::events(answer_events(dialect, &answers.lock().unwrap().next().unwrap()))
        })
        .await;
        let fixture = fixture_of(&fake, dialect, DOLLAR, Overdraft::LastRequest).await;
        for counts in &usages {
            let reply = fixture
                .send_chat(chat("m", None))
                .await
                .unwrap_or_else(|error| panic!("{dialect:?} {counts}: {error}"));
            assert_eq!(reply.text, "two words", "{counts}");
            let usage = reply.usage.expect("an estimate");
            assert!(
                usage.prompt_tokens < 100 && usage.completion_tokens == 2 && usage.cached_tokens <= usage.prompt_tokens,
                "{counts}: {usage:?}"
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
async fn a_forwarded_answer_is_unchanged_and_its_implausible_counts_are_not_recorded() {
    for (dialect, endpoint) in [
        (Dialect::DeepSeek, ApiEndpoint::ChatCompletions),
        (Dialect::Anthropic, ApiEndpoint::Messages),
        (Dialect::Gemini, ApiEndpoint::GenerateContent),
        (Dialect::DeepSeek, ApiEndpoint::Embeddings),
        (Dialect::DeepSeek, ApiEndpoint::ImageGenerations),
    ] {
        let [input, _, output] = usage_fields(dialect);
        let (input, output) =
            if endpoint == ApiEndpoint::ImageGenerations { ("input_tokens", "output_tokens") } else { (input, output) };
        let field = if dialect == Dialect::Gemini { "usageMetadata" } else { "usage" };
        for implausible in IMPLAUSIBLE_COUNTS {
            let counts = format!(r#"{{"{input}":3,"{output}":{implausible}}}"#);
            let content = match endpoint {
                ApiEndpoint::Messages => r#""content":[{"type":"text","text":"two words"}],"stop_reason":"end_turn""#,
                ApiEndpoint::GenerateContent => r#""candidates":[{"content":{"parts":[{"text":"two words"}]}}]"#,
                ApiEndpoint::ChatCompletions => {
                    r#""choices":[{"index":0,"message":{"content":"two words"},"finish_reason":"stop"}]"#
                }
                _ => r#""data":[]"#,
            };
            let whole = format!(r#"{{{content},"{field}":{counts}}}"#);
            for stream in [true, false] {
                if stream && (endpoint.media_name().is_some() || endpoint == ApiEndpoint::Embeddings) {
                    continue;
                }
                let answer = match stream {
                    true => FakeResponse::events(answer_events(dialect, &counts)),
                    false => {
                        let mut answer = FakeResponse::json(200, Value::Null);
                        answer.steps = vec![BodyStep::Send(whole.clone().into_bytes())];
                        answer
                    }
                };
                let want: Vec<u8> = answer
                    .steps
                    .iter()
                    .flat_map(|step| match step {
                        BodyStep::Send(bytes) => bytes.clone(),
                        _ => vec![],
                    })
                    .collect();
                let fake = FakeUpstream::start(move |_| answer.clone()).await;
                let fixture = fixture_of(&fake, dialect, DOLLAR, Overdraft::LastRequest).await;
                let path = (dialect == Dialect::Gemini).then_some(("m", stream));
                let body = json!({"model": "m", "messages": [], "stream": stream, "stream_options": {"include_usage": true}, "max_tokens": 900});
                let got = fixture.pass_through(endpoint, path, &body).await.unwrap();
                assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&want), "bytes stay bytes");
                let record = fixture.records().await.remove(0);
                assert_eq!(
                    (&*record.outcome, record.estimated),
                    (IMPLAUSIBLE, true),
                    "{endpoint:?} {implausible} {record:?}"
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
    for (model, max_tokens, counts, is_plausible) in [
        ("small", None, counts(4000, 4000), true),
        ("small", None, counts(4001, 1), false),
        ("small", None, counts(1, 4001), false),
        ("m", Some(10), counts(1, 4116), true),
        ("m", Some(10), counts(1, 4117), false),
        ("m", None, counts(1 << 24, 1 << 24), true),
        ("dear", None, counts(500_000, 500_000), true),
        ("dear", None, counts(500_001, 500_000), false),
        // Some providers do not count parts in the whole: that is plausible.
        ("m", None, r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_cache_hit_tokens":9,"completion_tokens_details":{"reasoning_tokens":7}}"#.into(), true),
        // A provider may count nothing.
        ("m", None, "{}".into(), true),
    ] {
        let usage = counts.clone();
        let fake = FakeUpstream::start(move |_| FakeResponse::events(answer_events(Dialect::DeepSeek, &usage))).await;
        let fixture = fixture_of(&fake, Dialect::DeepSeek, 2_000_000 * DOLLAR, Overdraft::LastRequest).await;
        fixture.send_chat(chat(model, max_tokens)).await.unwrap();
        let record = fixture.records().await.remove(0);
        assert_eq!(record.outcome == "stop", is_plausible, "{model} {counts}: {record:?}");
        assert!(record.cost <= 1_000_000 * DOLLAR, "{record:?}");
    }
}

#[tokio::test]
async fn no_count_of_a_report_that_became_implausible_is_billed() {
    let mut events = answer_events(Dialect::Anthropic, r#"{"input_tokens":15000,"output_tokens":1}"#);
    events[5] = events[5].replace(r#""output_tokens":1"#, r#""output_tokens":9007199254740993"#);
    let fake = FakeUpstream::start(move |_| FakeResponse::events(events.clone())).await;
    let fixture = fixture_of(&fake, Dialect::Anthropic, DOLLAR, Overdraft::LastRequest).await;
    let usage = fixture.send_chat(chat("m", None)).await.unwrap().usage.expect("an estimate");
    let record = fixture.records().await.remove(0);
    assert_eq!((&*record.outcome, record.estimated), (IMPLAUSIBLE, true));
    assert!(usage.prompt_tokens < 100 && record.prompt_tokens < 100, "{usage:?} {record:?}");
}
