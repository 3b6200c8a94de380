//! Every route with every role.

use serde_json::json;
use server::admin::Access;
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

/// Keys and their roles; `None`: the key is refused.
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
    // Only the head is read: a tail goes on.
    request.header("authorization", &credential).connect().await.head().await.0
}

#[tokio::test]
async fn an_admin_route_requires_the_role_of_its_table_entry() {
    let app = app_with_roles().await;
    let routes: Vec<_> = admin::route_table().collect();
    assert!(routes.len() > 20);
    // Changes need the role `admin`, except one's own.
    let changes = routes.iter().filter(|(method, ..)| *method != "GET");
    for (method, path, access) in changes.filter(|(.., access)| *access != Access::Role(Role::Admin)) {
        let own = ["/admin/me/password", "/admin/sessions/{id}", "/admin/keys", "/admin/keys/{id}"];
        let public = ["/admin/setup", "/admin/session", "/admin/signup", "/admin/password"];
        match access {
            Access::Own => assert!(own.contains(path), "{method} {path}"),
            Access::Public => assert!(public.contains(path), "{method} {path}"),
            Access::Role(role) => panic!("{method} {path} needs {}", role.as_str()),
        }
    }
    for (method, path, access) in routes {
        let required_role = match access {
            Access::Role(role) => role,
            Access::Own => Role::Member,
            // Tests of public routes are in sign_in.rs.
            Access::Public => continue,
        };
        let path = path.replace("{name}", "x").replace("{id}", "x");
        for (key, role) in CALLERS {
            let status = status(&app, method, &path, key).await;
            match role {
                None => assert_eq!(status, 401, "{method} {path} {key}"),
                // The key has no user whose keys it could make.
                Some(Role::Member | Role::Viewer) if (method, &*path) == ("POST", "/admin/keys") => {
                    assert_eq!(status, 403)
                }
                Some(role) if role < required_role => assert_eq!(status, 403, "{method} {path} {key}"),
                // This server has no store: changes are refused for that, or for their empty body.
                Some(_) => assert!([200, 400, 409].contains(&status), "{method} {path} {key}: {status}"),
            }
        }
    }
}

#[tokio::test]
async fn routes_outside_the_table_do_not_exist() {
    let app = app_with_roles().await;
    for path in ["/admin", "/admin/secrets", "/admin/keys/x/y", "/admin/users/x/../../keys", "/admin/%6beys"] {
        assert_eq!(status(&app, "GET", path, ADMIN).await, 404, "{path}");
    }
    assert_eq!(status(&app, "DELETE", "/admin/keys", ADMIN).await, 405);
    assert_eq!(status(&app, "TRACE", "/admin/keys", ADMIN).await, 405);
}

#[tokio::test]
async fn every_other_route_requires_a_key_of_any_role() {
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
        ("POST", "/v1/files"),
        ("GET", "/v1/files"),
        ("GET", "/v1/files/x"),
        ("DELETE", "/files/x"),
        ("GET", "/files/x/content"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches"),
        ("GET", "/batches/x"),
        ("POST", "/v1/batches/x/cancel"),
    ];
    let others = others.map(|(method, path)| (method, path.to_owned()));
    for (method, path) in prefixed.chain(others) {
        for (key, role) in CALLERS {
            let status = status(&app, method, &path, key).await;
            match role {
                None => assert_eq!(status, 401, "{method} {path} {key}"),
                // The admin token cannot call models.
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
async fn web_pages_cannot_call_the_admin_api() {
    let app = app_with_roles().await;
    let get = |host: &str, origin: &str| {
        let request = app.request("GET", "/admin/me").header("authorization", &format!("Bearer {ADMIN}"));
        request.header("host", host).header("origin", origin).send()
    };
    for host in ["localhost", "gateway.example.org", "Gateway.Example.org:443"] {
        assert_eq!(get(host, "").await.status, 200, "{host}");
    }
    assert_eq!(get("evil.example", "").await.json()["error"]["code"], "host_not_allowed");
    assert_eq!(get("localhost", "https://evil.example").await.json()["error"]["code"], "origin_not_allowed");
    // Pages that may call models may not call the admin API.
    let origin = "https://chat.example";
    let listed = TestAppBuilder::deepseek_profile().config(|config| {
        config.keys = Default::default();
        config.cors_origins = vec![origin.into()];
    });
    let listed = listed.start().await;
    let send = |method: &'static str, path: &'static str, origin: &'static str| {
        listed.request(method, path).header("authorization", "").header("origin", origin).send()
    };
    for path in ["/admin/me", "/admin/keys", "/metrics"] {
        let answer = send("GET", path, origin).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, None), "{path}");
        let preflight = send("OPTIONS", path, origin).await;
        assert_eq!(preflight.header("access-control-allow-origin"), None, "{path}");
        assert_eq!(preflight.header("access-control-allow-methods"), None, "{path}");
    }
    assert_eq!(send("GET", "/v1/models", origin).await.header("access-control-allow-origin"), Some(origin));
    // Without keys, programs on this machine may, but web pages may not.
    let open = TestAppBuilder::without_keys().start().await;
    let get = |host: &str| open.request("GET", "/admin/me").header("authorization", "").header("host", host).send();
    assert_eq!(get("localhost").await.json()["role"], "admin");
    assert_eq!(get("evil.example").await.status, 403);
}
