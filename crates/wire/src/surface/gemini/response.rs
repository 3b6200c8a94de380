//! Renders an answer in Gemini's format: as one `GenerateContentResponse`, or as a stream of them.

use chat::{Citation, Delta, Error, FinishReason, Media, Reply, ToolCall, Usage};
use serde_json::{Value, json};

use crate::positioned_text::PositionedText;
use crate::surface::gemini::error::error_response;
use crate::surface::gemini::grounding::grounding_metadata;
use crate::surface::renderer::{Renderer, Signer, dropped_reasoning, single_reply};
use crate::tool_arguments::parse_tool_arguments;

/// The framing of a streamed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFormat {
    /// Server-sent events (`alt=sse`).
    Sse,
    /// One JSON array.
    JsonArray,
}

/// Renders one answer.
pub struct GenerateContentRenderer {
    /// JSON fields that each response repeats: the model as the caller wrote it, and the id.
    repeated_fields: String,
    include_thoughts: bool,
    format: StreamFormat,
    signer: Signer,
    /// The reasoning since the last signature.
    unsigned_reasoning: String,
    /// The call that is being generated; it is sent when it is complete.
    pending_call: Option<ToolCall>,
    pending_finish: Option<FinishReason>,
    /// The text so far, in which the places of citations are counted in bytes.
    text: PositionedText,
    citations: Vec<Citation>,
    /// The number of responses that have been written.
    responses_sent: usize,
}

impl GenerateContentRenderer {
    /// Creates a renderer.
    pub fn new(id: String, model: String, include_thoughts: bool, format: StreamFormat, signer: Signer) -> Self {
        let repeated_fields = format!(r#""modelVersion":{},"responseId":{}"#, Value::from(model), Value::from(id));
        Self {
            repeated_fields,
            include_thoughts,
            format,
            signer,
            unsigned_reasoning: String::new(),
            pending_call: None,
            pending_finish: None,
            text: PositionedText::default(),
            citations: Vec::new(),
            responses_sent: 0,
        }
    }

    /// One `GenerateContentResponse` as JSON. A stream is a sequence of them.
    fn response_body(&self, parts: Vec<Value>, end: String, usage: Option<&Usage>) -> String {
        let usage = usage.map(|usage| format!(r#","usageMetadata":{}"#, usage_body(usage))).unwrap_or_default();
        let parts = Value::from(parts);
        let repeated = &self.repeated_fields;
        format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":{parts}}},"index":0{end}}}],{repeated}{usage}}}"#
        )
    }

    fn write_part(&mut self, part: Value, out: &mut String) {
        let response = self.response_body(vec![part], String::new(), None);
        self.write_response(&response, out);
    }

    fn write_response(&mut self, response: &str, out: &mut String) {
        match self.format {
            StreamFormat::Sse => {
                out.push_str("data: ");
                out.push_str(response);
                out.push_str("\r\n\r\n");
            }
            StreamFormat::JsonArray => {
                out.push_str(if self.responses_sent == 0 { "[" } else { ",\r\n" });
                out.push_str(response);
            }
        }
        self.responses_sent += 1;
    }

    /// Signs the reasoning since the last signature; `None` if there is none.
    fn take_signature(&mut self) -> Option<String> {
        let reasoning = std::mem::take(&mut self.unsigned_reasoning);
        (!reasoning.is_empty()).then(|| (self.signer)(&reasoning))
    }

    fn write_pending_call(&mut self, out: &mut String) {
        let Some(call) = self.pending_call.take() else { return };
        let signature = self.take_signature();
        self.write_part(with_signature(function_call(&call), signature), out);
    }

    /// Writes the finish reason and the usage, unless that was done already.
    fn write_final_response(&mut self, usage: Option<&Usage>, out: &mut String) {
        let Some(finish) = self.pending_finish.take() else { return };
        let signature = self.take_signature();
        // A signature needs a part that carries it: an empty text.
        let signature_part = signature.map(|signature| with_signature(json!({"text": ""}), Some(signature)));
        let end = end_fields(finish, grounding_metadata(&self.text, &self.citations));
        let response = self.response_body(signature_part.into_iter().collect(), end, usage);
        self.write_response(&response, out);
    }
}

fn with_signature(mut part: Value, signature: Option<String>) -> Value {
    if let Some(signature) = signature {
        part["thoughtSignature"] = signature.into();
    }
    part
}

fn function_call(call: &ToolCall) -> Value {
    json!({"functionCall": {"id": call.id, "name": call.name, "args": parse_tool_arguments(&call.arguments)}})
}

fn media_part(media: &Media) -> Value {
    match media.data() {
        Some((media_type, data)) => json!({"inlineData": {"mimeType": media_type, "data": data}}),
        None => json!({"fileData": {"mimeType": format!("{}/*", media.kind_name()), "fileUri": media.url}}),
    }
}

/// The fields of the last candidate.
fn end_fields(finish: FinishReason, grounding: Option<Value>) -> String {
    let grounding = grounding.map(|grounding| format!(r#","groundingMetadata":{grounding}"#)).unwrap_or_default();
    format!(r#","finishReason":"{}"{grounding}"#, finish_reason(finish))
}

fn finish_reason(finish: FinishReason) -> &'static str {
    match finish {
        FinishReason::Stop | FinishReason::StopString(_) | FinishReason::ToolCalls => "STOP",
        FinishReason::Length | FinishReason::ContextFull => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        FinishReason::InsufficientSystemResource => "OTHER",
    }
}

fn usage_body(usage: &Usage) -> Value {
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

impl Renderer for GenerateContentRenderer {
    fn buffers(&self, delta: &Delta) -> bool {
        matches!(delta, Delta::Reasoning { .. } | Delta::Text { .. } | Delta::Citation(_) | Delta::Arguments { .. })
    }

    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        let reply = single_reply(replies)?;
        let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
        let mut parts = Vec::new();
        if self.include_thoughts && !reply.reasoning.is_empty() {
            parts.push(json!({"text": reply.reasoning, "thought": true}));
        }
        if !reply.text.is_empty() {
            parts.push(json!({"text": reply.text}));
        }
        parts.extend(reply.media.iter().map(media_part));
        // Gemini signs the first call, or else the last part.
        let signed_part = if reply.tool_calls.is_empty() { parts.len().saturating_sub(1) } else { parts.len() };
        parts.extend(reply.tool_calls.iter().map(function_call));
        if let Some(part) = parts.get_mut(signed_part).filter(|_| !reply.reasoning.is_empty()) {
            part["thoughtSignature"] = (self.signer)(&reply.reasoning).into();
        }
        let mut text = PositionedText::default();
        text.push(&reply.text);
        let end = end_fields(finish, grounding_metadata(&text, &reply.citations));
        Ok(self.response_body(parts, end, Some(&reply.usage.unwrap_or_default())))
    }

    fn content_type(&self) -> &'static str {
        match self.format {
            StreamFormat::Sse => "text/event-stream; charset=utf-8",
            StreamFormat::JsonArray => "application/json",
        }
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Start(_) | Delta::Prompt { .. } | Delta::Signature(_) | Delta::Dropped(_) => {}
            Delta::Citation(citation) => self.citations.push(citation.clone()),
            Delta::Media(media) => self.write_part(media_part(media), out),
            Delta::Reasoning { text, .. } => {
                self.unsigned_reasoning.push_str(text);
                if self.include_thoughts {
                    self.write_part(json!({"text": text, "thought": true}), out);
                }
            }
            Delta::Text { text, .. } => {
                self.text.push(text);
                self.write_part(json!({ "text": text }), out);
            }
            Delta::ToolCall { id, name, .. } => {
                self.write_pending_call(out);
                self.pending_call = Some(ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() });
            }
            Delta::Arguments { text, .. } => {
                if let Some(call) = &mut self.pending_call {
                    call.arguments.push_str(text);
                }
            }
            Delta::Finish(finish) => {
                self.write_pending_call(out);
                self.pending_finish = Some(*finish);
            }
            Delta::Usage(usage) => self.write_final_response(Some(usage), out),
        }
    }

    fn dropped(&self, delta: &Delta) -> Option<&'static str> {
        match delta {
            Delta::Dropped(name) => Some(name),
            Delta::Signature(signed) => dropped_reasoning(signed),
            _ => None,
        }
    }

    /// Appends nothing: the SDK parses every line as data.
    fn note(&self, _note: &str, _out: &mut String) {}

    fn finish(&mut self, out: &mut String) {
        self.write_final_response(None, out);
        if self.format == StreamFormat::JsonArray {
            out.push_str(if self.responses_sent == 0 { "[]" } else { "]" });
        }
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        let (_, body) = error_response(error);
        self.write_response(&body, out);
        if self.format == StreamFormat::JsonArray {
            out.push(']');
        }
    }

    /// Appends white space as a keep-alive, because the SDK parses every other line as data.
    fn keep_alive(&self, out: &mut String) {
        out.push_str("\r\n");
    }
}
