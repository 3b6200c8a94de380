//! `GET /admin/tail`: requests as they start and end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{KeyConfig, Keyring};

use crate::app::{KEY, TestApp, TestAppBuilder, chat_request};
use crate::client::{Connection, Request};
use crate::sign_in::{admin, invite, start, with_cookie};

/// An open tail and the events that were received and not returned.
struct Tail {
    connection: Connection,
    unread: Vec<(String, Value)>,
}

impl Tail {
    async fn open(request: Request) -> Self {
        let mut connection = request.connect().await;
        let (status, headers) = connection.head().await;
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(status, 200);
        assert_eq!(header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(header("cache-control"), Some("no-store"));
        let first = connection.chunk().await.expect("the tail is open");
        assert_eq!(first, b": keep-alive\n\n");
        Self { connection, unread: Vec::new() }
    }

    /// The name and the data of the next event; `None` when the tail has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        while self.unread.is_empty() {
            let chunk = self.connection.chunk().await.filter(|chunk| !chunk.is_empty())?;
            for event in String::from_utf8(chunk).unwrap().split_terminator("\n\n").filter(|text| text.contains("data"))
            {
                let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
                self.unread.push((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
        }
        Some(self.unread.remove(0))
    }
}

fn tail_request(app: &TestApp, query: &str) -> Request {
    app.request("GET", &format!("/admin/tail{query}"))
}

async fn open_app() -> TestApp {
    TestAppBuilder::without_keys().start().await
}

#[tokio::test]
async fn a_request_is_seen_as_it_starts_and_ends() {
    let app = open_app().await;
    let mut tail = Tail::open(tail_request(&app, "")).await;
    let mut others = Tail::open(tail_request(&app, "?model=deepseek-reasoner&model=x")).await;
    let mut ends = Tail::open(tail_request(&app, "?outcome=failed&outcome=answered&provider=local")).await;
    app.assert_answered(chat_request(json!({}))).await;
    app.assert_answered(chat_request(json!({"model": "deepseek-reasoner"}))).await;
    let (name, started) = tail.next().await.unwrap();
    assert_eq!((name.as_str(), &started["model"]), ("start", &json!("deepseek-chat")));
    assert!(started["request_id"].as_str().unwrap().starts_with("req_") && started["project"].is_null(), "{started}");
    let (name, ended) = tail.next().await.unwrap();
    assert_eq!((name.as_str(), &ended["id"], &ended["outcome"]), ("end", &started["id"], &json!("stop")));
    assert!(ended["completion_tokens"].as_i64() > Some(0) && ended["total_us"].as_i64() > Some(0), "{ended}");
    assert_eq!(others.next().await.unwrap().1["model"], "deepseek-reasoner");
    assert_eq!(ends.next().await.unwrap().0, "end");
}

#[tokio::test]
async fn a_refused_request_ends_without_a_start() {
    let app = open_app().await;
    let mut tail = Tail::open(tail_request(&app, "")).await;
    app.post(chat_request(json!({"model": "no-such-model"}))).send().await;
    let (name, ended) = tail.next().await.unwrap();
    assert_eq!((name.as_str(), &ended["outcome"]), ("end", &json!("model_not_found")));
}

#[tokio::test]
async fn unknown_parameters_are_refused_and_seventeen_tails_too_many() {
    let app = open_app().await;
    for (query, word) in [("?modle=x", "modle"), ("?outcome=stop", "stop"), ("?limit=5", "limit")] {
        let refused = tail_request(&app, query).send().await;
        assert!(refused.status == 400 && refused.message().contains(word), "{query}: {}", refused.text());
    }
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Tail::open(tail_request(&app, "")).await);
    }
    let refused = tail_request(&app, "").send().await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("too_many_tails")));
    open.truncate(15);
    // The server notices the end of a connection in a moment.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut connection = tail_request(&app, "").connect().await;
        if connection.head().await.0 == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "the place of a closed tail is free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_burst_is_sampled_and_a_stalled_reader_delays_nobody() {
    let app = open_app().await;
    let mut tail = Tail::open(tail_request(&app, "")).await;
    // It is never read.
    let _stalled = tail_request(&app, "").connect().await;
    const REQUESTS: u64 = 200;
    for _ in 0..REQUESTS {
        app.assert_answered(chat_request(json!({}))).await;
    }
    let (mut starts, mut ends, mut skipped) = (0, 0, 0);
    while starts + ends + skipped < 2 * REQUESTS {
        match tail.next().await.unwrap() {
            (name, _) if name == "start" => starts += 1,
            (name, _) if name == "end" => ends += 1,
            (_, data) => skipped += data["skipped"].as_u64().unwrap(),
        }
    }
    assert!(starts >= 50 && ends >= 50, "{starts} starts, {ends} ends, {skipped} skipped");
}

#[tokio::test]
async fn a_tail_ends_at_the_start_of_a_shutdown() {
    let mut app = open_app().await;
    let mut tail = Tail::open(tail_request(&app, "")).await;
    app.stop();
    let stopping = Instant::now();
    assert_eq!(tail.next().await, None);
    app.join().await;
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
}

#[tokio::test]
async fn members_see_their_own_requests_and_only_while_they_may() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    let (olga, bob) = (invite(&app, "olga", "member").await, invite(&app, "bob", "member").await);
    let make = async |cookie: &str, name: &str| {
        let new = json!({"name": name, "project": "team", "budget": "1"});
        let made = with_cookie(&app, "POST", "/admin/keys", cookie).json(new).send().await.json();
        (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    };
    let ((of_olga, _), (of_bob, key_of_bob)) = (make(&olga, "olga's").await, make(&bob, "bob's").await);
    let chat = async |cookie: &str, key: &str| {
        let asked = with_cookie(&app, "POST", "/chat/completions", cookie).header("x-cachalot-key", key);
        asked.json(chat_request(json!({}))).send().await.status
    };
    let mut own = Tail::open(with_cookie(&app, "GET", "/admin/tail", &olga)).await;
    let mut of_key =
        Tail::open(app.request("GET", "/admin/tail").header("authorization", &format!("Bearer {key_of_bob}"))).await;
    let mut everybody = Tail::open(
        app.request("GET", &format!("/admin/tail?project=team&key=olga%27s&key={of_bob}"))
            .header("authorization", &format!("Bearer {}", crate::sign_in::TOKEN)),
    )
    .await;
    // The models of this server have no price, which a key with a budget needs.
    let unlimited = json!({"budget": null});
    for id in [&of_olga, &of_bob] {
        assert_eq!(admin(&app, "PATCH", &format!("/admin/keys/{id}"), unlimited.clone()).await.status, 200);
    }
    assert_eq!((chat(&bob, &of_bob).await, chat(&olga, &of_olga).await), (200, 200));
    assert_eq!(own.next().await.unwrap().1["key"], "olga's");
    assert_eq!(of_key.next().await.unwrap().1["key"], "bob's");
    let seen = everybody.next().await.unwrap().1;
    assert_eq!((&seen["key"], &seen["project"]), (&json!("bob's"), &json!("team")));
    assert_eq!(own.next().await.unwrap().0, "end");

    // A session or a key that ends takes its tails with it.
    assert_eq!(with_cookie(&app, "DELETE", "/admin/session", &olga).send().await.status, 204);
    assert_eq!(admin(&app, "DELETE", &format!("/admin/keys/{of_bob}"), json!({})).await.status, 200);
    assert_eq!(own.next().await, None);
    while of_key.next().await.is_some() {}
}

#[tokio::test]
async fn keys_of_the_configuration_have_no_requests_of_their_own() {
    let viewer = "sk-test-viewer-0000000002";
    let keys =
        vec![KeyConfig::new("alice", KEY), KeyConfig { role: store::Role::Viewer, ..KeyConfig::new("vic", viewer) }];
    let app = TestAppBuilder::deepseek_profile().config(|config| config.keys = Keyring::from(keys)).start().await;
    let mut viewers = Tail::open(tail_request(&app, "").header("authorization", &format!("Bearer {viewer}"))).await;
    let mut members = Tail::open(tail_request(&app, "")).await;
    app.assert_answered(chat_request(json!({}))).await;
    assert_eq!(viewers.next().await.unwrap().1["key"], "alice");
    let silence = tokio::time::timeout(Duration::from_millis(400), members.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    // One user cannot take the tails of all others.
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(Tail::open(tail_request(&app, "")).await);
    }
    let refused = tail_request(&app, "").send().await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("too_many_tails")));
    assert!(refused.message().starts_with("You have 4 tails open"), "{}", refused.message());
    others.push(Tail::open(tail_request(&app, "").header("authorization", &format!("Bearer {viewer}"))).await);
}
