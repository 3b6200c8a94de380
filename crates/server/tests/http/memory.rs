//! The memory budget of requests in flight, and the refusals beyond it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use gateway::InflightLimits;
use serde_json::{Value, json};
use server::KeyConfig;

use crate::app::{KEY, TestApp, TestAppBuilder, chat_request};
use crate::client::{Request, Response};

const MIB: usize = 1 << 20;
const OTHER_KEY: &str = "sk-test-0000000000000002";

/// A server with two keys. All requests may hold `bytes` MiB, those of one key `share` MiB.
async fn start_with_limits(bytes: usize, share: usize) -> TestApp {
    let keys = vec![KeyConfig::new("alice", KEY), KeyConfig::new("bob", OTHER_KEY)];
    let limits = InflightLimits { bytes: bytes * MIB, share: share * MIB };
    TestAppBuilder::deepseek_profile()
        .config(|config| (config.keys, config.inflight) = (keys.into(), limits))
        .start()
        .await
}

/// A request with an unknown field of `bytes` bytes.
fn padded_request(bytes: usize) -> Value {
    chat_request(json!({"pad": "x".repeat(bytes)}))
}

fn gzip(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn gzip_request(app: &TestApp, path: &str, body: &str) -> Request {
    app.request("POST", path).header("content-encoding", "gzip").bytes(gzip(body))
}

fn error_code(answer: &Response) -> Value {
    answer.json()["error"]["code"].clone()
}

#[tokio::test]
async fn half_a_million_small_objects_are_refused_before_they_are_in_memory() {
    let app = start_with_limits(256, 64).await;
    // 5.8 KB that become 3.9 MB, and 250 MB once they are parsed.
    let objects = r#"{"a":1},"#.repeat(490_000);
    let body = format!(r#"{{"model":"deepseek-chat","messages":[],"pad":[{objects}0]}}"#);
    for path in ["/chat/completions", "/completions", "/responses", "/v1/messages", "/v1beta/models/m:generateContent"]
    {
        let at_once = futures_util::future::join_all((0..4).map(|_| gzip_request(&app, path, &body).send())).await;
        for refused in at_once {
            assert!(matches!(refused.status, 413 | 503 | 529), "{path}: {}", refused.text());
        }
    }
    app.assert_answered(padded_request(20 * MIB)).await;
}

#[tokio::test]
async fn the_largest_plain_prompt_passes_where_the_server_has_a_gibibyte() {
    let app = start_with_limits(256, 65).await;
    let text = "A line of text.\n".repeat(30_000_000 / 17);
    let body = chat_request(json!({ "pad": text })).to_string();
    assert!((29_000_000..31_000_000).contains(&body.len()), "{}", body.len());
    for request in [app.post(Value::Null).bytes(body.clone()), gzip_request(&app, "/chat/completions", &body)] {
        assert_eq!(request.send().await.status, 200);
    }
    assert_eq!(app.post(Value::Null).bytes(body).send_chunked().await.status, 200);
}

#[tokio::test]
async fn a_request_beyond_its_share_is_413_in_every_form() {
    let app = start_with_limits(16, 4).await;
    // Announced, and never sent.
    let announced = app
        .post(json!({}))
        .header("content-length", &(5 * MIB).to_string())
        .connect_head_only()
        .await
        .read_response()
        .await;
    assert_eq!((announced.status, error_code(&announced)), (413, json!("memory_share_exceeded")));
    let chunked = app.post(padded_request(5 * MIB)).send_chunked().await;
    assert_eq!((chunked.status, error_code(&chunked)), (413, json!("memory_share_exceeded")));
    let inflated = gzip_request(&app, "/chat/completions", &padded_request(5 * MIB).to_string()).send().await;
    assert_eq!((inflated.status, error_code(&inflated)), (413, json!("memory_share_exceeded")));
    let parsed = app.post(chat_request(json!({"pad": vec![0; 200_000]}))).send().await;
    assert_eq!((parsed.status, error_code(&parsed)), (413, json!("memory_share_exceeded")));
    assert!(parsed.header("retry-after").is_none(), "the same request will not fit later");
    app.assert_answered(padded_request(MIB)).await;
}

#[tokio::test]
async fn memory_held_by_a_key_limits_its_own_requests_but_not_those_of_others() {
    let app = start_with_limits(16, 4).await;
    // The provider keeps the chats.
    let large_chat =
        |text: usize| json!({"model": "deepseek-chat", "messages": [{"role": "user", "content": "x".repeat(text)}]});
    let kept = chat_request(json!({"user": "x".repeat(1_900_000)}));
    app.assert_answered(kept).await;
    let refused = app.post(large_chat(1_500_000)).send().await;
    assert_eq!((refused.status, error_code(&refused)), (503, json!("memory_full")), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("5"));
    let other = |body: Value| app.post(body).header("authorization", &format!("Bearer {OTHER_KEY}"));
    assert_eq!(other(padded_request(1_500_000)).send().await.status, 200);
    app.assert_answered(chat_request(json!({}))).await;
    app.provider.received.lock().unwrap().clear();
    app.assert_answered(padded_request(1_500_000)).await;
}

#[tokio::test]
async fn bodies_that_never_end_hold_only_their_received_bytes() {
    let app = start_with_limits(16, 4).await;
    let mut halves = Vec::new();
    for _ in 0..20 {
        let request = app.post(json!({})).header("content-length", &(3 * MIB).to_string());
        halves.push(request.connect_head_only().await);
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    app.assert_answered(padded_request(MIB)).await;
    drop(halves);
}

#[tokio::test]
async fn answers_count_too() {
    use crate::scripted_provider::{finish_and_usage, text_delta};
    let words = (0..6).map(|_| text_delta(&"x".repeat(MIB)));
    let keys = vec![KeyConfig::new("alice", KEY)];
    let limits = InflightLimits { bytes: 16 * MIB, share: 4 * MIB };
    let builder =
        TestAppBuilder::deepseek_profile().config(|config| (config.keys, config.inflight) = (keys.into(), limits));
    let app = builder.script(words.chain(finish_and_usage(chat::FinishReason::Stop, Default::default()))).start().await;
    let whole = app.post(chat_request(json!({}))).send().await;
    assert_eq!((whole.status, error_code(&whole)), (503, json!("memory_share_exceeded")), "{}", whole.text());
    let stream = app.post(chat_request(json!({"stream": true}))).send().await;
    assert!(stream.text().ends_with("data: [DONE]\n\n"), "a streamed answer is not kept");
    // The Responses API repeats the whole answer at the end.
    let kept = json!({"model": "deepseek-chat", "input": "Say hi", "stream": true});
    let kept = app.request("POST", "/responses").json(kept).send().await;
    assert!(kept.text().contains("larger than the memory"), "{:.300}", kept.text());
}
