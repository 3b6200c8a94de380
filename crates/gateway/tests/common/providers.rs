//! Fake providers, and gateways to them.

use std::sync::Arc;

use chat::{Chat, Error, Input, Message, Reply, Role, fold};
use futures_util::StreamExt;
use gateway::{Caller, Gateway, MeteredStream, Router, RoutingPreference, Upstream};
use serde_json::json;
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use wire::upstream::Dialect;

use crate::fixture::GatewayFixture;

pub(crate) fn upstream_with_dialect(name: &str, fake: &FakeUpstream, dialect: Dialect) -> Arc<Upstream> {
    crate::upstream::upstream(name, fake.base_url(), dialect)
}

/// A provider with the dialect of DeepSeek.
pub(crate) fn upstream(name: &str, fake: &FakeUpstream) -> Arc<Upstream> {
    upstream_with_dialect(name, fake, Dialect::DeepSeek)
}

/// A gateway to these providers, each with the model `m`.
pub(crate) fn gateway_of(fakes: &[(&str, &FakeUpstream, RoutingPreference)]) -> Gateway {
    let mut router = Router::default();
    for (name, fake, preference) in fakes {
        router.add_upstream(&upstream(name, fake), &["m".into()], *preference);
    }
    Gateway::new(router, Arc::default())
}

pub(crate) fn primary() -> RoutingPreference {
    RoutingPreference::default()
}

pub(crate) fn fallback() -> RoutingPreference {
    RoutingPreference { priority: 1, weight: 1 }
}

pub(crate) fn chat(model: &str) -> Chat {
    Chat { model: model.into(), input: Input::Messages(vec![Message::new(Role::User, "hi")]), ..Chat::default() }
}

pub(crate) async fn send_chat(gateway: &Gateway) -> Result<Reply, Error> {
    collect_reply(gateway.answer(&Caller::default(), chat("m")).await?).await
}

pub(crate) async fn collect_reply(answer: MeteredStream) -> Result<Reply, Error> {
    fold(answer.collect::<Vec<_>>().await)
}

/// A provider that streams these words.
pub(crate) async fn chat_provider(words: &'static [&'static str]) -> FakeUpstream {
    FakeUpstream::start(move |_| FakeResponse::chat_stream(words, 7)).await
}

/// An event with one word.
pub(crate) fn word_event(word: &str) -> BodyStep {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": word}}]});
    BodyStep::Send(format!("data: {chunk}\n\n").into_bytes())
}

/// A message with reasoning and a tool call, as Anthropic's service sends it.
pub(crate) fn anthropic_answer() -> FakeResponse {
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

/// One nano-dollar per prompt token, two per output token.
pub(crate) const PRICES: &str = "[[price]]\nprovider='p'\nmodel='m'\nsource='s'\ndate='d'\ninput=0.001\noutput=0.002\n";

/// A gateway with a store and a key, and `fake` as its provider `p`.
pub(crate) async fn fixture(fake: &FakeUpstream) -> GatewayFixture {
    fixture_of(upstream("p", fake)).await
}

pub(crate) async fn fixture_of(provider: Arc<Upstream>) -> GatewayFixture {
    let mut router = Router::default();
    router.add_upstream(&provider, &["m".into()], primary());
    GatewayFixture::start(router, PRICES, Some(1_000_000), None).await
}
