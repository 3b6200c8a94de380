//! The files of the web console, and the redirect to them.

use serde_json::json;

use crate::app::TestAppBuilder;
use crate::client::Response;
use crate::sign_in::{admin, bare, invite, start, with_cookie};

const PAGE_HEADERS: [&str; 4] =
    ["content-security-policy", "x-content-type-options", "referrer-policy", "cross-origin-opener-policy"];

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.header(name).unwrap_or_default()
}

#[tokio::test]
async fn a_browser_is_sent_to_the_console_and_a_program_is_not() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let browser = app.request("GET", "/").header("accept", "text/html,*/*;q=0.8").send().await;
    assert_eq!((browser.status, header(&browser, "location")), (302, "/console/"));
    for accept in ["*/*", "application/json", "text/html;q=0"] {
        let program = app.request("GET", "/").header("accept", accept).send().await;
        assert_eq!(program.status, 404, "{accept}");
        assert_eq!(program.json()["error"]["message"], "No such path: /");
    }
    let posted = app.request("POST", "/").header("accept", "text/html").send().await;
    assert_eq!(posted.status, 404);
}

#[tokio::test]
async fn files_have_types_hashes_and_a_policy_and_are_compressed() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for (path, content_type) in [
        ("/console", "text/html; charset=utf-8"),
        ("/console/", "text/html; charset=utf-8"),
        ("/console/keys", "text/html; charset=utf-8"),
        ("/console/app.js", "text/javascript; charset=utf-8"),
        ("/console/style.css", "text/css; charset=utf-8"),
    ] {
        let plain = app.request("GET", path).send().await;
        assert_eq!((plain.status, header(&plain, "content-type")), (200, content_type), "{path}");
        assert_eq!(header(&plain, "cache-control"), "no-cache", "{path}");
        for name in PAGE_HEADERS {
            assert!(plain.header(name).is_some(), "{path}: {name}");
        }
        let etag = header(&plain, "etag").to_owned();
        assert!(etag.starts_with('"') && etag.len() == 66, "{etag}");
        let known = app.request("GET", path).header("if-none-match", &format!("\"x\", {etag}")).send().await;
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
        let compressed = app.request("GET", path).header("accept-encoding", "br, gzip").send().await;
        assert_eq!(header(&compressed, "content-encoding"), "gzip", "{path}");
        assert!(compressed.body.len() < plain.body.len(), "{path}");
        assert_ne!(header(&compressed, "etag"), etag, "{path}");
        let (status, _) = app.request("HEAD", path).connect().await.head().await;
        assert_eq!(status, 200, "{path}");
    }
}

#[tokio::test]
async fn what_does_not_exist_has_the_policy_too() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for (method, path, status) in [
        ("GET", "/console/missing.js", 404),
        ("GET", "/console/../Cargo.toml", 404),
        ("GET", "/console/%2e%2e/Cargo.toml", 404),
        ("POST", "/console/keys", 405),
        ("DELETE", "/console", 405),
    ] {
        let response = app.request(method, path).send().await;
        assert_eq!(response.status, status, "{method} {path}");
        assert!(response.header("content-security-policy").is_some(), "{method} {path}");
        assert!(response.json()["error"]["message"].is_string(), "{method} {path}");
    }
}

#[tokio::test]
async fn without_the_console_its_paths_are_unknown() {
    let app = TestAppBuilder::deepseek_profile().config(|config| config.console.enabled = false).start().await;
    for path in ["/", "/console", "/console/keys", "/console/app.js", "/console/settings.json"] {
        let response = app.request("GET", path).header("accept", "text/html").send().await;
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json()["error"]["code"], "not_found", "{path}");
        assert!(response.header("content-security-policy").is_none(), "{path}");
    }
}

/// A page asks this first, so that nobody who comes to log in sees an error in the browser's log.
#[tokio::test]
async fn the_settings_say_whether_somebody_is_signed_in() {
    let path = "/console/settings.json";
    let open = TestAppBuilder::without_keys().start().await;
    let settings = bare(&open, "GET", path).send().await;
    assert_eq!(settings.header("cache-control"), Some("no-store"));
    let settings = settings.json();
    assert!(settings["signed_in"] == true && settings["guide"] == "login" && settings["signup"] == "closed");
    assert_eq!(bare(&open, "GET", path).header("host", "evil.example").send().await.json()["signed_in"], false);

    let public = TestAppBuilder::deepseek_profile().config(|config| config.console.guide = server::GuideAccess::Public);
    let settings = bare(&public.start().await, "GET", path).send().await.json();
    assert!(settings["guide"] == "public" && settings["signed_in"] == false, "{settings}");

    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    let olga = invite(&app, "olga", "member").await;
    assert_eq!(bare(&app, "GET", path).send().await.json()["signed_in"], false);
    assert_eq!(bare(&app, "GET", path).header("cookie", &olga).send().await.json()["signed_in"], false);
    let asked = with_cookie(&app, "GET", path, &olga);
    assert_eq!(asked.clone().send().await.json()["signed_in"], true);
    assert_eq!(asked.header("origin", "https://evil.example").send().await.json()["signed_in"], false);
    assert_eq!(with_cookie(&app, "DELETE", "/admin/session", &olga).send().await.status, 204);
    assert_eq!(with_cookie(&app, "GET", path, &olga).send().await.json()["signed_in"], false);
}
