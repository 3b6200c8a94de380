//! Calls of the admin API about the running server: its configuration, its engine, its providers.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;

use crate::admin::AdminApp;
use crate::process::{Server, TestHome};

fn setting(value: Value, from: &str, at_start: bool) -> Value {
    json!({"value": value, "from": from, "at_start": at_start})
}

#[tokio::test(flavor = "multi_thread")]
async fn each_setting_names_its_origin() {
    const FILE: &str = "[server]\nhosts = ['gateway.example.org']\ngrace_s = 20\n[engine]\nqueue = 7\nthreads = 1\n\
        [gateway]\nrouting = 'price'\n[aliases]\nfast = 'deepseek-chat'\n";
    let server = AdminApp::start(FILE).await;
    server.call_ok(Method::PUT, "/admin/aliases/slow", json!("deepseek-reasoner")).await;
    let config = server.get("/admin/config").await;
    assert!(config["file"]["path"].as_str().unwrap().ends_with("cachalot.toml"), "{config}");
    assert!(config["file"]["read_at"].as_i64() > Some(1_700_000_000), "{config}");
    for (section, name, expected) in [
        ("server", "hosts", setting(json!(["gateway.example.org"]), "file", true)),
        // The file has the former name.
        ("server", "shutdown_grace_s", setting(json!(20), "file", true)),
        ("server", "proxies", setting(json!([]), "default", true)),
        ("server", "keys", setting(json!([]), "default", false)),
        ("engine", "queue", setting(json!(7), "file", true)),
        ("engine", "model", setting(json!("fixture"), "command line", true)),
        ("engine", "context", setting(json!(null), "default", true)),
        ("store", "url", setting(json!("set"), "command line", true)),
        ("store", "redis", setting(json!(null), "default", true)),
        ("gateway", "routing", setting(json!("price"), "file", false)),
        ("gateway", "overdraft", setting(json!("last-request"), "default", false)),
        ("console", "guide", setting(json!("login"), "default", true)),
        ("compat", "profile", setting(json!("lenient"), "default", true)),
        ("aliases", "fast", setting(json!("deepseek-chat"), "file", false)),
        ("aliases", "slow", setting(json!("deepseek-reasoner"), "store", false)),
    ] {
        assert_eq!(config[section][name], expected, "{section}.{name}");
    }
    assert!(!config.to_string().contains("sqlite"), "{config}");

    // A setting that is read at the start waits for the next one.
    let changed = FILE.replace("queue = 7", "queue = 9").replace("'price'", "'latency'").replace("threads = 1\n", "");
    std::fs::write(server.folder.path().join("cachalot.toml"), changed).unwrap();
    server.call_ok(Method::POST, "/admin/reload", json!(null)).await;
    let config = server.get("/admin/config").await;
    let waiting = |value: Value, next: Value| json!({"value": value, "from": "file", "at_start": true, "next": next});
    assert_eq!(config["engine"]["queue"], waiting(json!(7), json!(9)));
    assert_eq!(config["engine"]["threads"], waiting(json!(1), json!(null)));
    assert_eq!(config["gateway"]["routing"], setting(json!("latency"), "file", false));
    // Switches win over a file that is read again.
    assert_eq!(config["engine"]["model"], setting(json!("fixture"), "command line", true));
    server.app.stop().await;
}

#[test]
fn switches_and_variables_are_named_as_such() {
    let home = TestHome::new();
    let config = home.path("switches.toml");
    let store = format!("sqlite:{}", home.path("other.db").display());
    std::fs::write(&config, "[store]\nurl_env = 'CACHALOT_TEST_STORE'\n[server]\nlisten = '127.0.0.1:1'\n").unwrap();
    let mut command = home.command(&[
        "serve",
        "--model",
        "none",
        "--listen",
        "127.0.0.1:0",
        "--no-console",
        "--grace",
        "3",
        "--compat",
        "deepseek",
        "--disk-cache",
        "off",
        "--seed",
        "5",
        "--attention",
        "dense",
        "--allow-mmap-larger-than-memory",
        "--config",
        config.to_str().unwrap(),
    ]);
    command.env("CACHALOT_TEST_STORE", &store);
    let mut server = Server::start(command);
    server.wait_for_log("listening on");
    let (status, text) = server.get("/admin/config", &[]);
    assert_eq!(status, 200, "{text}");
    let config: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    for (section, name, value) in [
        ("server", "listen", json!("127.0.0.1:0")),
        ("server", "shutdown_grace_s", json!(3)),
        ("console", "enabled", json!(false)),
        ("compat", "profile", json!("deepseek")),
        ("cache", "disk", json!(false)),
        ("engine", "seed", json!(5)),
        ("engine", "attention", json!("dense")),
        ("engine", "allow_mmap_larger_than_memory", json!(true)),
        ("engine", "model", json!("none")),
    ] {
        assert_eq!(config[section][name], setting(value, "command line", true), "{section}.{name}");
    }
    assert_eq!(config["store"]["url"], setting(json!("set"), "environment", true));
    assert!(home.path("other.db").exists() && !text.contains("other.db"), "{text}");
    let (status, engine) = server.get("/admin/engine", &[]);
    assert!(status == 200 && engine.ends_with("\r\n\r\nnull"), "{engine}");
    server.stop();
}

/// The engine's state once it is as `expected`, or after four seconds as it is then.
async fn engine_when(server: &AdminApp, expected: impl Fn(&Value) -> bool) -> Value {
    let mut engine = server.get("/admin/engine").await;
    for _ in 0..40 {
        if expected(&engine) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        engine = server.get("/admin/engine").await;
    }
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_says_what_it_runs_and_how_much() {
    let server = AdminApp::start("").await;
    assert_eq!(server.chat("", "deepseek-chat").await.0, 200);
    // The answer is sent a moment before its sequence ends.
    let engine = engine_when(&server, |engine| engine["running"] == 0).await;
    assert_eq!((&engine["model"], &engine["attention"]), (&json!("fixture"), &json!("sparse")), "{engine}");
    assert_eq!((&engine["running"], &engine["waiting"], &engine["queue"]), (&json!(0), &json!(0), &json!(256)));
    let number =
        |path: &str| engine.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {engine}"));
    assert!(engine["ready"] == true && number("/threads") >= 1.0 && number("/prompt_tokens") > 0.0, "{engine}");
    assert!(number("/cache/tokens") >= number("/context") && number("/cache/used_tokens") == 0.0, "{engine}");
    assert!(number("/memory/weights") > 1e6 && number("/memory/cache") > 0.0, "{engine}");
    assert!(number("/memory/available") <= number("/memory/total"), "{engine}");
    // Rates are those of whole seconds.
    let rate = |engine: &Value| engine["generated_tokens_per_second"].as_f64().unwrap();
    let engine = engine_when(&server, |engine| rate(engine) > 0.0).await;
    assert!(rate(&engine) > 0.0);
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_tested_over_the_admin_api() {
    let fake = FakeUpstream::start(|_| FakeResponse::json(200, json!({"data": [{"id": "m"}]}))).await;
    let file = format!(
        "[[providers]]\nname = 'acme'\nbase_url = '{}'\ndialect = 'openai'\nprivate = true\n\
         [[providers]]\nname = 'keyless'\nbase_url = 'https://api.acme.example/v1'\ndialect = 'openai'\nkey_env = 'CACHALOT_TEST_UNSET'\n",
        fake.base_url()
    );
    let server = AdminApp::start(&file).await;
    let mut result = server.call_ok(Method::POST, "/admin/providers/acme/test", json!(null)).await;
    assert!(result["milliseconds"].take().as_u64() > Some(0));
    assert_eq!(
        result,
        json!({"name": "acme", "reached": true, "tls": null, "key_good": null, "models": ["m"], "milliseconds": null, "error": null})
    );
    // A provider that is disabled is not called.
    let result = server.call_ok(Method::POST, "/admin/providers/keyless/test", json!(null)).await;
    assert!(
        result["reached"] == false && result["error"].as_str().unwrap().contains("CACHALOT_TEST_UNSET"),
        "{result}"
    );
    for name in ["nobody", "local"] {
        let (status, message) =
            server.call_refused(Method::POST, &format!("/admin/providers/{name}/test"), json!(null)).await;
        assert!(status == 404 && message.contains(name), "{message}");
    }
    server.app.stop().await;
}
