//! Gemini's API.

use chat::{Delta, FinishReason, Usage};
use serde_json::{Value, json};

use crate::app::{KEY, TestApp, TestAppBuilder};
use crate::client::{Request, Response};
use crate::scripted_provider::{ScriptStep, finish_and_usage, reasoning_delta, text_delta};

async fn post(app: &TestApp, path: &'static str, body: Value) -> Response {
    Request::new(app.addr, "POST", path).header("x-goog-api-key", KEY).json(body).send().await
}

fn gemini_request() -> Value {
    json!({"contents": [{"parts": [{"text": "hi"}]}]})
}

async fn app_with_script() -> TestApp {
    let call = [
        ScriptStep::Delta(Delta::ToolCall { index: 0, id: "c".into(), name: "f".into() }),
        ScriptStep::Delta(Delta::Arguments { index: 0, text: "{\"x\":1}".into() }),
    ];
    let usage = Usage { prompt_tokens: 9, completion_tokens: 5, reasoning_tokens: Some(2), ..Usage::default() };
    let script = [reasoning_delta("hm"), text_delta("Hi")]
        .into_iter()
        .chain(call)
        .chain(finish_and_usage(FinishReason::ToolCalls, usage));
    TestAppBuilder::deepseek_profile().script(script).start().await
}

#[tokio::test]
async fn a_json_body_and_both_kinds_of_streams_have_the_same_content() {
    let app = app_with_script().await;
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}],
                      "generationConfig": {"thinkingConfig": {"includeThoughts": true}}});
    let parts = |response: &Value| response["candidates"][0]["content"]["parts"].as_array().unwrap().clone();
    let plain = |mut part: Value| {
        part.as_object_mut().unwrap().shift_remove("thoughtSignature");
        part
    };
    let whole = post(&app, "/v1beta/models/deepseek-chat:generateContent", body.clone()).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    let whole = whole.json();
    let want = json!([{"text": "hm", "thought": true}, {"text": "Hi"}, {"functionCall": {"id": "c", "name": "f", "args": {"x": 1}}}]);
    assert_eq!(Value::from(parts(&whole).into_iter().map(plain).collect::<Vec<_>>()), want);
    assert_eq!(
        (&whole["candidates"][0]["finishReason"], &whole["usageMetadata"]["totalTokenCount"]),
        (&json!("STOP"), &json!(14))
    );

    let array = post(&app, "/v1beta/models/deepseek-chat:streamGenerateContent", body.clone()).await;
    assert_eq!(array.header("content-type"), Some("application/json"));
    let array: Vec<Value> = serde_json::from_str(array.text()).unwrap();
    let events = post(&app, "/v1beta/models/deepseek-chat:streamGenerateContent?alt=sse", body).await;
    assert_eq!(events.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events: Vec<Value> = events
        .text()
        .split_terminator("\r\n\r\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    for stream in [array, events] {
        let content: Vec<_> = stream.iter().flat_map(parts).map(plain).collect();
        assert_eq!(Value::from(content), want);
        assert_eq!(stream.last().unwrap()["usageMetadata"]["thoughtsTokenCount"], 2);
    }
}

#[tokio::test]
async fn the_key_is_accepted_in_either_header_and_in_the_query() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let path = "/v1beta/models/deepseek-chat:generateContent";
    assert_eq!(post(&app, path, gemini_request()).await.status, 200);
    let bearer = Request::new(app.addr, "POST", path).header("authorization", &format!("Bearer {KEY}"));
    assert_eq!(bearer.json(gemini_request()).send().await.status, 200);
    let query = format!("{path}?alt=sse&key={KEY}");
    assert_eq!(Request::new(app.addr, "POST", &query).json(gemini_request()).send().await.status, 200);
    let other_route = format!("/v1/models?key={KEY}");
    assert_eq!(Request::new(app.addr, "GET", &other_route).send().await.status, 401);
    let none = Request::new(app.addr, "POST", path).json(gemini_request()).send().await;
    assert_eq!((none.status, &none.json()["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    assert!(!crate::app::captured_logs().text().contains(&format!("key={KEY}")), "a key of a query is not logged");
}

#[tokio::test]
async fn errors_have_geminis_format() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for (path, body, status, word) in [
        ("/v1beta/models/nobody:generateContent", gemini_request(), 400, "Model Not Exist"),
        ("/v1beta/models/deepseek-chat:dance", gemini_request(), 404, "No such path"),
        ("/v1beta/models/deepseek-chat", gemini_request(), 404, "No such path"),
        ("/v1beta/models/deepseek-chat:generateContent", json!({}), 400, "missing field `contents`"),
        ("/v1beta/elsewhere", gemini_request(), 404, "No such path"),
    ] {
        let answer = post(&app, path, body).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (status, &json!(status)), "{path}: {}", answer.text());
        assert!(error["message"].as_str().unwrap().contains(word), "{path}: {}", answer.text());
    }
    let two = json!({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"candidateCount": 2}});
    assert_eq!(post(&app, "/v1beta/models/deepseek-chat:generateContent", two).await.status, 400);
}

#[tokio::test]
async fn models_are_listed() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let get = async |path: &'static str| Request::new(app.addr, "GET", path).header("x-goog-api-key", KEY).send().await;
    let list = get("/v1beta/models").await.json();
    assert_eq!(list["models"][0]["name"], "models/deepseek-chat");
    assert_eq!(get("/v1beta/models/deepseek-chat").await.json()["displayName"], "deepseek-chat");
    let missing = get("/v1beta/models/nobody").await;
    assert_eq!((missing.status, &missing.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
}
