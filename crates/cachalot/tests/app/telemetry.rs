//! Spans of requests, as an OpenTelemetry collector receives them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{FakeResponse, ReceivedRequest};

use crate::app::TestApp;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A provider that answers, streamed or not. A stream whose message is `break` is cut off.
async fn fake_provider() -> FakeUpstream {
    FakeUpstream::start(|request: &ReceivedRequest| match request.json() {
        body if body["messages"][0]["content"] == "break" => {
            FakeResponse::events([r#"{"choices":[{"delta":{"content":"He"}}]}"#])
        }
        body if body["stream"] == true => FakeResponse::chat_stream(&["Hel", "lo"], 11),
        _ => FakeResponse::json(
            200,
            json!({"id": "up", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop"}], "usage": {"prompt_tokens": 11, "completion_tokens": 2}}),
        ),
    })
    .await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The attributes of a span, as JSON.
fn attributes(span: &Span) -> BTreeMap<&str, Value> {
    let value = |any: &Any| match any {
        Any::StringValue(text) => json!(text),
        Any::IntValue(number) => json!(number),
        Any::DoubleValue(number) => json!(number),
        other => panic!("{other:?}"),
    };
    let pairs = span.attributes.iter();
    pairs.map(|pair| (pair.key.as_str(), value(pair.value.as_ref().unwrap().value.as_ref().unwrap()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_a_span_below_its_callers() {
    let collector = FakeUpstream::start(|_| FakeResponse::json(200, json!({}))).await;
    let (passing, converting) = (fake_provider().await, fake_provider().await);
    let block = |name: &str, fake: &FakeUpstream, dialect: &str| {
        format!(
            "[[providers]]\nname='{name}'\nbase_url='{}'\ndialect='{dialect}'\nprivate=true\nmodels=['{name}']\n",
            fake.base_url()
        )
    };
    let text = block("passes", &passing, "openai") + &block("converts", &converting, "deepseek");
    let providers = toml::from_str::<cachalot::config::Config>(&text).unwrap().providers;
    let address = format!("http://{}", collector.address);
    let app = TestApp::start_with_config(&["--model", "none"], |config| {
        config.providers = providers;
        config.aliases.clear();
        config.telemetry.otlp = Some(address);
    })
    .await;
    let send = async |path: &str, body: Value| {
        let request = app.client.post(app.url(path)).json(&body).header("traceparent", TRACEPARENT);
        request.send().await.unwrap().text().await.unwrap()
    };
    let chat = |model: &str, content: &str| json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
    let streamed = |model: &str, content: &str| {
        let mut body = chat(model, content);
        body["stream"] = json!(true);
        body
    };
    send("/v1/chat/completions", streamed("passes", "a secret")).await;
    send("/v1/messages", chat("converts", "a secret")).await;
    send("/v1/chat/completions", streamed("passes", "break")).await;
    send("/v1/chat/completions", chat("nobody", "hi")).await;
    app.stop().await;

    let exports = collector.requests();
    assert!(exports.iter().all(|export| export.path == "/v1/traces"), "{exports:?}");
    let exports: Vec<_> =
        exports.iter().map(|export| ExportTraceServiceRequest::decode(&*export.body).unwrap()).collect();
    let resource = exports[0].resource_spans[0].resource.as_ref().unwrap();
    assert!(format!("{resource:?}").contains("cachalot"));
    let mut spans: Vec<&Span> = exports
        .iter()
        .flat_map(|export| &export.resource_spans)
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    spans.sort_by_key(|span| span.start_time_unix_nano);
    // Requests to `/readyz` do not have spans.
    let [passed, converted, broken, refused] = spans[..] else { panic!("{spans:#?}") };
    for span in &spans {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE_ID.into(), "b7ad6b7169203331".into()));
        assert!(!format!("{span:?}").contains("secret"));
    }
    assert_eq!(
        [&passed.name, &converted.name, &broken.name, &refused.name],
        ["chat passes", "chat converts", "chat passes", "chat"]
    );

    let found = attributes(passed);
    for (key, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.request.model", json!("passes")),
        ("gen_ai.provider.name", json!("passes")),
        ("gen_ai.usage.input_tokens", json!(11)),
        ("gen_ai.usage.output_tokens", json!(2)),
        ("http.request.method", json!("POST")),
        ("http.response.status_code", json!(200)),
        ("url.path", json!("/v1/chat/completions")),
        ("client.address", json!("127.0.0.1")),
    ] {
        assert_eq!(found.get(key), Some(&value), "{key}");
    }
    assert!(found["gen_ai.response.time_to_first_chunk"].as_f64().unwrap() > 0.0);
    assert!(found["cachalot.request.id"].as_str().unwrap().starts_with("req_"));
    let found = attributes(converted);
    assert_eq!(
        (&found["gen_ai.usage.output_tokens"], found.get("gen_ai.response.time_to_first_chunk")),
        (&json!(2), None)
    );
    assert_eq!(attributes(broken)["error.type"], "broken_off");
    let found = attributes(refused);
    assert_eq!((&found["http.response.status_code"], found.get("error.type")), (&json!(400), None));

    // Requests to providers in a private network carry the span's `traceparent`.
    let traceparent_of = |fake: &FakeUpstream| fake.requests()[0].header("traceparent").map(str::to_owned);
    assert_eq!(traceparent_of(&passing), Some(format!("00-{TRACE_ID}-{}-01", hex(&passed.span_id))));
    assert_eq!(traceparent_of(&converting), Some(format!("00-{TRACE_ID}-{}-01", hex(&converted.span_id))));
}
