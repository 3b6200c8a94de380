//! The memory budget of requests in flight, and the refusals beyond it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use gateway::InflightLimits;
use serde_json::{Value, json};
use server::KeyConfig;

use crate::app::{KEY, Setup, TestApp, say_hi};
use crate::client::{Answer, Request};

const MIB: usize = 1 << 20;
const OTHER: &str = "sk-test-0000000000000002";

/// A server of two keys whose requests may hold so many MiB, and those of one key so many.
async fn start(bytes: usize, share: usize) -> TestApp {
    let keys = vec![KeyConfig::new("alice", KEY), KeyConfig::new("bob", OTHER)];
    let limits = InflightLimits { bytes: bytes * MIB, share: share * MIB };
    Setup::strict().config(|config| (config.keys, config.inflight) = (keys.into(), limits)).start().await
}

/// A request with a field of so many bytes that nobody reads.
fn padded(bytes: usize) -> Value {
    say_hi(json!({"pad": "x".repeat(bytes)}))
}

fn gzip(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zipped(app: &TestApp, path: &str, body: &str) -> Request {
    app.request("POST", path).header("content-encoding", "gzip").bytes(gzip(body))
}

fn code(answer: &Answer) -> Value {
    answer.json()["error"]["code"].clone()
}

#[tokio::test]
async fn half_a_million_small_objects_are_refused_before_they_are_in_memory() {
    let app = start(256, 64).await;
    // 5.8 KB that become 3.9 MB, and 250 MB once they are parsed.
    let objects = r#"{"a":1},"#.repeat(490_000);
    let body = format!(r#"{{"model":"deepseek-chat","messages":[],"pad":[{objects}0]}}"#);
    for path in ["/chat/completions", "/completions", "/responses", "/v1/messages", "/v1beta/models/m:generateContent"]
    {
        let at_once = futures_util::future::join_all((0..4).map(|_| zipped(&app, path, &body).send())).await;
        for refused in at_once {
            assert!(matches!(refused.status, 413 | 503 | 529), "{path}: {}", refused.text());
        }
    }
    app.answers(padded(20 * MIB)).await;
}

#[tokio::test]
async fn the_largest_plain_prompt_passes_where_the_server_has_a_gibibyte() {
    let app = start(256, 65).await;
    let text = "A line of text.\n".repeat(30_000_000 / 17);
    let body = say_hi(json!({ "pad": text })).to_string();
    assert!((29_000_000..31_000_000).contains(&body.len()), "{}", body.len());
    for request in [app.post(Value::Null).bytes(body.clone()), zipped(&app, "/chat/completions", &body)] {
        assert_eq!(request.send().await.status, 200);
    }
    assert_eq!(app.post(Value::Null).bytes(body).send_chunked().await.status, 200);
}

#[tokio::test]
async fn a_request_beyond_its_share_is_413_whatever_becomes_large() {
    let app = start(16, 4).await;
    // Announced, and never sent.
    let announced =
        app.post(json!({})).header("content-length", &(5 * MIB).to_string()).open_announced().await.answer().await;
    assert_eq!((announced.status, code(&announced)), (413, json!("memory_share_exceeded")));
    let chunked = app.post(padded(5 * MIB)).send_chunked().await;
    assert_eq!((chunked.status, code(&chunked)), (413, json!("memory_share_exceeded")));
    let inflated = zipped(&app, "/chat/completions", &padded(5 * MIB).to_string()).send().await;
    assert_eq!((inflated.status, code(&inflated)), (413, json!("memory_share_exceeded")));
    let parsed = app.post(say_hi(json!({"pad": vec![0; 200_000]}))).send().await;
    assert_eq!((parsed.status, code(&parsed)), (413, json!("memory_share_exceeded")));
    assert!(parsed.header("retry-after").is_none(), "the same request will not fit later");
    app.answers(padded(MIB)).await;
}

#[tokio::test]
async fn what_a_key_holds_leaves_less_for_its_other_requests_and_none_for_nobody() {
    let app = start(16, 4).await;
    // The provider keeps the chat.
    let keeps =
        |text: usize| json!({"model": "deepseek-chat", "messages": [{"role": "user", "content": "x".repeat(text)}]});
    let kept = say_hi(json!({"user": "x".repeat(1_900_000)}));
    app.answers(kept).await;
    let refused = app.post(keeps(1_500_000)).send().await;
    assert_eq!((refused.status, code(&refused)), (503, json!("memory_full")), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("5"));
    let other = |body: Value| app.post(body).header("authorization", &format!("Bearer {OTHER}"));
    assert_eq!(other(padded(1_500_000)).send().await.status, 200);
    app.answers(say_hi(json!({}))).await;
    app.provider.seen.lock().unwrap().clear();
    app.answers(padded(1_500_000)).await;
}

#[tokio::test]
async fn bodies_that_never_end_hold_only_what_has_come_of_them() {
    let app = start(16, 4).await;
    let mut halves = Vec::new();
    for _ in 0..20 {
        let request = app.post(json!({})).header("content-length", &(3 * MIB).to_string());
        halves.push(request.open_announced().await);
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    app.answers(padded(MIB)).await;
    drop(halves);
}

#[tokio::test]
async fn a_whole_answer_counts_too() {
    use crate::provider::{ends, text};
    let words = (0..6).map(|_| text(&"x".repeat(MIB)));
    let keys = vec![KeyConfig::new("alice", KEY)];
    let limits = InflightLimits { bytes: 16 * MIB, share: 4 * MIB };
    let setup = Setup::strict().config(|config| (config.keys, config.inflight) = (keys.into(), limits));
    let app = setup.script(words.chain(ends(chat::FinishReason::Stop, Default::default()))).start().await;
    let whole = app.post(say_hi(json!({}))).send().await;
    assert_eq!((whole.status, code(&whole)), (503, json!("memory_share_exceeded")), "{}", whole.text());
    let stream = app.post(say_hi(json!({"stream": true}))).send().await;
    assert!(stream.text().ends_with("data: [DONE]\n\n"), "what passes is not kept");
    // This surface repeats all of it at the end.
    let kept = json!({"model": "deepseek-chat", "input": "Say hi", "stream": true});
    let kept = app.request("POST", "/responses").json(kept).send().await;
    assert!(kept.text().contains("larger than the memory"), "{:.300}", kept.text());
}
