//! Keys and budgets, from a server without keys to a budget that is used up.

use std::time::Duration;

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::commands::{stderr, stdout};

async fn post_chat(app: &TestApp, key: Option<&str>) -> (u16, Value) {
    let body = json!({"model": "deepseek-chat", "messages": [{"role": "user", "content": "Say hi"}], "max_tokens": 20});
    let mut request = app.client.post(app.url("/chat/completions")).json(&body);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Repeats a request until its answer has this status. A server sees a change within a second.
async fn wait_for_status(app: &TestApp, key: Option<&str>, status: u16) -> Value {
    let mut last = json!(null);
    for _ in 0..40 {
        let (got, answer) = post_chat(app, key).await;
        if got == status {
            return answer;
        }
        last = answer;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {status} within two seconds, but {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_spends_its_budget_and_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("cachalot.db").display());
    let journal = folder.path().join("journal");
    let app = TestApp::start_with_config(&["--store", &store], |config| config.store.journal = Some(journal)).await;
    let run = |arguments: &str| {
        let arguments: Vec<_> = arguments.split(' ').chain(["--store", &store]).map(str::to_owned).collect();
        stdout(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(post_chat(&app, None).await.0, 200, "without keys every caller on this machine is served");

    // The price of the prompt alone is 8 tokens * $0.28 a million.
    let key = run("key add alice --budget 0.00002").trim().to_owned();
    crate::secrets::register_secret(&key);
    wait_for_status(&app, None, 401).await;
    wait_for_status(&app, Some(&key), 200).await;
    let refused = wait_for_status(&app, Some(&key), 402).await;
    let message = "Insufficient Balance: the budget of the key `alice` does not cover this request";
    assert_eq!(refused["error"]["message"], message);
    let balance = app.client.get(app.url("/user/balance")).bearer_auth(&key).send().await.unwrap();
    assert_eq!(balance.json::<Value>().await.unwrap()["is_available"], false);

    // So does one of a month, until it is removed.
    run("key set alice --budget none");
    wait_for_status(&app, Some(&key), 200).await;
    run("key set alice --budget 0.000001 --every month --time-zone asia/kathmandu");
    let refused = wait_for_status(&app, Some(&key), 402).await;
    let message = refused["error"]["message"].as_str().unwrap();
    let start = "Insufficient Balance: the monthly budget of the key `alice`, $0.000001, does not cover this request; it renews at ";
    assert!(message.starts_with(start) && message.ends_with("-01T00:00:00+05:45"), "{message}");
    run("key set alice --budget none --every month");
    wait_for_status(&app, Some(&key), 200).await;

    // A project's budget limits all its keys together.
    run("project add team --budget 0.000001");
    let poor = run("key add bob --project team").trim().to_owned();
    crate::secrets::register_secret(&poor);
    let (status, answer) = post_chat(&app, Some(&poor)).await;
    assert_eq!(status, 200, "a new key is known at once: {answer}");
    let refused = wait_for_status(&app, Some(&poor), 402).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("the project `team`"), "{refused}");
    run("project budget team none");
    wait_for_status(&app, Some(&poor), 200).await;
    run("key revoke bob");
    wait_for_status(&app, Some(&poor), 401).await;

    let listed = run("key list --all");
    assert!(listed.contains("alice") && listed.contains("revoked") && !listed.contains(&key), "{listed}");
    app.stop().await;
    let usage = run("usage --by key");
    assert!(usage.contains("alice") && usage.contains("bob") && usage.contains("(none)"), "{usage}");
    assert!(run("usage --by provider --days 1").contains("local"));
    assert!(run("project list").contains("team"));
    let files = std::fs::read(folder.path().join("cachalot.db")).unwrap();
    assert!(!files.windows(key.len()).any(|bytes| bytes == key.as_bytes()), "only hashes are kept");
}

#[test]
fn invalid_keys_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("cachalot.db").display());
    for (arguments, word) in [
        (vec!["key", "add", "a", "--budget", "five"], "five"),
        (vec!["key", "add", "a", "--networks", "10.0.0.0/99"], "10.0.0.0/99"),
        (vec!["key", "add", "a", "--expires", "soon"], "soon"),
        (vec!["key", "add", "a", "--project", "nobody"], "cachalot project add nobody"),
        (vec!["key", "add", ""], "1 to 64"),
        (vec!["key", "revoke", "nobody"], "nobody"),
        (vec!["project", "budget", "nobody", "5"], "nobody"),
    ] {
        let arguments: Vec<_> = arguments.into_iter().chain(["--store", &store]).collect();
        let error = stderr(&arguments);
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
    stdout(&["key", "add", "a", "--store", &store]);
    assert!(stderr(&["key", "add", "a", "--store", &store]).contains("there is a key `a` already"));
    assert!(stderr(&["key", "list", "--store", "off"]).contains("the store is off"));
}
