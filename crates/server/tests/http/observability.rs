//! Health, metrics and the access log.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use server::KeyConfig;
use store::Role;

use crate::app::{KEY, TestAppBuilder, captured_logs, chat_request};

#[tokio::test]
async fn long_methods_and_paths_are_shortened_in_the_log() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let method: &'static str = "XYZZY".repeat(400).leak();
    let answer = app.request(method, &format!("/{}", "plugh".repeat(2000))).send().await;
    assert!(matches!(answer.status, 404 | 405), "{}", answer.status);
    let answer = app.request(method, "/models").send().await;
    assert!(answer.status == 405 && answer.message().len() < 100, "{}", answer.text());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let logs = captured_logs().text();
    let lines = logs.lines().filter(|line| line.contains("XYZZY") && line.contains(": request "));
    assert!(
        lines.clone().count() >= 2 && lines.clone().all(|line| line.len() < 600),
        "{:?}",
        lines.collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let get = async |path| app.request("GET", path).header("authorization", "").send().await;
    assert_eq!(get("/healthz").await.json(), json!({"status": "ok"}));
    assert_eq!(get("/readyz").await.json(), json!({"status": "ok"}));
    app.provider.starting.store(true, Ordering::Relaxed);
    let starting = get("/readyz").await;
    assert_eq!((starting.status, starting.json()), (503, json!({"status": "starting"})));
    assert_eq!(get("/healthz").await.status, 200);
}

#[tokio::test]
async fn metrics_need_a_viewer_and_count_every_request_once() {
    let viewer = KeyConfig { role: Role::Viewer, ..KeyConfig::new("alice", KEY) };
    let app = TestAppBuilder::deepseek_profile().config(|config| config.keys = vec![viewer].into()).start().await;
    assert_eq!(app.request("GET", "/metrics").header("authorization", "").send().await.status, 401);
    // All tests share the recorder, but no other one requests this model.
    let body = chat_request(json!({"model": "deepseek-v3.2-nothinking"}));
    app.assert_answered(body.clone()).await;
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    app.assert_answered(streamed).await;
    let mut refused = body;
    refused["n"] = 2.into();
    app.post(refused).send().await;
    assert!(app.wait_until_idle().await);
    let metrics = app.request("GET", "/metrics").send().await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let value = |name: &str, labels: &[&str]| {
        let line = metrics.text().lines().find(|line| {
            line.starts_with(&format!("{name}{{"))
                && line.contains("\"deepseek-v3.2-nothinking\"")
                && labels.iter().all(|label| line.contains(label))
        });
        line.map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
    };
    let is = |value: Option<String>, expected: &str| assert_eq!(value.as_deref(), Some(expected));
    is(value("cachalot_requests_total", &["outcome=\"stop\""]), "2");
    is(value("cachalot_requests_total", &["outcome=\"invalid\""]), "1");
    is(value("cachalot_tokens_total", &["kind=\"completion\""]), "6");
    is(value("cachalot_time_to_first_token_seconds_count", &[]), "2");
    is(value("cachalot_request_duration_seconds_bucket", &["le=\"+Inf\""]), "3");
    assert!(!metrics.text().contains("alice"));
}

#[tokio::test]
async fn without_keys_metrics_are_only_for_this_machine() {
    let app = TestAppBuilder::without_keys().start().await;
    assert_eq!(app.request("GET", "/metrics").send().await.status, 200);
    assert_eq!(app.request("GET", "/metrics").header("host", "evil.example").send().await.status, 403);
}

#[tokio::test]
async fn every_request_writes_one_log_line() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let id = "my-own_id-7";
    let answer = app
        .request("POST", "/beta//v1/chat/completions/")
        .header("x-request-id", id)
        .json(chat_request(json!({"stream": true, "model": "deepseek-V3.2-thinking"})))
        .send()
        .await;
    assert_eq!((answer.header("x-request-id"), answer.header("request-id")), (Some(id), Some(id)));
    let invalid = app.request("GET", "/models").header("x-request-id", "a b").send().await;
    assert!(invalid.header("x-request-id").unwrap().starts_with("req_"));
    let mut lines = Vec::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let logs = captured_logs().text();
        lines = logs.lines().filter(|line| line.contains("deepseek-v3.2-thinking")).map(str::to_owned).collect();
        if !lines.is_empty() {
            break;
        }
    }
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [id, "POST", "/beta/v1/chat/completions", "status=200", "key=\"alice\"", "completion_tokens=5", "ms="] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    assert!(!lines[0].contains("failed"));
}
