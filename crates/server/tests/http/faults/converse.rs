//! The answers of Amazon Bedrock that the table describes. Events are objects of one field, as in
//! the documents; on the way they are binary messages.

use serde_json::{Value, json};
use testkit::event_stream::message;
use testkit::fake_upstream::{BodyStep, FakeResponse};

const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// An event stream of these steps.
pub(super) fn stream(steps: Vec<BodyStep>) -> FakeResponse {
    FakeResponse { status: 200, headers: vec![("content-type".into(), CONTENT_TYPE.into())], steps }
}

/// The message of an event.
pub(super) fn encode(event: &str) -> Vec<u8> {
    let event: Value = serde_json::from_str(event).unwrap();
    let (kind, payload) = event.as_object().unwrap().iter().next().unwrap();
    let (message_type, type_header) =
        if kind.ends_with("Exception") { ("exception", ":exception-type") } else { ("event", ":event-type") };
    let headers =
        [(type_header, kind.as_str()), (":content-type", "application/json"), (":message-type", message_type)];
    message(&headers, payload.to_string().as_bytes())
}

pub(super) fn start() -> Vec<String> {
    vec![json!({"messageStart": {"role": "assistant"}}).to_string()]
}

pub(super) fn word(text: &str) -> String {
    json!({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}}).to_string()
}

/// The events after the last content. The last one has the usage.
pub(super) fn end(usage: &Value) -> Vec<String> {
    vec![
        json!({"contentBlockStop": {"contentBlockIndex": 0}}).to_string(),
        stop("end_turn"),
        json!({"metadata": {"usage": usage, "metrics": {"latencyMs": 5}}}).to_string(),
    ]
}

pub(super) fn stop(reason: &str) -> String {
    json!({"messageStop": {"stopReason": reason}}).to_string()
}

/// The name of the exception that has this status.
fn exception(status: u16) -> &'static str {
    match status {
        400 => "validationException",
        404 => "resourceNotFoundException",
        429 => "throttlingException",
        503 => "serviceUnavailableException",
        _ => "internalServerException",
    }
}

pub(super) fn error_event(status: u16, message: &str) -> Value {
    json!({exception(status): {"message": message}})
}

pub(super) fn error_body(status: u16, message: &str) -> Value {
    json!({"__type": exception(status), "message": message})
}

pub(super) fn usage(prompt: u64, completion: u64) -> Value {
    json!({"inputTokens": prompt, "outputTokens": completion, "totalTokens": prompt + completion})
}

/// A whole answer.
pub(super) fn whole(text: &str, reason: &Value, usage: &Value) -> Value {
    let message = json!({"role": "assistant", "content": [{"text": text}]});
    json!({"output": {"message": message}, "stopReason": reason, "usage": usage})
}
