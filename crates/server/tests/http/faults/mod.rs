//! Every fault of the table, in answers that are forwarded and in answers that are converted: the
//! caller gets the same outcome, the same provider is asked next, and the same is billed.

mod converse;
mod provider;

use std::collections::HashMap;
use std::sync::Arc;

use chat::Usage;
use gateway::{Accounting, Gateway, Prices, Router, RoutingPreference, Secret, Upstream, UpstreamConfig};
use serde::Deserialize;
use serde_json::{Value, json};
use server::{KeyConfig, ServerConfig};
use store::{Store, UsageRecord};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use tokio::net::TcpListener;
use wire::upstream::Dialect;

use crate::app::{KEY, captured_logs};
use crate::client::Request;
use provider::{COMPLETION_TOKENS, PROMPT_TOKENS, Step};

/// A row of `table.json`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    /// The events of a stream.
    #[serde(default)]
    steps: Vec<Step>,
    /// The kind of a whole body.
    body: Option<Step>,
    outcome: Outcome,
    /// The words of the answer.
    words: Option<u64>,
    #[serde(default)]
    counted: Counted,
    /// The dialects that have this fault; absent: all.
    dialects: Option<Vec<Dialect>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// The caller gets the answer.
    Answered,
    /// The answer of the next provider.
    Replaced,
    /// The error, and no other provider is asked.
    Refused,
    /// The answer of the next provider, else 404 in the words of the caller's API.
    Missing,
    /// The words so far, then an error.
    Broken,
    /// The caller disconnects.
    Left,
}

/// The output tokens that an answer is billed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Counted {
    #[default]
    Reported,
    /// One for each piece.
    Pieces,
    /// Those that are estimated of a whole body.
    Body,
}

#[derive(Deserialize)]
struct Table {
    streams: Vec<Row>,
    bodies: Vec<Row>,
}

/// The APIs of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    Chat,
    Messages,
    Responses,
    Gemini,
}

const APIS: [Api; 4] = [Api::Chat, Api::Messages, Api::Responses, Api::Gemini];
const DIALECTS: [Dialect; 6] =
    [Dialect::OpenAi, Dialect::DeepSeek, Dialect::Responses, Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock];

impl Api {
    /// The path and the body of a request.
    fn request(self, model: &str, stream: bool) -> (String, Value) {
        let messages = json!([{"role": "user", "content": "hi"}]);
        match self {
            Self::Chat => {
                ("/v1/chat/completions".into(), json!({"model": model, "messages": messages, "stream": stream}))
            }
            Self::Messages => {
                let body = json!({"model": model, "messages": messages, "max_tokens": 100, "stream": stream});
                ("/v1/messages".into(), body)
            }
            Self::Responses => ("/v1/responses".into(), json!({"model": model, "input": "hi", "stream": stream})),
            Self::Gemini => {
                let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                (format!("/v1beta/models/{model}:{method}"), json!({"contents": [{"parts": [{"text": "hi"}]}]}))
            }
        }
    }

    /// Whether a stream reports an error, or a finish reason of its API that means one.
    fn has_error(self, text: &str) -> bool {
        match self {
            Self::Responses => text.contains("response.failed"),
            Self::Gemini if text.contains("MALFORMED_FUNCTION_CALL") => true,
            _ => text.contains("\"error\""),
        }
    }
}

impl Api {
    /// Whether an error says that there is no such model, as programs of this API know it.
    fn says_missing_model(self, text: &str) -> bool {
        let error = &serde_json::from_str::<Value>(text).unwrap_or_default()["error"];
        match self {
            Self::Chat | Self::Responses => {
                error["code"] == "model_not_found" && error["type"] == "invalid_request_error"
            }
            Self::Messages => error["type"] == "not_found_error",
            Self::Gemini => error["status"] == "NOT_FOUND" && error["code"] == 404,
        }
    }
}

/// One row at a provider of one dialect, from a caller of one API.
struct Case<'a> {
    row: &'a Row,
    dialect: Dialect,
    api: Api,
    /// The id of the model, which no other case has.
    model: String,
    /// Another provider has the model, too.
    has_fallback: bool,
}

/// A server with a provider of each dialect that answers by the table, and one that always answers.
struct Fixture {
    address: std::net::SocketAddr,
    store: Store,
    background_tasks: gateway::BackgroundTasks,
    bad: FakeUpstream,
    good: FakeUpstream,
    _folder: tempfile::TempDir,
    _stop: tokio::sync::oneshot::Sender<()>,
}

/// One nano-dollar for a prompt token, two for an output token.
const PRICES: &str = "[[price]]\nprovider='bad'\nmodel='*'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\n\
    [[price]]\nprovider='good'\nmodel='*'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\n";

fn cost(prompt: u64, completion: u64) -> i64 {
    (prompt + 2 * completion) as i64
}

fn upstream(name: &str, base_url: String, dialect: Dialect) -> Arc<Upstream> {
    let key = Some(Secret::new("sk-operator"));
    let config =
        UpstreamConfig { name: name.into(), preset: None, base_url, dialect, key, private: true, metrics: None };
    Arc::new(Upstream::new(config).unwrap())
}

impl Fixture {
    async fn start(cases: &[Case<'_>]) -> Self {
        captured_logs();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answers: HashMap<String, FakeResponse> = cases
            .iter()
            .map(|case| {
                let answer = match &case.row.body {
                    Some(body) => provider::body(body, case.dialect),
                    None => provider::stream(&case.row.steps, case.dialect),
                };
                (case.model.clone(), answer)
            })
            .collect();
        let bad = FakeUpstream::start(move |request| answers[&provider::model(request)].clone()).await;
        let good = FakeUpstream::start(provider::good_answer).await;
        let mut router = Router::default();
        for dialect in DIALECTS {
            let of_dialect = |fake: &FakeUpstream| format!("http://{}/{dialect:?}/v1", fake.address);
            let one = upstream("bad", of_dialect(&bad), dialect);
            let two = upstream("good", of_dialect(&good), dialect);
            for case in cases.iter().filter(|case| case.dialect == dialect) {
                router.add_upstream(&one, &[case.model.as_str().into()], RoutingPreference::default());
                if case.has_fallback {
                    let fallback = RoutingPreference { priority: 1, weight: 1 };
                    router.add_upstream(&two, &[case.model.as_str().into()], fallback);
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("db").display())).await.unwrap();
        let prices = Prices::parse(PRICES).unwrap();
        let (accounting, background_tasks) =
            Accounting::open(store.clone(), &folder.path().join("journal"), prices, None).await.unwrap();
        let gateway = Arc::new(Gateway::new(router, accounting));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = ServerConfig { keys: vec![KeyConfig::new("alice", KEY)].into(), ..ServerConfig::default() };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        tokio::spawn(server::serve(listener, gateway, config, async move { _ = stopped.await }));
        Self { address, store, background_tasks, bad, good, _folder: folder, _stop: stop }
    }

    /// Sends the request of a case. Returns the status and the text that arrived.
    async fn send(&self, case: &Case<'_>) -> (u16, String) {
        let (path, body) = case.api.request(&case.model, case.row.body.is_none());
        let request = Request::new(self.address, "POST", &path).header("authorization", &format!("Bearer {KEY}"));
        let mut connection = request.json(body).connect().await;
        if case.row.outcome != Outcome::Left {
            let response = connection.read_response().await;
            return (response.status, response.text().to_owned());
        }
        let (status, _) = connection.head().await;
        let mut text = String::new();
        while text.matches("whale").count() < 2 {
            text.push_str(&String::from_utf8(connection.chunk().await.expect("more words")).unwrap());
        }
        (status, text)
    }

    /// How often each provider was asked for a model.
    fn asked(&self, model: &str) -> (usize, usize) {
        let count = |fake: &FakeUpstream| fake.requests().iter().filter(|sent| provider::model(sent) == model).count();
        (count(&self.bad), count(&self.good))
    }
}

/// The cases of these rows, once with a second provider and once without.
fn cases(rows: &[Row]) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let dialects = DIALECTS.iter().filter(|dialect| row.dialects.as_ref().is_none_or(|of| of.contains(dialect)));
        for (&dialect, api) in dialects.flat_map(|dialect| APIS.map(|api| (dialect, api))) {
            for has_fallback in [true, false] {
                let model = format!("{number}-{dialect:?}-{api:?}-{has_fallback}").to_lowercase();
                cases.push(Case { row, dialect, api, model, has_fallback });
            }
        }
    }
    cases
}

/// The usage and the outcome that the record of a case must have.
fn expected_record(case: &Case<'_>) -> (Usage, &'static str) {
    let row = case.row;
    let (_, request) = case.api.request(&case.model, row.body.is_none());
    // Anthropic's first event counts the prompt.
    let reports_prompt = case.dialect == Dialect::Anthropic && row.body.is_none() && row.counted != Counted::Pieces;
    let estimated_prompt = gateway::text_bytes(request.to_string().as_bytes()).div_ceil(3);
    let usage = |prompt_tokens, completion_tokens| Usage { prompt_tokens, completion_tokens, ..Usage::default() };
    let received = usage(if reports_prompt { PROMPT_TOKENS } else { estimated_prompt }, row.words.unwrap_or(2));
    match row.outcome {
        Outcome::Answered => match (&row.body, row.counted) {
            (_, Counted::Reported) => (usage(PROMPT_TOKENS, COMPLETION_TOKENS), "stop"),
            (_, Counted::Pieces) => (received, "stop"),
            (Some(body), Counted::Body) => {
                let tokens = provider::body_bytes(body, case.dialect).div_ceil(3);
                (usage(estimated_prompt, tokens), "stop")
            }
            (None, Counted::Body) => panic!("a stream has no body"),
        },
        Outcome::Replaced | Outcome::Missing if case.has_fallback => (usage(7, 1), "stop"),
        Outcome::Replaced => (Usage::default(), "failed"),
        Outcome::Refused | Outcome::Missing => (Usage::default(), "invalid"),
        Outcome::Broken => (received, "error"),
        Outcome::Left => (received, "cancelled"),
    }
}

async fn check(rows: &[Row]) {
    let cases = cases(rows);
    let fixture = Fixture::start(&cases).await;
    let mut faults = Vec::new();
    for case in &cases {
        let (status, text) = fixture.send(case).await;
        let words = text.contains("whale");
        let failed = case.api.has_error(&text);
        let (bad, good) = fixture.asked(&case.model);
        let is_right = match case.row.outcome {
            Outcome::Answered => {
                status == 200 && words == (case.row.words != Some(0)) && !failed && (bad, good) == (1, 0)
            }
            Outcome::Replaced | Outcome::Missing if case.has_fallback => {
                status == 200 && text.contains("good") && !words && (bad, good) == (1, 1)
            }
            // A provider without another is tried twice at most.
            Outcome::Replaced => status >= 400 && !words && (1..=2).contains(&bad) && good == 0,
            Outcome::Missing => status == 404 && case.api.says_missing_model(&text) && (bad, good) == (1, 0),
            Outcome::Refused => status == 400 && (bad, good) == (1, 0),
            Outcome::Broken => status == 200 && words && failed && (bad, good) == (1, 0),
            Outcome::Left => status == 200 && words && (bad, good) == (1, 0),
        };
        if !is_right {
            faults.push(format!("{} ({}): {status}, asked {:?}\n    {text}", case.row.name, case.model, (bad, good)));
        }
    }
    // The records of callers that left are written when the server notices.
    for _ in 0..100 {
        if fixture.bad.active_responses() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    fixture.background_tasks.finish().await;
    let records = fixture.store.latest_records(10_000).await.unwrap();
    let records: HashMap<&str, &UsageRecord> = records.iter().map(|record| (&*record.model, record)).collect();
    for case in &cases {
        let (usage, outcome) = expected_record(case);
        let Some(record) = records.get(case.model.as_str()) else {
            faults.push(format!("{} ({}): no record", case.row.name, case.model));
            continue;
        };
        let counts = (record.prompt_tokens as u64, record.completion_tokens as u64, record.cost);
        let expected =
            (usage.prompt_tokens, usage.completion_tokens, cost(usage.prompt_tokens, usage.completion_tokens));
        let is_failure = ["error", "overload", "timeout"].contains(&&*record.outcome);
        // The finish reason may have arrived before the caller left.
        let may_have_ended = case.row.outcome == Outcome::Left && case.row.name.ends_with("before the usage");
        let is_outcome = record.outcome == outcome
            || (outcome == "failed" && is_failure)
            || (may_have_ended && record.outcome == "stop");
        if counts != expected || !is_outcome {
            let found = (counts, &record.outcome);
            faults.push(format!("{} ({}): {found:?} instead of {:?}", case.row.name, case.model, (expected, outcome)));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn table() -> Table {
    serde_json::from_str(include_str!("table.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_streams_are_alike_in_both_ways_and_every_dialect() {
    check(&table().streams).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_whole_answers_are_alike_in_both_ways_and_every_dialect() {
    check(&table().bodies).await;
}
