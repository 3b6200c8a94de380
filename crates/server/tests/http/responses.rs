//! The Responses surface.

use chat::{Delta, Error, FinishReason, Usage};
use serde_json::{Value, json};

use crate::app::{Setup, TestApp};
use crate::client::Answer;
use crate::provider::{Act, ends, reasoning, text};

const USAGE: Usage = Usage {
    prompt_tokens: 17,
    cached_tokens: 4,
    cache_write_tokens: 0,
    completion_tokens: 9,
    reasoning_tokens: Some(3),
};

async fn ask(app: &TestApp, more: Value) -> Answer {
    let mut body = json!({"model": "deepseek-v3.2", "input": "hi"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.request("POST", "/v1/responses").json(body).send().await
}

/// Ids of items begin with 30 digits of the answer's own id.
fn redacted(answer: &Answer) -> String {
    let mut text =
        format!("{} {}\n\n{}", answer.status, answer.header("content-type").unwrap_or_default(), answer.text());
    for prefix in ["resp_", "rs_", "msg_", "fc_"] {
        let mut at = 0;
        while let Some(found) = text[at..].find(prefix) {
            at += found + prefix.len();
            let digits = text[at..].bytes().take_while(u8::is_ascii_hexdigit).count();
            if digits == 32 {
                let kept = if prefix == "resp_" { 0 } else { 2 };
                text.replace_range(at..at + 32 - kept, "…");
            }
        }
    }
    let created = "\"created_at\":";
    let mut at = 0;
    while let Some(found) = text[at..].find(created) {
        at += found + created.len();
        let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
        text.replace_range(at..at + digits, "0");
    }
    text
}

fn script() -> Vec<Act> {
    let call = |delta| Act::Say(delta);
    let acts = [
        Act::Say(Delta::Start(USAGE)),
        reasoning("Need the "),
        reasoning("weather."),
        text("Let me "),
        text("look."),
        call(Delta::ToolCall { index: 0, id: "call_00_a".into(), name: "get_weather".into() }),
        call(Delta::Arguments { index: 0, text: "{\"city\"".into() }),
        call(Delta::Arguments { index: 0, text: ": \"Oslo\"}".into() }),
    ];
    acts.into_iter().chain(ends(FinishReason::ToolCalls, USAGE)).collect()
}

#[tokio::test]
async fn whole_responses_and_streams_have_the_documented_shape() {
    let app = Setup::strict().script(script()).start().await;
    let tools =
        json!([{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}]);
    let more = json!({"reasoning": {"effort": "low"}, "tools": tools});
    insta::assert_snapshot!("responses_whole", redacted(&ask(&app, more.clone()).await));
    let mut more = more;
    more["stream"] = true.into();
    insta::assert_snapshot!("responses_stream", redacted(&ask(&app, more).await));
}

#[tokio::test]
async fn a_response_that_was_cut_is_incomplete() {
    let acts = [Act::Say(Delta::Start(USAGE)), text("a")].into_iter().chain(ends(FinishReason::Length, USAGE));
    let app = Setup::strict().script(acts).start().await;
    let response = ask(&app, json!({"max_output_tokens": 1})).await.json();
    assert_eq!(response["status"], "incomplete");
    assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
}

#[tokio::test]
async fn a_failure_in_the_middle_fails_the_response() {
    let acts = [Act::Say(Delta::Start(USAGE)), text("a"), Act::Fail(Error::internal("broken"))];
    let app = Setup::strict().script(acts).start().await;
    let answer = ask(&app, json!({"stream": true})).await;
    let events = answer.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(last["response"]["error"]["message"], "broken");
}

#[tokio::test]
async fn nothing_is_stored() {
    let app = Setup::strict().start().await;
    for method in ["GET", "DELETE"] {
        let answer = app.request(method, "/v1/responses/resp_1").send().await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("not_found")));
    }
    let refused = ask(&app, json!({"previous_response_id": "resp_1"})).await;
    assert_eq!((refused.status, refused.message().as_str()), (400, "previous_response_id is not supported"));
}
