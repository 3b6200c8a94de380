//! Parts of an answer that not every API has: a note says which the caller does not get.

use chat::{Citation, Delta, FinishReason, Media, MediaKind, Usage};
use serde_json::{Value, json};

use crate::app::{KEY, TestApp, TestAppBuilder};
use crate::client::Response;
use crate::scripted_provider::{ScriptStep, finish_and_usage, text_delta};

const MODEL: &str = "deepseek-chat";
/// A pixel.
const IMAGE: &str = "data:image/png;base64,iVBORw0KGgo=";

async fn start() -> TestApp {
    let citation = Citation {
        start: 0,
        end: 4,
        url: Some("https://rome.example".into()),
        title: "Rome".into(),
        ..Citation::default()
    };
    let mut steps = vec![ScriptStep::Delta(Delta::Start(Usage::default())), text_delta("Rome")];
    steps.extend(
        [
            Delta::Citation(citation),
            Delta::Media(Media { kind: MediaKind::Image, url: IMAGE.into() }),
            Delta::Dropped("server_tool_use"),
        ]
        .map(ScriptStep::Delta),
    );
    steps.extend(finish_and_usage(
        FinishReason::Stop,
        Usage { prompt_tokens: 5, completion_tokens: 2, ..Usage::default() },
    ));
    TestAppBuilder::lenient_profile().script(steps).start().await
}

async fn post(app: &TestApp, path: &str, body: Value) -> Response {
    let response = app.request("POST", path).header("x-goog-api-key", KEY).json(body).send().await;
    assert_eq!(response.status, 200, "{}", response.text());
    response
}

/// The path and the body of a request to each API.
fn requests(stream: bool) -> [(String, Value); 4] {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    [
        ("/v1/chat/completions".into(), json!({"model": MODEL, "messages": messages, "stream": stream})),
        ("/v1/responses".into(), json!({"model": MODEL, "input": "hi", "stream": stream})),
        ("/v1/messages".into(), json!({"model": MODEL, "messages": messages, "max_tokens": 50, "stream": stream})),
        (format!("/v1beta/models/{MODEL}:{method}"), json!({"contents": [{"parts": [{"text": "hi"}]}]})),
    ]
}

#[tokio::test]
async fn an_answer_has_what_its_api_has_and_notes_the_rest() {
    let app = start().await;
    for (path, body) in requests(false) {
        let response = post(&app, &path, body).await;
        let note = response.header("x-compat-note").unwrap_or_default().to_owned();
        let has_image = path != "/v1/messages";
        let missing = if has_image { "server_tool_use" } else { "images, server_tool_use" };
        assert!(note.contains(&format!("dropped from the answer: {missing}")), "{path}: {note}");
        let text = response.text();
        assert_eq!(text.contains("iVBORw0KGgo="), has_image, "{path}: {text}");
        assert!(text.contains("https://rome.example"), "{path}: {text}");
    }
    let chat = post(&app, "/v1/chat/completions", requests(false)[0].1.clone()).await.json();
    let image = json!([{"type": "image_url", "image_url": {"url": IMAGE}, "index": 0}]);
    assert_eq!(chat["choices"][0]["message"]["images"], image);
    let response = post(&app, "/v1/responses", requests(false)[1].1.clone()).await.json();
    let kinds = response["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap());
    assert_eq!(kinds.collect::<Vec<_>>(), ["message", "image_generation_call"]);
    assert_eq!(response["output"][1]["result"], "iVBORw0KGgo=");
}

#[tokio::test]
async fn a_stream_has_the_note_in_a_comment_at_its_end() {
    let app = start().await;
    for (path, body) in requests(true) {
        let response = post(&app, &path, body).await;
        let text = response.text();
        let has_image = path != "/v1/messages";
        assert_eq!(text.contains("iVBORw0KGgo="), has_image, "{path}: {text}");
        assert!(text.contains("https://rome.example"), "{path}: {text}");
        let missing = if has_image { "server_tool_use" } else { "images, server_tool_use" };
        let comment = format!(": x-compat-note: dropped from the answer: {missing}\n");
        // Gemini's SDK takes every line for data.
        assert_eq!(text.contains(&comment), !path.contains("v1beta"), "{path}: {text}");
    }
}
