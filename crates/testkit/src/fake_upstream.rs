//! [`FakeUpstream`]: a provider on a loopback port with scripted answers, among them pauses,
//! unusual framing and broken connections.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request that the provider has received.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub method: String,
    pub path: String,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A step of an answer's body.
#[derive(Clone, Debug)]
pub enum BodyStep {
    Send(Vec<u8>),
    Wait(Duration),
    /// Sends these bytes repeatedly, until the client disconnects.
    Repeat(Vec<u8>),
    /// Breaks the connection.
    Disconnect,
}

/// An answer of the provider.
#[derive(Clone, Debug)]
pub struct FakeResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub steps: Vec<BodyStep>,
}

impl FakeResponse {
    /// A JSON body.
    pub fn json(status: u16, body: Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Self { status, headers, steps: vec![BodyStep::Send(body.to_string().into_bytes())] }
    }

    /// A stream of events, each sent as a chunk of its own.
    pub fn events<T: AsRef<str>>(events: impl IntoIterator<Item = T>) -> Self {
        let send = |event: T| BodyStep::Send(format!("data: {}\n\n", event.as_ref()).into_bytes());
        Self::stream(events.into_iter().map(send))
    }

    /// An event stream of these steps.
    pub fn stream(steps: impl IntoIterator<Item = BodyStep>) -> Self {
        let headers = vec![("content-type".into(), "text/event-stream".into())];
        Self { status: 200, headers, steps: steps.into_iter().collect() }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A stream of chat completion chunks, one for each word, and the usage at the end:
    /// `prompt_tokens`, and a token for each word.
    pub fn chat_stream(words: &[&str], prompt_tokens: u64) -> Self {
        let chunk = |delta: Value, finish: Value| {
            let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
            json!({"id": "up_1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [choice]})
                .to_string()
        };
        let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
        events.extend(words.iter().map(|word| chunk(json!({"content": word}), Value::Null)));
        events.push(chunk(json!({}), "stop".into()));
        let usage = json!({"prompt_tokens": prompt_tokens, "completion_tokens": words.len(), "total_tokens": prompt_tokens + words.len() as u64});
        events.push(json!({"id": "up_1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [], "usage": usage}).to_string());
        events.push("[DONE]".into());
        Self::events(events)
    }
}

type Script = dyn Fn(&ReceivedRequest) -> FakeResponse + Send + Sync;

struct Inner {
    script: Box<Script>,
    requests: Mutex<Vec<ReceivedRequest>>,
    active_responses: AtomicUsize,
}

/// A fake provider. Dropping it closes its port.
pub struct FakeUpstream {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

impl FakeUpstream {
    /// Starts a provider that answers each request with what `script` returns.
    pub async fn start(script: impl Fn(&ReceivedRequest) -> FakeResponse + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let inner = Arc::new(Inner {
            script: Box::new(script),
            requests: Mutex::default(),
            active_responses: AtomicUsize::new(0),
        });
        let router = Router::new().fallback(respond).with_state(inner.clone());
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a loopback server runs");
        });
        Self { address, inner, serving }
    }

    /// The base URL that an operator would configure.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.inner.requests.lock().clone()
    }

    /// The number of answers that have neither ended nor been cancelled.
    pub fn active_responses(&self) -> usize {
        self.inner.active_responses.load(Ordering::SeqCst)
    }
}

impl Drop for FakeUpstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Counts an answer as active until it is dropped.
struct ActiveResponseGuard(Arc<Inner>);

impl Drop for ActiveResponseGuard {
    fn drop(&mut self) {
        self.0.active_responses.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn respond(State(inner): State<Arc<Inner>>, request: axum::extract::Request) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let received = ReceivedRequest {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: to_bytes(body, 64 << 20).await.expect("a body within bounds").to_vec(),
    };
    let answer = (inner.script)(&received);
    inner.requests.lock().push(received);
    inner.active_responses.fetch_add(1, Ordering::SeqCst);
    let state = (VecDeque::from(answer.steps), ActiveResponseGuard(inner));
    let body = stream::unfold(state, |(mut steps, active)| async move {
        loop {
            match steps.pop_front()? {
                BodyStep::Send(bytes) => return Some((Ok(bytes), (steps, active))),
                BodyStep::Wait(time) => tokio::time::sleep(time).await,
                BodyStep::Repeat(bytes) => {
                    steps.push_front(BodyStep::Repeat(bytes.clone()));
                    return Some((Ok(bytes), (steps, active)));
                }
                BodyStep::Disconnect => {
                    return Some((Err(std::io::Error::other("broken on purpose")), (steps, active)));
                }
            }
        }
    });
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Body::from_stream(body)).expect("headers that can be sent"))
}
