//! Hosts, origins and CORS; servers without keys, which only programs on their machine may use.

use std::sync::Arc;

use gateway::{Gateway, Router};
use serde_json::json;
use server::{ServeError, ServerConfig};
use tokio::net::TcpListener;

use crate::app::{TestAppBuilder, chat_request};

#[tokio::test]
async fn a_request_that_names_two_hosts_is_refused_on_every_route() {
    let app = TestAppBuilder::without_keys().start().await;
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
async fn routes_without_keys_refuse_web_pages() {
    for app in [TestAppBuilder::without_keys().start().await, TestAppBuilder::deepseek_profile().start().await] {
        let get = |path, host: &str, origin: &str| {
            app.request("GET", path).header("authorization", "").header("host", host).header("origin", origin)
        };
        let local = format!("127.0.0.1:{}", app.addr.port());
        assert_eq!(get("/api/models", &local, "").send().await.status, 200);
        let rebound = get("/api/models", "evil.example", "").send().await;
        assert_eq!((rebound.status, &rebound.json()["error"]["code"]), (403, &json!("host_not_allowed")));
        let page = get("/api/models", &local, "https://evil.example").send().await;
        assert_eq!((page.status, &page.json()["error"]["code"]), (403, &json!("origin_not_allowed")));
        for path in ["/user/quota", "/user/balance", "/metrics"] {
            assert!(matches!(get(path, "evil.example", "").send().await.status, 401 | 403), "{path}");
        }
        assert_eq!(get("/healthz", "evil.example", "").send().await.status, 200);
    }
}

#[tokio::test]
async fn without_keys_only_this_machine_has_access() {
    let app = TestAppBuilder::without_keys().start().await;
    let port = app.addr.port();
    let post =
        |host: &str, origin: &str| app.post(chat_request(json!({}))).header("host", host).header("origin", origin);
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".into(), "[::1]:1".into()] {
        assert_eq!(post(&host, "").send().await.status, 200, "{host}");
        assert_eq!(post(&host, &format!("http://{host}")).send().await.status, 200, "{host}");
    }
    for (host, origin, code) in [
        ("evil.example", "", "host_not_allowed"),
        ("localhost.evil.example:8000", "", "host_not_allowed"),
        ("localhost", "https://evil.example", "origin_not_allowed"),
        ("localhost", "http://localhost:3000", "origin_not_allowed"),
        ("localhost", "null", "origin_not_allowed"),
    ] {
        let answer = post(host, origin).send().await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!(code)), "{host} {origin}");
    }
    assert_eq!(app.request("GET", "/models").header("authorization", "").send().await.status, 200);
}

#[tokio::test]
async fn without_keys_a_proxied_request_needs_the_admin_token() {
    use sha2::{Digest, Sha256};
    let token = "sk-admin-0123456789012345678901234567890123456789";
    let app = TestAppBuilder::without_keys()
        .config(|config| config.admin_token = Some(Sha256::digest(token).into()))
        .start()
        .await;
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
            // An unknown key is not a credential.
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
    // With a key, proxies do not matter.
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
    let app = TestAppBuilder::without_keys().config(|config| config.cors_origins = vec![origin.into()]).start().await;
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

    let off = TestAppBuilder::without_keys().start().await;
    assert_eq!(off.request("OPTIONS", "/v1/chat/completions").send().await.status, 405);
}
