//! Streams: whole transcripts, failures in the middle, clients that disconnect. `case_NN`: see
//! conformance.rs.

use std::time::Duration;

use chat::{Delta, Error, Usage};
use serde_json::json;

use crate::app::{TestAppBuilder, chat_request};
use crate::scripted_provider::{ScriptStep, text_delta};

#[tokio::test]
async fn transcripts_of_all_four_kinds_of_stream() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for (model, include_usage, name) in [
        ("deepseek-chat", false, "stream_plain"),
        ("deepseek-chat", true, "stream_plain_usage"),
        ("deepseek-reasoner", false, "stream_thinking"),
        ("deepseek-reasoner", true, "stream_thinking_usage"),
    ] {
        let more = json!({"model": model, "stream": true, "stream_options": {"include_usage": include_usage}});
        insta::assert_snapshot!(name, app.assert_answered(chat_request(more)).await.redacted());
    }
}

#[tokio::test]
async fn a_failure_in_the_middle_is_an_event_of_the_stream() {
    let steps = [
        ScriptStep::Delta(Delta::Start(Usage::default())),
        text_delta("The "),
        ScriptStep::Fail(Error::internal("Inference backend failed")),
    ];
    let app = TestAppBuilder::deepseek_profile().script(steps).start().await;
    let answer = app.assert_answered(chat_request(json!({"stream": true}))).await;
    assert!(answer.complete);
    insta::assert_snapshot!("stream_failure", answer.redacted());
    let whole = app.post(chat_request(json!({}))).send().await;
    assert_eq!((whole.status, whole.message().as_str()), (500, "Inference backend failed"));
    assert_eq!(whole.json()["error"]["type"], "server_error");
}

#[tokio::test]
async fn a_failure_before_the_first_delta_is_a_plain_status() {
    let mut busy = Error::new(chat::ErrorKind::Overloaded, "queue full");
    let app = TestAppBuilder::deepseek_profile().script([ScriptStep::Fail(busy.clone())]).start().await;
    for stream in [false, true] {
        let answer = app.post(chat_request(json!({ "stream": stream }))).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (503, Some("application/json")));
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    busy.retry_after = Some(Duration::from_millis(1200));
    let app = TestAppBuilder::deepseek_profile().provider(|provider| provider.queue_error = Some(busy)).start().await;
    let answer = app.post(chat_request(json!({"stream": true}))).send().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    assert_eq!(answer.json()["error"]["code"], "service_unavailable_error");
}

#[tokio::test]
async fn an_answer_without_an_end_is_an_error_not_a_hang() {
    let app = TestAppBuilder::deepseek_profile()
        .script([ScriptStep::Delta(Delta::Start(Usage::default())), text_delta("a")])
        .start()
        .await;
    assert_eq!(app.post(chat_request(json!({}))).send().await.status, 500);
    let events = app.assert_answered(chat_request(json!({"stream": true}))).await.events();
    assert!(events[events.len() - 2].contains("server_error"));
    assert_eq!(events.last().unwrap(), "[DONE]");
}

#[tokio::test]
async fn case_35_an_answer_ends_when_its_client_disconnects() {
    let forever = std::iter::once(ScriptStep::Delta(Delta::Start(Usage::default())))
        .chain((0..3).map(|_| text_delta("a")))
        .chain([ScriptStep::Hang]);
    let app = TestAppBuilder::deepseek_profile().script(forever).start().await;
    let mut connection = app.post(chat_request(json!({"stream": true, "max_tokens": 8192}))).connect().await;
    assert_eq!(connection.head().await.0, 200);
    for _ in 0..3 {
        assert!(connection.chunk().await.is_some());
    }
    drop(connection);
    assert!(app.wait_until_idle().await);
}

#[tokio::test]
async fn a_waiting_request_ends_when_its_client_disconnects() {
    let app = TestAppBuilder::deepseek_profile().script([ScriptStep::Hang]).start().await;
    for stream in [false, true] {
        let connection = app.post(chat_request(json!({ "stream": stream }))).connect().await;
        while app.provider.running.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(connection);
        assert!(app.wait_until_idle().await);
    }
}

#[tokio::test]
async fn deltas_that_are_there_together_are_sent_together_and_at_once() {
    let pause = ScriptStep::Sleep(Duration::from_millis(800));
    let start = ScriptStep::Delta(Delta::Start(Usage::default()));
    let steps = [start, text_delta("a"), pause, text_delta("b"), text_delta("c"), ScriptStep::Hang];
    let app = TestAppBuilder::deepseek_profile().script(steps).start().await;
    let mut connection = app.post(chat_request(json!({"stream": true}))).connect().await;
    connection.head().await;
    let next_chunk = async |connection: &mut crate::client::Connection| {
        String::from_utf8(connection.chunk().await.unwrap()).unwrap()
    };
    let first = tokio::time::Instant::now();
    let chunk = next_chunk(&mut connection).await;
    assert!(chunk.contains("\"role\":\"assistant\"") && chunk.contains("{\"content\":\"a\"}"), "{chunk}");
    assert!(first.elapsed() < Duration::from_millis(400));
    let chunk = next_chunk(&mut connection).await;
    assert!(chunk.contains("{\"content\":\"b\"}") && chunk.contains("{\"content\":\"c\"}"), "{chunk}");
    assert!(first.elapsed() > Duration::from_millis(400));
}

#[tokio::test]
async fn a_panic_fails_one_request_and_nothing_else() {
    let app = TestAppBuilder::deepseek_profile().script([ScriptStep::Panic]).start().await;
    for stream in [false, true] {
        let answer = app.post(chat_request(json!({ "stream": stream }))).send().await;
        assert_eq!((answer.status, answer.message().as_str()), (500, "Internal server error"));
        assert!(answer.header("x-request-id").is_some());
    }
    assert_eq!(app.request("GET", "/models").send().await.status, 200);
    assert!(app.wait_until_idle().await);
}

#[tokio::test]
async fn a_panic_in_the_middle_ends_one_stream_and_nothing_else() {
    let app = TestAppBuilder::deepseek_profile()
        .script([ScriptStep::Delta(Delta::Start(Usage::default())), text_delta("a"), ScriptStep::Panic])
        .start()
        .await;
    let answer = app.assert_answered(chat_request(json!({"stream": true}))).await;
    assert!(answer.complete && answer.text().contains("{\"content\":\"a\"}"));
    let events = answer.events();
    assert!(events[events.len() - 2].contains("Internal server error"));
    assert_eq!(app.request("GET", "/models").send().await.status, 200);
    assert!(app.wait_until_idle().await);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let mut connection = app.post(chat_request(json!({}))).connect().await;
    assert_eq!(connection.read_response().await.status, 200);
    assert_eq!(connection.send_again(app.post(chat_request(json!({"n": 2})))).await.status, 400);
    assert_eq!(connection.send_again(app.post(chat_request(json!({"stream": true})))).await.events().len(), 5);
    assert_eq!(connection.send_again(app.request("GET", "/nope").bytes("unread body")).await.status, 404);
    assert_eq!(connection.send_again(app.request("GET", "/models")).await.status, 200);
}
