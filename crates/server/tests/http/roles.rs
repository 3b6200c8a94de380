//! Every route times every role: who is let in, and who is not.

use serde_json::json;
use server::{KeyConfig, admin};
use sha2::{Digest, Sha256};
use store::Role;

use crate::app::{TestApp, TestAppBuilder};

const MEMBER: &str = "sk-test-member-0000000001";
const VIEWER: &str = "sk-test-viewer-0000000001";
const ADMIN: &str = "sk-test-admin-00000000001";
const TOKEN: &str = "sk-admin-token-of-this-test-00000001";

async fn app_with_roles() -> TestApp {
    let key = |name, key, role| KeyConfig { role, ..KeyConfig::new(name, key) };
    let keys = vec![key("mia", MEMBER, Role::Member), key("vic", VIEWER, Role::Viewer), key("ada", ADMIN, Role::Admin)];
    let set = |config: &mut server::ServerConfig| {
        config.keys = keys.into();
        config.admin_token = Some(Sha256::digest(TOKEN).into());
        config.allowed_hosts = vec!["gateway.example.org".into()];
    };
    TestAppBuilder::deepseek_profile().config(set).start().await
}

/// The callers, and the role that each is let in with; `None`: not at all.
const CALLERS: [(&str, Option<Role>); 6] = [
    ("", None),
    ("sk-nobody-knows-this-key", None),
    (MEMBER, Some(Role::Member)),
    (VIEWER, Some(Role::Viewer)),
    (ADMIN, Some(Role::Admin)),
    (TOKEN, Some(Role::Admin)),
];

async fn status(app: &TestApp, method: &'static str, path: &str, key: &str) -> u16 {
    let request = app.request(method, path).json(json!({}));
    let credential = if key.is_empty() { String::new() } else { format!("Bearer {key}") };
    request.header("authorization", &credential).send().await.status
}

#[tokio::test]
async fn an_admin_call_is_for_the_role_that_its_entry_names() {
    let app = app_with_roles().await;
    let calls: Vec<_> = admin::endpoints().collect();
    assert!(calls.len() > 20 && calls.iter().filter(|(method, ..)| *method != "GET").all(|call| call.2 == Role::Admin));
    for (method, path, needs) in calls {
        let path = path.replace("{name}", "x").replace("{id}", "x");
        for (key, role) in CALLERS {
            let status = status(&app, method, &path, key).await;
            match role {
                None => assert_eq!(status, 401, "{method} {path} {key}"),
                Some(role) if role < needs => assert_eq!(status, 403, "{method} {path} {key}"),
                // This server has no store: what would change it is refused for that, or
                // for its empty body.
                Some(_) => assert!([200, 400, 409].contains(&status), "{method} {path} {key}: {status}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_in_the_table_does_not_exist() {
    let app = app_with_roles().await;
    for path in ["/admin", "/admin/secrets", "/admin/keys/x/y", "/admin/users/x/../../keys", "/admin/%6beys"] {
        assert_eq!(status(&app, "GET", path, ADMIN).await, 404, "{path}");
    }
    assert_eq!(status(&app, "DELETE", "/admin/keys", ADMIN).await, 405);
    assert_eq!(status(&app, "TRACE", "/admin/keys", ADMIN).await, 405);
}

#[tokio::test]
async fn every_other_route_wants_a_key_and_takes_any() {
    let app = app_with_roles().await;
    let prefixed = ["", "/v1", "/beta", "/beta/v1"].into_iter().flat_map(|prefix| {
        let routes = [
            ("POST", "/chat/completions"),
            ("POST", "/completions"),
            ("POST", "/embeddings"),
            ("POST", "/responses"),
            ("GET", "/responses/x"),
            ("DELETE", "/responses/x"),
            ("POST", "/images/generations"),
            ("POST", "/images/edits"),
            ("POST", "/audio/speech"),
            ("POST", "/audio/transcriptions"),
            ("POST", "/audio/translations"),
            ("GET", "/user/balance"),
            ("GET", "/models"),
            ("GET", "/models/x"),
        ];
        routes.map(|(method, path)| (method, format!("{prefix}{path}")))
    });
    let others = [
        ("GET", "/user/quota"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/anthropic/v1/messages"),
        ("POST", "/anthropic/v1/messages/count_tokens"),
        ("GET", "/v1beta/models"),
        ("GET", "/v1beta/models/x"),
        ("POST", "/v1beta/models/x:generateContent"),
        ("POST", "/mj/submit/imagine"),
        ("POST", "/mj-fast/submit/imagine"),
        ("GET", "/mj/task/x/fetch"),
        ("POST", "/mj/task/list-by-condition"),
        ("GET", "/mj/image/x"),
        ("POST", "/suno/submit/music"),
        ("GET", "/suno/fetch/x"),
        ("POST", "/suno/fetch"),
        ("POST", "/v1/videos"),
        ("GET", "/v1/videos/x"),
        ("GET", "/v1/videos/x/content"),
        ("POST", "/v1/videos/x/remix"),
    ];
    let others = others.map(|(method, path)| (method, path.to_owned()));
    for (method, path) in prefixed.chain(others) {
        for (key, role) in CALLERS {
            let status = status(&app, method, &path, key).await;
            match role {
                None => assert_eq!(status, 401, "{method} {path} {key}"),
                // The token administers; it asks no models.
                Some(_) if key == TOKEN => assert_eq!(status, 403, "{method} {path}"),
                Some(_) => assert!(![401, 403, 405, 500].contains(&status), "{method} {path} {key}: {status}"),
            }
        }
    }
    for path in ["/healthz", "/readyz", "/api/models"] {
        for (key, _) in CALLERS {
            assert_eq!(status(&app, "GET", path, key).await, 200, "{path}");
        }
    }
    for (key, role) in CALLERS {
        let want = match role {
            None => 401,
            Some(Role::Member) => 403,
            Some(_) => 200,
        };
        assert_eq!(status(&app, "GET", "/metrics", key).await, want, "/metrics {key}");
    }
}

#[tokio::test]
async fn a_web_page_cannot_administer() {
    let app = app_with_roles().await;
    let ask = |host: &str, origin: &str| {
        let request = app.request("GET", "/admin/me").header("authorization", &format!("Bearer {ADMIN}"));
        request.header("host", host).header("origin", origin).send()
    };
    for host in ["localhost", "gateway.example.org", "Gateway.Example.org:443"] {
        assert_eq!(ask(host, "").await.status, 200, "{host}");
    }
    assert_eq!(ask("evil.example", "").await.json()["error"]["code"], "host_not_allowed");
    assert_eq!(ask("localhost", "https://evil.example").await.json()["error"]["code"], "origin_not_allowed");
    // Pages that may ask models may not administer.
    let origin = "https://chat.example";
    let listed = TestAppBuilder::deepseek_profile().config(|config| {
        config.keys = Default::default();
        config.cors_origins = vec![origin.into()];
    });
    let listed = listed.start().await;
    let ask = |method: &'static str, path: &'static str, origin: &'static str| {
        listed.request(method, path).header("authorization", "").header("origin", origin).send()
    };
    for path in ["/admin/me", "/admin/keys", "/metrics"] {
        let answer = ask("GET", path, origin).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{path}");
        let preflight = ask("OPTIONS", path, origin).await;
        assert_eq!(preflight.header("access-control-allow-origin"), None, "{path}");
        assert_eq!(preflight.header("access-control-allow-methods"), None, "{path}");
    }
    assert_eq!(ask("GET", "/v1/models", origin).await.header("access-control-allow-origin"), Some(origin));
    // Without keys, whoever is on this machine may, but for web pages.
    let open = TestAppBuilder::deepseek_profile().config(|config| config.keys = Default::default()).start().await;
    let ask = |host: &str| open.request("GET", "/admin/me").header("authorization", "").header("host", host).send();
    assert_eq!(ask("localhost").await.json()["role"], "admin");
    assert_eq!(ask("evil.example").await.status, 403);
}
