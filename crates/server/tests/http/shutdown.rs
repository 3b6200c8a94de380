//! Shutdown: open responses have a grace period, then they are ended properly.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{Delta, FinishReason, Usage};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::app::{KEY, TestAppBuilder, chat_request};
use crate::scripted_provider::{ScriptStep, finish_and_usage, text_delta};

const GRACE: Duration = Duration::from_millis(1000);

#[tokio::test]
async fn an_answer_within_the_grace_period_completes() {
    let mut steps =
        vec![ScriptStep::Delta(Delta::Start(Usage::default())), ScriptStep::Sleep(GRACE / 3), text_delta("done")];
    steps.extend(finish_and_usage(FinishReason::Stop, Usage::default()));
    let mut app =
        TestAppBuilder::deepseek_profile().script(steps).config(|config| config.shutdown_grace = GRACE).start().await;
    let mut connection = app.post(chat_request(json!({"stream": true}))).connect().await;
    connection.head().await;
    let idle = TcpStream::connect(app.addr).await.unwrap();
    app.stop();
    while TcpStream::connect(app.addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut body = Vec::new();
    while let Some(chunk) = connection.chunk().await {
        body.extend(chunk);
    }
    assert!(String::from_utf8(body).unwrap().contains("\"finish_reason\":\"stop\""));
    app.join().await;
    drop(idle);
}

#[tokio::test]
async fn an_answer_beyond_the_grace_period_is_ended_properly() {
    let steps = [ScriptStep::Delta(Delta::Start(Usage::default())), text_delta("so far"), ScriptStep::Hang];
    let mut app =
        TestAppBuilder::deepseek_profile().script(steps).config(|config| config.shutdown_grace = GRACE).start().await;
    let mut stream = app.post(chat_request(json!({"stream": true}))).connect().await;
    stream.head().await;
    let mut whole = app.post(chat_request(json!({}))).connect().await;
    while app.provider.running.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.stop();
    let whole = whole.read_response().await;
    assert_eq!(whole.json()["choices"][0]["finish_reason"], "insufficient_system_resource");
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "so far");
    let mut body = Vec::new();
    while let Some(chunk) = stream.chunk().await.filter(|chunk| !chunk.is_empty()) {
        body.extend(chunk);
    }
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains("\"finish_reason\":\"insufficient_system_resource\"") && text.ends_with("data: [DONE]\n\n"));
    assert!(app.wait_until_idle().await);
    app.join().await;
}

#[tokio::test]
async fn a_request_without_an_answer_may_be_retried() {
    let mut app = TestAppBuilder::deepseek_profile()
        .script([ScriptStep::Hang])
        .config(|config| config.shutdown_grace = GRACE)
        .start()
        .await;
    let mut connection = app.post(chat_request(json!({"stream": true}))).connect().await;
    while app.provider.running.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.stop();
    let answer = connection.read_response().await;
    assert_eq!(answer.status, 503);
    assert!(answer.message().contains("shutting down"));
    app.join().await;
}

#[tokio::test]
async fn answers_that_nobody_reads_have_ended_when_the_server_has() {
    // More than the buffers of a socket hold.
    let steps = std::iter::repeat_n(text_delta(&"unread ".repeat(10_000)), 1000);
    let mut app =
        TestAppBuilder::deepseek_profile().script(steps).config(|config| config.shutdown_grace = GRACE).start().await;
    let mut http1 = app.post(chat_request(json!({"stream": true}))).connect().await;
    http1.head().await;
    let socket = TokioIo::new(TcpStream::connect(app.addr).await.unwrap());
    let (mut http2, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{}/chat/completions", app.addr))
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(chat_request(json!({"stream": true})).to_string())
        .unwrap();
    let unread = http2.send_request(request).await.unwrap();
    assert_eq!(unread.status(), 200);
    assert_eq!(app.provider.running.load(Ordering::SeqCst), 2);
    app.stop();
    app.join().await;
}
