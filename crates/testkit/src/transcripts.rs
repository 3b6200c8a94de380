//! Answers as services of each dialect send them, event by event, for tests of everything
//! that parses them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_upstream::{BodyStep, FakeResponse};

/// The course of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// `Hello, whale.` in two chunks.
    Text,
    /// `Let me think.` as reasoning, then two parallel calls of `get_weather`.
    ToolCalls,
    /// An error event after the first chunk.
    ErrorEvent,
    /// A broken connection after the first chunk.
    Disconnect,
}

impl Scenario {
    pub const ALL: [Self; 4] = [Self::Text, Self::ToolCalls, Self::ErrorEvent, Self::Disconnect];
}

/// The events of an answer in the service's format. Its usage is 11 prompt tokens, of which 3 are
/// cached, and 7 output tokens, of which 4 are reasoning.
///
/// # Panics
/// For a dialect that is not `openai`, `deepseek`, `responses`, `anthropic` or `gemini`.
pub fn stream_events(dialect: &str, scenario: Scenario) -> Vec<String> {
    match dialect {
        "openai" | "deepseek" => openai_events(scenario, dialect == "deepseek"),
        "responses" => responses_events(scenario),
        "anthropic" => anthropic_events(scenario),
        "gemini" => gemini_events(scenario),
        other => panic!("no dialect {other}"),
    }
}

/// The same events as a response, each sent as a chunk of its own.
pub fn stream_response(dialect: &str, scenario: Scenario) -> FakeResponse {
    let mut steps: Vec<_> =
        stream_events(dialect, scenario).into_iter().map(|event| BodyStep::Send(event.into_bytes())).collect();
    if scenario == Scenario::Disconnect {
        // The events before have arrived by then.
        steps.extend([BodyStep::Wait(Duration::from_millis(50)), BodyStep::Disconnect]);
    }
    FakeResponse::stream(steps)
}

/// The same answer as one JSON body, for the scenarios without a failure.
pub fn json_body(dialect: &str, scenario: Scenario) -> Value {
    let has_tool_calls = scenario == Scenario::ToolCalls;
    match dialect {
        "openai" | "deepseek" => {
            let mut message = json!({"role": "assistant", "content": if has_tool_calls { Value::Null } else { "Hello, whale.".into() }});
            if has_tool_calls {
                message["tool_calls"] = json!([openai_tool_call(0, true), openai_tool_call(1, true)]);
                if dialect == "deepseek" {
                    message["reasoning_content"] = "Let me think.".into();
                }
            }
            let finish = if has_tool_calls { "tool_calls" } else { "stop" };
            json!({"id": "up_1", "object": "chat.completion", "created": 1, "model": "up",
                "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": openai_usage()})
        }
        "responses" => whole_response("completed", responses_items(scenario)),
        "gemini" => {
            let parts = if has_tool_calls {
                json!([{"text": "Let me think.", "thought": true}, gemini_function_call(0), gemini_function_call(1)])
            } else {
                json!([{"text": "Hello, whale."}])
            };
            gemini_final_response(parts, has_tool_calls)
        }
        _ => {
            let content = if has_tool_calls {
                json!([{"type": "thinking", "thinking": "Let me think.", "signature": "c2lnbmVk"}, anthropic_tool_use(0), anthropic_tool_use(1)])
            } else {
                json!([{"type": "text", "text": "Hello, whale."}])
            };
            let reason = if has_tool_calls { "tool_use" } else { "end_turn" };
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "up", "content": content, "stop_reason": reason,
                "stop_sequence": null, "usage": {"input_tokens": 8, "cache_read_input_tokens": 3, "output_tokens": 7}})
        }
    }
}

const CITIES: [&str; 2] = ["Paris", "Rome"];

fn sse_event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn openai_usage() -> Value {
    json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 4}})
}

fn openai_tool_call(index: usize, whole: bool) -> Value {
    let arguments = if whole { json!({"city": CITIES[index]}).to_string() } else { String::new() };
    json!({"id": format!("call_{index}"), "type": "function", "function": {"name": "get_weather", "arguments": arguments}})
}

fn anthropic_tool_use(index: usize) -> Value {
    json!({"type": "tool_use", "id": format!("call_{index}"), "name": "get_weather", "input": {"city": CITIES[index]}})
}

fn gemini_function_call(index: usize) -> Value {
    let mut part = json!({"functionCall": {"name": "get_weather", "args": {"city": CITIES[index]}}});
    if index == 0 {
        part["thoughtSignature"] = "c2lnbmVk".into();
    }
    part
}

fn gemini_response(parts: Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}], "modelVersion": "up", "responseId": "r1"})
}

/// The last chunk of an answer, or the whole answer.
fn gemini_final_response(parts: Value, thinks: bool) -> Value {
    let thoughts = if thinks { 4 } else { 0 };
    let mut end = gemini_response(parts);
    end["candidates"][0]["finishReason"] = "STOP".into();
    end["usageMetadata"] = json!({"promptTokenCount": 11, "cachedContentTokenCount": 3, "candidatesTokenCount": 7 - thoughts,
        "thoughtsTokenCount": thoughts, "totalTokenCount": 18});
    end
}

fn openai_events(scenario: Scenario, reasons: bool) -> Vec<String> {
    let chunk = |delta: Value, finish: Value| {
        sse_event(&json!({"id": "up_1", "object": "chat.completion.chunk", "created": 1, "model": "up",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": null}))
    };
    let delta_chunk = |delta| chunk(delta, Value::Null);
    let mut events = vec![delta_chunk(json!({"role": "assistant", "content": ""}))];
    match scenario {
        Scenario::ToolCalls => {
            if reasons {
                events.extend(["Let me ", "think."].map(|text| delta_chunk(json!({"reasoning_content": text}))));
            }
            for (index, city) in CITIES.iter().enumerate() {
                let mut begin = openai_tool_call(index, false);
                begin["index"] = index.into();
                events.push(delta_chunk(json!({"tool_calls": [begin]})));
                for text in ["{\"city\"".to_owned(), format!(":\"{city}\"}}")] {
                    events
                        .push(delta_chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})));
                }
            }
            events.push(chunk(json!({}), "tool_calls".into()));
        }
        _ => {
            events.push(delta_chunk(json!({"content": "Hello, "})));
            match scenario {
                Scenario::Disconnect => return events,
                Scenario::ErrorEvent => {
                    events.push(sse_event(
                        &json!({"error": {"message": "The engine has stopped", "type": "server_error", "code": 500}}),
                    ));
                    return events;
                }
                _ => {}
            }
            events.push(delta_chunk(json!({"content": "whale."})));
            events.push(chunk(json!({}), "stop".into()));
        }
    }
    events.push(sse_event(&json!({"id": "up_1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [], "usage": openai_usage()})));
    events.push("data: [DONE]\n\n".into());
    events
}

/// The items of a response.
fn responses_items(scenario: Scenario) -> Vec<Value> {
    if scenario != Scenario::ToolCalls {
        let content = json!([{"type": "output_text", "text": "Hello, whale.", "annotations": [], "logprobs": []}]);
        return vec![
            json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}),
        ];
    }
    let summary = json!([{"type": "summary_text", "text": "Let me think."}]);
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "c2lnbmVk"});
    let call = |index: usize| {
        json!({"type": "function_call", "id": format!("fc_{index}"), "call_id": format!("call_{index}"), "name": "get_weather",
            "arguments": json!({"city": CITIES[index]}).to_string(), "status": "completed"})
    };
    vec![reasoning, call(0), call(1)]
}

fn whole_response(status: &str, output: Vec<Value>) -> Value {
    let reasoning_tokens = output.len().saturating_sub(1) * 2;
    let usage = json!({"input_tokens": 11, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens}, "total_tokens": 18});
    json!({"id": "up_1", "object": "response", "created_at": 1, "status": status, "error": null, "incomplete_details": null,
        "model": "up", "output": output, "usage": if status == "completed" { usage } else { Value::Null }})
}

fn responses_events(scenario: Scenario) -> Vec<String> {
    let mut events: Vec<Value> = ["response.created", "response.in_progress"]
        .map(|kind| json!({"type": kind, "response": whole_response("in_progress", vec![])}))
        .to_vec();
    let items = responses_items(scenario);
    for (index, item) in items.iter().enumerate() {
        let event = |kind: &str, more: Value| {
            let mut event = json!({"type": kind, "output_index": index});
            event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            event
        };
        let mut empty = item.clone();
        let (key, kind, pieces): (&str, &str, [&str; 2]) = match item["type"].as_str() {
            Some("message") => ("content", "response.output_text", ["Hello, ", "whale."]),
            Some("reasoning") => ("summary", "response.reasoning_summary_text", ["Let me ", "think."]),
            _ => {
                let arguments = item["arguments"].as_str().expect("a text");
                ("arguments", "response.function_call_arguments", arguments.split_at(7).into())
            }
        };
        empty[key] = if key == "arguments" { "".into() } else { json!([]) };
        if key == "summary" {
            empty["encrypted_content"] = "".into();
        }
        events.push(event("response.output_item.added", json!({ "item": empty })));
        match key {
            "content" => events.push(event(
                "response.content_part.added",
                json!({"content_index": 0, "part": {"type": "output_text", "text": ""}}),
            )),
            "summary" => events.push(event(
                "response.reasoning_summary_part.added",
                json!({"summary_index": 0, "part": {"type": "summary_text", "text": ""}}),
            )),
            _ => {}
        }
        let delta = |text: &str| event(&format!("{kind}.delta"), json!({ "item_id": item["id"], "delta": text }));
        events.push(delta(pieces[0]));
        match scenario {
            Scenario::Disconnect => return numbered(events),
            Scenario::ErrorEvent => {
                let mut failed = whole_response("failed", vec![]);
                failed["error"] = json!({"code": "server_error", "message": "The engine has stopped"});
                events.push(json!({"type": "response.failed", "response": failed}));
                return numbered(events);
            }
            _ => events.push(delta(pieces[1])),
        }
        let whole = if key == "arguments" { "arguments" } else { "text" };
        events.push(event(&format!("{kind}.done"), json!({ "item_id": item["id"], whole: pieces.concat() })));
        events.push(event("response.output_item.done", json!({ "item": item })));
    }
    events.push(json!({"type": "response.completed", "response": whole_response("completed", items)}));
    numbered(events)
}

/// The events of a response as text, with their numbers.
fn numbered(events: Vec<Value>) -> Vec<String> {
    let event = |(number, mut event): (usize, Value)| {
        event["sequence_number"] = number.into();
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
    };
    events.into_iter().enumerate().map(event).collect()
}

fn anthropic_events(scenario: Scenario) -> Vec<String> {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "up", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": {"input_tokens": 8, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0, "output_tokens": 1}});
    let mut events = vec![event(json!({"type": "message_start", "message": message})), event(json!({"type": "ping"}))];
    let mut block = |index: usize, empty: Value, deltas: Vec<Value>, ends: bool| {
        events.push(event(json!({"type": "content_block_start", "index": index, "content_block": empty})));
        events.extend(
            deltas
                .into_iter()
                .map(|delta| event(json!({"type": "content_block_delta", "index": index, "delta": delta}))),
        );
        if ends {
            events.push(event(json!({"type": "content_block_stop", "index": index})));
        }
    };
    let text = |text: &str| json!({"type": "text_delta", "text": text});
    let reason = match scenario {
        Scenario::ToolCalls => {
            let thoughts = ["Let me ", "think."].map(|text| json!({"type": "thinking_delta", "thinking": text}));
            let mut deltas = thoughts.to_vec();
            deltas.push(json!({"type": "signature_delta", "signature": "c2lnbmVk"}));
            block(0, json!({"type": "thinking", "thinking": "", "signature": ""}), deltas, true);
            for (index, city) in CITIES.iter().enumerate() {
                let mut empty = anthropic_tool_use(index);
                empty["input"] = json!({});
                let pieces = ["".to_owned(), "{\"city\"".to_owned(), format!(":\"{city}\"}}")];
                let deltas = pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).to_vec();
                block(index + 1, empty, deltas, true);
            }
            "tool_use"
        }
        Scenario::Text => {
            block(0, json!({"type": "text", "text": ""}), vec![text("Hello, "), text("whale.")], true);
            "end_turn"
        }
        Scenario::ErrorEvent | Scenario::Disconnect => {
            block(0, json!({"type": "text", "text": ""}), vec![text("Hello, ")], false);
            if scenario == Scenario::ErrorEvent {
                events.push(event(
                    json!({"type": "error", "error": {"type": "api_error", "message": "The engine has stopped"}}),
                ));
            }
            return events;
        }
    };
    let end = json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 7}});
    events.extend([event(end), event(json!({"type": "message_stop"}))]);
    events
}

fn gemini_events(scenario: Scenario) -> Vec<String> {
    let piece = |part: Value| sse_event(&gemini_response(json!([part])));
    let mut events = Vec::new();
    match scenario {
        Scenario::ToolCalls => {
            events.extend(["Let me ", "think."].map(|text| piece(json!({"text": text, "thought": true}))));
            events.extend([0, 1].map(|index| piece(gemini_function_call(index))));
        }
        _ => {
            events.push(piece(json!({"text": "Hello, "})));
            match scenario {
                Scenario::Disconnect => return events,
                Scenario::ErrorEvent => {
                    events.push(sse_event(
                        &json!({"error": {"code": 500, "message": "The engine has stopped", "status": "INTERNAL"}}),
                    ));
                    return events;
                }
                _ => events.push(piece(json!({"text": "whale."}))),
            }
        }
    }
    events.push(sse_event(&gemini_final_response(json!([{"text": ""}]), scenario == Scenario::ToolCalls)));
    events
}
