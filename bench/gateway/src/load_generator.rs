//! The client side of a measurement: requests and their bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::Client;
use serde_json::{Value, json};

/// A server under measurement.
pub struct Target {
    pub name: &'static str,
    pub url: String,
    /// The process whose CPU time is measured.
    pub pid: Option<u32>,
}

/// A client that sends many requests.
pub struct LoadGenerator {
    client: Client,
    key: String,
}

impl LoadGenerator {
    pub fn new(key: String) -> Arc<Self> {
        let client = Client::builder().no_proxy().pool_max_idle_per_host(512).build().expect("a client");
        Arc::new(Self { client, key })
    }

    async fn post(&self, target: &Target, body: Bytes) -> reqwest::Response {
        let request = self.client.post(&target.url).header("content-type", "application/json");
        let response = request.header("authorization", format!("Bearer {}", self.key)).body(body).send().await;
        let response = response.expect("a response");
        assert!(response.status().is_success(), "{}: {}", target.name, response.status());
        response
    }

    /// Sends `requests` requests over `connections`; returns the seconds of each.
    pub async fn complete_requests(
        self: &Arc<Self>,
        target: &Arc<Target>,
        body: &Bytes,
        connections: usize,
        requests: usize,
    ) -> Vec<f64> {
        let left = Arc::new(AtomicUsize::new(requests));
        let workers = (0..connections).map(|_| {
            let (generator, target, body, left) = (self.clone(), target.clone(), body.clone(), left.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let started = Instant::now();
                    generator.post(&target, body.clone()).await.bytes().await.expect("a body");
                    times.push(started.elapsed().as_secs_f64());
                }
                times
            })
        });
        let mut times = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            times.extend(worker.await.expect("it ends"));
        }
        times
    }

    /// Reads `streams` streams at the same time; returns the seconds to the first byte of each, and
    /// the number of chunks of all.
    pub async fn stream_requests(
        self: &Arc<Self>,
        target: &Arc<Target>,
        body: &Bytes,
        streams: usize,
    ) -> (Vec<f64>, usize) {
        let end = if target.url.contains("/v1beta/") { "\"finishReason\":\"STOP\"" } else { "data: [DONE]\n\n" };
        let workers = (0..streams).map(|_| {
            let (generator, target, body) = (self.clone(), target.clone(), body.clone());
            tokio::spawn(async move {
                let started = Instant::now();
                let mut bytes = generator.post(&target, body).await.bytes_stream();
                let mut first = None;
                let mut text = Vec::new();
                while let Some(more) = bytes.next().await {
                    first.get_or_insert_with(|| started.elapsed().as_secs_f64());
                    text.extend_from_slice(&more.expect("bytes"));
                }
                let text = String::from_utf8(text).expect("text");
                let last = text.trim_end().rfind("data: ").expect("an event");
                assert!(text[last..].contains(end), "a stream without its end");
                (first.expect("a byte"), text.matches("word ").count())
            })
        });
        let mut times = Vec::new();
        let mut chunks = 0;
        for worker in workers.collect::<Vec<_>>() {
            let (first, received) = worker.await.expect("it ends");
            times.push(first);
            chunks += received;
        }
        (times, chunks)
    }
}

/// A chat in the dialect of the provider, with the fields `more`.
pub fn chat_body(more: Value, text: &str) -> Bytes {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    for (key, value) in more.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body.to_string().into()
}

/// A chat in Gemini's dialect. The provider has another one, so that cachalot converts the request
/// and the response.
pub fn gemini_request(chunks: usize, pause_us: usize) -> Bytes {
    let config = json!({"maxOutputTokens": chunks, "seed": pause_us});
    json!({"contents": [{"parts": [{"text": "Say hi"}]}], "generationConfig": config}).to_string().into()
}
