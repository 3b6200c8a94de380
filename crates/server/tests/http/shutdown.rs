//! Stopping: answers get their grace, then a proper end.

use std::time::Duration;

use chat::{Delta, FinishReason, Usage};
use serde_json::json;
use tokio::net::TcpStream;

use crate::app::{Setup, say_hi};
use crate::provider::{Act, ends, text};

const GRACE: Duration = Duration::from_millis(1000);

#[tokio::test]
async fn an_answer_within_the_grace_ends_by_itself() {
    let mut acts = vec![Act::Say(Delta::Start(Usage::default())), Act::Wait(GRACE / 3), text("done")];
    acts.extend(ends(FinishReason::Stop, Usage::default()));
    let mut app = Setup::strict().script(acts).config(|config| config.grace = GRACE).start().await;
    let mut conversation = app.post(say_hi(json!({"stream": true}))).open().await;
    conversation.head().await;
    let idle = TcpStream::connect(app.addr).await.unwrap();
    app.stop();
    while TcpStream::connect(app.addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut body = Vec::new();
    while let Some(chunk) = conversation.chunk().await {
        body.extend(chunk);
    }
    assert!(String::from_utf8(body).unwrap().contains("\"finish_reason\":\"stop\""));
    app.ended().await;
    drop(idle);
}

#[tokio::test]
async fn an_answer_beyond_the_grace_is_ended_properly() {
    let acts = [Act::Say(Delta::Start(Usage::default())), text("so far"), Act::Hang];
    let mut app = Setup::strict().script(acts).config(|config| config.grace = GRACE).start().await;
    let mut stream = app.post(say_hi(json!({"stream": true}))).open().await;
    stream.head().await;
    let mut whole = app.post(say_hi(json!({}))).open().await;
    while app.provider.running.load(std::sync::atomic::Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.stop();
    let whole = whole.answer().await;
    assert_eq!(whole.json()["choices"][0]["finish_reason"], "insufficient_system_resource");
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "so far");
    let mut body = Vec::new();
    while let Some(chunk) = stream.chunk().await.filter(|chunk| !chunk.is_empty()) {
        body.extend(chunk);
    }
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains("\"finish_reason\":\"insufficient_system_resource\"") && text.ends_with("data: [DONE]\n\n"));
    assert!(app.becomes_idle().await);
    app.ended().await;
}

#[tokio::test]
async fn an_answer_that_never_began_may_be_asked_again() {
    let mut app = Setup::strict().script([Act::Hang]).config(|config| config.grace = GRACE).start().await;
    let mut conversation = app.post(say_hi(json!({"stream": true}))).open().await;
    while app.provider.running.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.stop();
    let answer = conversation.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.message().contains("shutting down"));
    app.ended().await;
}
