use chat::{Input, Message, ResponseFormat, Role, ToolChoice};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parse(body: Value) -> Result<ResponsesRequest, String> {
    parse_request(body.to_string().as_bytes()).map_err(|error| error.message)
}

fn messages(request: &ResponsesRequest) -> &[Message] {
    let Input::Messages(messages) = &request.chat.input else { unreachable!() };
    messages
}

#[test]
fn every_field_finds_its_place() {
    let request = parse(json!({
        "model": "m", "instructions": "be brief", "input": "hi", "stream": true, "max_output_tokens": 5, "temperature": 0.5,
        "tools": [{ "type": "function", "name": "f", "parameters": {}, "strict": true }, { "type": "web_search" }],
        "tool_choice": { "type": "function", "name": "f" }, "parallel_tool_calls": false, "reasoning": { "effort": "low" },
        "text": { "format": { "type": "json_schema", "name": "p", "schema": {}, "strict": false } }, "store": true, "user": "u",
    }))
    .unwrap();
    let roles: Vec<_> = messages(&request).iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::System, Role::User]);
    let chat = &request.chat;
    assert_eq!((chat.max_tokens, chat.thinking, chat.tools.len()), (Some(5), Some(true), 1));
    assert!(chat.tools[0].strict && chat.tool_choice == Some(ToolChoice::Named("f".into())));
    assert_eq!((chat.parallel_tool_calls, chat.user.as_deref(), request.stream), (Some(false), Some("u"), true));
    let ResponseFormat::JsonSchema(format) = &chat.response_format else { unreachable!() };
    assert_eq!(json!(format), json!({ "name": "p", "schema": {}, "strict": false }));
}

#[test]
fn items_of_one_answer_become_one_message() {
    let request = parse(json!({ "model": "m", "input": [
        { "role": "user", "content": [{ "type": "input_text", "text": "a" }, { "type": "input_text", "text": "b" }] },
        { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "hm" }] },
        { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "so" }] },
        { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "c", "output": [{ "type": "input_text", "text": "24" }] },
        { "type": "something_new" },
    ] }))
    .unwrap();
    let [user, assistant, tool] = messages(&request) else { panic!("{request:?}") };
    assert_eq!(
        (user.text().as_str(), assistant.text().as_str(), assistant.reasoning.as_deref()),
        ("ab", "so", Some("hm"))
    );
    assert_eq!(
        (assistant.calls()[0].id.as_str(), tool.tool_call_id.as_deref(), tool.text().as_str()),
        ("c", Some("c"), "24")
    );
}

#[test]
fn images_stand_between_the_words_around_them() {
    let content = json!([
        { "type": "input_text", "text": "a" }, { "type": "input_text", "text": "b" },
        { "type": "input_image", "image_url": "https://x/y.png", "detail": "low" }, { "type": "input_text", "text": "c" },
    ]);
    let chat = parse(json!({ "model": "m", "input": [{ "role": "user", "content": content }] })).unwrap().chat;
    let chat::Input::Messages(messages) = chat.input else { panic!("messages") };
    let text = |text: &str| chat::Part::Text(text.into());
    assert_eq!(messages[0].content, Some(vec![text("ab"), chat::Part::image("https://x/y.png"), text("c")]));
}

#[test]
fn what_needs_a_memory_is_refused() {
    for (more, text) in [
        (json!({ "previous_response_id": "resp_1" }), "previous_response_id is not supported"),
        (json!({ "conversation": "c" }), "conversation is not supported"),
        (json!({ "background": true }), "background is not supported"),
        (json!({ "tools": [{ "type": "custom", "name": "x" }] }), "tools of type custom are not supported"),
        (json!({ "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }), "Failed to deserialize"),
    ] {
        let mut body = json!({ "model": "m", "input": "hi" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert!(parse(body).unwrap_err().starts_with(text));
    }
    assert_eq!(parse(json!({ "model": "m" })).unwrap_err(), "input or instructions must be set");
}

proptest! {
    #[test]
    fn no_body_makes_the_parser_panic(at in 0usize..300, cut in 0usize..40, piece in "[\\[\\]{}:,\"a-z0-9]{0,4}") {
        let mut bytes = json!({
            "model": "m", "instructions": "s", "tools": [{ "type": "function", "name": "f", "parameters": {} }],
            "input": [{ "type": "function_call_output", "call_id": "t", "output": "x" }, { "role": "user", "content": "a" }],
            "tool_choice": "auto", "reasoning": { "effort": "low" }, "text": { "format": { "type": "text" } },
        }).to_string().into_bytes();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, piece.bytes());
        let _ = parse_request(&bytes);
    }
}
