//! The server with the fixture model, over HTTP. The tests do not depend on the text of answers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::{TestApp, stream_text};

fn chat_request(model: &str, text: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": text }], "max_tokens": 24, "seed": 7 })
}

#[tokio::test(flavor = "multi_thread")]
/// The request of CometAPI's guide to DeepSeek-V3.2-Exp.
async fn the_request_of_cometapis_guide_is_answered() {
    let app = TestApp::start(&[]).await;
    let body = json!({
        "model": "deepseek-v3.2-exp",
        "messages": [
            { "role": "system", "content": "You are a helpful assistant." },
            { "role": "user", "content": "Summarize the attached meeting transcript in 3 bullet points." }
        ],
        "max_tokens": 512,
        "stream": false
    });
    let reply = app.reply(body).await;
    let (choice, usage) = (&reply["choices"][0], &reply["usage"]);
    assert_eq!((&reply["object"], &reply["model"]), (&json!("chat.completion"), &json!("deepseek-v3.2-exp")));
    assert!(
        choice["message"]["content"].is_string() && choice["message"].get("reasoning_content").is_none(),
        "{reply}"
    );
    assert!(["stop", "length"].contains(&choice["finish_reason"].as_str().unwrap()), "{reply}");
    let number = |name: &str| usage[name].as_u64().unwrap();
    assert!((1..=512).contains(&number("completion_tokens")));
    assert_eq!(number("prompt_tokens"), number("prompt_cache_hit_tokens") + number("prompt_cache_miss_tokens"));
    assert_eq!(number("total_tokens"), number("prompt_tokens") + number("completion_tokens"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thinking_follows_the_model_id_and_the_field() {
    let app = TestApp::start(&[]).await;
    let thinks = |reply: &Value| reply["choices"][0]["message"].get("reasoning_content").is_some();
    for (model, thinking) in [
        ("deepseek-chat", false),
        ("deepseek-reasoner", true),
        ("DeepSeek-V3.2-Exp-thinking", true),
        ("DeepSeek-V3.2-Exp-nothinking", false),
        ("fixture", false),
        ("GPT-4o-mini", false),
    ] {
        assert_eq!(thinks(&app.reply(chat_request(model, "Hello!")).await), thinking, "{model}");
    }
    let mut body = chat_request("deepseek-chat", "Hello!");
    body["thinking"] = json!({ "type": "enabled" });
    let reply = app.reply(body).await;
    assert!(thinks(&reply) && reply["usage"]["completion_tokens_details"]["reasoning_tokens"].is_u64(), "{reply}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_returns_what_the_json_reply_returns_and_ends_with_usage() {
    let app = TestApp::start(&[]).await;
    let whole = app.reply(chat_request("deepseek-reasoner", "What is 2 + 2?")).await;
    let mut body = chat_request("deepseek-reasoner", "What is 2 + 2?");
    body["stream_options"] = json!({ "include_usage": true });
    let events = app.stream(body).await;
    let message = &whole["choices"][0]["message"];
    let (reasoning, content) = stream_text(&events);
    assert_eq!((json!(reasoning), json!(content)), (message["reasoning_content"].clone(), message["content"].clone()));
    assert_eq!(events.last().unwrap(), "[DONE]");
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_streams_return_what_each_returns_alone() {
    let app = TestApp::start(&[]).await;
    let body = |i: u64| {
        let question = format!("Tell me a story about number {i}. {}", "It was a long day. ".repeat(i as usize * 5));
        json!({ "model": "deepseek-chat", "messages": [{ "role": "user", "content": question }], "max_tokens": 20 + i, "seed": i })
    };
    let mut alone = Vec::new();
    for i in 0..8 {
        alone.push(stream_text(&app.stream(body(i)).await));
    }
    let together = futures_util::future::join_all((0..8).map(|i| app.stream(body(i)))).await;
    for (i, events) in together.iter().enumerate() {
        assert_eq!(stream_text(events), alone[i], "stream {i}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_releases_its_pages() {
    let app = TestApp::start(&[]).await;
    let mut body = chat_request("deepseek-reasoner", &"Count slowly to a thousand. ".repeat(40));
    body["max_tokens"] = json!(4000);
    body["stream"] = json!(true);
    let mut response = app.post(&body).await;
    assert!(response.chunk().await.unwrap().is_some());
    let used = app.metric("cachalot_cache_pages_used").await;
    drop(response);
    let mut left = used;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        left = app.metric("cachalot_cache_pages_used").await;
        if left == 0.0 {
            break;
        }
    }
    assert!(left == 0.0, "{left} of {used} pages are still in use");
    assert_eq!(app.reply(chat_request("deepseek-chat", "Hello!")).await["object"], "chat.completion");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_fills_the_context_is_answered_and_a_longer_one_refused() {
    let app = TestApp::start(&["--context", "1024"]).await;
    // Every digit is a token of the fixture.
    let mut body = chat_request("deepseek-chat", &"7".repeat(1000));
    body["max_tokens"] = Value::Null;
    let reply = app.reply(body.clone()).await;
    let usage = &reply["usage"];
    assert!(usage["total_tokens"].as_u64().unwrap() <= 1024, "{usage}");
    body["messages"][0]["content"] = json!("7".repeat(2000));
    let response = app.post(&body).await;
    assert_eq!(response.status(), 400);
    let error: Value = response.json().await.unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("This model's maximum context length is 1024 tokens. However, you requested"),
        "{message}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_a_running_stream_properly() {
    let app = TestApp::start(&["--grace", "0"]).await;
    let mut body = chat_request("deepseek-chat", "Never stop talking.");
    body["max_tokens"] = json!(8000);
    body["stream"] = json!(true);
    // The model cannot sample the end token.
    body["logit_bias"] = json!({ "1": -100 });
    let mut response = app.post(&body).await;
    let mut text = String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()).into_owned();
    let stopped = tokio::spawn(app.stop());
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    stopped.await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("\"finish_reason\":\"insufficient_system_resource\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_answer() {
    let app = TestApp::start(&[]).await;
    assert_eq!(app.get("/readyz").await, r#"{"status":"ok"}"#);
    app.reply(chat_request("deepseek-chat", "Hello!")).await;
    assert!(app.metric("cachalot_cache_pages").await > 0.0);
    assert!(app.metric("cachalot_engine_generated_tokens_total").await > 0.0);
    app.stop().await;
}
