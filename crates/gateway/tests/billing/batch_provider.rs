//! A provider of files and batches, and requests to it.

use std::sync::Arc;

use bytes::Bytes;
use chat::Error;
use gateway::{Caller, FileUpload, TaskReply};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse, ReceivedRequest};

use crate::fixture::GatewayFixture;

/// The only batch of the provider, and its output.
#[derive(Default)]
struct ProviderState {
    batch: Value,
    output: Option<String>,
}

/// A provider that calls every batch `batch_theirs`, and files for the model `m` `file-input`.
pub(crate) struct BatchProvider {
    pub(crate) fake: FakeUpstream,
    state: Arc<Mutex<ProviderState>>,
}

impl BatchProvider {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(ProviderState { batch: json!({"status": "in_progress"}), output: None }));
        let shared = state.clone();
        let fake = FakeUpstream::start(move |request| answer(request, &shared.lock())).await;
        Self { fake, state }
    }

    /// Sets what the provider says of the batch beside its ids.
    pub(crate) fn set_batch(&self, batch: Value) {
        self.state.lock().batch = batch;
    }

    /// Sets the lines of the output file; without one it is missing.
    pub(crate) fn set_output(&self, lines: &[Value]) {
        self.state.lock().output = Some(lines.iter().map(|line| format!("{line}\n")).collect());
    }

    /// The paths that were requested with this method.
    pub(crate) fn paths(&self, method: &str) -> Vec<String> {
        let requests = self.fake.requests();
        requests.into_iter().filter(|request| request.method == method).map(|request| request.path).collect()
    }
}

fn answer(request: &ReceivedRequest, state: &ProviderState) -> FakeResponse {
    let mut batch = state.batch.clone();
    batch["id"] = json!("batch_theirs");
    batch["object"] = json!("batch");
    batch["input_file_id"] = json!("file-input");
    let missing = || FakeResponse::json(404, json!({"error": {"message": "No such File object"}}));
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/v1/files") => {
            let content = String::from_utf8_lossy(&request.body);
            let other = ["unpriced", "limited", "vision"].into_iter().find(|word| content.contains(word));
            let id = format!("file-{}", other.unwrap_or("input"));
            FakeResponse::json(200, json!({"id": id, "object": "file", "bytes": 12, "status": "processed"}))
        }
        ("GET", "/v1/files/file-input") => FakeResponse::json(200, json!({"id": "file-input", "object": "file"})),
        ("GET", "/v1/files/file-output") => FakeResponse::json(
            200,
            json!({"id": "file-output", "bytes": 77, "filename": "out.jsonl", "purpose": "batch_output"}),
        ),
        ("GET", "/v1/files/file-output/content") => match &state.output {
            // The lines arrive in pieces.
            Some(output) => FakeResponse {
                status: 200,
                headers: vec![("content-type".into(), "text/html".into())],
                steps: output.as_bytes().chunks(7).map(|piece| BodyStep::Send(piece.to_vec())).collect(),
            },
            None => missing(),
        },
        ("DELETE", "/v1/files/file-input") => FakeResponse::json(200, json!({"id": "file-input", "deleted": true})),
        ("POST", "/v1/batches") => {
            batch["status"] = json!("validating");
            FakeResponse::json(200, batch)
        }
        (_, "/v1/batches/batch_theirs" | "/v1/batches/batch_theirs/cancel") => FakeResponse::json(200, batch),
        _ => missing(),
    }
}

/// A line of an input file.
pub(crate) fn line(number: usize, body: &Value) -> String {
    let line = json!({"custom_id": number.to_string(), "method": "POST", "url": "/v1/chat/completions", "body": body});
    format!("{line}\n")
}

/// A line of an output file with this usage; null for a failure.
pub(crate) fn output(usage: Value) -> Value {
    match usage {
        Value::Null => json!({"custom_id": "1", "response": {"status_code": 500, "body": {"error": {}}}}),
        usage => json!({"custom_id": "1", "response": {"status_code": 200, "body": {"choices": [], "usage": usage}}}),
    }
}

pub(crate) fn upload(purpose: &str, content: &str, provider: Option<&str>) -> FileUpload {
    let form = format!(
        "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--x\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{content}\r\n--x--\r\n"
    );
    let content_type = HeaderValue::from_static("multipart/form-data; boundary=x");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
    FileUpload { headers, body: form.into(), provider: provider.map(str::to_owned) }
}

fn json_of(reply: Result<TaskReply, Error>) -> Result<Value, Error> {
    reply.map(|reply| serde_json::from_slice(&reply.bytes).unwrap())
}

impl GatewayFixture {
    /// Uploads a file for batches. Returns its id.
    pub(crate) async fn upload_lines(&self, lines: &[String]) -> Result<String, Error> {
        let created = self.gateway.create_file(&self.alice, upload("batch", &lines.concat(), None)).await?;
        let file: Value = serde_json::from_slice(&created.reply.bytes).unwrap();
        Ok(file["id"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn create_batch(&self, caller: &Caller, file: &str, endpoint: &str) -> Result<Value, Error> {
        let body =
            json!({"input_file_id": file, "endpoint": endpoint, "completion_window": "24h", "metadata": {"a": file}});
        json_of(self.gateway.create_batch(caller, &Bytes::from(body.to_string())).await)
    }

    /// Uploads lines and makes a batch of them. Returns its id.
    pub(crate) async fn submit_lines(&self, lines: &[String]) -> Result<String, Error> {
        let file = self.upload_lines(lines).await?;
        let batch = self.create_batch(&self.alice, &file, "/v1/chat/completions").await?;
        Ok(batch["id"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn batch(&self, id: &str) -> Result<Value, Error> {
        json_of(self.gateway.batch(&self.alice, id).await)
    }

    pub(crate) async fn cancel_batch(&self, id: &str) -> Result<Value, Error> {
        json_of(self.gateway.cancel_batch(&self.alice, id).await)
    }

    pub(crate) async fn file(&self, id: &str) -> Result<Value, Error> {
        json_of(self.gateway.file(&self.alice, id).await)
    }
}
