//! The link of the first start, with which the console is set up.

use serde_json::json;

use crate::process::TestHome;

const PASSWORD: &str = "correct horse battery";

#[test]
fn the_setup_link_is_printed_until_there_is_an_owner() {
    let home = TestHome::new();
    let mut server = home.serve(&[]);
    let link = server.wait_for_output("#setup=");
    let start = format!("Set up the console: http://{}/console/#setup=", server.address());
    let token = link.strip_prefix(&start).unwrap_or_else(|| panic!("{link}")).to_owned();
    assert_eq!(server.get("/admin/keys", &[]).0, 200, "this machine needs no login yet");
    let body = json!({"token": token, "name": "ada", "password": PASSWORD}).to_string();
    let (status, answer) = server.request("POST", "/admin/setup", &[], &body);
    assert_eq!(status, 201, "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let session = [&format!("Cookie: {cookie}"), "X-Cachalot-Console: 1"];
    let me = server.get("/admin/me", &session).1;
    assert!(me.contains(r#""name":"ada""#) && me.contains(r#""role":"admin""#), "{me}");
    assert_eq!(server.request("POST", "/admin/setup", &[], &body).0, 401, "it works once");
    assert_eq!(server.get("/admin/keys", &[]).0, 401, "now a login is needed");
    let log = server.stop();
    for secret in [token.as_str(), PASSWORD, cookie.split_once('=').unwrap().1] {
        assert!(!log.contains(secret), "{log}");
    }

    // Later starts print no link, and know the session.
    let mut server = home.serve(&[]);
    server.wait_for_log("listening");
    assert_eq!(server.get("/admin/me", &session).0, 200);
    assert_eq!(server.output(), "");
    server.stop();
}

#[test]
fn without_the_console_no_link_is_printed() {
    let home = TestHome::new();
    let server = home.serve(&["--no-console"]);
    assert_eq!(server.get("/admin/keys", &[]).0, 200);
    assert_eq!(server.output(), "");
    server.stop();
}
