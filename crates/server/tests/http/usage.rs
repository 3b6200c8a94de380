//! Usage over time.

use serde_json::{Value, json};
use store::{UsageRecord, now_micros};

use crate::app::TestApp;
use crate::client::Response;
use crate::sign_in::{TOKEN, admin, invite, start, with_cookie};

const HOUR: i64 = 3600;

pub(crate) async fn get(app: &TestApp, path: &str) -> Response {
    admin(app, "GET", path, json!({})).await
}

/// Records at two models within three hours of one day, of a key and without one.
pub(crate) async fn insert_records(app: &TestApp, from: i64) {
    let record = |number: i64, key: &str, model: &str, outcome: &'static str| UsageRecord {
        id: format!("01a222e8-ce7f-729f-b2b8-{number:012}"),
        at: (from + number * HOUR / 2) * 1_000_000 + 7000,
        key_name: key.into(),
        model: model.into(),
        upstream: "u".into(),
        prompt_tokens: 100,
        cached_tokens: 40,
        completion_tokens: 10,
        cost: 1_500_000 * (number + 1),
        first_token_us: (outcome == "stop").then_some(180_000),
        total_us: 2_000_000,
        outcome: outcome.into(),
        ..UsageRecord::default()
    };
    let mut limited = record(5, "=cmd", "m", "rate_limited");
    limited.further_requests = 4;
    let records = [
        record(0, "olga's", "m", "stop"),
        record(1, "olga's", "m", "timeout"),
        record(2, "bob", "n", "stop"),
        record(4, "", "o", "cancelled"),
        limited,
    ];
    app.store.as_ref().unwrap().insert_records(&records).await.unwrap();
}

#[tokio::test]
async fn a_series_has_equal_steps_and_totals_that_are_the_sums_of_its_columns() {
    let app = start().await;
    let from = 1_795_910_400; // 2026-11-29T00:00:00Z
    insert_records(&app, from).await;
    let span = "from=2026-11-29T00:10:00Z&to=2026-11-29T03:59:00Z";
    let series = get(&app, &format!("/admin/series?{span}&by=model&top=1")).await.json();
    assert_eq!(
        (&series["from"], &series["to"], &series["step"]),
        (&json!(from), &json!(from + 4 * HOUR), &json!("hour"))
    );
    assert_eq!(series["times"], json!([from, from + HOUR, from + 2 * HOUR, from + 3 * HOUR]));
    assert_eq!(series["all"]["requests"], json!([2, 1, 6, 0]));
    assert_eq!(series["all"]["failures"], json!([1, 0, 0, 0]));
    assert_eq!(series["all"]["refusals"], json!([0, 0, 5, 0]));
    assert_eq!(series["all"]["cost"], json!([0.0045, 0.0045, 0.0165, 0.0]));
    assert_eq!(series["ttft_ms"]["p50"], json!([175.0, 175.0, null, null]));
    let total = &series["all"]["total"];
    assert_eq!(
        (&total["requests"], &total["cost"], &total["prompt_tokens"]),
        (&json!(9), &json!("0.025500000"), &json!(500))
    );
    assert_eq!((&total["ttft_ms"]["p95"], &total["total_ms"]["p50"]), (&json!(187.5), &json!(2500.0)));
    let groups = series["groups"].as_array().unwrap();
    assert_eq!(groups.iter().map(|group| group["of"].clone()).collect::<Vec<_>>(), [json!("m"), Value::Null]);
    for field in
        ["requests", "failures", "refusals", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"]
    {
        let sum = |part: &Value| part[field].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).sum::<i64>();
        assert_eq!(json!(sum(&series["all"])), total[field], "{field}");
        let of_groups: i64 = groups.iter().map(sum).sum();
        assert_eq!(json!(of_groups), total[field], "{field}");
    }

    for (query, requests) in [
        ("&key=olga%27s", 2),
        ("&key=olga%27s&key=bob", 3),
        ("&model=m&outcome=rate_limited", 5),
        ("&model=m&outcome=rate_limited&outcome=failed", 6),
        ("&provider=v", 0),
        ("&project=none", 0),
        ("&step=minute&by=outcome", 8),
        ("&step=day&by=provider", 9),
        ("&step=day&by=project", 9),
    ] {
        let series = get(&app, &format!("/admin/series?{span}{query}")).await.json();
        assert_eq!(series["all"]["total"]["requests"], requests, "{query}");
    }
    let now = get(&app, "/admin/series").await.json();
    assert_eq!(now["times"].as_array().unwrap().len(), 25, "the last day, and the hour that is not over");
    assert_eq!((&now["groups"], &now["by"]), (&json!([]), &Value::Null));

    let csv =
        app.request("GET", &format!("/admin/series?{span}&by=key")).header("authorization", &format!("Bearer {TOKEN}"));
    let csv = csv.header("accept", "text/csv").send().await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let lines: Vec<_> = csv.text().lines().collect();
    assert_eq!(
        lines[0],
        "time,key,requests,failures,refusals,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,cost"
    );
    assert_eq!(lines.len(), 1 + 4 * 4);
    assert!(lines.contains(&"2026-11-29T02:00:00Z,\"'=cmd\",5,0,5,100,40,10,0,0.009000000"), "{lines:#?}");
    let all = app
        .request("GET", &format!("/admin/series?{span}&step=day"))
        .header("authorization", &format!("Bearer {TOKEN}"));
    let all = all.header("accept", "text/csv;q=1, */*").send().await;
    assert_eq!(all.text().lines().nth(1), Some("2026-11-29T00:00:00Z,all,9,1,5,500,200,50,0,0.025500000"));
}

#[tokio::test]
async fn requests_are_a_table_where_csv_is_accepted() {
    let app = start().await;
    insert_records(&app, 1_795_910_400).await;
    let csv = async |query: &str| {
        let request = app.request("GET", &format!("/admin/records?{query}")).header("accept", "text/csv");
        request.header("authorization", &format!("Bearer {TOKEN}")).send().await
    };
    let table = csv("outcome=failed&outcome=rate_limited").await;
    assert_eq!(table.header("content-type"), Some("text/csv; charset=utf-8"));
    let expected = [
        "request_id,time,key,project,model,provider,outcome,prompt_tokens,cached_tokens,completion_tokens,first_token_us,total_us,cost",
        "req_01a222e8ce7f729fb2b8000000000005,2026-11-29T02:30:00Z,\"'=cmd\",,m,u,rate_limited,100,40,10,,2000000,0.009000000",
        "req_01a222e8ce7f729fb2b8000000000001,2026-11-29T00:30:00Z,olga's,,m,u,timeout,100,40,10,,2000000,0.003000000",
    ];
    assert_eq!(table.text().lines().collect::<Vec<_>>(), expected);
    assert_eq!(csv("limit=2").await.text().lines().count(), 3);
    assert_eq!(csv("model=none").await.text().lines().count(), 1);
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused_by_the_name_of_its_parameter() {
    let app = start().await;
    for (path, param) in [
        ("/admin/series?from=2026-11-29T00:00:00Z&to=2026-11-28T00:00:00Z", "from"),
        ("/admin/series?from=1795910400&to=1795910400", "from"),
        ("/admin/series?from=yesterday", "from"),
        ("/admin/series?to=-5", "to"),
        ("/admin/series?step=week", "step"),
        ("/admin/series?step=minute&from=1795910400&to=1796030401", "step"),
        ("/admin/series?by=user", "by"),
        ("/admin/series?top=21", "top"),
        ("/admin/series?top=0", "top"),
        ("/admin/series?outcome=stop", "outcome"),
        ("/admin/series?days=3", "days"),
        ("/admin/records?limit=1001", "limit"),
        ("/admin/records?cursor=abc", "cursor"),
        ("/admin/records?cursor=5_", "cursor"),
        ("/admin/records?outcome=no", "outcome"),
        ("/admin/records?step=hour", "step"),
        ("/admin/records?from=5&to=5", "from"),
        ("/admin/usage?by=outcome", "by"),
        ("/admin/usage?day=3", "day"),
    ] {
        let refused = get(&app, path).await;
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["param"]), (400, &json!(param)), "{path}: {error}");
        assert!(error["message"].as_str().unwrap().contains(param), "{path}: {error}");
    }
    let many = "key=x&".repeat(101);
    assert_eq!(get(&app, &format!("/admin/records?{many}")).await.json()["error"]["param"], "key");
    assert_eq!(get(&app, "/admin/series?step=minute&from=1795910400&to=1796030400").await.status, 200, "2000 steps");
}

#[tokio::test]
async fn members_see_the_series_of_their_own_keys() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    let (olga, bob) = (invite(&app, "olga", "member").await, invite(&app, "bob", "member").await);
    let made = with_cookie(&app, "POST", "/admin/keys", &olga)
        .json(json!({"name": "o", "project": "team", "budget": 1}))
        .send()
        .await;
    let record = |id: &str, key: Option<&str>| UsageRecord {
        id: id.into(),
        at: now_micros(),
        key_id: key.map(Into::into),
        key_name: "o".into(),
        outcome: "stop".into(),
        ..UsageRecord::default()
    };
    let records = [record("1", made.json()["id"].as_str()), record("2", Some("x")), record("3", None)];
    app.store.as_ref().unwrap().insert_records(&records).await.unwrap();
    let minutes = format!("/admin/series?step=minute&from={}", now_micros() / 1_000_000 - 60);
    for path in ["/admin/series", "/admin/series?key=o", &minutes] {
        for (cookie, requests) in [(&olga, 1), (&bob, 0)] {
            let series = with_cookie(&app, "GET", path, cookie).send().await.json();
            assert_eq!(series["all"]["total"]["requests"], requests, "{path}");
        }
        assert_eq!(get(&app, path).await.json()["all"]["total"]["requests"], 3, "{path}");
    }
}
