//! Who is let in: keys, web pages, operators; and what is remembered of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway::{Gateway, Router};
use serde_json::json;
use server::{KeyConfig, ServeError, ServerConfig};
use store::Role;
use tokio::net::TcpListener;

use crate::app::{KEY, TestAppBuilder, captured_logs, chat_request};

const CREDENTIAL_FORMAT_MESSAGE: &str = "Authentication Fails (auth header format should be Bearer sk-...)";

fn keyless() -> TestAppBuilder {
    TestAppBuilder::deepseek_profile().config(|config| config.keys = Default::default())
}

#[tokio::test]
async fn case_29_a_credential_of_the_wrong_form_is_refused() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for value in ["", "Bearer ", "Bearer", "Basic eDp5"] {
        let answer = app.post(chat_request(json!({}))).header("authorization", value).send().await;
        assert_eq!((answer.status, answer.message().as_str()), (401, CREDENTIAL_FORMAT_MESSAGE), "{value:?}");
        let error = &answer.json()["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!("authentication_error"), &json!("invalid_request_error")));
    }
}

#[tokio::test]
async fn case_30_an_unknown_key_is_refused_before_its_body_is_read() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let wrong = app.request("POST", "/v1/chat/completions").header("authorization", "Bearer sk-wrong-key-1234fcc2");
    for body in ["{", "{}"] {
        let answer = wrong.clone().bytes(body).send().await;
        let expected = "Authentication Fails, Your api key: ****fcc2 is invalid";
        assert_eq!((answer.status, answer.message().as_str()), (401, expected));
    }
    let short = app.request("GET", "/models").header("authorization", "Bearer sk-1234567").send().await;
    assert_eq!(short.message(), "Authentication Fails, Your api key: **** is invalid");
}

#[tokio::test]
async fn case_31_a_whole_environment_sent_as_a_key_is_answered_and_forgotten() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let environment =
        format!("environ({{'PATH': '/usr/bin', {}, 'SECRET': 'hunter2'}})", "'VAR': 'xyzzy', ".repeat(1400));
    assert!(environment.len() > 20 << 10);
    let answer =
        app.post(chat_request(json!({}))).header("authorization", &format!("Bearer {environment}")).send().await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.message(), "Authentication Fails, Your api key: ****2'}) is invalid");
    let logs = captured_logs().text();
    assert!(!logs.contains("hunter2") && !logs.contains("xyzzy"));
}

#[tokio::test]
async fn a_request_that_names_two_hosts_is_refused_on_every_route() {
    let app = keyless().start().await;
    let local = format!("127.0.0.1:{}", app.addr.port());
    for path in ["/healthz", "/api/models", "/models", "/chat/completions", "/admin/me", "/nope"] {
        // The header itself, and one more in its value.
        let two = app.request("GET", path).header("host", &format!("{local}\r\nhost: evil.example"));
        assert_eq!(two.send().await.status, 400, "{path}");
        let unlike = app.request("GET", &format!("http://evil.example{path}")).header("host", &local);
        assert_eq!(unlike.send().await.status, 400, "{path}");
    }
    let alike = app.request("GET", &format!("http://{local}/models")).header("host", &local);
    assert_eq!(alike.send().await.status, 200);
}

#[tokio::test]
async fn what_needs_no_key_is_not_for_web_pages_either() {
    for app in [keyless().start().await, TestAppBuilder::deepseek_profile().start().await] {
        let ask = |path, host: &str, origin: &str| {
            app.request("GET", path).header("authorization", "").header("host", host).header("origin", origin)
        };
        let local = format!("127.0.0.1:{}", app.addr.port());
        assert_eq!(ask("/api/models", &local, "").send().await.status, 200);
        let rebound = ask("/api/models", "evil.example", "").send().await;
        assert_eq!((rebound.status, &rebound.json()["error"]["code"]), (403, &json!("host_not_allowed")));
        let page = ask("/api/models", &local, "https://evil.example").send().await;
        assert_eq!((page.status, &page.json()["error"]["code"]), (403, &json!("origin_not_allowed")));
        for path in ["/user/quota", "/user/balance", "/metrics"] {
            assert!(matches!(ask(path, "evil.example", "").send().await.status, 401 | 403), "{path}");
        }
        assert_eq!(ask("/healthz", "evil.example", "").send().await.status, 200);
    }
}

#[tokio::test]
async fn methods_and_paths_of_any_length_are_cut_in_the_log() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let method: &'static str = "XYZZY".repeat(400).leak();
    let answer = app.request(method, &format!("/{}", "plugh".repeat(2000))).send().await;
    assert!(matches!(answer.status, 404 | 405), "{}", answer.status);
    let answer = app.request(method, "/models").send().await;
    assert!(answer.status == 405 && answer.message().len() < 100, "{}", answer.text());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let logs = captured_logs().text();
    let lines = logs.lines().filter(|line| line.contains("XYZZY") && line.contains(": request "));
    assert!(
        lines.clone().count() >= 2 && lines.clone().all(|line| line.len() < 600),
        "{:?}",
        lines.collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn every_kind_of_credential_opens_the_door() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let bare = app.request("GET", "/models").header("authorization", "");
    for (name, value) in
        [("authorization", format!("bearer {KEY}")), ("x-api-key", KEY.to_owned()), ("x-goog-api-key", KEY.to_owned())]
    {
        assert_eq!(bare.clone().header(name, &value).send().await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_key_may_be_limited_to_some_models() {
    let limited = KeyConfig { models: Some(vec!["deepseek-chat".into()]), ..KeyConfig::new("bob", KEY) };
    let app = TestAppBuilder::deepseek_profile().config(|config| config.keys = vec![limited].into()).start().await;
    app.assert_answered(chat_request(json!({}))).await;
    let answer = app.post(chat_request(json!({"model": "deepseek-reasoner"}))).send().await;
    assert_eq!(answer.status, 403);
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("permission_error"), &json!("model_not_allowed")));
    let list = app.request("GET", "/models").send().await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn without_keys_only_this_machine_may_ask() {
    let app = keyless().start().await;
    let port = app.addr.port();
    let ask =
        |host: &str, origin: &str| app.post(chat_request(json!({}))).header("host", host).header("origin", origin);
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".into(), "[::1]:1".into()] {
        assert_eq!(ask(&host, "").send().await.status, 200, "{host}");
        assert_eq!(ask(&host, &format!("http://{host}")).send().await.status, 200, "{host}");
    }
    for (host, origin, code) in [
        ("evil.example", "", "host_not_allowed"),
        ("localhost.evil.example:8000", "", "host_not_allowed"),
        ("localhost", "https://evil.example", "origin_not_allowed"),
        ("localhost", "http://localhost:3000", "origin_not_allowed"),
        ("localhost", "null", "origin_not_allowed"),
    ] {
        let answer = ask(host, origin).send().await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!(code)), "{host} {origin}");
    }
    assert_eq!(app.request("GET", "/models").header("authorization", "").send().await.status, 200);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_through_a_proxy_but_by_the_admin_token() {
    use sha2::{Digest, Sha256};
    let token = "sk-admin-0123456789012345678901234567890123456789";
    let app = keyless().config(|config| config.admin_token = Some(Sha256::digest(token).into())).start().await;
    let proxied = [
        ("x-forwarded-for", "203.0.113.7"),
        ("forwarded", "for=203.0.113.7"),
        ("via", "1.1 proxy"),
        ("x-real-ip", "127.0.0.1"),
        ("cf-connecting-ip", "203.0.113.7"),
    ];
    for (name, value) in proxied {
        for (method, path) in [
            ("POST", "/chat/completions"),
            ("GET", "/models"),
            ("GET", "/api/models"),
            ("GET", "/admin/me"),
            ("POST", "/admin/keys"),
            ("GET", "/metrics"),
        ] {
            // What is no key of anybody's is no credential.
            for credential in ["", "Bearer sk-of-nobody-000000"] {
                let request = app.request(method, path).header("authorization", credential).header(name, value);
                let answer = request.json(chat_request(json!({}))).send().await;
                let error = &answer.json()["error"];
                assert_eq!((answer.status, &error["code"]), (403, &json!("key_required")), "{name} {path}");
                let message = error["message"].as_str().unwrap();
                assert!(message.contains(name) && message.contains("cachalot key add"), "{message}");
            }
        }
        let operator = app.request("GET", "/admin/me").header("authorization", &format!("Bearer {token}"));
        let answer = operator.header(name, value).header("host", "gateway.example.org").send().await;
        assert_eq!((answer.status, &answer.json()["role"]), (200, &json!("admin")), "{name}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            app.request("GET", path).header("x-forwarded-for", "203.0.113.7").send().await.status,
            200,
            "{path}"
        );
    }
    // With a key, it does not matter where a request came through.
    let app = TestAppBuilder::deepseek_profile().start().await;
    assert_eq!(app.post(chat_request(json!({}))).header("x-forwarded-for", "203.0.113.7").send().await.status, 200);
}

#[tokio::test]
async fn a_server_without_keys_does_not_start_where_others_can_reach_it() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let gateway = Arc::new(Gateway::new(Router::default(), Arc::default()));
    let refused = server::serve(listener, gateway, ServerConfig::default(), std::future::pending()).await;
    assert!(matches!(refused, Err(ServeError::NoKeys(_))));
}

#[tokio::test]
async fn listed_origins_may_read_answers() {
    let origin = "https://chat.example";
    let app = keyless().config(|config| config.cors_origins = vec![origin.into()]).start().await;
    let preflight = app
        .request("OPTIONS", "/v1/chat/completions")
        .header("origin", origin)
        .header("access-control-request-headers", "authorization")
        .send()
        .await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some(origin)));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization"));
    assert_eq!(preflight.header("access-control-allow-credentials"), Some("true"));
    let answer = app.post(chat_request(json!({}))).header("origin", origin).send().await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
    let other = app.post(chat_request(json!({}))).header("origin", "https://other.example").send().await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (403, None));

    let off = keyless().start().await;
    assert_eq!(off.request("OPTIONS", "/v1/chat/completions").send().await.status, 405);
}

#[tokio::test]
async fn health_needs_no_key_and_readiness_tells_the_truth() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let get = async |path| app.request("GET", path).header("authorization", "").send().await;
    assert_eq!(get("/healthz").await.json(), json!({"status": "ok"}));
    assert_eq!(get("/readyz").await.json(), json!({"status": "ok"}));
    app.provider.starting.store(true, Ordering::Relaxed);
    let starting = get("/readyz").await;
    assert_eq!((starting.status, starting.json()), (503, json!({"status": "starting"})));
    assert_eq!(get("/healthz").await.status, 200);
}

#[tokio::test]
async fn metrics_need_an_operators_key_and_count_every_request_once() {
    let viewer = KeyConfig { role: Role::Viewer, ..KeyConfig::new("alice", KEY) };
    let app = TestAppBuilder::deepseek_profile().config(|config| config.keys = vec![viewer].into()).start().await;
    assert_eq!(app.request("GET", "/metrics").header("authorization", "").send().await.status, 401);
    // No other test asks this model, and the recorder is shared by all of them.
    let body = chat_request(json!({"model": "deepseek-v3.2-nothinking"}));
    app.assert_answered(body.clone()).await;
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    app.assert_answered(streamed).await;
    let mut refused = body;
    refused["n"] = 2.into();
    app.post(refused).send().await;
    assert!(app.wait_until_idle().await);
    let metrics = app.request("GET", "/metrics").send().await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let value = |name: &str, labels: &[&str]| {
        let line = metrics.text().lines().find(|line| {
            line.starts_with(&format!("{name}{{"))
                && line.contains("\"deepseek-v3.2-nothinking\"")
                && labels.iter().all(|label| line.contains(label))
        });
        line.map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
    };
    let is = |value: Option<String>, expected: &str| assert_eq!(value.as_deref(), Some(expected));
    is(value("cachalot_requests_total", &["outcome=\"stop\""]), "2");
    is(value("cachalot_requests_total", &["outcome=\"invalid\""]), "1");
    is(value("cachalot_tokens_total", &["kind=\"completion\""]), "6");
    is(value("cachalot_time_to_first_token_seconds_count", &[]), "2");
    is(value("cachalot_request_duration_seconds_bucket", &["le=\"+Inf\""]), "3");
    assert!(!metrics.text().contains("alice"));
}

#[tokio::test]
async fn metrics_without_keys_are_for_this_machine() {
    let app = keyless().start().await;
    assert_eq!(app.request("GET", "/metrics").send().await.status, 200);
    assert_eq!(app.request("GET", "/metrics").header("host", "evil.example").send().await.status, 403);
}

#[tokio::test]
async fn every_request_leaves_one_line_in_the_log() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let id = "my-own_id-7";
    let answer = app
        .request("POST", "/beta//v1/chat/completions/")
        .header("x-request-id", id)
        .json(chat_request(json!({"stream": true, "model": "deepseek-V3.2-thinking"})))
        .send()
        .await;
    assert_eq!((answer.header("x-request-id"), answer.header("request-id")), (Some(id), Some(id)));
    let harmful = app.request("GET", "/models").header("x-request-id", "a b").send().await;
    assert!(harmful.header("x-request-id").unwrap().starts_with("req_"));
    let mut lines = Vec::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let logs = captured_logs().text();
        lines = logs.lines().filter(|line| line.contains("deepseek-v3.2-thinking")).map(str::to_owned).collect();
        if !lines.is_empty() {
            break;
        }
    }
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [id, "POST", "/beta/v1/chat/completions", "status=200", "key=\"alice\"", "completion_tokens=5", "ms="] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    assert!(!lines[0].contains("failed"));
}
