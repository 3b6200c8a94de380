//! Budgets with a period on the admin API: set by admins, and listed with what is spent.

use serde_json::{Value, json};
use store::UsageRecord;

use crate::sign_in::{admin, bare, invite, start, with_cookie};

#[tokio::test]
async fn budgets_that_renew_are_set_and_listed() {
    let app = start().await;
    let store = app.store.clone().unwrap();
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    let daily = json!({"every": "day", "time_zone": "europe/berlin", "amount": 2.5, "warn_at": "2"});
    let each = json!({"every": "month", "amount": "0.5", "each_end_user": true});
    let named = json!({"every": "month", "amount": "1", "end_user": "vip"});
    let body = json!({"name": "alice", "project": "team", "budgets": [daily, each, named]});
    let made = admin(&app, "POST", "/admin/keys", body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let path = format!("/admin/keys/{}", made["id"].as_str().unwrap());
    let shown = &made["budgets"][0];
    assert_eq!((&shown["every"], &shown["time_zone"]), (&json!("day"), &json!("Europe/Berlin")));
    assert_eq!((&shown["amount"], &shown["warn_at"]), (&json!("2.500000000"), &json!("2.000000000")));
    assert_eq!((&shown["spent"], &shown["each_end_user"]), (&json!("0.000000000"), &json!(false)));
    assert!(shown["renews_at"].as_i64().is_some_and(|at| at * 1_000_000 > store::now_micros()), "{shown}");
    assert_eq!((&made["budgets"][1]["spent"], &made["budgets"][2]["end_user"]), (&Value::Null, &json!("vip")));

    let key = store.key("alice").await.unwrap();
    let record = |id: &str, end_user: &str, cost| UsageRecord {
        id: id.into(),
        at: store::now_micros(),
        key_id: Some(key.id.as_str().into()),
        key_name: "alice".into(),
        project_id: Some(key.project_id.as_str().into()),
        end_user: Some(end_user.into()),
        cost,
        outcome: "stop".into(),
        ..UsageRecord::default()
    };
    let records = [record("a", "bob", 3_000_000_000), record("b", "vip", 1), record("c", "", 20)];
    store.insert_records(&records).await.unwrap();
    let end_users = admin(&app, "GET", &format!("{path}/end-users"), Value::Null).await.json();
    let spent: Vec<_> =
        end_users["data"].as_array().unwrap().iter().map(|of| (&of["end_user"], &of["spent"])).collect();
    assert_eq!(spent, [(&json!("bob"), &json!("3.000000000")), (&json!(""), &json!("0.000000020"))]);

    // A caller sees them in its quota: 2.5 a day for the key, of which more is spent.
    let path_of_quota = format!("/user/quota?key={}", made["key"].as_str().unwrap());
    let quota = bare(&app, "GET", &path_of_quota).send().await.json();
    assert_eq!((&quota["total_quota"], &quota["budgets"]), (&json!(-1), &json!([])), "{quota}");
    assert_eq!(quota["keys"][0]["remain_quota"], json!(-0.500000021), "{quota}");
    let listed = &quota["keys"][0]["budgets"];
    assert_eq!((&listed[0]["every"], &listed[0]["spent"]), (&json!("day"), &json!("3.000000021")));

    // The spend of the window stays when the amount changes.
    let more = json!({"budgets": [{"every": "day", "time_zone": "Europe/Berlin", "amount": "9"}]});
    let changed = admin(&app, "PATCH", &path, more).await.json();
    assert_eq!(
        (changed["budgets"].as_array().unwrap().len(), &changed["budgets"][0]["spent"]),
        (1, &json!("3.000000021"))
    );
    // An absent list stays, and an empty one removes all.
    let kept = admin(&app, "PATCH", &path, json!({"budget": "100"})).await.json();
    assert_eq!(kept["budgets"][0]["amount"], "9.000000000");
    assert_eq!(admin(&app, "PATCH", &path, json!({"budgets": []})).await.json()["budgets"], json!([]));

    // Projects and users have them too.
    let weekly = json!([{"every": "week", "amount": "7"}]);
    let project = admin(&app, "PATCH", "/admin/projects/team", json!({"budgets": weekly})).await.json();
    assert_eq!((&project["budget"], &project["budgets"][0]["spent"]), (&Value::Null, &json!("3.000000021")));
    admin(&app, "POST", "/admin/users", json!({"name": "olga", "role": "member"})).await;
    let user = admin(&app, "PATCH", "/admin/users/olga", json!({"budgets": weekly})).await.json();
    assert_eq!(user["budgets"][0]["every"], "week");
    for list in ["/admin/projects", "/admin/users", "/admin/keys"] {
        let listed = admin(&app, "GET", list, Value::Null).await.json();
        assert!(listed["data"].as_array().unwrap().iter().all(|owner| owner["budgets"].is_array()), "{listed}");
    }
}

#[tokio::test]
async fn bad_budgets_are_refused_with_their_field() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team", "budget": "100"})).await;
    admin(&app, "POST", "/admin/keys", json!({"name": "alice", "project": "team"})).await;
    let of_key = |budget: Value| ("/admin/keys/alice", json!({"budgets": [budget]}));
    let of_project = |budget: Value| ("/admin/projects/team", json!({"budgets": [budget]}));
    for ((path, body), reason) in [
        (of_key(json!({"every": "hour", "amount": 1})), "`hour` is not a period"),
        (of_key(json!({"every": "total", "amount": 1})), "`total` is not a period"),
        (of_key(json!({"every": "day"})), "neither an amount"),
        (of_key(json!({"every": "day", "amount": -1})), "not an amount"),
        (of_key(json!({"every": "day", "amount": 1e300})), "not an amount"),
        (of_key(json!({"every": "day", "amount": "9300000000"})), "not an amount"),
        (of_key(json!({"every": "day", "amount": 1, "warn_at": 2})), "above its amount"),
        (of_key(json!({"every": "day", "amount": 1, "time_zone": "Berlin"})), "not a time zone"),
        (of_key(json!({"amount": 1, "end_user": "a", "each_end_user": true})), "exclude each other"),
        (of_key(json!({"amount": 1, "end_user": ""})), "1 to 256 bytes"),
        (of_project(json!({"amount": 1, "each_end_user": true})), "only keys"),
        (("/admin/projects/team", json!({})), "neither `budget` nor `budgets`"),
        (("/admin/keys/alice", json!({"budgets": [{"amount": 1}, {"amount": 2}]})), "two budgets"),
    ] {
        let refused = admin(&app, "PATCH", path, body.clone()).await;
        let error = &refused.json()["error"];
        assert!(error["message"].as_str().unwrap().contains(reason), "{body}: {error}");
        assert_eq!(refused.status, 400);
        assert!(error["param"].as_str().unwrap().starts_with("budget"), "{error}");
    }
    assert_eq!(admin(&app, "PATCH", "/admin/keys/alice", json!({"budgets": [{"limit": 1}]})).await.status, 400);
    // A member cannot change the budgets of its own key.
    let olga = invite(&app, "olga", "member").await;
    let send = async |method: &'static str, path: &str, body: Value| {
        with_cookie(&app, method, path, &olga).json(body).send().await
    };
    let new = json!({"name": "olga's", "project": "team", "budget": "1"});
    let own = send("POST", "/admin/keys", new.clone()).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(send("PATCH", &format!("/admin/keys/{own}"), json!({"budgets": []})).await.status, 403);
    let mut with_budgets = new;
    with_budgets["name"] = "more".into();
    with_budgets["budgets"] = json!([]);
    assert_eq!(send("POST", "/admin/keys", with_budgets).await.status, 403);
}
