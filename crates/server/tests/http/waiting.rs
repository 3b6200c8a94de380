//! Keep-alives, and the deadlines of answers. `case_NN`: see conformance.rs.

use std::time::Duration;

use chat::{Delta, Error, FinishReason, Usage};
use serde_json::json;
use server::{KeepAlive, ServerConfig};

use crate::app::{TestAppBuilder, chat_request};
use crate::scripted_provider::{ScriptStep, finish_and_usage, text_delta};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Keep-alives every 20 ms.
fn fast_keep_alive(config: &mut ServerConfig) {
    config.keep_alive =
        KeepAlive { stream_first: ms(20), stream_every: ms(20), json_first: ms(20), json_every: ms(20) };
}

fn slow_script() -> Vec<ScriptStep> {
    let mut steps = vec![
        ScriptStep::Sleep(ms(400)),
        ScriptStep::Delta(Delta::Start(Usage::default())),
        text_delta("a"),
        ScriptStep::Sleep(ms(300)),
        text_delta("b"),
    ];
    steps.extend(finish_and_usage(FinishReason::Stop, Usage::default()));
    steps
}

#[tokio::test]
async fn case_43_a_waiting_client_receives_keep_alives() {
    let app = TestAppBuilder::deepseek_profile().script(slow_script()).config(fast_keep_alive).start().await;
    let whole = app.assert_answered(chat_request(json!({}))).await;
    assert!(whole.complete && whole.text().starts_with("\n\n"));
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "ab");
    assert_eq!(whole.header("content-type"), Some("application/json"));

    let stream = app.assert_answered(chat_request(json!({"stream": true}))).await;
    let text = stream.text();
    assert!(text.starts_with(": keep-alive\n\n: keep-alive\n\n"));
    let between = &text[text.find("\"a\"").unwrap()..text.find("\"b\"").unwrap()];
    assert!(between.contains("\n\n: keep-alive\n\n"));
    assert_eq!(stream.events().len(), 5);
}

#[tokio::test]
async fn a_quick_answer_has_no_keep_alive() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    assert!(!app.assert_answered(chat_request(json!({}))).await.text().starts_with('\n'));
    assert!(!app.assert_answered(chat_request(json!({"stream": true}))).await.text().contains("keep-alive"));
}

#[tokio::test]
async fn a_failure_after_a_keep_alive_breaks_a_json_body_and_ends_a_stream() {
    let steps = [ScriptStep::Sleep(ms(300)), ScriptStep::Fail(Error::internal("Inference backend failed"))];
    let app = TestAppBuilder::deepseek_profile().script(steps).config(fast_keep_alive).start().await;
    let whole = app.post(chat_request(json!({}))).send().await;
    assert_eq!((whole.status, whole.complete), (200, false));
    assert_eq!(whole.text().trim(), "");
    let stream = app.assert_answered(chat_request(json!({"stream": true}))).await;
    assert!(stream.complete);
    let events = stream.events();
    assert!(events[0].contains("Inference backend failed"));
    assert_eq!(events[1], "[DONE]");
}

#[tokio::test]
async fn an_answer_that_never_starts_is_refused() {
    let short_queue = |config: &mut ServerConfig| config.queue_timeout = ms(300);
    let app = TestAppBuilder::deepseek_profile().script([ScriptStep::Hang]).config(short_queue).start().await;
    for stream in [false, true] {
        let answer = app.post(chat_request(json!({ "stream": stream }))).send().await;
        assert_eq!(answer.status, 503);
        assert!(answer.message().starts_with("Service is too busy. We advise users"));
        assert!(answer.header("retry-after").is_some());
    }
    let app = TestAppBuilder::deepseek_profile()
        .script([ScriptStep::Hang])
        .config(short_queue)
        .config(fast_keep_alive)
        .start()
        .await;
    assert!(!app.post(chat_request(json!({}))).send().await.complete);
    let events = app.assert_answered(chat_request(json!({"stream": true}))).await.events();
    assert!(events[0].contains("service_unavailable_error") && events[1] == "[DONE]");
    assert!(app.wait_until_idle().await);
}

#[tokio::test]
async fn an_answer_beyond_the_total_deadline_ends_with_its_content_so_far() {
    let limits = |config: &mut ServerConfig| (config.queue_timeout, config.total_timeout) = (ms(500), ms(800));
    let steps = [ScriptStep::Delta(Delta::Start(Usage::default())), text_delta("so far"), ScriptStep::Hang];
    let app = TestAppBuilder::deepseek_profile().script(steps).config(limits).start().await;
    let whole = app.assert_answered(chat_request(json!({}))).await.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["content"], "so far");
    assert_eq!(choice["finish_reason"], "insufficient_system_resource");
    let stream = app.assert_answered(chat_request(json!({"stream": true}))).await;
    insta::assert_snapshot!("stream_cut", stream.redacted());
    assert!(app.wait_until_idle().await);
}
