//! The commands of an operator: keys, usage, projects, users, prices and providers, as text, JSON
//! and CSV.

use serde_json::{Value, json};
use testkit::FakeUpstream;
use testkit::fake_upstream::FakeResponse;

use crate::process::TestHome;

fn json_of(home: &TestHome, words: &[&str]) -> Value {
    let text = home.run_ok(words);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

#[test]
fn a_key_is_changed_shown_listed_and_revoked() {
    let home = TestHome::new();
    home.run_ok(&["user", "add", "olga"]);
    let made = json_of(&home, &["key", "add", "alice", "--user", "olga", "--budget", "5", "--rpm", "60", "--json"]);
    assert!(made["key"].as_str().unwrap().starts_with("sk-") && made["budget"] == "5.000000000", "{made}");
    home.run_ok(&["key", "set", "alice", "--budget", "none", "--models", "deepseek-chat", "--expires", "2099-01-31"]);
    let shown = json_of(&home, &["key", "show", "alice", "--json"]);
    // The first second after the day.
    assert_eq!(shown["expires_at"], 4_073_587_200_i64);
    assert_eq!((&shown["budget"], &shown["models"]), (&json!(null), &json!(["deepseek-chat"])));
    assert_eq!((&shown["requests_per_minute"], &shown["user"]), (&json!(60), &json!("olga")));
    let text = home.run_ok(&["key", "show", "alice"]);
    for part in
        ["budget                     unlimited", "expires                    2099-02-01 00:00", "olga", "in use"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    home.run_ok(&["key", "add", "bob"]);
    home.run_ok(&["key", "revoke", "bob"]);
    let listed = home.run_ok(&["key", "list"]);
    assert!(listed.contains("60 rpm, deepseek-chat") && !listed.contains("bob"), "{listed}");
    let all = json_of(&home, &["key", "list", "--all", "--json"]);
    let states: Vec<&Value> = all.as_array().unwrap().iter().map(|key| &key["state"]).collect();
    assert_eq!(states, ["in use", "revoked"]);
    for (words, fault) in [
        (&["key", "set", "alice"][..], "nothing to change"),
        (&["key", "set", "nobody", "--rpm", "1"], "nobody"),
        (&["key", "set", "alice", "--expires", "2020-01-01"], "this day has passed"),
        (&["key", "show", "bob"], "no key in use"),
    ] {
        assert!(home.run_fails(words).contains(fault), "{words:?}: {}", home.run_fails(words));
    }
}

#[test]
fn budgets_that_renew_are_set_shown_and_removed() {
    let home = TestHome::new();
    home.run_ok(&["user", "add", "olga"]);
    let zoned = ["--every", "month", "--time-zone", "europe/berlin", "--warn-at", "40"];
    let made = [&["key", "add", "alice", "--user", "olga", "--budget", "50", "--json"][..], &zoned].concat();
    let made = json_of(&home, &made);
    let budget = &made["budgets"][0];
    assert_eq!((&made["budget"], &budget["amount"]), (&json!(null), &json!("50.000000000")));
    assert_eq!((&budget["time_zone"], &budget["warn_at"]), (&json!("Europe/Berlin"), &json!("40.000000000")));
    home.run_ok(&["key", "set", "alice", "--budget", "0.5", "--every", "day", "--each-end-user"]);
    home.run_ok(&["key", "set", "alice", "--budget", "5", "--end-user", "vip"]);
    home.run_ok(&["key", "set", "alice", "--budget", "100"]);
    let text = home.run_ok(&["key", "show", "alice"]);
    for part in [
        "budget                     $100.000000",
        "budget a month             $0.00 of $50.00, warns at $40.00, renews ",
        "(Europe/Berlin)",
        "budget a day, each end user $0.50, renews ",
        "budget, end user vip       $0.00 of $5.00\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let listed = home.run_ok(&["key", "list"]);
    assert!(listed.contains("0.00/50.00 month, 0.50 day each end user, 0.00/5.00 total end user vip"), "{listed}");
    home.run_ok(&["key", "set", "alice", "--budget", "none", "--end-user", "vip"]);
    home.run_ok(&["key", "set", "alice", "--budget", "none", "--every", "day", "--each-end-user"]);
    home.run_ok(&["key", "set", "alice", "--budget", "none", "--warn-at", "none", "--every", "month"]);
    assert_eq!(json_of(&home, &["key", "show", "alice", "--json"])["budgets"], json!([]));

    home.run_ok(&["project", "add", "team", "--budget", "200", "--every", "week"]);
    home.run_ok(&["project", "budget", "team", "300", "--warn-at", "250"]);
    assert!(home.run_ok(&["project", "list"]).contains("0.00/200.00 week, 0.00/warn 250.00 total"));
    home.run_ok(&["user", "budget", "olga", "20", "--every", "week"]);
    let users = json_of(&home, &["user", "list", "--json"]);
    assert_eq!(users[0]["budgets"][0]["amount"], "20.000000000");
    for (words, fault) in [
        (&["key", "set", "alice", "--every", "week"][..], "no budget of this period yet"),
        (&["key", "set", "alice", "--every", "hour", "--budget", "1"], "`hour` is not a period"),
        (&["key", "set", "alice", "--every", "day", "--budget", "1", "--time-zone", "Berlin"], "not a time zone"),
        (&["key", "set", "alice", "--every", "day", "--budget=-1"], "not an amount"),
        (&["key", "set", "alice", "--every", "day", "--budget", "9223372037"], "not an amount"),
        (&["key", "set", "alice", "--every", "day", "--budget", "1", "--warn-at", "2"], "above its amount"),
        (&["key", "set", "alice", "--budget", "1", "--time-zone", "UTC"], "--every"),
        (&["user", "budget", "nobody", "1", "--every", "day"], "nobody"),
    ] {
        assert!(home.run_fails(words).contains(fault), "{words:?}: {}", home.run_fails(words));
    }
    // A budget of nothing is one, and refuses everything.
    home.run_ok(&["key", "set", "alice", "--every", "day", "--budget", "0"]);
    assert_eq!(json_of(&home, &["key", "show", "alice", "--json"])["budgets"][0]["amount"], "0.000000000");
}

#[test]
fn a_model_id_that_nothing_has_is_noted() {
    let home = TestHome::new();
    let noted = home.run(&["key", "add", "alice", "--models", "deepseek-chta"]).stderr;
    assert!(noted.contains("no model has the id `deepseek-chta`: did you mean `deepseek-chat`?"), "{noted}");
    let fine = home.run(&["key", "add", "bob", "--models", "deepseek-chat,fixture"]).stderr;
    assert!(!fine.contains("note:"), "{fine}");
}

#[test]
fn lists_and_confirmations_are_json_on_request() {
    let home = TestHome::new();
    assert_eq!(json_of(&home, &["project", "add", "team", "--budget", "7", "--json"])["budget"], "7.000000000");
    let projects = json_of(&home, &["project", "list", "--json"]);
    assert!(projects.as_array().unwrap().iter().any(|project| project["name"] == "team"), "{projects}");
    home.run_ok(&["user", "add", "olga", "--role", "viewer"]);
    let users = json_of(&home, &["user", "list", "--json"]);
    assert_eq!(users, json!([{"name": "olga", "role": "viewer", "state": "in use", "budgets": []}]));
    let builtin = json_of(&home, &["provider", "list", "--json"]);
    assert!(builtin.as_array().unwrap().iter().any(|provider| provider["key_env"] == "OPENAI_API_KEY"), "{builtin}");
    let listed = home.run_ok(&["provider", "list"]);
    assert!(
        listed.contains("tested with a simulated server") && listed.contains("not verified against the service"),
        "{listed}"
    );
    for by in ["key", "user", "day"] {
        assert_eq!(json_of(&home, &["usage", "--by", by, "--json"]), json!([]));
    }
    let csv = home.run_ok(&["usage", "--by", "user", "--since", "2026-11-01", "--until", "2026-11-30", "--csv"]);
    assert_eq!(csv, "user,requests,prompt,cached,completion,USD\n");
    for (words, fault) in [
        (&["usage", "--since", "2026-11-30", "--until", "2026-11-01"][..], "--since is after --until"),
        (&["usage", "--since", "yesterday"], "--since"),
        (&["usage", "--json", "--csv"], "--csv"),
    ] {
        assert!(home.run_fails(words).contains(fault), "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_added_tested_and_removed_and_a_price_set() {
    let fake = FakeUpstream::start(|_| FakeResponse::json(200, json!({"data": [{"id": "m"}, {"id": "n"}]}))).await;
    let home = TestHome::new();
    let add = ["provider", "add", "acme", "--base-url", &fake.base_url(), "--dialect", "deepseek", "--private"];
    assert!(home.run(&add).status.success());
    assert!(home.run_fails(&add).contains("there is a provider `acme` already"));
    assert!(home.run_ok(&["provider", "test"]).contains("2 models"));
    let mut tested = json_of(&home, &["provider", "test", "acme", "--json"]);
    assert!(tested[0]["milliseconds"].take().as_u64() > Some(0));
    let result = json!({"name": "acme", "reached": true, "tls": null, "key_good": null, "models": ["m", "n"], "milliseconds": null, "error": null});
    assert_eq!(tested, json!([result]));
    assert!(home.run_fails(&["provider", "test", "acmi"]).contains("did you mean `acme`?"));
    let server = home.serve(&[]);
    assert!(server.wait_for_models(2), "{}", server.log());
    home.run_ok(&["price", "set", "acme/m", "--input", "0.5", "--output", "2"]);
    home.run_ok(&["provider", "remove", "acme"]);
    server.stop();
    drop(fake);
    for (words, fault) in [
        (&["provider", "test"][..], "no provider is configured"),
        (&["provider", "remove", "acme"], "acme"),
        (&["provider", "add", "opanai"], "did you mean `openai`?"),
        (&["provider", "add", "x", "--base-url", "https://x.example", "--dialect", "odd"], "odd"),
        (
            &["provider", "add", "x", "--base-url", "https://x.example", "--dialect", "openai", "--key-env", "HOME"],
            "key_envs",
        ),
        (&["price", "set", "m", "--input", "1", "--output", "1"], "PROVIDER/MODEL"),
        (&["price", "set", "acme/m", "--input", "-1", "--output", "1"], "--input"),
    ] {
        assert!(home.run_fails(words).contains(fault), "{words:?}: {}", home.run_fails(words));
    }
    // A key that is not here may be in the environment of the server.
    let mut command = home.command(&["provider", "add", "deepseek"]);
    command.env_remove("DEEPSEEK_API_KEY");
    let added = crate::process::run_to_end(command);
    assert!(added.status.success() && added.stderr.contains("DEEPSEEK_API_KEY"), "{}", added.stderr);
}

#[test]
fn an_engine_on_the_servers_own_port_is_refused() {
    let home = TestHome::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = home.path("own.toml");
    let settings = format!("[[providers]]\nname = 'vllm'\nbase_url = 'http://localhost:{port}/v1'\n");
    std::fs::write(&config, settings).unwrap();
    let listen = format!("127.0.0.1:{port}");
    let words = ["serve", "--model", "none", "--listen", &listen, "--config", config.to_str().unwrap()];
    let refused = home.run_fails(&words);
    assert!(refused.contains("provider `vllm`") && refused.contains("the address of this server"), "{refused}");
}
