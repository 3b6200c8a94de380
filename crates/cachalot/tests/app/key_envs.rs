//! Which environment variable may be sent to which address as an API key.

use reqwest::Method;
use serde_json::{Value, json};
use store::{Setting, Store};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;

use crate::admin::AdminApp;

async fn fake_provider() -> FakeUpstream {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"});
    FakeUpstream::start(move |_| FakeResponse::json(200, json!({"id": "up", "choices": [choice]}))).await
}

fn provider_settings(fake: &FakeUpstream, more: Value) -> Value {
    let mut provider = json!({"base_url": fake.base_url(), "dialect": "deepseek", "private": true, "models": ["m"]});
    provider.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    provider
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_sends_a_variable_only_where_the_operator_allows_it() {
    let (allowed, evil) = (fake_provider().await, fake_provider().await);
    let file = format!("[gateway]\nkey_envs = [{{ env = 'PATH', host = '{}' }}]\n", allowed.address);
    let server = AdminApp::start(&file).await;
    crate::secrets::register_secret(&std::env::var("PATH").unwrap());
    let named = server.folder.path().join("cachalot.toml").display().to_string();
    for (name, body) in [
        ("x", provider_settings(&evil, json!({"key_env": "PATH"}))),
        ("x", provider_settings(&evil, json!({"key_env": "HOME"}))),
        ("x", provider_settings(&evil, json!({"key_env": "CACHALOT_NO_SUCH_VARIABLE"}))),
        ("x", provider_settings(&allowed, json!({"key_env": "HOME"}))),
        ("x", provider_settings(&allowed, json!({"key_env": "https_proxy"}))),
        ("deepseek", provider_settings(&evil, json!({}))),
        ("x", provider_settings(&evil, json!({"row": "openai"}))),
        ("x", provider_settings(&evil, json!({"row": "anthropic", "dialect": "openai"}))),
    ] {
        let (status, answer) = server.call(Method::PUT, &format!("/admin/providers/{name}"), &server.token, body).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("key_env_not_allowed")), "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("key_env") && message.contains(&named), "{message}");
    }
    server.call_ok(Method::PUT, "/admin/providers/x", provider_settings(&allowed, json!({"key_env": "PATH"}))).await;
    assert_eq!(server.chat("", "m").await.0, 200);
    let sent = allowed.requests().last().unwrap().header("authorization").unwrap().to_owned();
    assert_eq!(sent, format!("Bearer {}", std::env::var("PATH").unwrap()));
    // A change of the address is checked like a new provider.
    let moved = provider_settings(&evil, json!({"key_env": "PATH"}));
    assert_eq!(server.call_refused(Method::PUT, "/admin/providers/x", moved).await.0, 400);
    assert_eq!(server.chat("", "m").await.0, 200);
    assert!(evil.requests().is_empty());

    // When the list shrinks, the provider stays listed and gets no more requests.
    std::fs::write(server.folder.path().join("cachalot.toml"), "").unwrap();
    server.call_ok(Method::POST, "/admin/reload", json!(null)).await;
    assert_eq!(server.chat("", "m").await.0, 400);
    let listed = server.get("/admin/providers").await;
    assert!(listed["data"][0]["disabled"].as_str().unwrap().contains("key_envs"), "{listed}");
    std::fs::write(
        server.folder.path().join("cachalot.toml"),
        "[gateway]\nkey_envs = [{ env = 'NO_PROXY', host = 'x.example' }]",
    )
    .unwrap();
    let (status, message) = server.call_refused(Method::POST, "/admin/reload", json!(null)).await;
    assert!(status == 400 && message.contains("NO_PROXY"), "{message}");
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_provider_that_breaks_the_rule_is_disabled_at_start_and_can_be_removed() {
    let (evil, folder) = (fake_provider().await, tempfile::tempdir().unwrap());
    let store = Store::open(&format!("sqlite:{}", folder.path().join("cachalot.db").display())).await.unwrap();
    let value = provider_settings(&evil, json!({"key_env": "PATH"})).to_string();
    store.put_setting(&Setting { kind: "provider".into(), name: "old".into(), value }).await.unwrap();
    store.close().await;
    let server = AdminApp::start_in(folder, "").await;
    let listed = server.get("/admin/providers").await;
    let entry = &listed["data"][0];
    assert!(entry["name"] == "old" && entry["source"] == "store" && entry["disabled"].is_string(), "{listed}");
    assert_eq!(server.chat("", "m").await.0, 400);
    server.call_ok(Method::DELETE, "/admin/providers/old", json!(null)).await;
    assert_eq!(server.get("/admin/providers").await["data"], json!([]));
    assert!(evil.requests().is_empty());
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_of_the_file_goes_only_to_the_address_of_its_block() {
    let (own, other) = (fake_provider().await, fake_provider().await);
    let file = format!(
        "[[providers]]\nname = 'own'\nbase_url = '{}'\ndialect = 'deepseek'\nprivate = true\nkey_env = 'PATH'\nmodels = ['own-m']\n",
        own.base_url()
    );
    let server = AdminApp::start(&file).await;
    crate::secrets::register_secret(&std::env::var("PATH").unwrap());
    server.call_ok(Method::PUT, "/admin/providers/second", provider_settings(&own, json!({"key_env": "PATH"}))).await;
    let other_address = provider_settings(&other, json!({"key_env": "PATH"}));
    assert_eq!(server.call_refused(Method::PUT, "/admin/providers/third", other_address).await.0, 400);
    assert_eq!((server.chat("", "m").await.0, server.chat("", "own-m").await.0), (200, 200));
    assert!(other.requests().is_empty());
    server.app.stop().await;
}
