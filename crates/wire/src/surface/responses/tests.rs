use chat::{Delta, FinishReason, Input, Message, Reply, ResponseFormat, Role, ToolCall, ToolChoice, Usage};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::surface::chat_completions::Envelope;
use crate::surface::renderer::Renderer;

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
    let image = json!({ "type": "image_url", "image_url": { "url": "https://x/y.png", "detail": "low" } });
    let image = chat::Part::Other { kind: "image_url".into(), value: image };
    assert_eq!(messages[0].content, Some(vec![text("ab"), image, text("c")]));
}

#[test]
fn what_needs_a_memory_is_refused() {
    for (more, text) in [
        (json!({ "previous_response_id": "resp_1" }), "previous_response_id is not supported"),
        (json!({ "conversation": "c" }), "conversation is not supported"),
        (json!({ "background": true }), "background is not supported"),
        (json!({ "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }), "Failed to deserialize"),
    ] {
        let mut body = json!({ "model": "m", "input": "hi" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert!(parse(body).unwrap_err().starts_with(text));
    }
    assert_eq!(parse(json!({ "model": "m" })).unwrap_err(), "input or instructions must be set");
}

fn envelope() -> Envelope {
    Envelope {
        id: "01234567-89ab-4def-8000-0123456789ab".into(),
        created: 1,
        model: "m".into(),
        system_fingerprint: "fp".into(),
        thinking: false,
        logprobs: false,
    }
}

fn whole_response(request: &ResponsesRequest, reply: Reply) -> Value {
    let renderer = ResponseRenderer::new(envelope(), request.echo.clone(), || 7);
    serde_json::from_str(&renderer.body(&[reply]).unwrap()).unwrap()
}

#[test]
fn a_response_has_every_field_of_the_specification() {
    let reply = || Reply {
        text: "Hi".into(),
        finish: Some(FinishReason::Stop),
        usage: Some(Usage::default()),
        ..Reply::default()
    };
    let plain = whole_response(&parse(json!({ "model": "m", "input": "hi" })).unwrap(), reply());
    let expected = json!({
        "object": "response", "created_at": 1, "completed_at": 7, "status": "completed", "error": null,
        "incomplete_details": null, "model": "m", "background": false, "frequency_penalty": 0.0, "instructions": null,
        "max_output_tokens": null, "max_tool_calls": null, "metadata": {}, "parallel_tool_calls": true,
        "presence_penalty": 0.0, "previous_response_id": null, "prompt_cache_key": null,
        "reasoning": { "effort": null, "summary": null }, "safety_identifier": null, "service_tier": "default",
        "store": false, "temperature": 1.0, "text": { "format": { "type": "text" } }, "tool_choice": "auto", "tools": [],
        "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(plain.get(key), Some(value), "{key}");
    }
    for key in ["id", "output", "usage"] {
        assert!(plain.get(key).is_some_and(|value| !value.is_null()), "{key}");
    }
    let sent = json!({
        "model": "m", "input": "hi", "instructions": "i", "max_output_tokens": 9, "max_tool_calls": 3,
        "metadata": { "a": "b" }, "parallel_tool_calls": false, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "prompt_cache_key": "k", "safety_identifier": "s", "temperature": 0.1, "top_p": 0.2, "truncation": "auto",
        "user": "u", "reasoning": { "effort": "low", "summary": "auto" }, "text": { "verbosity": "low" },
    });
    let request = parse(sent.clone()).unwrap();
    let sampling = &request.chat.sampling;
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (Some(0.5), Some(-0.5)));
    let echoed = whole_response(&request, reply());
    for (key, value) in sent.as_object().unwrap().iter().filter(|(key, _)| !["input", "text"].contains(&key.as_str())) {
        assert_eq!(&echoed[key], value, "{key}");
    }
    assert_eq!(echoed["text"], json!({ "format": { "type": "text" }, "verbosity": "low" }));
    let tools = json!([{ "type": "function", "name": "f" }, { "type": "web_search" }]);
    let echoed = whole_response(&parse(json!({ "model": "m", "input": "hi", "tools": tools })).unwrap(), reply());
    let function = json!({ "type": "function", "name": "f", "description": null, "parameters": null, "strict": null });
    assert_eq!(echoed["tools"], json!([function, { "type": "web_search" }]));
}

#[test]
fn a_custom_tool_is_a_function_of_one_text_whose_calls_come_back_as_text() {
    let format = json!({ "type": "grammar", "syntax": "lark", "definition": "start: /.+/" });
    let request = parse(json!({
        "model": "m", "tool_choice": { "type": "custom", "name": "patch" },
        "tools": [{ "type": "custom", "name": "patch", "description": "Edit", "format": format }, { "type": "custom", "name": "bare" }],
        "input": [
            { "role": "user", "content": "hi" },
            { "type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** \"Begin\"" },
            { "type": "custom_tool_call_output", "call_id": "c", "output": "done" },
        ],
    }))
    .unwrap();
    let [patch, bare] = request.chat.tools.as_slice() else { panic!("{request:?}") };
    assert_eq!(patch.function["parameters"]["required"], json!(["input"]));
    assert_eq!(patch.function["description"], "Edit\n\nThe input must match this lark grammar:\nstart: /.+/");
    assert!(bare.function.get("description").is_none());
    assert_eq!(request.chat.tool_choice, Some(ToolChoice::Named("patch".into())));
    let [_, assistant, tool] = messages(&request) else { panic!("{request:?}") };
    assert_eq!(assistant.calls()[0].arguments, json!({ "input": "*** \"Begin\"" }).to_string());
    assert_eq!((tool.tool_call_id.as_deref(), tool.text().as_str()), (Some("c"), "done"));

    let mut renderer = ResponseRenderer::new(envelope(), request.echo.clone(), || 7);
    let mut out = String::new();
    let deltas = [
        Delta::ToolCall { index: 0, id: "call".into(), name: "patch".into() },
        Delta::Arguments { index: 0, text: "{\"input\": \"a".into() },
        Delta::Arguments { index: 0, text: "\\nb\"}".into() },
        Delta::Finish(FinishReason::ToolCalls),
    ];
    deltas.iter().for_each(|delta| renderer.push(delta, &mut out));
    renderer.finish(&mut out);
    let events: Vec<Value> = out
        .split("\n")
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let names: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names, expected);
    assert_eq!((&events[3]["delta"], &events[4]["input"]), (&json!("a\nb"), &json!("a\nb")));
    let item = &events[6]["response"]["output"][0];
    assert_eq!(
        (&item["type"], &item["call_id"], &item["input"]),
        (&json!("custom_tool_call"), &json!("call"), &json!("a\nb"))
    );
    // Text that the model wrote instead of arguments becomes the input.
    for (arguments, input) in
        [("not json", "not json"), ("{\"input\": 5}", "{\"input\": 5}"), ("{\"input\":\"x\"}", "x")]
    {
        let call = ToolCall { id: "c".into(), name: "patch".into(), arguments: arguments.into() };
        let reply = Reply { tool_calls: vec![call], finish: Some(FinishReason::ToolCalls), ..Reply::default() };
        assert_eq!(whole_response(&request, reply)["output"][0]["input"], input);
    }
}

#[test]
fn tools_in_a_namespace_are_functions_with_joined_names() {
    let tool = |name: &str| json!({ "type": "function", "name": name });
    let long = "n".repeat(60);
    let request = parse(json!({
        "model": "m", "tool_choice": { "type": "function", "namespace": "agents", "name": "spawn" },
        "tools": [tool("spawn"), { "type": "namespace", "name": "agents", "description": "d", "tools": [
            tool("spawn"), tool(&long), { "type": "custom", "name": "say" }, { "type": "web_search" },
        ] }],
        "input": [{ "type": "function_call", "call_id": "c", "namespace": "agents", "name": "spawn", "arguments": "{}" }],
    }))
    .unwrap();
    let names: Vec<&str> = request.chat.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!((names[0], names[1], names[3], names[2].len()), ("spawn", "agents__spawn", "agents__say", 64));
    assert!(request.chat.tools.iter().all(|tool| tool.function["name"] == tool.name.as_str()));
    assert_eq!(request.chat.tool_choice, Some(ToolChoice::Named("agents__spawn".into())));
    assert_eq!(messages(&request)[0].calls()[0].name, "agents__spawn");
    let call = |name: &str| ToolCall { id: name.into(), name: name.into(), arguments: "{}".into() };
    let tool_calls = vec![call("spawn"), call("agents__spawn"), call(names[2]), call("agents__say")];
    let response =
        whole_response(&request, Reply { tool_calls, finish: Some(FinishReason::ToolCalls), ..Reply::default() });
    let called: Vec<_> = response["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["type"].as_str().unwrap(), item["namespace"].as_str(), item["name"].as_str().unwrap()))
        .collect();
    let expected = [
        ("function_call", None, "spawn"),
        ("function_call", Some("agents"), "spawn"),
        ("function_call", Some("agents"), long.as_str()),
        ("custom_tool_call", Some("agents"), "say"),
    ];
    assert_eq!(called, expected);
}

#[test]
fn what_cannot_be_expressed_is_dropped_with_a_note() {
    let request = parse(json!({
        "model": "m", "tools": [{ "type": "web_search" }, { "type": "image_generation" }, { "type": "web_search" }],
        "tool_choice": "required",
        "input": [
            { "role": "user", "content": "hi" },
            { "type": "web_search_call", "id": "ws", "status": "completed" },
            { "type": "item_reference", "id": "x" },
            { "type": "local_shell_call", "call_id": "s", "action": { "type": "exec", "command": ["ls"] } },
            { "type": "local_shell_call_output", "call_id": "s", "output": "a.rs" },
            { "type": "compaction", "encrypted_content": "of another service" },
        ],
    }))
    .unwrap();
    let notes = [
        "dropped: input items of type compaction, item_reference, web_search_call",
        "dropped: tools of type image_generation, web_search",
    ];
    assert_eq!((request.chat.notes.as_slice(), &request.chat.tool_choice), (notes.map(String::from).as_slice(), &None));
    let [_, assistant, tool] = messages(&request) else { panic!("{request:?}") };
    assert_eq!((assistant.calls()[0].name.as_str(), tool.text().as_str()), ("local_shell", "a.rs"));
    let built_in = parse(json!({ "model": "m", "input": "hi", "tool_choice": { "type": "web_search" } })).unwrap();
    assert_eq!(built_in.chat.notes, ["dropped: tool_choice of type web_search"]);
}

#[test]
fn a_choice_of_allowed_tools_removes_the_others() {
    let function = |name: &str| json!({ "type": "function", "name": name });
    let choice = |mode: Value| json!({ "type": "allowed_tools", "mode": mode, "tools": [function("b")] });
    for (mode, expected) in [(json!("required"), ToolChoice::Required), (Value::Null, ToolChoice::Auto)] {
        let tools = json!([function("a"), function("b")]);
        let request =
            parse(json!({ "model": "m", "input": "hi", "tools": tools, "tool_choice": choice(mode) })).unwrap();
        assert_eq!(request.chat.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(request.chat.tool_choice, Some(expected));
    }
}

#[test]
fn log_probabilities_are_asked_for_and_returned() {
    let logprobs = |more: Value| {
        let mut body = json!({ "model": "m", "input": "hi" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let chat = parse(body).unwrap().chat;
        (chat.logprobs, chat.top_logprobs)
    };
    assert_eq!(logprobs(json!({ "top_logprobs": 0 })), (None, None));
    assert_eq!(logprobs(json!({ "top_logprobs": 2 })), (Some(true), Some(2)));
    assert_eq!(logprobs(json!({ "include": ["message.output_text.logprobs"] })), (Some(true), None));
    let token = chat::TokenLogprob { token: "a".into(), logprob: -0.5, bytes: Some(b"a".to_vec()), top: Vec::new() };
    let reply = Reply { text: "a".into(), logprobs: vec![token], finish: Some(FinishReason::Stop), ..Reply::default() };
    let response = whole_response(&parse(json!({ "model": "m", "input": "hi" })).unwrap(), reply);
    assert_eq!(
        response["output"][0]["content"][0]["logprobs"],
        json!([{ "token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [] }])
    );
}

#[test]
fn a_cut_answer_leaves_its_last_item_incomplete() {
    let request = parse(json!({ "model": "m", "input": "hi" })).unwrap();
    let reply =
        Reply { reasoning: "hm".into(), text: "a".into(), finish: Some(FinishReason::Length), ..Reply::default() };
    let response = whole_response(&request, reply);
    let statuses: Vec<_> =
        response["output"].as_array().unwrap().iter().map(|item| item["status"].as_str().unwrap()).collect();
    assert_eq!((statuses, &response["completed_at"]), (vec!["completed", "incomplete"], &Value::Null));
}

#[test]
fn a_compaction_keeps_the_latest_user_messages_and_returns_its_summary() {
    let long = "x".repeat(20_000);
    let body = json!({ "model": "m", "instructions": "s", "tools": [{ "type": "function", "name": "f" }],
        "parallel_tool_calls": true, "top_logprobs": 2, "input": [
        { "role": "user", "content": long },
        { "role": "assistant", "content": "b" },
        { "role": "user", "content": [{ "type": "input_text", "text": "last" }] },
    ]});
    let CompactionRequest { chat, kept } = parse_compaction(body.to_string().as_bytes()).unwrap();
    assert_eq!((kept.as_slice(), chat.tools.len()), (["last".to_owned()].as_slice(), 0));
    let Input::Messages(sent) = &chat.input else { unreachable!("a compaction has messages") };
    assert!(sent.last().unwrap().text().contains("summary"));
    assert_eq!((chat.parallel_tool_calls, chat.logprobs, chat.top_logprobs), (None, None, None));
    let reply = Reply { text: "we did ✓".into(), finish: Some(FinishReason::Stop), ..Reply::default() };
    let body: Value = serde_json::from_str(&CompactionRenderer::new(envelope(), kept).body(&[reply]).unwrap()).unwrap();
    assert_eq!(
        (&body["object"], &body["output"][0]["content"][0]["text"]),
        (&json!("response.compaction"), &json!("last"))
    );
    let again = parse(json!({ "model": "m", "input": body["output"] })).unwrap();
    let texts: Vec<String> = messages(&again).iter().map(Message::text).collect();
    assert_eq!(texts, ["last", "Summary of the conversation so far:\n\nwe did ✓"]);
    assert!(again.chat.notes.is_empty());
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
