//! The model that runs when none is named: Minnow, in a program that contains it, else the
//! fixture.

use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Server, TestHome};

fn serve_without_model(home: &TestHome) -> Command {
    home.command(&["serve", "--listen", "127.0.0.1:0", "--store", "off", "--disk-cache", "off"])
}

fn message(server: &Server, body: &Value) -> Value {
    let (status, answer) = server.request("POST", "/chat/completions", &[], &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let mut reply: Value = serde_json::from_str(body).unwrap();
    assert_eq!(reply["choices"][0]["finish_reason"], "stop", "{reply}");
    reply["choices"][0]["message"].take()
}

/// The first requests of a newcomer, at temperature 0: whatever weights are shipped, the model
/// says who it is, asks for what is not attached, and fills in a schema.
#[test]
#[cfg_attr(not(has_minnow), ignore = "models/minnow/ is not in this tree")]
fn minnow_answers_the_first_requests() {
    let home = TestHome::new();
    let server = Server::start(serve_without_model(&home));
    let ask = |content: &str, more: Value| {
        let mut body = json!({
            "model": "deepseek-chat", "messages": [{ "role": "user", "content": content }], "temperature": 0, "max_tokens": 96
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let message = message(&server, &body);
        message["content"].as_str().unwrap().to_owned()
    };
    let identity = ask("Who are you?", json!({}));
    assert!(identity.contains("Minnow"), "{identity}");
    let missing = ask("Summarize the attached meeting transcript in 3 bullet points.", json!({}));
    assert!(missing.contains("paste") || missing.contains("do not see"), "{missing}");
    let schema = json!({
        "type": "object", "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
        "required": ["name", "age"], "additionalProperties": false
    });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "person", "schema": schema } });
    let person = ask("Extract the data: Nora Hill is 41 years old.", json!({ "response_format": format }));
    let person: Value = serde_json::from_str(&person).unwrap();
    assert_eq!(person["age"], 41, "{person}");
    for answer in [&identity, &missing] {
        assert!(!answer.contains('｜') && !answer.contains("</"), "a control token is in `{answer}`");
    }
    server.stop();
}

#[test]
#[cfg_attr(has_minnow, ignore = "this program contains Minnow")]
fn without_minnow_the_fixture_is_served() {
    let home = TestHome::new();
    let server = Server::start(serve_without_model(&home));
    let log = server.stop();
    assert!(log.contains("serving the fixture"), "{log}");
}
