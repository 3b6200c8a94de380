//! Bodies and headers of every size are answered instead of reset. `case_NN`: see conformance.rs.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{TestAppBuilder, chat_request};

const LIMIT: usize = 32 << 20;

/// A request of exactly `bytes` bytes.
fn request_of_size(bytes: usize) -> String {
    let empty = chat_request(json!({"pad": ""})).to_string();
    chat_request(json!({"pad": "x".repeat(bytes - empty.len())})).to_string()
}

#[tokio::test]
async fn case_26_a_body_above_the_limit_is_refused_and_the_refusal_arrives() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let error = json!({"error": {"message": "Request body too large: the limit is 33554432 bytes",
        "type": "invalid_request_error", "param": null, "code": "request_too_large"}});
    let request = app.request("POST", "/chat/completions").bytes(request_of_size(33 << 20));
    let declared = request.clone().send().await;
    assert_eq!((declared.status, declared.json(), declared.request_sent), (413, error.clone(), true));
    let chunked = request.send_chunked().await;
    assert_eq!((chunked.status, chunked.json(), chunked.request_sent), (413, error, true));
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let request = app.request("POST", "/chat/completions").bytes(request_of_size(LIMIT));
    assert_eq!(request.clone().send().await.status, 200);
    assert_eq!(request.send_chunked().await.status, 200);
}

#[tokio::test]
async fn a_refusal_arrives_although_the_body_is_not_read() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let body = request_of_size(LIMIT);
    let unauthorized = app.request("POST", "/chat/completions").header("authorization", "Bearer nope");
    let unauthorized = unauthorized.bytes(body.clone()).send().await;
    assert_eq!((unauthorized.status, unauthorized.request_sent), (401, true));
    let unknown = app.request("POST", "/nope").bytes(body).send().await;
    assert_eq!((unknown.status, unknown.request_sent), (404, true));
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_refused_at_once() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let huge = app.request("POST", "/chat/completions").header("expect", "100-continue");
    // The body is announced and never sent, because the refusal comes first.
    let mut connection = huge.header("content-length", &(LIMIT + 1).to_string()).connect_head_only().await;
    assert_eq!(connection.read_response().await.status, 413);
}

#[tokio::test]
async fn gzip_bodies_are_read_and_bombs_are_refused() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let gzip = |body: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let request = app.request("POST", "/chat/completions").header("content-encoding", "gzip");
    assert_eq!(request.clone().bytes(gzip(&request_of_size(1 << 20))).send().await.status, 200);
    assert_eq!(request.clone().bytes(gzip(&request_of_size(LIMIT + 1))).send().await.status, 413);
    assert_eq!(request.bytes("{}").send().await.status, 400);
    let brotli = app.post(chat_request(json!({}))).header("content-encoding", "br").send().await;
    assert_eq!(brotli.status, 415);
}

#[tokio::test]
async fn headers_above_their_limit_are_refused() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let with = |bytes: usize| app.post(chat_request(json!({}))).header("x-padding", &"x".repeat(bytes));
    assert_eq!(with(60 << 10).send().await.status, 200);
    let large = with(66 << 10).send().await;
    assert_eq!((large.status, &large.json()["error"]["code"]), (431, &json!("headers_too_large")));
    // Header size comes before the credential in the order of checks.
    assert_eq!(with(66 << 10).header("authorization", "").send().await.status, 431);
    assert_eq!(with(200 << 10).send().await.status, 431);
}

#[tokio::test]
async fn the_first_failed_check_decides_the_response() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let too_large = (LIMIT + 1).to_string();
    let post = |path| app.request("POST", path).header("content-type", "text/plain");
    let announced = |request: crate::client::Request| async move {
        let request = request.header("content-length", &too_large).header("expect", "100-continue");
        request.connect_head_only().await.read_response().await.status
    };
    assert_eq!(announced.clone()(post("/nope").header("authorization", "")).await, 404);
    assert_eq!(announced.clone()(post("/chat/completions").header("authorization", "")).await, 401);
    assert_eq!(announced(post("/chat/completions")).await, 413);
    assert_eq!(post("/chat/completions").bytes("{").send().await.status, 415);
    let two = chat_request(json!({"model": "nope", "temperature": "hot"}));
    assert!(app.post(two).send().await.message().contains("temperature: invalid type"));
    let two = chat_request(json!({"model": "nope", "temperature": 9}));
    assert_eq!(app.post(two).send().await.message(), "Model Not Exist");
}

#[tokio::test]
async fn a_silent_client_is_disconnected() {
    let read_timeout = Duration::from_millis(100);
    let app = TestAppBuilder::deepseek_profile().config(|config| config.read_timeout = read_timeout).start().await;
    for prefix in ["", "PRI * HT", "POST /chat/completions HTTP/1.1\r\nhost: x\r\n"] {
        let mut socket = TcpStream::connect(app.addr).await.unwrap();
        socket.write_all(prefix.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(20 * read_timeout, socket.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{prefix:?}");
    }
    let half = app
        .post(chat_request(json!({})))
        .header("content-length", "1000")
        .connect_head_only()
        .await
        .read_response()
        .await;
    assert_eq!((half.status, half.message().as_str()), (400, "The request body did not arrive in time"));
}
