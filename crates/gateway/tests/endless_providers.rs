//! Providers whose answers never end: the gateway closes the connection, counts a failure, and
//! bounds its memory.
#![forbid(unsafe_code)]

#[path = "common/upstream.rs"]
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use chat::{Chat, Error, ErrorKind, Input, Message, Reply, Role, fold};
use futures_util::StreamExt;
use gateway::{Caller, Gateway, RawRequest, Router, RoutingPreference};
use testkit::FakeUpstream;
use testkit::fake_upstream::{BodyStep, FakeResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::passthrough::ApiEndpoint;
use wire::provider_limits::PROVIDER_LIMIT_EXCEEDED;
use wire::upstream::Dialect;

use crate::upstream::upstream;

const PRIMARY: RoutingPreference = RoutingPreference { priority: 0, weight: 1 };
const FALLBACK: RoutingPreference = RoutingPreference { priority: 1, weight: 1 };

fn gateway(fakes: &[(&str, &FakeUpstream, RoutingPreference)], dialect: Dialect) -> Gateway {
    let mut router = Router::default();
    for (name, fake, preference) in fakes {
        router.add_upstream(&upstream(name, fake.base_url(), dialect), &["m".into()], *preference);
    }
    Gateway::new(router, Arc::default())
}

async fn send_chat(gateway: &Gateway) -> Result<Reply, Error> {
    let input = Input::Messages(vec![Message::new(Role::User, "hi")]);
    let chat = Chat { model: "m".into(), input, ..Chat::default() };
    fold(gateway.answer(&Caller::default(), chat).await?.collect::<Vec<_>>().await)
}

/// The number of forwarded bytes, and the error that ended the answer.
async fn pass_through(gateway: &Gateway, endpoint: ApiEndpoint, stream: bool) -> (usize, Option<Error>) {
    let body = format!(r#"{{"model":"m","messages":[],"stream":{stream}}}"#).into();
    let raw_request = RawRequest::new(endpoint, &body);
    let request = gateway.passthrough(&Caller::default(), raw_request).await.unwrap().unwrap();
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return (0, Some(error)),
    };
    if !stream {
        return (response.into_whole().0.len(), None);
    }
    let (mut forwarded, mut failure) = (0, None);
    while let Some(item) = response.next().await {
        match item {
            Ok(bytes) => forwarded += bytes.len(),
            Err(error) => failure = Some(error),
        }
    }
    (forwarded, failure)
}

/// A provider whose answer begins with `start` and then repeats `piece` without end.
async fn endless_provider(start: &'static str, piece: &'static str) -> FakeUpstream {
    let steps = [BodyStep::Send(start.into()), BodyStep::Repeat(piece.repeat((32 << 10) / piece.len()).into())];
    FakeUpstream::start(move |_| FakeResponse::stream(steps.clone())).await
}

async fn good_provider() -> FakeUpstream {
    FakeUpstream::start(|_| FakeResponse::chat_stream(&["ok"], 7)).await
}

/// Waits until the gateway has closed its connection to the provider.
async fn wait_until_dropped(fake: &FakeUpstream) {
    for _ in 0..200 {
        if fake.active_responses() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("its connection is still open");
}

fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

const CONTENT_EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
/// Chunks that a provider repeats without end.
const ENDLESS_PIECES: [&str; 6] =
    ["x", "data: xxxxxxxxxxxxxxxx\n", ": keep-alive\n\n", "\n", "event: x\n\n", "id: 1\n"];

#[tokio::test]
async fn an_endless_answer_without_a_token_fails_over() {
    for piece in ENDLESS_PIECES {
        let (bad, good) = (endless_provider("", piece).await, good_provider().await);
        let gateway = gateway(&[("bad", &bad, PRIMARY), ("good", &good, FALLBACK)], Dialect::DeepSeek);
        assert_eq!(send_chat(&gateway).await.unwrap().text, "ok", "{piece:?}");
        wait_until_dropped(&bad).await;
        // The failed provider is avoided for a while.
        assert_eq!(send_chat(&gateway).await.unwrap().text, "ok", "{piece:?}");
        assert_eq!(bad.requests().len(), 1, "{piece:?}");
    }
    assert!(peak_memory() < 700 << 20, "{} MiB", peak_memory() >> 20);
}

#[tokio::test]
async fn an_endless_answer_after_a_token_ends_in_an_error_and_counts_as_a_failure() {
    for piece in ENDLESS_PIECES {
        let (bad, good) = (endless_provider(CONTENT_EVENT, piece).await, good_provider().await);
        let gateway = gateway(&[("bad", &bad, PRIMARY), ("good", &good, FALLBACK)], Dialect::DeepSeek);
        let error = send_chat(&gateway).await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Upstream(502), Some(PROVIDER_LIMIT_EXCEEDED)), "{piece:?}");
        wait_until_dropped(&bad).await;
        assert_eq!(send_chat(&gateway).await.unwrap().text, "ok", "{piece:?}");
    }
    assert!(peak_memory() < 700 << 20, "{} MiB", peak_memory() >> 20);
}

#[tokio::test]
async fn endless_passthrough_answers_are_limited() {
    for (start, piece) in ENDLESS_PIECES
        .iter()
        .map(|piece| ("", *piece))
        .chain(ENDLESS_PIECES.iter().map(|piece| (CONTENT_EVENT, *piece)))
    {
        let (bad, good) = (endless_provider(start, piece).await, good_provider().await);
        let gateway = gateway(&[("bad", &bad, PRIMARY), ("good", &good, FALLBACK)], Dialect::OpenAi);
        let (_, failure) = pass_through(&gateway, ApiEndpoint::ChatCompletions, true).await;
        match start {
            "" => assert!(failure.is_none(), "{piece:?}: another provider answers"),
            _ => assert_eq!(failure.unwrap().code, Some(PROVIDER_LIMIT_EXCEEDED), "{piece:?}"),
        }
        wait_until_dropped(&bad).await;
        let (forwarded, failure) = pass_through(&gateway, ApiEndpoint::ChatCompletions, true).await;
        assert!(forwarded > 0 && failure.is_none(), "{piece:?}");
        assert_eq!(bad.requests().len(), 1, "{piece:?}: it is avoided for a while");
    }
    assert!(peak_memory() < 700 << 20, "{} MiB", peak_memory() >> 20);
}

#[tokio::test]
async fn a_whole_answer_is_limited() {
    let steps = vec![BodyStep::Send(b"{\"x\":\"".to_vec()), BodyStep::Repeat(vec![b'x'; 32 << 10])];
    let headers = vec![("content-type".into(), "application/json".into())];
    let bad =
        FakeUpstream::start(move |_| FakeResponse { status: 200, headers: headers.clone(), steps: steps.clone() })
            .await;
    let (_, failure) =
        pass_through(&gateway(&[("bad", &bad, PRIMARY)], Dialect::OpenAi), ApiEndpoint::ChatCompletions, false).await;
    let failure = failure.unwrap();
    assert_eq!((failure.kind, failure.code), (ErrorKind::Upstream(502), Some(PROVIDER_LIMIT_EXCEEDED)));
    wait_until_dropped(&bad).await;
    assert!(peak_memory() < 700 << 20, "{} MiB", peak_memory() >> 20);
}

#[tokio::test]
async fn an_endless_answer_can_be_forwarded_but_not_collected() {
    // Parsed into deltas, which the caller may collect.
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"0123456789012345678901234567890123456789\"}}]}\n\n";
    let bad = endless_provider("", word).await;
    let error = send_chat(&gateway(&[("bad", &bad, PRIMARY)], Dialect::DeepSeek)).await.unwrap_err();
    assert!(error.message.contains("sent an answer of more than"), "{}", error.message);
    wait_until_dropped(&bad).await;
    // Forwarded to a caller that reads 100 MB and disconnects.
    let fake = endless_provider("", word).await;
    let gateway = gateway(&[("p", &fake, PRIMARY)], Dialect::OpenAi);
    let body = r#"{"model":"m","messages":[],"stream":true}"#.into();
    let request = gateway
        .passthrough(&Caller::default(), RawRequest::new(ApiEndpoint::ChatCompletions, &body))
        .await
        .unwrap()
        .unwrap();
    let mut response = request.send().await.unwrap();
    let mut forwarded = 0;
    while forwarded < 100 << 20 {
        forwarded += response.next().await.unwrap().unwrap().len();
    }
    drop(response);
    wait_until_dropped(&fake).await;
    assert!(peak_memory() < 700 << 20, "{} MiB", peak_memory() >> 20);
}

#[tokio::test]
async fn lists_and_metrics_are_limited() {
    let fake = endless_provider("{\"data\":[", "{\"id\":\"m\"},").await;
    let upstream = upstream("p", fake.base_url(), Dialect::OpenAi);
    let error = upstream.models().await.unwrap_err();
    assert_eq!(error.code, Some(PROVIDER_LIMIT_EXCEEDED), "{}", error.message);
    assert_eq!(upstream.poll_metrics().await.unwrap_err().code, Some(PROVIDER_LIMIT_EXCEEDED));
    wait_until_dropped(&fake).await;
}

#[tokio::test]
async fn a_refusal_that_trickles_is_cut_off() {
    let trickle = || (0..100).flat_map(|_| [BodyStep::Send(b"x".to_vec()), BodyStep::Wait(Duration::from_secs(3))]);
    let fake = FakeUpstream::start(move |_| FakeResponse { status: 400, ..FakeResponse::stream(trickle()) }).await;
    let gateway = gateway(&[("p", &fake, PRIMARY)], Dialect::OpenAi);
    let start = std::time::Instant::now();
    let error = send_chat(&gateway).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
}

/// A server that sends `start`, and then `piece` until the client disconnects. Returns its base
/// URL, and the number of bytes that it could send.
async fn endless_server(start: &'static str, piece: &'static str) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        // A second request gets no answer, so that the test sees one failure.
        drop(listener);
        assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
        socket.write_all(start.as_bytes()).await.unwrap();
        let bytes = piece.repeat((32 << 10) / piece.len());
        let mut sent = 0;
        while socket.write_all(bytes.as_bytes()).await.is_ok() {
            sent += bytes.len();
        }
        sent
    });
    (base_url, serving)
}

#[tokio::test]
async fn heads_are_limited() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    for (what, start, piece) in [
        ("headers", "HTTP/1.1 200 OK\r\n", "x-header: value\r\n"),
        ("one header", "HTTP/1.1 200 OK\r\nx-header: ", "x"),
        ("a status line", "HTTP/1.1 200 ", "x"),
        ("early hints", "", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
        ("continue responses", "", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("a chunk extension", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "x"),
        ("trailers", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "x-trailer: value\r\n"),
        ("trailers of a stream", CHUNKED, "0\r\nx-trailer: value\r\n"),
    ] {
        let (base_url, serving) = endless_server(start, piece).await;
        let mut router = Router::default();
        router.add_upstream(&upstream("p", base_url, Dialect::DeepSeek), &["m".into()], PRIMARY);
        let answer = tokio::time::timeout(Duration::from_secs(20), async {
            send_chat(&Gateway::new(router, Arc::default())).await.unwrap_err()
        });
        let error = answer.await.unwrap_or_else(|_| panic!("{what} are waited for"));
        assert!(matches!(error.kind, ErrorKind::Upstream(502)), "{what}: {error:?}");
        let sent = tokio::time::timeout(Duration::from_secs(20), serving).await;
        let sent = sent.unwrap_or_else(|_| panic!("{what}: the connection is still open")).unwrap();
        assert!(sent < 16 << 20, "{what}: {sent}");
    }
    assert!(peak_memory() < 700 << 20, "{} MiB", peak_memory() >> 20);
}
