//! API keys and their credentials. `case_NN`: see conformance.rs.

use serde_json::json;
use server::KeyConfig;

use crate::app::{KEY, TestAppBuilder, captured_logs, chat_request};

const CREDENTIAL_FORMAT_MESSAGE: &str = "Authentication Fails (auth header format should be Bearer sk-...)";

#[tokio::test]
async fn case_29_a_credential_of_the_wrong_form_is_refused() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    for value in ["", "Bearer ", "Bearer", "Basic eDp5"] {
        let answer = app.post(chat_request(json!({}))).header("authorization", value).send().await;
        assert_eq!((answer.status, answer.message().as_str()), (401, CREDENTIAL_FORMAT_MESSAGE), "{value:?}");
        let error = &answer.json()["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!("authentication_error"), &json!("invalid_request_error")));
    }
}

#[tokio::test]
async fn case_30_an_unknown_key_is_refused_before_its_body_is_read() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let wrong = app.request("POST", "/v1/chat/completions").header("authorization", "Bearer sk-wrong-key-1234fcc2");
    for body in ["{", "{}"] {
        let answer = wrong.clone().bytes(body).send().await;
        let expected = "Authentication Fails, Your api key: ****fcc2 is invalid";
        assert_eq!((answer.status, answer.message().as_str()), (401, expected));
    }
    let short = app.request("GET", "/models").header("authorization", "Bearer sk-1234567").send().await;
    assert_eq!(short.message(), "Authentication Fails, Your api key: **** is invalid");
}

#[tokio::test]
async fn case_31_an_environment_sent_as_a_key_is_refused_and_not_logged() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let environment =
        format!("environ({{'PATH': '/usr/bin', {}, 'SECRET': 'hunter2'}})", "'VAR': 'xyzzy', ".repeat(1400));
    assert!(environment.len() > 20 << 10);
    let answer =
        app.post(chat_request(json!({}))).header("authorization", &format!("Bearer {environment}")).send().await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.message(), "Authentication Fails, Your api key: ****2'}) is invalid");
    let logs = captured_logs().text();
    assert!(!logs.contains("hunter2") && !logs.contains("xyzzy"));
}

#[tokio::test]
async fn every_kind_of_credential_is_accepted() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let bare = app.request("GET", "/models").header("authorization", "");
    for (name, value) in
        [("authorization", format!("bearer {KEY}")), ("x-api-key", KEY.to_owned()), ("x-goog-api-key", KEY.to_owned())]
    {
        assert_eq!(bare.clone().header(name, &value).send().await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_key_may_be_limited_to_some_models() {
    let limited = KeyConfig { models: Some(vec!["deepseek-chat".into()]), ..KeyConfig::new("bob", KEY) };
    let app = TestAppBuilder::deepseek_profile().config(|config| config.keys = vec![limited].into()).start().await;
    app.assert_answered(chat_request(json!({}))).await;
    let answer = app.post(chat_request(json!({"model": "deepseek-reasoner"}))).send().await;
    assert_eq!(answer.status, 403);
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("permission_error"), &json!("model_not_allowed")));
    let list = app.request("GET", "/models").send().await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}
