//! Anthropic's API. `case_NN`: see conformance.rs.

use chat::{Delta, Error, FinishReason, Usage};
use serde_json::{Value, json};

use crate::app::{KEY, TestApp, TestAppBuilder};
use crate::check::Profile;
use crate::client::{Request, Response};
use crate::scripted_provider::{ScriptStep, finish_and_usage, reasoning_delta, text_delta};

const USAGE: Usage =
    Usage { prompt_tokens: 17, cached_tokens: 4, completion_tokens: 9, reasoning_tokens: Some(3), ..Usage::ZERO };

fn messages_request(more: Value) -> Value {
    let mut body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [{ "role": "user", "content": "hi" }]
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn weather_tools() -> Value {
    json!([{ "name": "get_weather", "input_schema": { "type": "object", "properties": { "city": { "type": "string" } } } }])
}

async fn post(app: &TestApp, path: &'static str, body: Value) -> Response {
    Request::new(app.addr, "POST", path).header("x-api-key", KEY).json(body).send().await
}

fn tool_call_steps(index: usize, id: &str, arguments: &[&str]) -> Vec<ScriptStep> {
    let begin = Delta::ToolCall { index, id: id.into(), name: "get_weather".into() };
    let more = arguments.iter().map(|text| Delta::Arguments { index, text: text.to_string() });
    std::iter::once(begin).chain(more).map(ScriptStep::Delta).collect()
}

fn start_steps() -> Vec<ScriptStep> {
    vec![ScriptStep::Delta(Delta::Start(Usage { prompt_tokens: 17, cached_tokens: 4, ..Usage::default() }))]
}

/// Replaces ids and signatures, whose secret is new at each start.
fn redacted(answer: &Response) -> String {
    let mut text = answer.text().to_owned();
    for (before, length) in [("msg_", 32), ("req_", 32), ("\"signature\":\"", 24)] {
        let mut at = 0;
        while let Some(found) = text[at..].find(before) {
            let start = at + found + before.len();
            at = start;
            let end = start + length;
            if text
                .get(start..end)
                .is_some_and(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
            {
                text.replace_range(start..end, "…");
            }
        }
    }
    format!("{} {}\n\n{text}", answer.status, answer.header("content-type").unwrap_or_default())
}

#[tokio::test]
async fn case_39_a_message_is_answered_on_both_roots() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for path in ["/v1/messages", "/anthropic/v1/messages"] {
        let answer = post(&app, path, messages_request(json!({}))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let message = answer.json();
        assert_eq!((&message["type"], &message["model"]), (&json!("message"), &json!("claude-sonnet-4-5")));
        assert_eq!((&message["content"][0]["type"], &message["stop_reason"]), (&json!("text"), &json!("end_turn")));
        let mut without = messages_request(json!({}));
        without.as_object_mut().unwrap().remove("max_tokens");
        let refused = post(&app, path, without).await;
        assert_eq!((refused.status, &refused.json()["type"]), (400, &json!("error")));
    }
}

#[tokio::test]
async fn whole_answers_and_streams_of_every_kind() {
    let thinking_tools: Vec<ScriptStep> = start_steps()
        .into_iter()
        .chain([reasoning_delta("Need the "), reasoning_delta("weather."), text_delta("Let me look.")])
        .chain(tool_call_steps(0, "call_00_a", &["{\"city\"", ": \"Oslo\"}"]))
        .chain(tool_call_steps(1, "call_01_b", &["{\"city\": \"Rome\"}"]))
        .chain(finish_and_usage(FinishReason::ToolCalls, USAGE))
        .collect();
    let stopped: Vec<ScriptStep> = start_steps()
        .into_iter()
        .chain([text_delta("a ")])
        .chain(finish_and_usage(FinishReason::StopString(1), USAGE))
        .collect();
    let cut: Vec<ScriptStep> = start_steps()
        .into_iter()
        .chain([text_delta("a ")])
        .chain(finish_and_usage(FinishReason::Length, USAGE))
        .collect();
    for (name, steps) in [("tools", thinking_tools), ("stop_sequence", stopped), ("max_tokens", cut)] {
        let app = TestAppBuilder::deepseek_profile().script(steps).start().await;
        let more = json!({
            "thinking": { "type": "enabled", "budget_tokens": 1024 }, "tools": weather_tools(), "stop_sequences": ["x", "y"]
        });
        let whole = post(&app, "/v1/messages", messages_request(more.clone())).await;
        insta::assert_snapshot!(format!("messages_{name}"), redacted(&whole));
        let mut streamed = messages_request(more);
        streamed["stream"] = true.into();
        let streamed = post(&app, "/v1/messages", streamed).await;
        insta::assert_snapshot!(format!("messages_{name}_stream"), redacted(&streamed));
    }
}

#[tokio::test]
async fn a_failure_in_the_middle_is_an_error_event() {
    let steps = start_steps()
        .into_iter()
        .chain([text_delta("The "), ScriptStep::Fail(Error::internal("Inference backend failed"))]);
    let app = TestAppBuilder::deepseek_profile().script(steps).start().await;
    let answer = post(&app, "/v1/messages", messages_request(json!({ "stream": true }))).await;
    insta::assert_snapshot!("messages_failure_stream", redacted(&answer));
}

#[tokio::test]
async fn tokens_are_counted_without_an_answer() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let mut body = messages_request(json!({ "system": "abc" }));
    body.as_object_mut().unwrap().remove("max_tokens");
    let answer = post(&app, "/v1/messages/count_tokens", body).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "input_tokens": 5 })));
    assert!(app.provider.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn thinking_of_a_turn_with_tools_must_be_sent_back() {
    let messages = json!([
        { "role": "user", "content": "weather?" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "get_weather", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "24" }] },
    ]);
    let more = json!({ "messages": messages, "thinking": { "type": "enabled" }, "tools": weather_tools() });
    let app = TestAppBuilder::deepseek_profile().start().await;
    let refused = post(&app, "/v1/messages", messages_request(more.clone())).await;
    let text = "The `content[].thinking` in the thinking mode must be passed back to the API. (messages.1)";
    assert_eq!((refused.status, refused.message().as_str()), (400, text));
    let lenient = TestAppBuilder::deepseek_profile()
        .provider(|provider| provider.limits.profile = Profile::Lenient)
        .start()
        .await;
    assert_eq!(post(&lenient, "/v1/messages", messages_request(more)).await.status, 200);
}

#[tokio::test]
async fn max_tokens_is_limited_to_that_of_the_model() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    assert_eq!(post(&app, "/v1/messages", messages_request(json!({ "max_tokens": 32000 }))).await.status, 200);
    assert_eq!(app.provider.received.lock().unwrap()[0].max_tokens, Some(8192));
    assert_eq!(post(&app, "/v1/messages", messages_request(json!({ "max_tokens": 0 }))).await.status, 400);
}

#[tokio::test]
async fn errors_have_anthropics_format() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for (method, path, status, kind) in [
        ("POST", "/anthropic/v1/nothing", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
    ] {
        let answer = Request::new(app.addr, method, path).header("x-api-key", KEY).send().await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (status, &json!(kind)));
        assert_eq!(answer.json()["type"], "error");
    }
    let wrong_key = Request::new(app.addr, "POST", "/v1/messages").header("x-api-key", "sk-wrong-key-1234fcc2");
    let answer = wrong_key.json(messages_request(json!({}))).send().await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (401, &json!("authentication_error")));
    assert_eq!(answer.header("request-id"), answer.json()["request_id"].as_str());
    let image = json!([{ "role": "user", "content": [{ "type": "image", "source": {} }] }]);
    let refused = post(&app, "/v1/messages", messages_request(json!({ "messages": image }))).await;
    assert_eq!(refused.message(), "messages.0.content.0: content type 'image' is not supported");
    // A valid image is refused because the model accepts only text.
    let source = json!({ "type": "url", "url": "https://example.org/whale.png" });
    let image = json!([
        { "role": "user", "content": "hi" }, { "role": "assistant", "content": "hi" },
        { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "image", "source": source }] },
    ]);
    let refused = post(&app, "/v1/messages", messages_request(json!({ "system": "s", "messages": image }))).await;
    assert_eq!(refused.message(), "messages.2.content.1: content type 'image' is not supported");
}

#[tokio::test]
async fn models_are_listed_for_anthropics_clients() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let list = app.request("GET", "/v1/models").header("anthropic-version", "2023-06-01").send().await.json();
    assert_eq!((&list["data"][0]["type"], &list["has_more"]), (&json!("model"), &json!(false)));
    assert_eq!(list["first_id"], list["data"][0]["id"]);
}
