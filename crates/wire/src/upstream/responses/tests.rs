use chat::{Chat, Delta, ErrorKind, FinishReason, Input, Message, Reply, Role, SignedReasoning, Usage, fold};
use serde_json::{Value, json};

use crate::surface::{chat_completions, responses};
use crate::upstream::{Dialect, SignatureStore, signature_keys};

fn parse_chat(rest: Value) -> Chat {
    let mut body = json!({"model": "alias", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    chat_completions::parse_request(body.to_string().as_bytes()).unwrap().chat
}

fn body(chat: &Chat, signatures: &dyn SignatureStore) -> Value {
    serde_json::from_str(&Dialect::Responses.write_request(chat, "gpt-5.6", signatures).unwrap().body).unwrap()
}

/// The deltas of these events.
fn read(events: &[Value]) -> Vec<Delta> {
    let (mut reader, mut out) = (Dialect::Responses.event_reader(&Chat::default()), Vec::new());
    for event in events {
        reader.read_event(&event.to_string(), &mut out).unwrap();
    }
    reader.finish(&mut out).unwrap();
    out
}

fn reply(events: &[Value]) -> Reply {
    fold(read(events).into_iter().map(Ok)).unwrap()
}

fn added(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": index, "item": item})
}

fn done(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn delta(kind: &str, index: u64, text: &str) -> Value {
    json!({"type": format!("response.{kind}.delta"), "output_index": index, "delta": text})
}

fn completed(output: Value) -> Value {
    json!({"type": "response.completed", "response": {"status": "completed", "output": output}})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "f", "arguments": arguments})
}

#[test]
fn every_part_of_a_chat_is_sent() {
    let sent = body(
        &parse_chat(json!({
            "messages": [
                {"role": "system", "content": "s"}, {"role": "developer", "content": "d"},
                {"role": "user", "content": [{"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
                    {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}]},
                {"role": "assistant", "content": "so", "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "x", "parameters": {"type": "object"}, "strict": true}},
                {"type": "function", "function": {"name": "g"}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
            "reasoning_effort": "low", "max_tokens": 5, "temperature": 0.5, "top_p": 0.25, "logprobs": true, "top_logprobs": 2,
            "response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "object"}, "strict": true}},
            "user": "u",
        })),
        &(),
    );
    assert_eq!(
        sent,
        json!({
            "model": "gpt-5.6", "instructions": "s",
            "input": [
                {"type": "message", "role": "developer", "content": "d"},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "low"},
                    {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,AAAA"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "a"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}],
            "tools": [
                {"type": "function", "name": "f", "description": "x", "parameters": {"type": "object"}, "strict": true},
                {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": false}],
            "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
            "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "p", "schema": {"type": "object"}, "strict": true}},
            "include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "store": false,
            // The smallest limit of the API.
            "max_output_tokens": 16, "temperature": 0.5, "top_p": 0.25, "top_logprobs": 2, "user": "u", "stream": true,
        })
    );
}

#[test]
fn what_the_api_lacks_is_noted_or_refused() {
    let chat = parse_chat(json!({"stop": ["a"], "seed": 1, "n": 2, "logit_bias": {"1": 2}, "frequency_penalty": 1,
        "presence_penalty": 1, "top_k": 5}));
    let dropped = Dialect::Responses.write_request(&chat, "m", &()).unwrap().dropped;
    assert!(
        ["frequency_penalty", "logit_bias", "n", "presence_penalty", "seed", "stop"]
            .iter()
            .all(|name| dropped.contains(name))
    );
    let sent = body(&chat, &());
    let mut keys: Vec<&String> = sent.as_object().unwrap().keys().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["include", "input", "model", "store", "stream"]);
    let audio = parse_chat(json!({"messages": [{"role": "user", "content": [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]}));
    let refused = Dialect::Responses.write_request(&audio, "m", &()).unwrap_err();
    assert_eq!(refused.message, "This model's provider takes no content of type `input_audio`");
}

#[test]
fn models_that_do_not_reason_are_not_asked_for_reasoning() {
    for (model, includes) in [
        ("gpt-5.6", true),
        ("openai/o4-mini", true),
        ("gpt-4.1", false),
        ("openai/gpt-4o", false),
        ("gpt-5-chat-latest", false),
    ] {
        let sent = Dialect::Responses.write_request(&parse_chat(json!({})), model, &()).unwrap().body;
        assert_eq!(sent.contains("reasoning.encrypted_content"), includes, "{model}");
        assert!(!sent.contains("\"reasoning\":"), "{model}");
    }
    let quiet = parse_chat(json!({"thinking": {"type": "disabled"}, "reasoning_effort": "none"}));
    assert_eq!(body(&quiet, &())["reasoning"], json!({"effort": "none"}));
    assert_eq!(
        body(&parse_chat(json!({"thinking": {"type": "enabled"}})), &())["reasoning"],
        json!({"summary": "auto"})
    );
    assert_eq!(body(&parse_chat(json!({"reasoning_effort": "max"})), &())["reasoning"]["effort"], "xhigh");
}

#[test]
fn a_budget_below_the_smallest_limit_is_not_exceeded() {
    let chat = Chat { affordable_tokens: Some(9), ..parse_chat(json!({"max_tokens": 5})) };
    assert_eq!(body(&chat, &())["max_output_tokens"], 5);
    let chat = Chat { affordable_tokens: Some(90), ..parse_chat(json!({"max_tokens": 5})) };
    assert_eq!(body(&chat, &())["max_output_tokens"], 16);
    let chat = Chat { affordable_tokens: Some(90), ..parse_chat(json!({})) };
    assert_eq!(body(&chat, &())["max_output_tokens"], 90);
}

#[test]
fn a_request_of_the_surface_is_read_back_the_same() {
    let text = json!({
        "model": "gpt-5.6", "instructions": "s", "stream": true, "max_output_tokens": 900, "temperature": 0.5, "top_p": 0.25,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://x.example/a.png"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"k\":1}"},
            {"type": "function_call_output", "call_id": "c", "output": "7"},
            {"role": "developer", "content": "later"},
            {"role": "user", "content": "and?"}],
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": "required", "parallel_tool_calls": false, "reasoning": {"effort": "high"}, "user": "u",
        "text": {"format": {"type": "json_schema", "name": "p", "schema": {"type": "object"}}},
        "include": ["message.output_text.logprobs"], "top_logprobs": 3,
    });
    let chat = responses::parse_request(text.to_string().as_bytes()).unwrap().chat;
    let sent = Dialect::Responses.write_request(&chat, "gpt-5.6", &()).unwrap().body;
    let read = responses::parse_request(sent.as_bytes()).unwrap();
    assert!(read.stream);
    // A chat has no place for the fields that the dialect adds by itself.
    assert_eq!(read.chat.uncarried, ["include", "summary"]);
    assert_eq!(Chat { uncarried: Vec::new(), ..read.chat }, chat);
}

#[test]
fn encrypted_reasoning_returns_with_its_text_or_its_call() {
    let summary = |text: &str| json!([{"type": "summary_text", "text": text}]);
    let reasoning = |text: &str, encrypted: &str| json!({"type": "reasoning", "id": "rs", "summary": if text.is_empty() { json!([]) } else { summary(text) }, "encrypted_content": encrypted});
    let part = |index: u64| json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": index});
    let deltas = read(&[
        json!({"type": "response.created", "response": {"status": "in_progress"}}),
        added(0, reasoning("", "")),
        part(0),
        delta("reasoning_summary_text", 0, "hm"),
        part(1),
        delta("reasoning_summary_text", 0, "so"),
        done(0, reasoning("hm\n\nso", "one")),
        added(1, call("a", "")),
        delta("function_call_arguments", 1, "{}"),
        done(1, call("a", "{}")),
        done(2, reasoning("", "two")),
        done(3, call("b", "{\"x\":1}")),
        completed(json!([])),
    ]);
    let reply = fold(deltas.into_iter().map(Ok)).unwrap();
    assert_eq!((reply.reasoning.as_str(), reply.finish), ("hm\n\nso", Some(FinishReason::ToolCalls)));
    let calls: Vec<_> = reply.tool_calls.iter().map(|call| (&*call.id, &*call.arguments)).collect();
    assert_eq!(calls, [("a", "{}"), ("b", "{\"x\":1}")]);
    // By the text and by the first call, and by the second.
    let keys: Vec<String> = reply.signatures.iter().flat_map(signature_keys).collect();
    assert_eq!(keys, ["hm\n\nso", "call a", "call b"]);

    struct Known(Vec<SignedReasoning>);
    impl SignatureStore for Known {
        fn find(&self, text: &str) -> Option<String> {
            let is_of = |signed: &&SignedReasoning| signature_keys(signed).any(|key| key == text);
            self.0.iter().find(is_of).map(|signed| signed.signature.clone())
        }
    }
    let known = Known(reply.signatures.clone());
    let turn = |reasoning: Option<String>| {
        let answer = Message {
            content: None,
            reasoning,
            tool_calls: Some(reply.tool_calls.clone()),
            ..Message::new(Role::Assistant, "")
        };
        let input = Input::Messages(vec![Message::new(Role::User, "hi"), answer]);
        body(&Chat { input, ..Chat::default() }, &known)["input"].clone()
    };
    let item = |summary: Value, encrypted: &str| json!({"type": "reasoning", "summary": summary, "encrypted_content": encrypted});
    let user = json!({"type": "message", "role": "user", "content": "hi"});
    let rest = [call("a", "{}"), item(json!([]), "two"), call("b", "{\"x\":1}")];
    let with = |first: Value| Value::from([vec![user.clone(), first], rest.to_vec()].concat());
    assert_eq!(turn(Some(reply.reasoning.clone())), with(item(summary("hm\n\nso"), "one")));
    // A client that does not return reasoning names the calls.
    assert_eq!(turn(None), with(item(json!([]), "one")));
    assert_eq!(turn(Some("of another model".into())), with(item(summary("of another model"), "one")));
}

#[test]
fn calls_that_alternate_come_one_after_the_other() {
    let deltas = read(&[
        added(0, call("a", "")),
        delta("function_call_arguments", 0, "{\"x\""),
        added(1, call("b", "")),
        delta("function_call_arguments", 1, "{}"),
        done(1, call("b", "{}")),
        delta("function_call_arguments", 0, ":1}"),
        done(0, call("a", "{\"x\":1}")),
        completed(json!([])),
    ]);
    let mut indices = deltas.iter().filter_map(|delta| match delta {
        Delta::ToolCall { index, .. } | Delta::Arguments { index, .. } => Some(*index),
        _ => None,
    });
    assert!(indices.by_ref().is_sorted());
    let reply = fold(deltas.into_iter().map(Ok)).unwrap();
    let calls: Vec<_> = reply.tool_calls.iter().map(|call| (&*call.id, &*call.arguments)).collect();
    assert_eq!(calls, [("a", "{\"x\":1}"), ("b", "{}")]);
}

#[test]
fn items_whose_deltas_a_service_does_not_send_are_read_whole() {
    let message = json!({"type": "message", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "!"}]});
    let custom = json!({"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "x"});
    let search = json!({"type": "web_search_call", "id": "ws"});
    let items = [search, message, call("b", "{}"), custom];
    let each: Vec<Value> =
        (0..).zip(items.clone()).map(|(index, item)| done(index, item)).chain([completed(json!([]))]).collect();
    let whole = [completed(items.to_vec().into())];
    for events in [each.as_slice(), &whole] {
        let reply = reply(events);
        assert_eq!((reply.text.as_str(), reply.finish), ("a!", Some(FinishReason::ToolCalls)));
        let calls: Vec<_> = reply.tool_calls.iter().map(|call| (&*call.id, &*call.arguments)).collect();
        assert_eq!(calls, [("b", "{}"), ("c", "{\"input\":\"x\"}")]);
    }
}

#[test]
fn ends_failures_and_usage_are_those_of_the_api() {
    let text = || delta("output_text", 0, "a");
    let usage = json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2}, "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 16});
    let incomplete = |reason: &str| {
        json!({"type": "response.incomplete", "response": {"status": "incomplete", "usage": usage, "output": [],
            "incomplete_details": {"reason": reason}}})
    };
    let cut = reply(&[text(), incomplete("max_output_tokens")]);
    let counts = Usage {
        prompt_tokens: 9,
        cached_tokens: 4,
        cache_write_tokens: 2,
        completion_tokens: 7,
        reasoning_tokens: Some(5),
        ..Usage::ZERO
    };
    assert_eq!((cut.finish, cut.usage), (Some(FinishReason::Length), Some(counts)));
    assert_eq!(reply(&[text(), incomplete("content_filter")]).finish, Some(FinishReason::ContentFilter));
    let refusal = [delta("refusal", 0, "I cannot"), completed(json!([]))];
    assert_eq!((reply(&refusal).text.as_str(), reply(&refusal).finish), ("I cannot", Some(FinishReason::Stop)));

    let failed = |error: Value| json!({"type": "response.failed", "response": {"status": "failed", "error": error, "output": []}});
    for (event, kind, message) in [
        (failed(json!({"code": "rate_limit_exceeded", "message": "slow"})), ErrorKind::RateLimited, "slow"),
        (failed(json!({"code": "server_error", "message": "gone"})), ErrorKind::Upstream(502), "gone"),
        (failed(Value::Null), ErrorKind::Upstream(502), "The provider ended the answer with `failed`"),
        (
            json!({"type": "error", "code": "invalid_prompt", "message": "no", "param": null}),
            ErrorKind::InvalidRequest,
            "no",
        ),
        (
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}),
            ErrorKind::InvalidRequest,
            "no",
        ),
    ] {
        let (mut reader, mut out) = (Dialect::Responses.event_reader(&Chat::default()), Vec::new());
        reader.read_event(&text().to_string(), &mut out).unwrap();
        let error = reader.read_event(&event.to_string(), &mut out).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (kind, message), "{event}");
        assert!(reader.progress().is_failure_reported());
    }
    let whole =
        json!({"object": "response", "status": "failed", "error": {"code": "server_is_overloaded", "message": "busy"}});
    let mut reader = Dialect::Responses.event_reader(&Chat::default());
    assert_eq!(reader.read_body(&whole.to_string(), &mut Vec::new()).unwrap_err().kind, ErrorKind::Overloaded);
}
