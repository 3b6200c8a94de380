//! Gemini's surface.

use chat::{Delta, FinishReason, Usage};
use serde_json::{Value, json};

use crate::app::{KEY, Setup, TestApp};
use crate::client::{Answer, Request};
use crate::provider::{Act, ends, reasoning, text};

async fn ask(app: &TestApp, path: &'static str, body: Value) -> Answer {
    Request::new(app.addr, "POST", path).header("x-goog-api-key", KEY).json(body).send().await
}

fn hi() -> Value {
    json!({"contents": [{"parts": [{"text": "hi"}]}]})
}

async fn speaker() -> TestApp {
    let call = [
        Act::Say(Delta::ToolCall { index: 0, id: "c".into(), name: "f".into() }),
        Act::Say(Delta::Arguments { index: 0, text: "{\"x\":1}".into() }),
    ];
    let usage = Usage { prompt_tokens: 9, completion_tokens: 5, reasoning_tokens: Some(2), ..Usage::default() };
    let script = [reasoning("hm"), text("Hi")].into_iter().chain(call).chain(ends(FinishReason::ToolCalls, usage));
    Setup::strict().script(script).start().await
}

#[tokio::test]
async fn a_whole_answer_and_both_kinds_of_streams_say_the_same() {
    let app = speaker().await;
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}],
                      "generationConfig": {"thinkingConfig": {"includeThoughts": true}}});
    let parts = |response: &Value| response["candidates"][0]["content"]["parts"].as_array().unwrap().clone();
    let plain = |mut part: Value| {
        part.as_object_mut().unwrap().shift_remove("thoughtSignature");
        part
    };
    let whole = ask(&app, "/v1beta/models/deepseek-chat:generateContent", body.clone()).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    let whole = whole.json();
    let want = json!([{"text": "hm", "thought": true}, {"text": "Hi"}, {"functionCall": {"id": "c", "name": "f", "args": {"x": 1}}}]);
    assert_eq!(Value::from(parts(&whole).into_iter().map(plain).collect::<Vec<_>>()), want);
    assert_eq!(
        (&whole["candidates"][0]["finishReason"], &whole["usageMetadata"]["totalTokenCount"]),
        (&json!("STOP"), &json!(14))
    );

    let array = ask(&app, "/v1beta/models/deepseek-chat:streamGenerateContent", body.clone()).await;
    assert_eq!(array.header("content-type"), Some("application/json"));
    let array: Vec<Value> = serde_json::from_str(array.text()).unwrap();
    let events = ask(&app, "/v1beta/models/deepseek-chat:streamGenerateContent?alt=sse", body).await;
    assert_eq!(events.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events: Vec<Value> = events
        .text()
        .split_terminator("\r\n\r\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    for stream in [array, events] {
        let said: Vec<_> = stream.iter().flat_map(parts).map(plain).collect();
        assert_eq!(Value::from(said), want);
        assert_eq!(stream.last().unwrap()["usageMetadata"]["thoughtsTokenCount"], 2);
    }
}

#[tokio::test]
async fn the_key_may_stand_in_either_header_or_in_the_query() {
    let app = Setup::strict().start().await;
    let path = "/v1beta/models/deepseek-chat:generateContent";
    assert_eq!(ask(&app, path, hi()).await.status, 200);
    let bearer = Request::new(app.addr, "POST", path).header("authorization", &format!("Bearer {KEY}"));
    assert_eq!(bearer.json(hi()).send().await.status, 200);
    let query = format!("{path}?alt=sse&key={KEY}");
    assert_eq!(Request::new(app.addr, "POST", &query).json(hi()).send().await.status, 200);
    let elsewhere = format!("/v1/models?key={KEY}");
    assert_eq!(Request::new(app.addr, "GET", &elsewhere).send().await.status, 401);
    let none = Request::new(app.addr, "POST", path).json(hi()).send().await;
    assert_eq!((none.status, &none.json()["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    assert!(!crate::app::logs().text().contains(&format!("key={KEY}")), "a key of a query is not logged");
}

#[tokio::test]
async fn refusals_have_the_shape_of_the_surface() {
    let app = Setup::strict().start().await;
    for (path, body, status, word) in [
        ("/v1beta/models/nobody:generateContent", hi(), 400, "Model Not Exist"),
        ("/v1beta/models/deepseek-chat:dance", hi(), 404, "No such path"),
        ("/v1beta/models/deepseek-chat", hi(), 404, "No such path"),
        ("/v1beta/models/deepseek-chat:generateContent", json!({}), 400, "missing field `contents`"),
        ("/v1beta/elsewhere", hi(), 404, "No such path"),
    ] {
        let answer = ask(&app, path, body).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (status, &json!(status)), "{path}: {}", answer.text());
        assert!(error["message"].as_str().unwrap().contains(word), "{path}: {}", answer.text());
    }
    let two = json!({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"candidateCount": 2}});
    assert_eq!(ask(&app, "/v1beta/models/deepseek-chat:generateContent", two).await.status, 400);
}

#[tokio::test]
async fn models_are_listed() {
    let app = Setup::strict().start().await;
    let get = async |path: &'static str| Request::new(app.addr, "GET", path).header("x-goog-api-key", KEY).send().await;
    let list = get("/v1beta/models").await.json();
    assert_eq!(list["models"][0]["name"], "models/deepseek-chat");
    assert_eq!(get("/v1beta/models/deepseek-chat").await.json()["displayName"], "deepseek-chat");
    let missing = get("/v1beta/models/nobody").await;
    assert_eq!((missing.status, &missing.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
}
