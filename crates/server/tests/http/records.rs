//! Records: lists, single ones with their attempts, those of refused requests, and the health of
//! providers that follows from them.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Attempt, UsageRecord, now_micros};

use crate::app::{KEY, TestApp, TestAppBuilder, chat_request};
use crate::sign_in::{TOKEN, admin, start};
use crate::usage::{get, insert_records};

#[tokio::test]
async fn records_are_listed_page_by_page() {
    let app = start().await;
    insert_records(&app, 1_795_910_400).await;
    let ids = |page: &Value| {
        let data = page["data"].as_array().unwrap().iter();
        data.map(|record| record["id"].as_str().unwrap()[35..].to_owned()).collect::<Vec<_>>()
    };
    let first = get(&app, "/admin/records?limit=2").await.json();
    assert_eq!(ids(&first), ["5", "4"]);
    let record = &first["data"][0];
    assert_eq!(record["request_id"], "req_01a222e8ce7f729fb2b8000000000005");
    assert_eq!((&record["requests"], &record["outcome_class"]), (&json!(5), &json!("rate_limited")));
    assert_eq!((&record["at"], &record["at_ms"]), (&json!(1_795_919_400), &json!(1_795_919_400_007_i64)));
    let next = first["next"].as_str().unwrap();
    let second = get(&app, &format!("/admin/records?limit=2&cursor={next}")).await.json();
    assert_eq!(ids(&second), ["2", "1"]);
    let third = get(&app, &format!("/admin/records?limit=2&cursor={}", second["next"].as_str().unwrap())).await.json();
    assert_eq!((ids(&third), &third["next"]), (vec!["0".to_owned()], &Value::Null));
    for (query, expected) in [
        ("key=bob", &["2"][..]),
        ("key=bob&key=olga%27s&limit=2", &["2", "1"]),
        ("outcome=failed&outcome=cancelled", &["4", "1"]),
        ("model=m&from=1795912200&to=1795919400", &["1"]),
        ("provider=v", &[]),
    ] {
        assert_eq!(ids(&get(&app, &format!("/admin/records?{query}")).await.json()), expected, "{query}");
    }
}

/// A server with the key of the tests and an admin token, whose bodies have at most 10,000 bytes.
async fn start_with_key() -> TestApp {
    let set = |config: &mut server::ServerConfig| {
        config.admin_token = Some(Sha256::digest(TOKEN).into());
        config.body_limit = 10_000;
    };
    TestAppBuilder::deepseek_profile().config(set).start_with_store().await
}

/// The records of the query, as soon as they stand for this many requests.
async fn records_of(app: &TestApp, query: &str, requests: i64) -> Vec<Value> {
    for _ in 0..100 {
        let page = get(app, &format!("/admin/records?{query}")).await.json();
        let records = page["data"].as_array().unwrap();
        if records.iter().map(|record| record["requests"].as_i64().unwrap()).sum::<i64>() >= requests {
            return records.clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{requests} requests of {query} are not recorded");
}

#[tokio::test]
async fn a_request_is_found_by_the_id_that_its_caller_got() {
    let app = start_with_key().await;
    let answered = app.post(chat_request(json!({}))).send().await;
    let id = answered.header("x-request-id").unwrap().to_owned();
    records_of(&app, "", 1).await;
    let record = get(&app, &format!("/admin/records/{id}")).await.json();
    assert_eq!(
        (&record["request_id"], &record["key"], &record["outcome"]),
        (&json!(id), &json!("alice"), &json!("stop"))
    );
    let uuid = record["id"].as_str().unwrap();
    assert_eq!(format!("req_{}", uuid.replace('-', "")), id);
    assert_eq!(get(&app, &format!("/admin/records/{uuid}")).await.json(), record);
    assert_eq!(record["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&record["attempts"][0]["provider"], &record["attempts"][0]["started_us"]),
        (&json!("local"), &json!(0))
    );
    assert_eq!(record["cost_lines"], json!([]));

    let chosen = "550E8400e29b41d4a716446655440000";
    assert_eq!(app.post(chat_request(json!({}))).header("x-request-id", chosen).send().await.status, 200);
    records_of(&app, "", 2).await;
    let record = get(&app, &format!("/admin/records/{chosen}")).await.json();
    assert_eq!((&record["request_id"], &record["key"]), (&json!(chosen), &json!("alice")));

    // An id that the caller chose may be chosen again.
    for _ in 0..2 {
        let chosen = app.post(chat_request(json!({}))).header("x-request-id", &id).send().await;
        assert_eq!((chosen.status, chosen.header("x-request-id")), (200, Some(&*id)));
    }
    let mut records = records_of(&app, "", 4).await;
    records.retain(|record| record["request_id"] != json!(chosen));
    assert!(records.iter().all(|record| record["request_id"] == json!(id)), "{records:?}");
    let mut ids: Vec<_> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    for unknown in ["req_00000000000000000000000000000000", "nothing", "%27"] {
        assert_eq!(get(&app, &format!("/admin/records/{unknown}")).await.status, 404, "{unknown}");
    }
}

#[tokio::test]
async fn refused_requests_leave_records_that_cost_nothing() {
    let app = start_with_key().await;
    let make = async |limits: Value| {
        admin(&app, "POST", "/admin/keys", limits).await.json()["key"].as_str().unwrap().to_owned()
    };
    let send = async |key: &str, body: Value| {
        app.post(body).header("authorization", &format!("Bearer {key}")).send().await.status
    };
    let forbidden = make(json!({"name": "forbidden", "models": ["deepseek-reasoner"]})).await;
    assert_eq!(send(&forbidden, chat_request(json!({}))).await, 403);
    assert_eq!(send(KEY, chat_request(json!({"model": "no-such-model"}))).await, 400);
    assert_eq!(send(KEY, chat_request(json!({"user": "x".repeat(20_000)}))).await, 413);
    assert_eq!(send(KEY, chat_request(json!({"temperature": 99}))).await, 400);
    let limited = make(json!({"name": "limited", "requests_per_minute": 1})).await;
    assert_eq!(send(&limited, chat_request(json!({}))).await, 200);
    for _ in 0..30 {
        assert_eq!(send(&limited, chat_request(json!({}))).await, 429);
    }
    let records = records_of(&app, "outcome=refused&outcome=rate_limited", 33).await;
    let of = |outcome: &str| records.iter().filter(|record| record["outcome"] == outcome).collect::<Vec<_>>();
    for (outcome, key, model) in
        [("forbidden", "forbidden", "deepseek-chat"), ("model_not_found", "alice", ""), ("too_large", "alice", "")]
    {
        let found = of(outcome);
        assert_eq!((found.len(), &found[0]["key"], &found[0]["model"]), (1, &json!(key), &json!(model)), "{outcome}");
        assert_eq!(
            (&found[0]["cost"], &found[0]["provider"], &found[0]["requests"]),
            (&json!("0.000000000"), &json!(""), &json!(1))
        );
    }
    let limited = of("rate_limited");
    assert_eq!(limited.iter().map(|record| record["requests"].as_i64().unwrap()).sum::<i64>(), 30);
    assert!(limited.len() < 30, "{} records", limited.len());
    assert_eq!(records_of(&app, "", 34).await.len(), records.len() + 1, "an invalid request leaves none");
    let series = get(&app, "/admin/series?by=outcome").await.json();
    let total = &series["all"]["total"];
    assert_eq!((&total["requests"], &total["failures"], &total["refusals"]), (&json!(34), &json!(0), &json!(33)));
    let detail = get(&app, &format!("/admin/records/{}", limited[0]["id"].as_str().unwrap())).await.json();
    assert_eq!((&detail["attempts"], &detail["cost_lines"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn health_has_requests_and_failures_of_each_provider_by_hours() {
    let app = start_with_key().await;
    let now = now_micros();
    let attempt = |provider: &str, fault: Option<&str>| Attempt {
        provider: provider.into(),
        model: "org/m".into(),
        started_at: now,
        fault: fault.map(str::to_owned),
        status: Some(if fault.is_some() { 503 } else { 200 }),
        ..Attempt::default()
    };
    let record = |id: &str, upstream: &str, outcome: &'static str, attempts: Vec<Attempt>| UsageRecord {
        id: id.into(),
        at: now,
        upstream: upstream.into(),
        first_token_us: (outcome == "stop").then_some(180_000),
        total_us: 1,
        outcome: outcome.into(),
        attempts,
        ..UsageRecord::default()
    };
    let records = [
        record("1", "u", "stop", Vec::new()),
        // The first provider has failed, and the second has answered.
        record("2", "v", "stop", vec![attempt("u", Some("the engine is full")), attempt("v", None)]),
        record("3", "v", "error", vec![attempt("v", Some("broken"))]),
        record("4", "", "rate_limited", Vec::new()),
    ];
    app.store.as_ref().unwrap().insert_records(&records).await.unwrap();
    let health = get(&app, "/admin/health?hours=2").await.json();
    assert_eq!((&health["hours"], health["times"].as_array().unwrap().len()), (&json!(2), 2));
    let providers = health["providers"].as_array().unwrap();
    let numbers = |name: &str| {
        let provider = providers.iter().find(|provider| provider["provider"] == name).unwrap();
        // The hour may be over since.
        let sum = |field: &str| provider[field].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).sum::<i64>();
        (sum("requests"), sum("failures"), provider["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(numbers("u"), (2, 1, "ok".into()));
    assert_eq!(numbers("v"), (2, 1, "ok".into()));
    assert_eq!(numbers("local"), (0, 0, "ok".into()));
    assert_eq!(providers.len(), 3);
    let detail = get(&app, "/admin/records/2").await.json();
    assert_eq!(detail["attempts"][0]["fault"], "the engine is full");
    assert_eq!((&detail["attempts"][1]["number"], &detail["attempts"][1]["status"]), (&json!(2), &json!(200)));
    assert_eq!(get(&app, "/admin/health?hours=169").await.json()["error"]["param"], "hours");
}
