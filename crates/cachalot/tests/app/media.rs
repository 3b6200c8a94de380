//! Images and audio of providers, and their cost.

use std::sync::Arc;

use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::task_app::{TaskApp, fake_task_provider};

#[tokio::test(flavor = "multi_thread")]
async fn images_and_audio_are_passed_through_and_charged_per_call() {
    let service = fake_task_provider(Arc::default()).await;
    let server = TaskApp::start(&service).await;
    let TaskApp { app, alice, .. } = &server;
    let (status, image) =
        server.post(alice, "/v1/images/generations", json!({"model": "own/paint", "prompt": "a whale", "n": 3})).await;
    assert_eq!((status, &image["data"][0]["url"]), (200, &json!("https://x/1.png")));
    assert_eq!(service.requests().last().unwrap().json()["model"], "paint");
    server.wait_for_balance(alice, "0.88").await;

    let form = |model: &str| {
        Form::new()
            .text("model", model.to_owned())
            .text("prompt", "x")
            .part("image", Part::bytes(vec![1; 2000]).file_name("a.png"))
    };
    let edit = app.client.post(app.url("/v1/images/edits")).multipart(form("own/paint"));
    let (status, _, _) = server.request(alice, edit).await;
    let received = service.requests().pop().unwrap();
    let text = String::from_utf8_lossy(&received.body).into_owned();
    assert!(status == 200 && text.contains("\r\n\r\npaint\r\n") && received.body.len() > 2000, "{text}");
    assert!(received.header("content-type").unwrap().starts_with("multipart/form-data; boundary="));
    server.wait_for_balance(alice, "0.84").await;

    let speech =
        app.client.post(app.url("/v1/audio/speech")).json(&json!({"model": "voice", "input": "hi", "voice": "low"}));
    let (status, content_type, bytes) = server.request(alice, speech).await;
    assert_eq!((status, content_type.as_str(), bytes), (200, "audio/mpeg", b"ID3\n\n\x00\xff\n\n".to_vec()));
    server.wait_for_balance(alice, "0.83").await;

    let form = Form::new()
        .text("model", "voice")
        .text("response_format", "srt")
        .part("file", Part::bytes(vec![1; 9]).file_name("a.wav"));
    let (status, content_type, bytes) =
        server.request(alice, app.client.post(app.url("/v1/audio/transcriptions")).multipart(form)).await;
    assert_eq!((status, content_type.as_str(), bytes), (200, "text/plain", b"1\n00:00 whale song\n".to_vec()));

    server.wait_for_balance(alice, "0.82").await;
    let judged = server.post(alice, "/v1/moderations", json!({"model": "own/voice", "input": "a whale"})).await;
    assert_eq!((judged.0, &judged.1["results"][0]["flagged"]), (200, &json!(false)));
    assert_eq!(service.requests().last().unwrap().json()["model"], "voice");
    let documents = json!({"model": "voice", "query": "whale", "documents": ["cat", "cachalot"], "top_n": 1});
    let ranked = server.post(alice, "/v1/rerank", documents).await;
    assert_eq!((ranked.0, &ranked.1["results"][0]["index"]), (200, &json!(1)));
    server.wait_for_balance(alice, "0.80").await;
    for path in ["/v1/realtime?model=voice", "/realtime/sessions"] {
        let (status, refused) = server.get(alice, path).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!("realtime_not_supported")), "{path}");
    }

    for (path, body, word) in [
        ("/v1/images/generations", json!({"prompt": "x"}), "missing field `model`"),
        ("/v1/rerank", json!({"query": "x"}), "missing field `model`"),
        ("/v1/moderations", json!({"model": "deepseek-chat", "input": "x"}), "does not support moderation"),
        ("/v1/images/generations", json!({"model": "nobody", "prompt": "x"}), "Model Not Exist"),
        (
            "/images/generations",
            json!({"model": "deepseek-chat", "prompt": "x"}),
            "Model 'deepseek-chat' does not support image generation",
        ),
        ("/v1/audio/speech", json!({"model": "mj_imagine", "input": "x"}), "does not support speech"),
        (
            "/v1/chat/completions",
            json!({"model": "mj_imagine", "messages": [{"role": "user", "content": "x"}]}),
            "does not chat",
        ),
    ] {
        let (status, refused) = server.post(alice, path, body).await;
        assert!(status == 400 && refused["error"]["message"].as_str().unwrap().contains(word), "{path}: {refused}");
    }
    let (status, refused) = server.post(alice, "/v1/audio/transcriptions", json!({"model": "voice"})).await;
    assert!(status == 415 && refused.to_string().contains("multipart/form-data"), "{refused}");
    let usage = server.stop_and_report().await;
    assert!(usage.contains("paint") && usage.contains("voice"), "{usage}");
}
