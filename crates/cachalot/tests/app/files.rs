//! Files and batches over HTTP, as OpenAI's SDKs use them.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse, ReceivedRequest};

use crate::task_app::TaskApp;

/// A provider whose only batch is completed at once. Its answer to a batch takes a while.
async fn fake_batch_provider() -> FakeUpstream {
    FakeUpstream::start(|request: &ReceivedRequest| {
        let batch = |status: &str| {
            json!({"id": "batch_1", "object": "batch", "status": status, "input_file_id": "file-1", "output_file_id": "file-2",
                "request_counts": {"total": 1, "completed": 1}, "usage": {"input_tokens": 9, "output_tokens": 10}})
        };
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/files") => FakeResponse::json(200, json!({"id": "file-1", "object": "file", "bytes": 5})),
            ("GET", "/v1/files/file-1" | "/v1/files/file-2") => FakeResponse::json(200, json!({"id": "file-1", "bytes": 5})),
            ("GET", "/v1/files/file-2/content") => FakeResponse {
                status: 200,
                headers: vec![("content-type".into(), "text/plain".into())],
                steps: vec![BodyStep::Send(b"{\"custom_id\":\"1\"}\n".to_vec())],
            },
            ("DELETE", "/v1/files/file-1") => FakeResponse::json(200, json!({"id": "file-1", "deleted": true})),
            ("POST", "/v1/batches") => {
                let mut accepted = FakeResponse::json(200, batch("validating"));
                accepted.steps.insert(0, BodyStep::Wait(std::time::Duration::from_millis(300)));
                accepted
            }
            ("POST", "/v1/videos") => {
                let mut accepted = FakeResponse::json(200, json!({"id": "video_1", "status": "queued"}));
                accepted.steps.insert(0, BodyStep::Wait(std::time::Duration::from_millis(300)));
                accepted
            }
            ("POST", "/v1/batches/batch_1/cancel") => FakeResponse::json(200, batch("completed")),
            ("GET", "/v1/batches/batch_1") => FakeResponse::json(200, batch("completed")),
            (method, path) => FakeResponse::json(404, json!({"error": {"message": format!("no {method} {path}")}})),
        }
    })
    .await
}

fn form(model: &str) -> Form {
    let body = json!({"model": model, "messages": [], "max_tokens": 50});
    let line = json!({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body});
    let file = Part::text(line.to_string()).file_name("requests.jsonl");
    Form::new().text("purpose", "batch").part("file", file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_made_of_a_file_and_settled() {
    let service = fake_batch_provider().await;
    let server = TaskApp::start(&service).await;
    let TaskApp { app, alice, bob, .. } = &server;
    let upload = async |key: &str, form: Form| {
        let (status, _, bytes) = server.request(key, app.client.post(app.url("/v1/files")).multipart(form)).await;
        (status, serde_json::from_slice::<Value>(&bytes).unwrap())
    };
    let (status, file) = upload(alice, form("own/writer")).await;
    let file_id = file["id"].as_str().unwrap().to_owned();
    assert!(status == 200 && file_id.starts_with("file-") && file_id.len() == 37, "{file}");
    let (status, refused) = upload(alice, Form::new().text("purpose", "batch")).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("file")));
    let (status, refused) = upload(alice, form("nobody")).await;
    assert!(status == 400 && refused.to_string().contains("line 1: Model Not Exist"), "{refused}");

    let create = json!({"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    assert_eq!(server.post(bob, "/v1/batches", create.clone()).await.0, 404);
    // Fifty tokens of a cent each are paid for, ten are used.
    let (status, batch) = server.post(alice, "/v1/batches", create.clone()).await;
    let batch_id = batch["id"].as_str().unwrap().to_owned();
    assert!(status == 200 && batch_id.starts_with("batch_") && batch["input_file_id"] == file_id.as_str(), "{batch}");
    server.wait_for_balance(alice, "0.50").await;
    let (status, listed) = server.get(alice, "/v1/batches?limit=5").await;
    assert_eq!((status, &listed["data"][0]["id"], &listed["has_more"]), (200, &json!(batch_id), &json!(false)));
    server.wait_for_balance(alice, "0.90").await;
    let ended = server.get(alice, &format!("/v1/batches/{batch_id}")).await.1;
    let output = ended["output_file_id"].as_str().unwrap();
    let content = server.request(alice, app.client.get(app.url(&format!("/v1/files/{output}/content")))).await;
    assert_eq!(content, (200, "application/octet-stream".into(), b"{\"custom_id\":\"1\"}\n".to_vec()));

    let files = server.get(alice, "/v1/files?purpose=batch&limit=1").await.1;
    assert_eq!((&files["data"][0]["id"], &files["has_more"]), (&json!(file_id), &json!(false)));
    assert_eq!(server.get(bob, "/v1/files").await.1["data"], json!([]));
    for (path, key) in [(format!("/v1/files/{file_id}"), bob), (format!("/v1/batches/{batch_id}"), bob)] {
        assert_eq!(server.get(key, &path).await.0, 404);
    }
    assert_eq!(server.get(alice, "/v1/files?limit=0").await.0, 400);
    let deleted = server.request(alice, app.client.delete(app.url(&format!("/v1/files/{file_id}")))).await;
    assert!(deleted.0 == 200 && String::from_utf8(deleted.2).unwrap().contains("\"deleted\":true"));
    assert_eq!(server.get(alice, &format!("/v1/files/{file_id}")).await.0, 404);
    assert_eq!(server.get(alice, &format!("/v1/batches/{batch_id}")).await.1["input_file_id"], "deleted");
    server.stop_and_report().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_charged_even_if_its_caller_leaves() {
    let service = fake_batch_provider().await;
    let server = TaskApp::start(&service).await;
    let TaskApp { app, alice, .. } = &server;
    let (_, _, bytes) =
        server.request(alice, app.client.post(app.url("/v1/files")).multipart(form("own/writer"))).await;
    let file: Value = serde_json::from_slice(&bytes).unwrap();
    let create = json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let leave = async |path: &str, body: &Value| {
        let request = app.client.post(app.url(path)).bearer_auth(alice).json(body);
        let left = request.timeout(std::time::Duration::from_millis(100)).send().await;
        assert!(left.unwrap_err().is_timeout());
        // The provider has answered.
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    };
    leave("/v1/batches", &create).await;
    server.wait_for_balance(alice, "0.50").await;
    let listed = server.get(alice, "/v1/batches").await.1;
    assert_eq!(listed["data"][0]["status"], "completed", "{listed}");
    server.wait_for_balance(alice, "0.90").await;
    leave("/v1/videos", &json!({"model": "own/sora-2", "prompt": "x", "seconds": "4"})).await;
    server.wait_for_balance(alice, "0.50").await;
    server.stop_and_report().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_files_are_refused_with_the_reason() {
    let app = crate::app::TestApp::start(&[]).await;
    let response = app.client.get(app.url("/v1/files")).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("need the database"));
    app.stop().await;
}
