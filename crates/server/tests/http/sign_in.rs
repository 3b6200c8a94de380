//! Setup, sessions, invitations and passwords.

use serde_json::{Value, json};
use server::{KeyConfig, SignupAccess};
use sha2::{Digest, Sha256};
use store::{Role, Store};

use crate::app::{TestApp, TestAppBuilder, captured_logs};
use crate::client::{Request, Response};

pub(crate) const TOKEN: &str = "sk-admin-token-of-this-test-00000002";
const PASSWORD: &str = "correct horse battery";

pub(crate) async fn start() -> TestApp {
    let set = |config: &mut server::ServerConfig| config.admin_token = Some(Sha256::digest(TOKEN).into());
    TestAppBuilder::without_keys().config(set).start_with_store().await
}

pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request without any credential.
pub(crate) fn bare(app: &TestApp, method: &'static str, path: &str) -> Request {
    app.request(method, path).header("authorization", "")
}

pub(crate) async fn post(app: &TestApp, path: &str, body: Value) -> Response {
    bare(app, "POST", path).json(body).send().await
}

/// A request by the admin token.
pub(crate) async fn admin(app: &TestApp, method: &'static str, path: &str, body: Value) -> Response {
    let request = app.request(method, path).header("authorization", &format!("Bearer {TOKEN}"));
    request.json(body).send().await
}

/// The cookie of a response, without its attributes.
pub(crate) fn cookie(response: &Response) -> String {
    let cookie = response.header("set-cookie").unwrap_or_else(|| panic!("a cookie: {}", response.text()));
    cookie.split(';').next().unwrap().to_owned()
}

/// A request of the console with a cookie.
pub(crate) fn with_cookie(app: &TestApp, method: &'static str, path: &str, cookie: &str) -> Request {
    bare(app, method, path).header("cookie", cookie).header("x-cachalot-console", "1")
}

fn code(response: &Response) -> (u16, String) {
    (response.status, response.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// Makes a user with a password by an invitation. Returns the cookie of its session.
pub(crate) async fn invite(app: &TestApp, name: &str, role: &str) -> String {
    let invitation = json!({"role": role, "project": "team", "days": 1, "budget": "5"});
    let made = admin(app, "POST", "/admin/invitations", invitation).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let link = made.json()["link"].as_str().unwrap().to_owned();
    let token = link.split_once("/console/#invitation=").unwrap().1;
    let signed_up = post(app, "/admin/signup", json!({"token": token, "name": name, "password": PASSWORD})).await;
    assert_eq!(signed_up.status, 201, "{}", signed_up.text());
    cookie(&signed_up)
}

#[tokio::test]
async fn the_setup_link_makes_the_owner_once() {
    let app = start().await;
    let store = app.store.as_ref().unwrap();
    let later = store::now_micros() + 60_000_000;
    for token in ["first", "second"] {
        store.add_setup_link(&hash(token), later).await.unwrap();
    }
    store.add_setup_link(&hash("old"), 5).await.unwrap();
    assert_eq!(bare(&app, "GET", "/admin/keys").send().await.status, 200, "this machine needs no login yet");
    let set_up = async |token: &str, name: &str, password: &str| {
        post(&app, "/admin/setup", json!({"token": token, "name": name, "password": password})).await
    };
    for token in ["old", "wrong", ""] {
        assert_eq!(code(&set_up(token, "ada", PASSWORD).await), (401, "setup_token".into()), "{token}");
    }
    for password in ["short", "ADA LOVELACE", &"x".repeat(257)] {
        let refused = set_up("first", "ada lovelace", password).await;
        assert!(refused.status == 400 && refused.message().contains("12 to 256"), "{}", refused.text());
    }
    assert_eq!(set_up("first", "", PASSWORD).await.status, 400);
    assert_eq!(post(&app, "/admin/setup", json!({"token": "first"})).await.status, 400);
    let owner = set_up("first", "ada", PASSWORD).await;
    assert_eq!((owner.status, &owner.json()["role"]), (201, &json!("admin")));
    assert_eq!(code(&set_up("first", "bob", PASSWORD).await).0, 401, "used");
    assert_eq!(set_up("second", "bob", PASSWORD).await.status, 409, "an owner exists");
    let me = with_cookie(&app, "GET", "/admin/me", &cookie(&owner)).send().await.json();
    assert!(me["name"] == "ada" && me["session"]["id"].is_string() && me["features"]["store"] == true, "{me}");
    assert_eq!(bare(&app, "GET", "/admin/keys").send().await.status, 401, "from now on a login is needed");
}

#[tokio::test]
async fn whoever_is_on_the_machine_of_a_new_server_makes_the_owner_without_a_link() {
    let app = start().await;
    let has_owner = async || bare(&app, "GET", "/console/settings.json").send().await.json()["has_owner"].clone();
    assert_eq!(has_owner().await, false);
    let set_up = json!({"name": "ada", "password": PASSWORD});
    let rebound = bare(&app, "POST", "/admin/setup").header("host", "evil.example").json(set_up.clone()).send().await;
    let of_another_site =
        bare(&app, "POST", "/admin/setup").header("origin", "https://evil.example").json(set_up.clone()).send().await;
    assert_eq!((rebound.status, of_another_site.status, has_owner().await), (403, 403, json!(false)));
    let owner = post(&app, "/admin/setup", set_up.clone()).await;
    assert_eq!((owner.status, &owner.json()["role"], has_owner().await), (201, &json!("admin"), json!(true)));
    assert_eq!(post(&app, "/admin/setup", set_up.clone()).await.status, 401, "from now on a login is needed");
    assert_eq!(admin(&app, "POST", "/admin/setup", set_up).await.status, 409, "an owner exists");
}

#[tokio::test]
async fn a_session_is_begun_used_and_ended() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    invite(&app, "olga", "viewer").await;
    let sign_in = async |body: Value| post(&app, "/admin/session", body).await;
    let session = sign_in(json!({"name": "olga", "password": PASSWORD})).await;
    assert_eq!(
        (session.status, &session.json()["name"], &session.json()["role"]),
        (201, &json!("olga"), &json!("viewer"))
    );
    let flags = session.header("set-cookie").unwrap().to_owned();
    assert!(flags.starts_with("cachalot=") && flags.contains("; HttpOnly; SameSite=Strict; Path=/"), "{flags}");
    assert!(!flags.contains("Secure") && !flags.contains("Domain"), "{flags}");
    let olga = cookie(&session);
    assert_eq!(with_cookie(&app, "GET", "/admin/users", &olga).send().await.status, 200);

    // Another login ends the session that it was made with (fixation).
    let again = with_cookie(&app, "POST", "/admin/session", &olga);
    let again = again.json(json!({"name": "olga", "password": PASSWORD})).send().await;
    let renewed = cookie(&again);
    assert!(renewed != olga);
    assert_eq!(code(&with_cookie(&app, "GET", "/admin/me", &olga).send().await), (401, "session_ended".into()));

    // A request by cookie counts only from a page of this server.
    for (name, value) in [
        ("x-cachalot-console", ""),
        ("x-cachalot-console", "0"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for (method, path) in [("GET", "/admin/me"), ("DELETE", "/admin/session"), ("GET", "/models")] {
            let refused = with_cookie(&app, method, path, &renewed).header(name, value).send().await;
            assert_eq!(code(&refused), (403, "cross_site".into()), "{method} {path} {name}: {value}");
        }
    }
    // Neither does a form or an image of another site, whose browser sends the cookie.
    let form = bare(&app, "POST", "/admin/session").header("cookie", &renewed).header("sec-fetch-site", "cross-site");
    let form = form.json(json!({"name": "olga", "password": PASSWORD})).header("content-type", "text/plain");
    assert_eq!(code(&form.send().await), (403, "cross_site".into()));
    let image = bare(&app, "GET", "/admin/sessions").header("cookie", &renewed).header("sec-fetch-dest", "image");
    assert_eq!(code(&image.send().await), (403, "cross_site".into()), "also of a browser that says no site");
    assert_eq!(with_cookie(&app, "GET", "/admin/me", &renewed).send().await.status, 200, "and the session goes on");
    let own = format!("http://{}", app.addr);
    let ours =
        with_cookie(&app, "GET", "/admin/me", &renewed).header("origin", &own).header("sec-fetch-site", "same-origin");
    assert_eq!(ours.send().await.status, 200);
    let wins = with_cookie(&app, "GET", "/admin/me", &renewed).header("authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(wins.send().await.json()["name"], "admin token", "`Authorization` wins");

    let listed = with_cookie(&app, "GET", "/admin/sessions", &renewed).send().await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2, "{listed}");
    let current = listed["data"].as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
    assert_eq!(current["address"], "127.0.0.1");
    assert_eq!(with_cookie(&app, "DELETE", "/admin/session?all=maybe", &renewed).send().await.status, 400);
    let ended = with_cookie(&app, "DELETE", "/admin/session?all=true", &renewed).send().await;
    assert_eq!(ended.status, 204);
    assert!(ended.header("set-cookie").unwrap().contains("cachalot=; ") && ended.text().is_empty());
    assert_eq!(with_cookie(&app, "GET", "/admin/me", &renewed).send().await.status, 401);
    assert_eq!(bare(&app, "DELETE", "/admin/session").send().await.status, 204, "without a session");
    assert!(admin(&app, "GET", "/admin/sessions", json!({})).await.json()["data"].as_array().unwrap().is_empty());
    let logs = captured_logs().text();
    assert!(!logs.contains(PASSWORD) && !logs.contains(renewed.split_once('=').unwrap().1), "secrets stay out of logs");
}

#[tokio::test]
async fn keys_and_the_admin_token_sign_in_too() {
    let app = start().await;
    admin(&app, "POST", "/admin/users", json!({"name": "olga", "role": "member"})).await;
    let made = admin(&app, "POST", "/admin/keys", json!({"name": "laptop", "user": "olga"})).await.json();
    let nobody = admin(&app, "POST", "/admin/keys", json!({"name": "program"})).await.json();
    let key = made["key"].as_str().unwrap();
    let session = post(&app, "/admin/session", json!({"key": key})).await;
    assert_eq!((session.status, &session.json()["name"]), (201, &json!("olga")));
    let olga = cookie(&session);
    let token = post(&app, "/admin/session", json!({"key": TOKEN})).await;
    assert_eq!((token.status, &token.json()["role"]), (201, &json!("admin")));
    let token = cookie(&token);
    for wrong in
        [json!({"key": "sk-nobody"}), json!({"key": nobody["key"]}), json!({"name": "olga", "password": PASSWORD})]
    {
        assert_eq!(code(&post(&app, "/admin/session", wrong).await), (401, "login".into()));
    }
    for bad in [json!({}), json!({"name": "olga"}), json!({"key": key, "name": "olga"}), json!({"kye": 1}), json!([])] {
        assert_eq!(post(&app, "/admin/session", bad).await.status, 400);
    }
    let large = post(&app, "/admin/session", json!({"name": "x".repeat(5000), "password": ""})).await;
    assert_eq!(large.status, 413);

    // Models answer a session as one of its keys.
    let ask = async |cookie: &str, key: Option<&Value>| {
        let request = with_cookie(&app, "GET", "/models", cookie);
        match key {
            Some(id) => request.header("x-cachalot-key", id.as_str().unwrap()).send().await,
            None => request.send().await,
        }
    };
    assert_eq!(ask(&olga, None).await.status, 400);
    assert_eq!(ask(&olga, Some(&made["id"])).await.status, 200);
    for other in [&nobody["id"], &json!("x"), &json!("laptop")] {
        assert_eq!(code(&ask(&olga, Some(other)).await), (404, "key_not_found".into()));
    }
    let me = with_cookie(&app, "GET", "/admin/me", &token).send().await.json();
    assert_eq!(me["keys"], json!([nobody["id"]]), "those that it may use");
    assert_eq!(ask(&token, Some(&nobody["id"])).await.status, 200, "keys without a user are the admin token's");
    assert_eq!(ask(&token, Some(&made["id"])).await.status, 404);
    let chat =
        with_cookie(&app, "POST", "/chat/completions", &olga).header("x-cachalot-key", made["id"].as_str().unwrap());
    let chat = chat.json(crate::app::chat_request(json!({}))).send().await;
    assert_eq!(chat.status, 200, "{}", chat.text());
    // A session ends with the key that it was begun with.
    let path = format!("/admin/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(admin(&app, "DELETE", &path, json!({})).await.status, 200);
    assert_eq!(with_cookie(&app, "GET", "/admin/me", &olga).send().await.status, 401);
}

#[tokio::test]
async fn the_sixth_wrong_password_is_refused_and_so_is_the_right_one() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    let olga = invite(&app, "olga", "member").await;
    let sign_in =
        async |password: &str| post(&app, "/admin/session", json!({"name": "olga", "password": password})).await;
    for _ in 0..4 {
        assert_eq!(code(&sign_in("wrong password!").await), (401, "login".into()));
    }
    let change = with_cookie(&app, "POST", "/admin/me/password", &olga);
    let change = change.json(json!({"old": "wrong password!", "new": "another password"})).send().await;
    assert_eq!(code(&change), (401, "login".into()), "it counts as a failed login");
    let blocked = sign_in(PASSWORD).await;
    assert_eq!((blocked.status, blocked.header("retry-after").is_some()), (429, true), "{}", blocked.text());
    assert_eq!(with_cookie(&app, "GET", "/admin/me", &olga).send().await.status, 200, "the session goes on");
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    let first = invite(&app, "olga", "member").await;
    let second = cookie(&post(&app, "/admin/session", json!({"name": "olga", "password": PASSWORD})).await);
    let change = |body: Value| with_cookie(&app, "POST", "/admin/me/password", &second).json(body).send();
    assert_eq!(change(json!({"old": PASSWORD, "new": "short"})).await.status, 400);
    let changed = change(json!({"old": PASSWORD, "new": "another password"})).await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    for ended in [&first, &second] {
        assert_eq!(with_cookie(&app, "GET", "/admin/me", ended).send().await.status, 401);
    }
    assert_eq!(with_cookie(&app, "GET", "/admin/me", &cookie(&changed)).send().await.status, 200);
    assert_eq!(post(&app, "/admin/session", json!({"name": "olga", "password": PASSWORD})).await.status, 401);
    let refused = admin(&app, "POST", "/admin/me/password", json!({"old": "x", "new": "another password"})).await;
    assert_eq!(code(&refused), (403, "session_required".into()));

    // A link of an admin sets it again.
    assert_eq!(admin(&app, "POST", "/admin/users/nobody/link", json!({})).await.status, 404);
    let link = admin(&app, "POST", "/admin/users/olga/link", json!({})).await;
    assert_eq!(link.status, 201);
    let link = link.json()["link"].as_str().unwrap().to_owned();
    let token = link.split_once("/console/#password=").unwrap().1;
    let set = async |password: &str| post(&app, "/admin/password", json!({"token": token, "password": password})).await;
    assert_eq!(set("short").await.status, 400);
    assert_eq!(set(PASSWORD).await.status, 201);
    assert_eq!(code(&set(PASSWORD).await), (401, "password_token".into()), "used");
    assert_eq!(with_cookie(&app, "GET", "/admin/me", &cookie(&changed)).send().await.status, 401);
}

#[tokio::test]
async fn an_invitation_is_for_one_user() {
    let app = start().await;
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    admin(&app, "POST", "/admin/users", json!({"name": "bob", "role": "member"})).await;
    for (body, status) in [
        (json!({"role": "king", "project": "team", "days": 1}), 400),
        (json!({"role": "member", "project": "team", "days": 31}), 400),
        (json!({"role": "member", "project": "team", "days": 0}), 400),
        (json!({"role": "member", "project": "team", "days": 1, "budget": "1,5"}), 400),
        (json!({"role": "member", "project": "nowhere", "days": 1}), 404),
        (json!({"role": "member", "project": "team", "days": 1, "name": "bob"}), 409),
    ] {
        assert_eq!(admin(&app, "POST", "/admin/invitations", body.clone()).await.status, status, "{body}");
    }
    let sign_up = async |body: Value| post(&app, "/admin/signup", body).await;
    let closed = sign_up(json!({"name": "eve", "password": PASSWORD})).await;
    assert_eq!(code(&closed), (403, "signup_closed".into()));
    let wrong = sign_up(json!({"token": "x", "name": "eve", "password": PASSWORD})).await;
    assert_eq!(code(&wrong), (401, "invitation".into()));
    let named = json!({"role": "member", "project": "team", "days": 1, "name": "olga"});
    let link = admin(&app, "POST", "/admin/invitations", named).await.json()["link"].as_str().unwrap().to_owned();
    let token = link.split_once("#invitation=").unwrap().1;
    for (name, password, status) in
        [("eve", PASSWORD, 400), ("olga", "short", 400), ("olga", PASSWORD, 201), ("olga", PASSWORD, 401)]
    {
        let got = sign_up(json!({"token": token, "name": name, "password": password})).await;
        assert_eq!(got.status, status, "{name}: {}", got.text());
    }
    let unnamed = json!({"role": "member", "project": "team", "days": 1});
    let link = admin(&app, "POST", "/admin/invitations", unnamed).await.json()["link"].as_str().unwrap().to_owned();
    let token = link.split_once("#invitation=").unwrap().1;
    assert_eq!(sign_up(json!({"token": token, "name": "bob", "password": PASSWORD})).await.status, 409, "taken");

    let open = TestAppBuilder::without_keys().config(|config| {
        config.keys = vec![KeyConfig::new("a", "sk-some-key-0000001")].into();
        config.console.signup = SignupAccess::Open;
    });
    let open = open.start_with_store().await;
    let joined = post(&open, "/admin/signup", json!({"name": "eve", "password": PASSWORD})).await;
    assert_eq!((joined.status, &joined.json()["role"]), (201, &json!("member")));
    let me = with_cookie(&open, "GET", "/admin/me", &cookie(&joined)).send().await.json();
    assert_eq!(me["projects"], json!(["default"]));
}

#[tokio::test]
async fn two_servers_share_sessions_and_a_lost_role() {
    let app = start().await;
    let store: &Store = app.store.as_ref().unwrap();
    admin(&app, "POST", "/admin/projects", json!({"name": "team"})).await;
    let olga = invite(&app, "olga", "viewer").await;
    let other = TestAppBuilder::without_keys().start_on(store.clone()).await;
    let status = async || with_cookie(&other, "GET", "/admin/users", &olga).send().await.status;
    assert_eq!(status().await, 200);
    let again = cookie(&post(&app, "/admin/session", json!({"name": "olga", "password": PASSWORD})).await);
    let again_status = async || with_cookie(&other, "GET", "/admin/me", &again).send().await.status;
    assert_eq!(again_status().await, 200);
    assert_eq!(with_cookie(&app, "DELETE", "/admin/session", &again).send().await.status, 204);
    admin(&app, "PATCH", "/admin/users/olga", json!({"role": Role::Member.as_str()})).await;
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    assert!([401, 403].contains(&status().await));
    assert_eq!(again_status().await, 401, "signed out on the other server");
}

#[tokio::test]
async fn a_cookie_needs_tls_unless_it_stays_on_this_machine() {
    let set = |config: &mut server::ServerConfig| {
        config.admin_token = Some(Sha256::digest(TOKEN).into());
        config.allowed_hosts = vec!["gateway.example.org".into()];
        config.proxies = vec![gateway::IpNetwork::parse("127.0.0.1").unwrap()];
    };
    let app = TestAppBuilder::deepseek_profile().config(set).start_with_store().await;
    let sign_in =
        bare(&app, "POST", "/admin/session").json(json!({"key": TOKEN})).header("host", "gateway.example.org");
    assert_eq!(code(&sign_in.clone().send().await), (403, "tls_required".into()));
    let over_tls = sign_in.header("x-forwarded-proto", "https").header("x-forwarded-for", "192.0.2.7").send().await;
    let flags = over_tls.header("set-cookie").unwrap();
    assert!(flags.starts_with("__Host-cachalot=") && flags.ends_with("; Secure"), "{flags}");
    let rebound = bare(&app, "POST", "/admin/session").json(json!({"key": TOKEN})).header("host", "evil.example");
    assert_eq!(code(&rebound.send().await), (403, "host_not_allowed".into()));
    let foreign =
        bare(&app, "POST", "/admin/session").json(json!({"key": TOKEN})).header("origin", "https://evil.example");
    assert_eq!(code(&foreign.send().await), (403, "cross_site".into()));
}
