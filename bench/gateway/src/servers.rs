//! The fake provider and the two pass-through proxies that cachalot is compared with.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Uri;
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use reqwest::Client;
use serde_json::json;
use tokio::net::TcpListener;

/// Binds a port and prints its address as the first line of the output.
async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    listener
}

fn chunk(content: &str, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": {"content": content}, "logprobs": null, "finish_reason": finish});
    format!(
        "data: {}\n\n",
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
    )
}

/// A fake provider. `max_tokens` is the number of chunks that it streams, `seed` the pause before
/// each in microseconds.
pub async fn provider() {
    let respond = async |request: Request| {
        let bytes = to_bytes(request.into_body(), 64 << 20).await.expect("a body");
        // The parameters are at the end of the body, so that a large body is not parsed.
        let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(300)..]).into_owned();
        let number = |key: &str| {
            let rest = &tail[tail.find(key)? + key.len()..];
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        if !tail.contains("\"stream\":true") {
            let body = json!({"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant",
                "content": "Hello there."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}});
            return Response::builder()
                .header("content-type", "application/json")
                .body(Body::from(body.to_string()))
                .expect("a response");
        }
        let chunks = number("\"max_tokens\":").unwrap_or(20);
        let pause = Duration::from_micros(number("\"seed\":").unwrap_or(0));
        let events = stream::iter(0..chunks).then(move |_| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            Ok::<_, Infallible>(Bytes::from(chunk("word ", None)))
        });
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": chunks}});
        let last = format!("{}data: {usage}\n\ndata: [DONE]\n\n", chunk("", Some("stop")));
        let body = Body::from_stream(events.chain(stream::iter([Ok(Bytes::from(last))])));
        Response::builder().header("content-type", "text/event-stream").body(body).expect("a response")
    };
    serve(listen().await, Router::new().fallback(respond)).await;
}

async fn serve(listener: TcpListener, router: Router) {
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|socket| socket.set_nodelay(true).expect("TCP_NODELAY"));
    axum::serve(listener, router).await.expect("a server");
}

/// The baseline: reads a body, forwards it by reqwest, and streams the response back.
pub async fn baseline(upstream: String) {
    let client = Client::builder().no_proxy().build().expect("a client");
    let forward = async |State((client, upstream)): State<(Client, String)>, request: Request| {
        let bytes = to_bytes(request.into_body(), 64 << 20).await.expect("a body");
        let sent = client.post(upstream).header("content-type", "application/json").body(bytes).send().await;
        let response = sent.expect("the provider responds");
        let content_type = response.headers()["content-type"].clone();
        Response::builder()
            .header("content-type", content_type)
            .body(Body::from_stream(response.bytes_stream()))
            .expect("a response")
    };
    let router = Router::new().fallback(forward).with_state((client, format!("http://{upstream}/v1/chat/completions")));
    serve(listen().await, router).await;
}

/// A baseline with hyper's own client, as cachalot has it.
pub async fn baseline_hyper(upstream: String) {
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let forward = async |State((client, upstream)): State<(_, Uri)>, request: Request| {
        let client: hyper_util::client::legacy::Client<_, Full<Bytes>> = client;
        let bytes = to_bytes(request.into_body(), 64 << 20).await.expect("a body");
        let sent = Request::post(upstream).header("content-type", "application/json").body(Full::new(bytes));
        let response = client.request(sent.expect("a request")).await.expect("the provider responds");
        let content_type = response.headers()["content-type"].clone();
        Response::builder()
            .header("content-type", content_type)
            .body(Body::new(response.into_body()))
            .expect("a response")
    };
    let upstream: Uri = format!("http://{upstream}/v1/chat/completions").parse().expect("an address");
    serve(listen().await, Router::new().fallback(forward).with_state((client, upstream))).await;
}
