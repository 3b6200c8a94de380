//! An answer as one `GenerateContentResponse`, or as the events it grows by.

use chat::{Delta, Error, FinishReason, Reply, ToolCall, Usage};
use serde_json::{Value, json};

use crate::Render;
use crate::anthropic::Signer;
use crate::json::arguments;

/// How the parts of a streamed answer are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Events (`alt=sse`).
    Events,
    /// One JSON array.
    Array,
}

/// Renders one answer.
pub struct Responses {
    /// What every part of the answer repeats: the model, as the caller wrote it, and the id.
    names: String,
    include_thoughts: bool,
    form: Form,
    sign: Signer,
    /// All of the reasoning so far, for its signature; empty once that has been sent.
    reasoning: String,
    /// The call that grows: it is sent whole.
    call: Option<ToolCall>,
    finish: Option<FinishReason>,
    /// Parts of an array that have been sent.
    sent: usize,
}

impl Responses {
    pub fn new(id: String, model: String, include_thoughts: bool, form: Form, sign: Signer) -> Self {
        let (reasoning, call, finish, sent) = (String::new(), None, None, 0);
        let names = format!(r#""modelVersion":{},"responseId":{}"#, Value::from(model), Value::from(id));
        Self { names, include_thoughts, form, sign, reasoning, call, finish, sent }
    }

    /// Written in one go: a stream is made of these.
    fn response(&self, parts: Vec<Value>, finish: Option<FinishReason>, usage: Option<&Usage>) -> String {
        let finish = finish.map(|finish| format!(r#","finishReason":"{}""#, reason(finish))).unwrap_or_default();
        let usage = usage.map(|usage| format!(r#","usageMetadata":{}"#, self::usage(usage))).unwrap_or_default();
        let (parts, names) = (Value::from(parts), &self.names);
        format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":{parts}}},"index":0{finish}}}],{names}{usage}}}"#
        )
    }

    fn part(&mut self, part: Value, out: &mut String) {
        let response = self.response(vec![part], None, None);
        self.send(&response, out);
    }

    fn send(&mut self, response: &str, out: &mut String) {
        match self.form {
            Form::Events => {
                out.push_str("data: ");
                out.push_str(response);
                out.push_str("\r\n\r\n");
            }
            Form::Array => {
                out.push_str(if self.sent == 0 { "[" } else { ",\r\n" });
                out.push_str(response);
            }
        }
        self.sent += 1;
    }

    /// The signature of the reasoning, once.
    fn signature(&mut self) -> Option<String> {
        let reasoning = std::mem::take(&mut self.reasoning);
        (!reasoning.is_empty()).then(|| (self.sign)(&reasoning))
    }

    fn close_call(&mut self, out: &mut String) {
        let Some(call) = self.call.take() else { return };
        let signature = self.signature();
        self.part(signed(function_call(&call), signature), out);
    }

    fn last(&mut self, usage: Option<&Usage>, out: &mut String) {
        let Some(finish) = self.finish.take() else { return };
        let signature = self.signature();
        let parts = signature.map(|signature| signed(json!({"text": ""}), Some(signature)));
        let response = self.response(parts.into_iter().collect(), Some(finish), usage);
        self.send(&response, out);
    }
}

fn signed(mut part: Value, signature: Option<String>) -> Value {
    if let Some(signature) = signature {
        part["thoughtSignature"] = signature.into();
    }
    part
}

fn function_call(call: &ToolCall) -> Value {
    json!({"functionCall": {"id": call.id, "name": call.name, "args": arguments(&call.arguments)}})
}

fn reason(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop | FinishReason::StopString(_) | FinishReason::ToolCalls => "STOP",
        FinishReason::Length | FinishReason::ContextFull => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        FinishReason::InsufficientSystemResource => "OTHER",
    }
}

fn usage(usage: &Usage) -> Value {
    let thoughts = usage.reasoning_tokens.unwrap_or(0).min(usage.completion_tokens);
    let mut body = json!({
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": usage.completion_tokens - thoughts,
        "totalTokenCount": usage.prompt_tokens + usage.completion_tokens,
    });
    if usage.cached_tokens > 0 {
        body["cachedContentTokenCount"] = usage.cached_tokens.into();
    }
    if thoughts > 0 {
        body["thoughtsTokenCount"] = thoughts.into();
    }
    body
}

impl Render for Responses {
    fn keeps(&self, delta: &Delta) -> bool {
        matches!(delta, Delta::Reasoning { .. } | Delta::Arguments { .. })
    }

    fn whole(&self, replies: &[Reply]) -> Result<String, Error> {
        let reply = crate::render::only(replies)?;
        let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
        let mut parts = Vec::new();
        if self.include_thoughts && !reply.reasoning.is_empty() {
            parts.push(json!({"text": reply.reasoning, "thought": true}));
        }
        if !reply.text.is_empty() {
            parts.push(json!({"text": reply.text}));
        }
        let place = if reply.tool_calls.is_empty() { parts.len().saturating_sub(1) } else { parts.len() };
        parts.extend(reply.tool_calls.iter().map(function_call));
        if let Some(part) = parts.get_mut(place).filter(|_| !reply.reasoning.is_empty()) {
            part["thoughtSignature"] = (self.sign)(&reply.reasoning).into();
        }
        Ok(self.response(parts, Some(finish), Some(&reply.usage.unwrap_or_default())))
    }

    fn content_type(&self) -> &'static str {
        match self.form {
            Form::Events => "text/event-stream; charset=utf-8",
            Form::Array => "application/json",
        }
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Start(_) => {}
            Delta::Reasoning { text, .. } => {
                self.reasoning.push_str(text);
                if self.include_thoughts {
                    self.part(json!({"text": text, "thought": true}), out);
                }
            }
            Delta::Text { text, .. } => self.part(json!({ "text": text }), out),
            Delta::ToolCall { id, name, .. } => {
                self.close_call(out);
                self.call = Some(ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() });
            }
            Delta::Arguments { text, .. } => {
                if let Some(call) = &mut self.call {
                    call.arguments.push_str(text);
                }
            }
            Delta::Finish(finish) => {
                self.close_call(out);
                self.finish = Some(*finish);
            }
            Delta::Usage(usage) => self.last(Some(usage), out),
        }
    }

    fn end(&mut self, out: &mut String) {
        self.last(None, out);
        if self.form == Form::Array {
            out.push_str(if self.sent == 0 { "[]" } else { "]" });
        }
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        let (_, body) = super::error(error);
        self.send(&body, out);
        if self.form == Form::Array {
            out.push(']');
        }
    }

    /// The SDK takes every line for data: white space is the only sign of life.
    fn keep_alive(&self, out: &mut String) {
        out.push_str("\r\n");
    }
}
