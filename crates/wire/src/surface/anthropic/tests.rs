use chat::{Chat, Error, ErrorKind, FinishReason, Input, Message, ResponseFormat, Role, ToolChoice};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parse_with(more: Value) -> Chat {
    let mut body =
        json!({ "model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [{ "role": "user", "content": "hi" }] });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    parse_request(body.to_string().as_bytes(), false).unwrap().chat
}

fn messages(chat: &Chat) -> &[Message] {
    let Input::Messages(messages) = &chat.input else { unreachable!() };
    messages
}

fn parse_error(body: Value) -> String {
    parse_request(body.to_string().as_bytes(), false).expect_err("it is refused").message
}

#[test]
fn every_field_finds_its_place() {
    let chat = parse_with(json!({
        "system": [{ "type": "text", "text": "a", "cache_control": { "type": "ephemeral" } }, { "type": "text", "text": "b" }],
        "thinking": { "type": "enabled", "budget_tokens": 1024 }, "temperature": 0.5, "top_p": 0.9, "top_k": 5,
        "stop_sequences": ["x"], "metadata": { "user_id": "u" }, "service_tier": "auto", "mcp_servers": [],
        "tools": [
            { "name": "f", "description": "d", "input_schema": { "type": "object" }, "cache_control": {} },
            { "type": "web_search_20250305", "name": "web_search" },
        ],
        "tool_choice": { "type": "any", "disable_parallel_tool_use": true },
        "output_config": { "effort": "low", "format": { "type": "json_schema", "schema": { "type": "object" } } },
    }));
    assert_eq!((messages(&chat)[0].role, messages(&chat)[0].text().as_str()), (Role::System, "a\n\nb"));
    assert_eq!((chat.thinking, chat.max_tokens, chat.clamp_max_tokens), (Some(true), Some(64), true));
    assert_eq!((chat.sampling.temperature, chat.sampling.top_p), (Some(0.5), Some(0.9)));
    assert_eq!((chat.stop.as_slice(), chat.user.as_deref()), (["x".to_owned()].as_slice(), Some("u")));
    assert_eq!(chat.tools.len(), 1);
    assert_eq!(
        json!(chat.tools[0].function),
        json!({ "name": "f", "description": "d", "parameters": { "type": "object" } })
    );
    assert_eq!((chat.tool_choice, chat.parallel_tool_calls), (Some(ToolChoice::Required), Some(false)));
    assert!(matches!(chat.response_format, ResponseFormat::JsonSchema(_)));
}

#[test]
fn a_turn_of_tools_becomes_calls_and_tool_messages() {
    let chat = parse_with(json!({ "messages": [
        { "role": "user", "content": "weather?" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "one", "signature": "s" }, { "type": "redacted_thinking", "data": "x" },
            { "type": "thinking", "thinking": "two" }, { "type": "text", "text": "a" }, { "type": "text", "text": "b" },
            { "type": "tool_use", "id": "t1", "name": "f", "input": { "z": 1, "a": "é" } },
            { "type": "tool_use", "id": "t2", "name": "g", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t2", "content": [{ "type": "text", "text": "x" }, { "type": "text", "text": "y" }] },
            { "type": "tool_result", "tool_use_id": "t1", "content": "broken", "is_error": true },
            { "type": "text", "text": "go on" },
        ] },
    ] }));
    let parsed_messages = messages(&chat);
    assert_eq!(
        parsed_messages.iter().map(|m| m.role).collect::<Vec<_>>(),
        [Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::User]
    );
    assert_eq!(
        (parsed_messages[1].reasoning.as_deref(), parsed_messages[1].text().as_str()),
        (Some("one\n\ntwo"), "ab")
    );
    assert_eq!(parsed_messages[1].calls()[0].arguments, r#"{"z":1,"a":"é"}"#);
    assert_eq!((parsed_messages[2].text().as_str(), parsed_messages[2].tool_call_id.as_deref()), ("x\ny", Some("t2")));
    assert_eq!((parsed_messages[3].text().as_str(), parsed_messages[4].text().as_str()), ("Error: broken", "go on"));
}

#[test]
fn a_last_assistant_message_is_a_beginning() {
    let chat = parse_with(json!({ "messages": [
        { "role": "user", "content": "hi" }, { "role": "assistant", "content": [{ "type": "text", "text": "Sure" }] },
    ] }));
    assert!(messages(&chat)[1].prefix);
}

#[test]
fn what_cannot_be_read_is_named() {
    let hi = json!([{ "role": "user", "content": "hi" }]);
    assert!(parse_error(json!({ "model": "m", "messages": hi })).ends_with("missing field `max_tokens`"));
    parse_request(json!({ "model": "m", "messages": hi }).to_string().as_bytes(), true).unwrap();
    let image =
        json!([{ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "image", "source": {} }] }]);
    assert_eq!(
        parse_error(json!({ "model": "m", "max_tokens": 1, "messages": image })),
        "messages.0.content.1: content type 'image' is not supported"
    );
    let wizard = json!([{ "role": "wizard", "content": "x" }]);
    assert!(
        parse_error(json!({ "model": "m", "max_tokens": 1, "messages": wizard }))
            .contains("messages[0].role: unknown variant")
    );
}

#[test]
fn a_missing_thought_is_told_at_the_callers_own_place() {
    let turn = |role: &str| json!({ "role": role, "content": "x" });
    let messages = json!([turn("user"), turn("assistant"), turn("user")]);
    let body = json!({ "model": "m", "max_tokens": 1, "system": "s", "messages": messages });
    let request = parse_request(body.to_string().as_bytes(), false).unwrap();
    let error =
        Error::invalid("Missing `reasoning_content` field in the assistant message at message index 2. For more");
    let rewritten = request.message_indices.rewrite_error(error);
    assert!(rewritten.message.ends_with("must be passed back to the API. (messages.1)"), "{}", rewritten.message);
}

#[test]
fn errors_have_both_shapes() {
    let (status, body) = error_response(&Error::invalid("no"), "req_1");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["type"], &body["request_id"]), (400, &json!("error"), &json!("req_1")));
    let inner =
        json!({ "type": "invalid_request_error", "message": "no", "param": null, "code": "invalid_request_error" });
    assert_eq!(body["error"], inner);
    assert_eq!(error_response(&Error::new(ErrorKind::Overloaded, "busy"), "r").0, 529);
}

#[test]
fn every_finish_has_its_stop_reason() {
    let messages =
        MessageRenderer::new("msg_1".into(), "m".into(), vec!["x".into()], std::sync::Arc::new(|_| String::new()));
    for (finish, reason, sequence) in [
        (FinishReason::Stop, "end_turn", Value::Null),
        (FinishReason::StopString(0), "stop_sequence", json!("x")),
        (FinishReason::Length, "max_tokens", Value::Null),
        (FinishReason::ContextFull, "model_context_window_exceeded", Value::Null),
        (FinishReason::ToolCalls, "tool_use", Value::Null),
        (FinishReason::ContentFilter, "refusal", Value::Null),
    ] {
        let reply = chat::Reply { finish: Some(finish), text: "a".into(), ..chat::Reply::default() };
        let body: Value =
            serde_json::from_str(&crate::surface::Renderer::body(&messages, std::slice::from_ref(&reply)).unwrap())
                .unwrap();
        assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!(reason), &sequence));
    }
}

proptest! {
    #[test]
    fn no_body_makes_the_parser_panic(at in 0usize..400, cut in 0usize..40, piece in "[\\[\\]{}:,\"a-z0-9]{0,4}") {
        let mut bytes = json!({
            "model": "m", "max_tokens": 1, "system": "s", "tools": [{ "name": "f", "input_schema": {} }],
            "messages": [{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "x" }] }],
            "tool_choice": { "type": "tool", "name": "f" }, "thinking": { "type": "enabled" }, "stop_sequences": ["a"],
        }).to_string().into_bytes();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, piece.bytes());
        let _ = parse_request(&bytes, false);
    }
}
