//! Providers that never come to an end: whatever goes on for ever is given up, the provider has failed, and memory stays bounded
//! meanwhile.
#![forbid(unsafe_code)]

#[path = "common/upstream.rs"]
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use chat::{Chat, Error, ErrorKind, Input, Message, Reply, Role, fold};
use futures_util::StreamExt;
use gateway::{Asked, Caller, Gateway, Rank, Routes};
use testkit::FakeUpstream;
use testkit::upstream::{Answer, Piece};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::passthrough::ApiEndpoint;
use wire::provider_limits::PROVIDER_LIMIT_EXCEEDED;
use wire::upstream::Dialect;

use crate::upstream::upstream;

const FIRST: Rank = Rank { priority: 0, weight: 1 };
const SECOND: Rank = Rank { priority: 1, weight: 1 };

fn gateway(fakes: &[(&str, &FakeUpstream, Rank)], dialect: Dialect) -> Gateway {
    let mut routes = Routes::default();
    for (name, fake, rank) in fakes {
        routes.remote(&upstream(name, fake.base_url(), dialect), &["m".into()], *rank);
    }
    Gateway::new(routes, Arc::default())
}

async fn ask(gateway: &Gateway) -> Result<Reply, Error> {
    let input = Input::Messages(vec![Message::new(Role::User, "hi")]);
    let chat = Chat { model: "m".into(), input, ..Chat::default() };
    fold(gateway.answer(&Caller::default(), chat).await?.collect::<Vec<_>>().await)
}

/// The bytes that passed, and how the answer failed.
async fn pass(gateway: &Gateway, passage: ApiEndpoint, stream: bool) -> (usize, Option<Error>) {
    let body = format!(r#"{{"model":"m","messages":[],"stream":{stream}}}"#).into();
    let asked = Asked::new(passage, &body);
    let relay = gateway.relay(&Caller::default(), asked).await.unwrap().unwrap();
    let mut relayed = match relay.begin().await {
        Ok(relayed) => relayed,
        Err(error) => return (0, Some(error)),
    };
    if !stream {
        return match relayed.whole().await {
            Ok((bytes, _)) => (bytes.len(), None),
            Err(error) => (0, Some(error)),
        };
    }
    let (mut passed, mut failure) = (0, None);
    while let Some(item) = relayed.next().await {
        match item {
            Ok(bytes) => passed += bytes.len(),
            Err(error) => failure = Some(error),
        }
    }
    (passed, failure)
}

/// An answer that begins like this and then says `piece` for ever.
async fn endless(begins: &'static str, piece: &'static str) -> FakeUpstream {
    let pieces = [Piece::Send(begins.into()), Piece::Endless(piece.repeat((32 << 10) / piece.len()).into())];
    FakeUpstream::start(move |_| Answer::stream(pieces.clone())).await
}

async fn good() -> FakeUpstream {
    FakeUpstream::start(|_| Answer::words(&["ok"], 7)).await
}

/// Nobody listens to the provider any more.
async fn dropped(fake: &FakeUpstream) {
    for _ in 0..200 {
        if fake.running() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("its connection is still open");
}

fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

const WORD: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
/// Pieces that a provider repeats without end.
const PIECES: [&str; 6] = ["x", "data: xxxxxxxxxxxxxxxx\n", ": keep-alive\n\n", "\n", "event: x\n\n", "id: 1\n"];

#[tokio::test]
async fn what_goes_on_for_ever_before_the_first_word_fails_over() {
    for piece in PIECES {
        let (bad, good) = (endless("", piece).await, good().await);
        let gateway = gateway(&[("bad", &bad, FIRST), ("good", &good, SECOND)], Dialect::DeepSeek);
        assert_eq!(ask(&gateway).await.unwrap().text, "ok", "{piece:?}");
        dropped(&bad).await;
        // It has failed: it is left alone for a while.
        assert_eq!(ask(&gateway).await.unwrap().text, "ok", "{piece:?}");
        assert_eq!(bad.asked().len(), 1, "{piece:?}");
    }
    assert!(peak() < 700 << 20, "{} MiB", peak() >> 20);
}

#[tokio::test]
async fn what_goes_on_for_ever_behind_a_word_ends_in_an_error_and_counts_as_a_failure() {
    for piece in PIECES {
        let (bad, good) = (endless(WORD, piece).await, good().await);
        let gateway = gateway(&[("bad", &bad, FIRST), ("good", &good, SECOND)], Dialect::DeepSeek);
        let error = ask(&gateway).await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Upstream(502), Some(PROVIDER_LIMIT_EXCEEDED)), "{piece:?}");
        dropped(&bad).await;
        assert_eq!(ask(&gateway).await.unwrap().text, "ok", "{piece:?}");
    }
    assert!(peak() < 700 << 20, "{} MiB", peak() >> 20);
}

#[tokio::test]
async fn what_passes_is_bounded_too() {
    for (begins, piece) in PIECES.iter().map(|piece| ("", *piece)).chain(PIECES.iter().map(|piece| (WORD, *piece))) {
        let (bad, good) = (endless(begins, piece).await, good().await);
        let gateway = gateway(&[("bad", &bad, FIRST), ("good", &good, SECOND)], Dialect::OpenAi);
        let (_, failure) = pass(&gateway, ApiEndpoint::ChatCompletions, true).await;
        match begins {
            "" => assert!(failure.is_none(), "{piece:?}: another provider answers"),
            _ => assert_eq!(failure.unwrap().code, Some(PROVIDER_LIMIT_EXCEEDED), "{piece:?}"),
        }
        dropped(&bad).await;
        let (passed, failure) = pass(&gateway, ApiEndpoint::ChatCompletions, true).await;
        assert!(passed > 0 && failure.is_none(), "{piece:?}");
        assert_eq!(bad.asked().len(), 1, "{piece:?}: it is left alone for a while");
    }
    assert!(peak() < 700 << 20, "{} MiB", peak() >> 20);
}

#[tokio::test]
async fn a_whole_answer_has_an_end() {
    let pieces = vec![Piece::Send(b"{\"x\":\"".to_vec()), Piece::Endless(vec![b'x'; 32 << 10])];
    let headers = vec![("content-type".into(), "application/json".into())];
    let bad =
        FakeUpstream::start(move |_| Answer { status: 200, headers: headers.clone(), pieces: pieces.clone() }).await;
    let (_, failure) =
        pass(&gateway(&[("bad", &bad, FIRST)], Dialect::OpenAi), ApiEndpoint::ChatCompletions, false).await;
    let failure = failure.unwrap();
    assert_eq!((failure.kind, failure.code), (ErrorKind::Upstream(502), Some(PROVIDER_LIMIT_EXCEEDED)));
    dropped(&bad).await;
    assert!(peak() < 700 << 20, "{} MiB", peak() >> 20);
}

#[tokio::test]
async fn words_may_pass_for_ever_but_not_be_held() {
    // Read, and so held by whoever wants the whole answer.
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"0123456789012345678901234567890123456789\"}}]}\n\n";
    let bad = endless("", word).await;
    let error = ask(&gateway(&[("bad", &bad, FIRST)], Dialect::DeepSeek)).await.unwrap_err();
    assert!(error.message.contains("sent an answer of more than"), "{}", error.message);
    dropped(&bad).await;
    // Passed, to a caller who takes 100 MB and leaves.
    let fake = endless("", word).await;
    let gateway = gateway(&[("p", &fake, FIRST)], Dialect::OpenAi);
    let body = r#"{"model":"m","messages":[],"stream":true}"#.into();
    let relay =
        gateway.relay(&Caller::default(), Asked::new(ApiEndpoint::ChatCompletions, &body)).await.unwrap().unwrap();
    let (mut relayed, mut passed) = (relay.begin().await.unwrap(), 0);
    while passed < 100 << 20 {
        passed += relayed.next().await.unwrap().unwrap().len();
    }
    drop(relayed);
    dropped(&fake).await;
    assert!(peak() < 700 << 20, "{} MiB", peak() >> 20);
}

#[tokio::test]
async fn lists_and_metrics_have_an_end() {
    let fake = endless("{\"data\":[", "{\"id\":\"m\"},").await;
    let upstream = upstream("p", fake.base_url(), Dialect::OpenAi);
    let error = upstream.models().await.unwrap_err();
    assert_eq!(error.code, Some(PROVIDER_LIMIT_EXCEEDED), "{}", error.message);
    assert_eq!(upstream.look().await.unwrap_err().code, Some(PROVIDER_LIMIT_EXCEEDED));
    dropped(&fake).await;
}

#[tokio::test]
async fn a_refusal_that_only_trickles_is_not_waited_for() {
    let trickle = || (0..100).flat_map(|_| [Piece::Send(b"x".to_vec()), Piece::Wait(Duration::from_secs(3))]);
    let fake = FakeUpstream::start(move |_| Answer { status: 400, ..Answer::stream(trickle()) }).await;
    let gateway = gateway(&[("p", &fake, FIRST)], Dialect::OpenAi);
    let began = std::time::Instant::now();
    let error = ask(&gateway).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
}

/// A server that answers with `begins`, and then `piece` until nobody listens any more. Returns its address, and how many bytes it
/// could send.
async fn raw(begins: &'static str, piece: &'static str) -> (String, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        // Whoever asks again is not answered: one failure is what is to be seen.
        drop(listener);
        assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
        socket.write_all(begins.as_bytes()).await.unwrap();
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
async fn heads_have_an_end() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    for (what, begins, piece) in [
        ("headers", "HTTP/1.1 200 OK\r\n", "x-header: value\r\n"),
        ("one header", "HTTP/1.1 200 OK\r\nx-header: ", "x"),
        ("a status line", "HTTP/1.1 200 ", "x"),
        ("early responses", "", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
        ("permissions to go on", "", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("an extension of a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "x"),
        ("trailers", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "x-trailer: value\r\n"),
        ("trailers of a stream", CHUNKED, "0\r\nx-trailer: value\r\n"),
    ] {
        let (base_url, serving) = raw(begins, piece).await;
        let mut routes = Routes::default();
        routes.remote(&upstream("p", base_url, Dialect::DeepSeek), &["m".into()], FIRST);
        let asking = tokio::time::timeout(Duration::from_secs(20), async {
            ask(&Gateway::new(routes, Arc::default())).await.unwrap_err()
        });
        let error = asking.await.unwrap_or_else(|_| panic!("{what} are waited for"));
        assert!(matches!(error.kind, ErrorKind::Upstream(502)), "{what}: {error:?}");
        let sent = tokio::time::timeout(Duration::from_secs(20), serving).await;
        let sent = sent.unwrap_or_else(|_| panic!("{what}: the connection is still open")).unwrap();
        assert!(sent < 16 << 20, "{what}: {sent}");
    }
    assert!(peak() < 700 << 20, "{} MiB", peak() >> 20);
}
