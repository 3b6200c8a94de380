//! `cachalot usage check` on a database with values that an older version let overflow.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::process::{TestHome, mode};

fn execute_sql(home: &TestHome, statements: &[&str]) {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite:{}", home.data_path("cachalot.db").display());
        let mut database = sqlx::AnyConnection::connect(&url).await.unwrap();
        for statement in statements {
            database.execute(AssertSqlSafe((*statement).to_owned())).await.unwrap();
        }
        database.close().await.unwrap();
    });
}

fn usage_check_json(home: &TestHome) -> Value {
    let ended = home.run(&["usage", "check", "--json"]);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(if found["clean"] == true { 0 } else { 1 }), "{}", ended.stderr);
    found
}

const INSERT_POISONED_RECORD: &str = "insert into usage_records (id, at, key_id, key_name, project_id, model, upstream, prompt_tokens, cached_tokens,
    cache_write_tokens, completion_tokens, reasoning_tokens, estimated, cost, price, total_us, outcome)
    select 'r1', 5, id, name, project_id, 'm', 'u', 9223372036854775807, 0, 0, 5, 0, 0, 9223372036854775807, '', 1, 'stop' from keys where name = 'mallory'";

#[test]
fn a_poisoned_database_is_served_checked_and_repaired() {
    let home = TestHome::new();
    let alice = home.run_ok(&["key", "add", "alice", "--budget", "1"]);
    let mallory = home.run_ok(&["key", "add", "mallory", "--budget", "1"]);
    assert_eq!(usage_check_json(&home)["clean"], true);
    execute_sql(
        &home,
        &[
            INSERT_POISONED_RECORD,
            "update keys set spent = 9223372036854775807 + 100 where name = 'mallory'",
            "update keys set spent = -9223372036854535809 where name = 'alice'",
            "update projects set spent = 9223372036854775807 + 100",
        ],
    );
    // Every command and route that reads it still works.
    let server = home.serve(&[]);
    let token = std::fs::read_to_string(home.data_path("admin-token")).unwrap();
    let authorization = format!("authorization: Bearer {}", token.trim());
    for path in [
        "/admin/usage?by=key&days=36500",
        "/admin/usage?by=project&days=36500",
        "/admin/records",
        "/admin/keys",
        "/admin/projects",
    ] {
        let (status, body) = server.get(path, &[&authorization]);
        assert_eq!(status, 200, "{path}: {body}");
    }
    // A budget whose sum has overflowed is used up; the other key of the project is not.
    for key in [&alice, &mallory] {
        let key = format!("authorization: Bearer {}", key.trim());
        let (_, balance) = server.get("/user/balance", &[&key]);
        assert!(balance.contains("\"is_available\":false"), "{balance}");
    }
    let log = server.log();
    for name in ["alice", "mallory", "default"] {
        assert!(log.contains("usage check --repair") && log.contains(name), "{name}: {log}");
    }
    home.run_ok(&["usage", "rebuild"]); // The record was not inserted by the server.
    assert!(home.run_ok(&["usage", "--days", "36500"]).contains("mallory"));
    assert!(home.run_ok(&["key", "list"]).contains("alice"));

    let found = usage_check_json(&home);
    let differences = found["differences"].as_array().unwrap();
    let of = |name: &str| differences.iter().filter(|difference| difference["name"] == name).count();
    assert_eq!((differences.len(), of("mallory"), of("alice")), (5, 3, 1), "{found}");
    let refused = home.run_fails(&["usage", "check", "--repair"]);
    assert!(refused.contains(&format!("process {}", server.id())) && refused.contains("stop it"), "{refused}");
    assert_eq!(usage_check_json(&home)["differences"], found["differences"], "nothing was changed");
    server.stop();

    let text = home.run(&["usage", "check"]);
    assert!(text.stdout.contains("difference: key `alice`") && text.status.code() == Some(1), "{}", text.stdout);
    let repaired: Value = serde_json::from_str(&home.run_ok(&["usage", "check", "--repair", "--json"])).unwrap();
    assert_eq!((&repaired["clean"], &repaired["repaired"]["changes"]), (&json!(true), &found["differences"]));
    let copy = std::path::PathBuf::from(repaired["repaired"]["copy"].as_str().unwrap());
    assert_eq!((std::fs::read_to_string(&copy).unwrap().lines().count(), mode(&copy)), (5, 0o600));
    assert_eq!(usage_check_json(&home)["clean"], true);
    // A second repair changes nothing and writes no copy.
    let again: Value = serde_json::from_str(&home.run_ok(&["usage", "check", "--repair", "--json"])).unwrap();
    assert_eq!((&again["repaired"]["changes"], &again["repaired"]["copy"]), (&json!([]), &Value::Null));
}

#[test]
fn records_of_journal_and_quarantine_are_counted() {
    let home = TestHome::new();
    home.run_ok(&["key", "add", "alice"]);
    let record = |id: &str, cost: i64| {
        json!({"id": id, "at": 5, "key_id": null, "key_name": "alice", "project_id": null, "model": "m", "upstream": "u", "prompt_tokens": 1,
            "cached_tokens": 0, "cache_write_tokens": 0, "completion_tokens": 1, "reasoning_tokens": 0, "estimated": false, "cost": cost,
            "price": "", "first_token_us": null, "total_us": 1, "outcome": "stop"})
    };
    let lines = [
        json!({"open": record("a", 1)}),
        json!({"done": record("a", 7)}),
        json!({"open": record("b", 1)}),
        json!({"done": record("c", i64::MAX)}),
    ];
    let lines: String = lines.iter().map(|line| format!("\n{line}\n")).collect();
    std::fs::create_dir_all(home.data_path("journal")).unwrap();
    std::fs::write(home.data_path("journal/1.alone.journal"), lines).unwrap();
    let found = usage_check_json(&home);
    assert_eq!(
        (&found["journal"]["ended"], &found["journal"]["open"], &found["clean"]),
        (&json!(2), &json!(1), &json!(true))
    );
    // The next start commits the valid records and quarantines the others.
    home.serve(&[]).stop();
    let found = usage_check_json(&home);
    assert_eq!(
        (&found["journal"]["ended"], &found["journal"]["open"], &found["records"]),
        (&json!(0), &json!(0), &json!(2))
    );
    assert_eq!((&found["quarantined"][0]["id"], &found["clean"]), (&json!("c"), &json!(false)));
    assert!(home.run(&["usage", "check"]).stdout.contains("quarantined: record `c` of `alice`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdraft_caps_the_local_engine_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("cachalot.db").display());
    let journal = folder.path().join("journal");
    let key = crate::commands::stdout(&["key", "add", "alice", "--budget", "0.00004", "--store", &store]);
    crate::secrets::register_secret(key.trim());
    let app = crate::app::TestApp::start_with_config(&["--store", &store], |config| {
        config.store.journal = Some(journal);
        config.gateway.overdraft = gateway::Overdraft::AtMost(0);
    })
    .await;
    let post = async |max_tokens: Option<u64>| {
        let mut body =
            json!({"model": "deepseek-chat", "messages": [{"role": "user", "content": "Tell me a long story"}]});
        if let Some(max_tokens) = max_tokens {
            body["max_tokens"] = json!(max_tokens);
        }
        let response =
            app.client.post(app.url("/chat/completions")).bearer_auth(key.trim()).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, refused) = post(Some(4000)).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(status == 402 && message.contains("`max_tokens` of at most"), "{refused}");
    let fits: u64 = message.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((10..100).contains(&fits), "{message}");
    let (status, answer) = post(None).await;
    let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
    assert!(status == 200 && tokens <= fits, "{answer}");
    app.stop().await;
}
