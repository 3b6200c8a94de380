//! Members, who see and change what belongs to their own keys.

use serde_json::{Value, json};
use server::admin::{Access, route_table};
use store::UsageRecord;

use crate::client::Response;
use crate::sign_in::{admin, invite, start, with_cookie};

fn ids(response: &Response, field: &str) -> Vec<String> {
    let json = response.json();
    json["data"].as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_member_sees_and_changes_its_own_keys_only() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team", "budget": "100"})).await;
    admin(&app, "POST", "/admin/projects", json!({"name": "other"})).await;
    let (olga, bob) = (invite(&app, "olga", "member").await, invite(&app, "bob", "member").await);
    let send = async |cookie: &str, method: &'static str, path: &str, body: Value| {
        with_cookie(&app, method, path, cookie).json(body).send().await
    };
    let new = |name: &str, budget: &str| json!({"name": name, "project": "team", "budget": budget});
    let made = send(&olga, "POST", "/admin/keys", new("olga's", "2")).await;
    assert_eq!((made.status, &made.json()["user"]), (201, &json!("olga")), "{}", made.text());
    let own = made.json()["id"].as_str().unwrap().to_owned();
    let mut limited = new("bob's", "1");
    limited["models"] = json!(["deepseek-chat"]);
    let of_bob = send(&bob, "POST", "/admin/keys", limited).await.json()["id"].as_str().unwrap().to_owned();

    // Budgets of a user's keys add up to the user's 5 dollars at most.
    for (body, status) in [
        (new("more", "3.01"), 400),
        (json!({"name": "more", "project": "team"}), 400),
        (json!({"name": "more", "project": "team", "budget": 1, "user": "bob"}), 403),
        (json!({"name": "more", "project": "other", "budget": 1}), 404),
        (json!({"name": "more", "budget": 1}), 404),
        (new("olga's", "1"), 409),
    ] {
        let refused = send(&olga, "POST", "/admin/keys", body.clone()).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.text());
    }
    let path = format!("/admin/keys/{own}");
    for (change, status) in
        [(json!({"budget": "5"}), 200), (json!({"budget": "5.01"}), 400), (json!({"budget": null}), 400)]
    {
        assert_eq!(send(&olga, "PATCH", &path, change.clone()).await.status, status, "{change}");
    }

    // Usage, records, models and lists are those of its own keys.
    let record = |id: &str, key: &str| UsageRecord {
        id: id.into(),
        at: store::now_micros(),
        key_id: Some(key.into()),
        key_name: id.into(),
        outcome: "stop".into(),
        ..UsageRecord::default()
    };
    app.store.as_ref().unwrap().insert_records(&[record("r1", &own), record("r2", &of_bob)]).await.unwrap();
    assert_eq!(ids(&send(&olga, "GET", "/admin/keys", json!({})).await, "id"), [own.as_str()]);
    assert_eq!(ids(&send(&olga, "GET", "/admin/records", json!({})).await, "id"), ["r1"]);
    assert_eq!(send(&olga, "GET", "/admin/records/r1", json!({})).await.json()["key"], "r1");
    assert_eq!(send(&olga, "GET", "/admin/records/r2", json!({})).await.status, 404);
    assert_eq!(admin(&app, "GET", "/admin/records/r2", json!({})).await.status, 200);
    assert_eq!(ids(&send(&olga, "GET", "/admin/usage", json!({})).await, "of"), ["r1"]);
    assert_eq!(ids(&admin(&app, "GET", "/admin/records", json!({})).await, "id").len(), 2);
    assert!(ids(&send(&olga, "GET", "/admin/models", json!({})).await, "id").len() > 1);
    assert_eq!(ids(&send(&bob, "GET", "/admin/models", json!({})).await, "id"), ["deepseek-chat"]);
    let program = json!({"name": "program", "project": "team", "models": ["deepseek-chat"]});
    let program = admin(&app, "POST", "/admin/keys", program).await.json()["key"].as_str().unwrap().to_owned();
    let of_program = app.request("GET", "/admin/models").header("authorization", &format!("Bearer {program}"));
    assert_eq!(ids(&of_program.send().await, "id"), ["deepseek-chat"]);
    let sessions = send(&olga, "GET", "/admin/sessions", json!({})).await;
    assert_eq!(ids(&sessions, "user"), ["olga"]);
    let session_of_bob = ids(&send(&bob, "GET", "/admin/sessions", json!({})).await, "id").remove(0);
    let me = send(&olga, "GET", "/admin/me", json!({})).await.json();
    assert_eq!((&me["projects"], &me["keys"]), (&json!(["team"]), &json!([own])));

    // A new route of this kind needs a check above or below.
    let routes = route_table().filter(|(.., access)| *access == Access::Own);
    let routes: Vec<_> = routes.map(|(method, path, _)| format!("{method} {path}")).collect();
    let known = [
        "POST /admin/me/password",
        "GET /admin/sessions",
        "DELETE /admin/sessions/{id}",
        "GET /admin/keys",
        "POST /admin/keys",
        "PATCH /admin/keys/{id}",
        "GET /admin/keys/{id}/end-users",
        "DELETE /admin/keys/{id}",
        "GET /admin/usage",
        "GET /admin/series",
        "GET /admin/records",
        "GET /admin/records/{id}",
        "GET /admin/models",
        // Its test is in tail.rs.
        "GET /admin/tail",
    ];
    assert_eq!(routes, known);

    // Keys and sessions of other users are answered as unknown ones.
    let mut checked = 0;
    for (method, path, access) in route_table().filter(|(_, path, _)| path.contains("{id}")) {
        assert_eq!(access, Access::Own);
        for other in [if path.contains("sessions") { &session_of_bob } else { &of_bob }, "nobody", "bob's"] {
            let refused = send(&olga, method, &path.replace("{id}", other), json!({})).await;
            assert_eq!(refused.status, 404, "{method} {path} {other}");
        }
        checked += 1;
    }
    assert_eq!(checked, 5);
    assert_eq!(send(&olga, "GET", "/admin/users", json!({})).await.status, 403);
    assert_eq!(send(&olga, "PATCH", "/admin/users/olga", json!({"budget": null})).await.status, 403);

    // Without the project, a key can be revoked and not changed.
    let members = admin(&app, "PUT", "/admin/projects/team/members", json!({"users": ["bob"]})).await;
    assert_eq!(members.json()["members"], json!(["bob"]));
    assert_eq!(admin(&app, "PUT", "/admin/projects/team/members", json!({"users": ["nobody"]})).await.status, 404);
    assert_eq!(send(&olga, "PATCH", &path, json!({"budget": "1"})).await.status, 403);
    assert_eq!(send(&olga, "DELETE", &path, json!({})).await.status, 200);
}

#[tokio::test]
async fn the_last_admin_stays_and_a_viewer_may_see_but_not_change() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    invite(&app, "ada", "admin").await;
    for change in [json!({"role": "viewer"}), json!({"disabled": true})] {
        let refused = admin(&app, "PATCH", "/admin/users/ada", change).await;
        assert!(refused.status == 409 && refused.message().contains("last admin"), "{}", refused.text());
    }
    let vic = invite(&app, "vic", "viewer").await;
    let made = admin(&app, "POST", "/admin/keys", json!({"name": "k", "user": "ada"})).await.json();
    let path = format!("/admin/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(with_cookie(&app, "GET", "/admin/keys", &vic).send().await.json()["data"][0]["name"], "k");
    assert_eq!(with_cookie(&app, "DELETE", &path, &vic).send().await.status, 403);
    assert_eq!(
        admin(&app, "PATCH", "/admin/users/vic", json!({"budget": "1.5"})).await.json()["budget"],
        "1.500000000"
    );
}
