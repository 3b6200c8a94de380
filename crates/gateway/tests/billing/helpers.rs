//! A gateway with one provider, its prices, and its requests.

use bytes::Bytes;
use chat::{Chat, Error, Input, Message, Reply, Role, fold};
use futures_util::StreamExt;
use gateway::{Overdraft, RawRequest, Router, RoutingPreference, TaskSubmission};
use http::HeaderMap;
use serde_json::{Value, json};
use store::UsageRecord;
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;
use wire::passthrough::ApiEndpoint;
use wire::tasks::TaskKind;
use wire::upstream::Dialect;

use crate::fixture::GatewayFixture;
use crate::upstream::upstream;

pub(crate) const DOLLAR: i64 = 1_000_000_000;

/// One nano-dollar per prompt token and two per output token; dollars per call and per second.
pub(crate) const PRICES: &str = "
    [[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\n
    [[price]]\nprovider='p'\nmodel='half'\nsource='s'\ndate='d'\nbatch=0.5\ninput=0.001\noutput=0.002\n
    [[price]]\nprovider='p'\nmodel='small'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\ncontext=1000\n
    [[price]]\nprovider='p'\nmodel='limited'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\ncontext=100000\nmax_output=500\n
    [[price]]\nprovider='p'\nmodel='dear'\nsource='s'\ndate='d'\ninput=1000000\noutput=1000000\n
    [[price]]\nprovider='p'\nmodel='picture'\nsource='s'\ndate='d'\nper_call=1\n
    [[price]]\nprovider='p'\nmodel='film'\nsource='s'\ndate='d'\nper_call=1\nper_second=0.1\n
    [[price]]\nprovider='p'\nmodel='palace'\nsource='s'\ndate='d'\nper_call=600000\n
    [[price]]\nprovider='p'\nmodel='called'\nsource='s'\ndate='d'\nper_call=1\noutput=1000\n";
pub(crate) const MODELS: [&str; 10] =
    ["m", "half", "unpriced", "small", "limited", "dear", "picture", "film", "palace", "called"];

pub(crate) async fn fixture_of(
    fake: &FakeUpstream,
    dialect: Dialect,
    budget: i64,
    overdraft: Overdraft,
) -> GatewayFixture {
    fixture_with(fake, dialect, Some(budget), None, overdraft).await
}

pub(crate) async fn fixture_with(
    fake: &FakeUpstream,
    dialect: Dialect,
    key_budget: Option<i64>,
    project_budget: Option<i64>,
    overdraft: Overdraft,
) -> GatewayFixture {
    let mut router = Router::default();
    router.add_upstream(
        &upstream("p", fake.base_url(), dialect),
        &MODELS.map(Into::into),
        RoutingPreference::default(),
    );
    router.allow_overdraft(overdraft);
    GatewayFixture::start(router, PRICES, key_budget, project_budget).await
}

impl GatewayFixture {
    pub(crate) async fn send_chat(&self, chat: Chat) -> Result<Reply, Error> {
        fold(self.gateway.answer(&self.alice, chat).await?.collect::<Vec<_>>().await)
    }

    /// Passes a body through, and returns the bytes of the answer.
    pub(crate) async fn pass_through(
        &self,
        endpoint: ApiEndpoint,
        path: Option<(&str, bool)>,
        body: &Value,
    ) -> Result<Bytes, Error> {
        let body = Bytes::from(body.to_string());
        let request = RawRequest { model_in_path: path, ..RawRequest::new(endpoint, &body) };
        let request = self.gateway.passthrough(&self.alice, request).await?.expect("it is forwarded");
        let streams = path.map_or(body.windows(13).any(|bytes| bytes == b"\"stream\":true"), |(_, stream)| stream);
        let mut response = request.send().await?;
        if !streams {
            return Ok(response.into_whole().0);
        }
        let mut all = Vec::new();
        while let Some(bytes) = response.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all.into())
    }

    pub(crate) async fn submit_video(&self, body: Value, remix: Option<&str>) -> Result<(), Error> {
        let body = Bytes::from(body.to_string());
        let path = remix.map_or("videos".to_owned(), |id| format!("videos/{id}/remix"));
        let headers = HeaderMap::new();
        let submission =
            TaskSubmission { kind: TaskKind::Video, model: None, path: &path, parent: remix, body: &body, headers };
        self.gateway.submit_task(&self.alice, submission).await.map(drop)
    }

    /// Stops the gateway, and returns the usage records, newest first.
    pub(crate) async fn records(self) -> Vec<UsageRecord> {
        self.background_tasks.finish().await;
        assert!(self.store.check_integrity(&[]).await.unwrap().mismatches.is_empty());
        self.store.latest_records(100).await.unwrap()
    }
}

pub(crate) fn chat(model: &str, max_tokens: Option<i64>) -> Chat {
    let input = Input::Messages(vec![Message::new(Role::User, "hi")]);
    Chat { model: model.into(), input, max_tokens, ..Chat::default() }
}

/// An answer of two words with these counts, as events of a dialect. The counts are text, because
/// some of them are not a `Value`.
pub(crate) fn answer_events(dialect: Dialect, counts: &str) -> Vec<String> {
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

pub(crate) async fn media_provider() -> FakeUpstream {
    FakeUpstream::start(|received| match received.path.as_str() {
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
