//! The answers of a provider that the table describes, in each dialect.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use testkit::fake_upstream::{BodyStep, FakeResponse, ReceivedRequest};
use wire::upstream::Dialect;

use super::converse;

/// The usage that a provider reports.
pub(super) const PROMPT_TOKENS: u64 = 20;
pub(super) const COMPLETION_TOKENS: u64 = 9;

/// A step of a stream, or the kind of a body.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Step {
    Named(String),
    Error {
        error: u16,
    },
    /// A response with this status.
    Refusal {
        refusal: u16,
    },
    Raw {
        raw: String,
    },
}

/// The model that a request names, in its body or its path.
pub(super) fn model(request: &ReceivedRequest) -> String {
    match request.json()["model"].as_str() {
        Some(model) => model.into(),
        None => {
            let path = request.path.replace("/models/", "/model/");
            path.split("/model/").nth(1).unwrap().split([':', '/']).next().unwrap().into()
        }
    }
}

/// A short answer of the dialect of the request.
pub(super) fn good_answer(request: &ReceivedRequest) -> FakeResponse {
    let dialect = match request.path.split('/').nth(1) {
        Some("Anthropic") => Dialect::Anthropic,
        Some("Responses") => Dialect::Responses,
        Some("Gemini") => Dialect::Gemini,
        Some("Bedrock") => Dialect::Bedrock,
        _ => Dialect::OpenAi,
    };
    let usage = (7, 1);
    let is_stream_path = request.path.contains(":stream") || request.path.ends_with("converse-stream");
    if request.json()["stream"] == true || is_stream_path {
        let events = [start(dialect, Some(usage)), vec![word(dialect, "good ", None)], end(dialect, Some(usage))];
        return response(dialect, events.concat().iter().map(|event| BodyStep::Send(encode(dialect, event))).collect());
    }
    FakeResponse::json(200, whole(dialect, "good", json!("stop"), Some(usage)))
}

/// The bytes of an event.
fn encode(dialect: Dialect, event: &str) -> Vec<u8> {
    if dialect == Dialect::Bedrock { converse::encode(event) } else { format!("data: {event}\n\n").into_bytes() }
}

fn response(dialect: Dialect, steps: Vec<BodyStep>) -> FakeResponse {
    if dialect == Dialect::Bedrock { converse::stream(steps) } else { FakeResponse::stream(steps) }
}

/// A stream of these steps, each in a chunk of its own unless they are `joined`.
pub(super) fn stream(steps: &[Step], dialect: Dialect) -> FakeResponse {
    if let [Step::Refusal { refusal }] = steps {
        return FakeResponse::json(*refusal, error_body(dialect, *refusal));
    }
    let counts = Some((PROMPT_TOKENS, COMPLETION_TOKENS));
    let reports_nothing = steps
        .iter()
        .any(|step| matches!(step, Step::Named(name) if name == "end with null usage" || name == "last event"));
    let counts = counts.filter(|_| !reports_nothing);
    let mut sent = Vec::new();
    let mut joined = false;
    for step in steps {
        let events = match step {
            Step::Raw { raw } => {
                sent.push(BodyStep::Send(raw.clone().into_bytes()));
                continue;
            }
            Step::Error { error } => vec![error_event(dialect, *error).to_string()],
            Step::Refusal { .. } => panic!("a refusal is the whole answer"),
            Step::Named(name) => match name.as_str() {
                "joined" => {
                    joined = true;
                    continue;
                }
                // Binary streams have none.
                "comment" if dialect == Dialect::Bedrock => continue,
                "comment" => {
                    sent.push(BodyStep::Send(b": keep-alive\n\n".to_vec()));
                    continue;
                }
                "disconnect" => {
                    sent.extend([BodyStep::Wait(Duration::from_millis(20)), BodyStep::Disconnect]);
                    continue;
                }
                "hang" => {
                    sent.push(BodyStep::Wait(Duration::from_secs(60)));
                    continue;
                }
                "end without empty line" => {
                    let events = end(dialect, counts);
                    let text: Vec<_> = events.iter().map(|event| format!("data: {event}")).collect();
                    sent.push(BodyStep::Send(text.join("\n\n").into_bytes()));
                    continue;
                }
                "cut word" => {
                    let mut bytes = encode(dialect, &word(dialect, "whale ", None));
                    bytes.truncate(bytes.len() / 2);
                    sent.push(BodyStep::Send(bytes));
                    continue;
                }
                "damaged word" => {
                    let mut bytes = encode(dialect, &word(dialect, "whale ", None));
                    // The last bytes of a binary message are its checksum.
                    *bytes.last_mut().unwrap() ^= 1;
                    sent.push(BodyStep::Send(bytes));
                    continue;
                }
                "start" => start(dialect, counts),
                "empty" => vec![empty(dialect)],
                "word" => vec![word(dialect, "whale ", None)],
                "word with empty role" => vec![word(dialect, "whale ", Some(""))],
                "word with role" => vec![word(dialect, "whale ", Some("assistant"))],
                "end" => end(dialect, counts),
                "end with null usage" => end(dialect, None),
                "end without last event" => {
                    let mut events = end(dialect, counts);
                    // The end of these is their last event.
                    if !matches!(dialect, Dialect::Gemini | Dialect::Responses | Dialect::Bedrock) {
                        events.pop();
                    }
                    events
                }
                "end without usage" => {
                    let mut events = end(dialect, counts);
                    // At OpenAI, `[DONE]` follows it.
                    events.truncate(if dialect == Dialect::Bedrock { 2 } else { 1 });
                    events
                }
                "last event" => end(dialect, None).pop().into_iter().collect(),
                "failing reason" => vec![failing_reason(dialect).to_string()],
                other => panic!("no such step: {other}"),
            },
        };
        sent.extend(events.iter().map(|event| BodyStep::Send(encode(dialect, event))));
    }
    if joined {
        let bytes = sent.into_iter().flat_map(|step| if let BodyStep::Send(bytes) = step { bytes } else { vec![] });
        sent = vec![BodyStep::Send(bytes.collect())];
    }
    response(dialect, sent)
}

/// A whole body of this kind.
pub(super) fn body(kind: &Step, dialect: Dialect) -> FakeResponse {
    if let Step::Refusal { refusal } = kind {
        return FakeResponse::json(*refusal, error_body(dialect, *refusal));
    }
    let headers = vec![("content-type".into(), "application/json".into())];
    let mut steps = vec![BodyStep::Send(body_text(kind, dialect).into_bytes())];
    if matches!(kind, Step::Named(name) if name == "disconnect") {
        steps.extend([BodyStep::Wait(Duration::from_millis(20)), BodyStep::Disconnect]);
    }
    FakeResponse { status: 200, headers, steps }
}

/// The number of bytes of a whole body that are text.
pub(super) fn body_bytes(kind: &Step, dialect: Dialect) -> u64 {
    gateway::text_bytes(body_text(kind, dialect).as_bytes())
}

fn body_text(kind: &Step, dialect: Dialect) -> String {
    let counts = Some((PROMPT_TOKENS, COMPLETION_TOKENS));
    let answer = || whole(dialect, "whale whale", json!("stop"), counts).to_string();
    let name = match kind {
        Step::Raw { raw } => return raw.clone(),
        Step::Error { error: status } | Step::Refusal { refusal: status } => {
            return error_body(dialect, *status).to_string();
        }
        Step::Named(name) => name.as_str(),
    };
    match name {
        "answer" => answer(),
        "answer after white space" => format!("\n\n  {}", answer()),
        "answer with null usage" => whole(dialect, "whale whale", json!("stop"), None).to_string(),
        "answer without reason" => whole(dialect, "whale whale", Value::Null, counts).to_string(),
        "failing reason" => whole(dialect, "", json!("error"), None).to_string(),
        "nothing" => match dialect {
            Dialect::Responses => json!({"object": "response", "output": []}).to_string(),
            Dialect::Anthropic => json!({"type": "message", "role": "assistant", "content": []}).to_string(),
            Dialect::Gemini => json!({"candidates": []}).to_string(),
            Dialect::Bedrock => json!({"output": {"message": {"role": "assistant", "content": []}}}).to_string(),
            _ => json!({"object": "chat.completion", "choices": []}).to_string(),
        },
        "cut" | "disconnect" => answer()[..40].to_owned(),
        other => panic!("no such body: {other}"),
    }
}

/// The usage object of a dialect; null without counts.
fn usage(dialect: Dialect, counts: Option<(u64, u64)>) -> Value {
    let Some((prompt, completion)) = counts else { return Value::Null };
    match dialect {
        Dialect::Anthropic | Dialect::Responses => json!({"input_tokens": prompt, "output_tokens": completion}),
        Dialect::Gemini => json!({"promptTokenCount": prompt, "candidatesTokenCount": completion}),
        Dialect::Bedrock => converse::usage(prompt, completion),
        _ => json!({"prompt_tokens": prompt, "completion_tokens": completion}),
    }
}

/// The name of a finish reason. `error` means a failure.
fn reason(dialect: Dialect, reason: &Value) -> Value {
    match (dialect, reason.as_str()) {
        (Dialect::Anthropic | Dialect::Bedrock, Some("stop")) => "end_turn".into(),
        (Dialect::Bedrock, Some("error")) => "malformed_model_output".into(),
        (Dialect::Gemini, Some("stop")) => "STOP".into(),
        (Dialect::Gemini, Some("error")) => "MALFORMED_FUNCTION_CALL".into(),
        (Dialect::Responses, Some("stop")) => "completed".into(),
        (Dialect::Responses, Some("error")) => "failed".into(),
        _ => reason.clone(),
    }
}

fn chunk(delta: Value, reason: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
           "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
}

/// The events before the first content.
fn start(dialect: Dialect, counts: Option<(u64, u64)>) -> Vec<String> {
    match dialect {
        Dialect::Anthropic => {
            // The first event counts the prompt, and one token of the answer.
            let usage = usage(dialect, counts.map(|(prompt, _)| (prompt, 1)));
            let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
                                 "stop_reason": null, "stop_sequence": null, "usage": usage});
            let block = json!({"type": "text", "text": ""});
            vec![
                json!({"type": "message_start", "message": message}).to_string(),
                json!({"type": "content_block_start", "index": 0, "content_block": block}).to_string(),
            ]
        }
        Dialect::Gemini => vec![],
        Dialect::Bedrock => converse::start(),
        Dialect::Responses => {
            let response =
                json!({"id": "resp_1", "object": "response", "status": "in_progress", "output": [], "usage": null});
            let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": []});
            vec![
                json!({"type": "response.created", "response": response}).to_string(),
                json!({"type": "response.output_item.added", "output_index": 0, "item": item}).to_string(),
            ]
        }
        _ => vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null).to_string()],
    }
}

/// An event without content.
fn empty(dialect: Dialect) -> String {
    match dialect {
        Dialect::Anthropic => json!({"type": "ping"}).to_string(),
        // One that a later version of the service may add.
        Dialect::Bedrock => json!({"newEvent": {}}).to_string(),
        Dialect::Gemini => json!({"candidates": []}).to_string(),
        Dialect::Responses => {
            json!({"type": "response.in_progress", "response": {"status": "in_progress", "output": []}}).to_string()
        }
        _ => json!({"object": "chat.completion.chunk", "choices": []}).to_string(),
    }
}

fn word(dialect: Dialect, text: &str, role: Option<&str>) -> String {
    match dialect {
        Dialect::Anthropic => {
            let delta = json!({"type": "text_delta", "text": text});
            json!({"type": "content_block_delta", "index": 0, "delta": delta}).to_string()
        }
        Dialect::Gemini => {
            let content = json!({"role": "model", "parts": [{"text": text}]});
            json!({"candidates": [{"index": 0, "content": content}]}).to_string()
        }
        Dialect::Responses => {
            json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text})
                .to_string()
        }
        Dialect::Bedrock => converse::word(text),
        _ => match role {
            Some(role) => chunk(json!({"role": role, "content": text}), Value::Null).to_string(),
            None => chunk(json!({"content": text}), Value::Null).to_string(),
        },
    }
}

/// The events after the last content. The last one is that which the API sends last.
fn end(dialect: Dialect, counts: Option<(u64, u64)>) -> Vec<String> {
    let usage = usage(dialect, counts);
    match dialect {
        Dialect::Anthropic => vec![
            json!({"type": "content_block_stop", "index": 0}).to_string(),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": usage})
                .to_string(),
            json!({"type": "message_stop"}).to_string(),
        ],
        Dialect::Gemini => {
            let candidate = json!({"index": 0, "content": {"role": "model", "parts": []}, "finishReason": "STOP"});
            vec![json!({"candidates": [candidate], "usageMetadata": usage}).to_string()]
        }
        Dialect::Bedrock => converse::end(&usage),
        Dialect::Responses => {
            let response = json!({"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": usage});
            vec![
                json!({"type": "response.content_part.done", "output_index": 0}).to_string(),
                json!({"type": "response.completed", "response": response}).to_string(),
            ]
        }
        _ => vec![
            chunk(json!({}), "stop".into()).to_string(),
            json!({"object": "chat.completion.chunk", "choices": [], "usage": usage}).to_string(),
            "[DONE]".into(),
        ],
    }
}

fn failing_reason(dialect: Dialect) -> Value {
    match dialect {
        Dialect::Gemini => json!({"candidates": [{"index": 0, "finishReason": "MALFORMED_FUNCTION_CALL"}]}),
        Dialect::Bedrock => json!({"messageStop": {"stopReason": "malformed_model_output"}}),
        Dialect::Responses => {
            json!({"type": "response.failed", "response": {"status": "failed", "error": null, "output": []}})
        }
        _ => chunk(json!({}), "error".into()),
    }
}

/// The event that reports an error.
fn error_event(dialect: Dialect, status: u16) -> Value {
    let body = error_body(dialect, status);
    match dialect {
        Dialect::Responses => {
            json!({"type": "response.failed", "response": {"status": "failed", "error": body["error"], "output": []}})
        }
        Dialect::Bedrock => converse::error_event(status, body["message"].as_str().unwrap()),
        _ => body,
    }
}

/// The report of an error that would have this status.
fn error_body(dialect: Dialect, status: u16) -> Value {
    let message = if status == 404 { "there is no such model" } else { "so it is" };
    match dialect {
        Dialect::Anthropic => {
            let kind = match status {
                400 => "invalid_request_error",
                404 => "not_found_error",
                429 => "rate_limit_error",
                503 => "overloaded_error",
                _ => "api_error",
            };
            json!({"type": "error", "error": {"type": kind, "message": message}})
        }
        Dialect::Responses => {
            let code = match status {
                400 => "invalid_prompt",
                404 => "model_not_found",
                429 => "rate_limit_exceeded",
                503 => "server_is_overloaded",
                _ => "server_error",
            };
            json!({"object": "response", "status": "failed", "error": {"code": code, "message": message}})
        }
        Dialect::Bedrock => converse::error_body(status, message),
        _ => json!({"error": {"code": status, "message": message}}),
    }
}

/// A whole answer.
fn whole(dialect: Dialect, text: &str, finish: Value, counts: Option<(u64, u64)>) -> Value {
    let (usage, finish) = (usage(dialect, counts), reason(dialect, &finish));
    match dialect {
        Dialect::Anthropic => json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": text}], "stop_reason": finish, "stop_sequence": null, "usage": usage}),
        Dialect::Gemini => json!({"usageMetadata": usage, "candidates": [
            {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish}]}),
        Dialect::Bedrock => converse::whole(text, &finish, &usage),
        Dialect::Responses => {
            json!({"id": "resp_1", "object": "response", "status": finish, "error": null, "usage": usage,
            "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]})
        }
        _ => json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage, "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}]}),
    }
}
