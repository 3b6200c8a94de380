//! OpenAI's Responses API.

use chat::{Delta, Error, FinishReason, Usage};
use serde_json::{Value, json};

use crate::app::{TestApp, TestAppBuilder};
use crate::client::Response;
use crate::scripted_provider::{ScriptStep, finish_and_usage, reasoning_delta, text_delta};

const USAGE: Usage =
    Usage { prompt_tokens: 17, cached_tokens: 4, completion_tokens: 9, reasoning_tokens: Some(3), ..Usage::ZERO };

async fn post(app: &TestApp, more: Value) -> Response {
    let mut body = json!({"model": "deepseek-v3.2", "input": "hi"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.request("POST", "/v1/responses").json(body).send().await
}

/// Replaces ids and times. Ids of items begin with 30 digits of the id of the response.
fn redacted(answer: &Response) -> String {
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
    for time in ["\"created_at\":", "\"completed_at\":"] {
        let mut at = 0;
        while let Some(found) = text[at..].find(time) {
            at += found + time.len();
            let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
            text.replace_range(at..at + digits, if digits == 0 { "" } else { "0" });
        }
    }
    text
}

fn tool_call_script() -> Vec<ScriptStep> {
    let steps = [
        ScriptStep::Delta(Delta::Start(USAGE)),
        reasoning_delta("Need the "),
        reasoning_delta("weather."),
        text_delta("Let me "),
        text_delta("look."),
        ScriptStep::Delta(Delta::ToolCall { index: 0, id: "call_00_a".into(), name: "get_weather".into() }),
        ScriptStep::Delta(Delta::Arguments { index: 0, text: "{\"city\"".into() }),
        ScriptStep::Delta(Delta::Arguments { index: 0, text: ": \"Oslo\"}".into() }),
    ];
    steps.into_iter().chain(finish_and_usage(FinishReason::ToolCalls, USAGE)).collect()
}

#[tokio::test]
async fn whole_responses_and_streams_have_the_documented_shape() {
    let app = TestAppBuilder::deepseek_profile().script(tool_call_script()).start().await;
    let tools =
        json!([{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}]);
    let more = json!({"reasoning": {"effort": "low"}, "tools": tools});
    insta::assert_snapshot!("responses_whole", redacted(&post(&app, more.clone()).await));
    let mut more = more;
    more["stream"] = true.into();
    insta::assert_snapshot!("responses_stream", redacted(&post(&app, more).await));
}

#[tokio::test]
async fn a_response_that_was_cut_is_incomplete() {
    let steps = [ScriptStep::Delta(Delta::Start(USAGE)), text_delta("a")]
        .into_iter()
        .chain(finish_and_usage(FinishReason::Length, USAGE));
    let app = TestAppBuilder::deepseek_profile().script(steps).start().await;
    let response = post(&app, json!({"max_output_tokens": 1})).await.json();
    assert_eq!(response["status"], "incomplete");
    assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
}

#[tokio::test]
async fn a_failure_in_the_middle_fails_the_response() {
    let steps = [ScriptStep::Delta(Delta::Start(USAGE)), text_delta("a"), ScriptStep::Fail(Error::internal("broken"))];
    let app = TestAppBuilder::deepseek_profile().script(steps).start().await;
    let answer = post(&app, json!({"stream": true})).await;
    let events = answer.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(last["response"]["error"]["message"], "broken");
}

#[tokio::test]
async fn nothing_is_stored() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for method in ["GET", "DELETE"] {
        let answer = app.request(method, "/v1/responses/resp_1").send().await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("not_found")));
    }
    let refused = post(&app, json!({"previous_response_id": "resp_1"})).await;
    assert_eq!((refused.status, refused.message().as_str()), (400, "previous_response_id is not supported"));
}
