//! An answer as one message, or as the events it grows by.

use std::sync::Arc;

use chat::{Delta, Error, ErrorKind, FinishReason, Reply, Usage};
use serde_json::{Value, json};

use crate::Render;
use crate::json::arguments;

/// Signs the text of a thinking block.
pub type Signer = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Renders one message.
pub struct Messages {
    id: String,
    /// As the caller wrote it.
    model: String,
    /// The caller's stop sequences.
    stops: Vec<String>,
    sign: Signer,
    started: bool,
    /// The block that is open.
    open: Option<Block>,
    /// Blocks begun.
    blocks: usize,
    /// All of the thinking so far, for its signature.
    thinking: String,
    finish: Option<FinishReason>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    ToolUse,
}

impl Messages {
    pub fn new(id: String, model: String, stops: Vec<String>, sign: Signer) -> Self {
        Self { id, model, stops, sign, started: false, open: None, blocks: 0, thinking: String::new(), finish: None }
    }

    fn message(&self, content: Vec<Value>, finish: Option<FinishReason>, usage: Value) -> Value {
        let (reason, stop) = finish.map_or((Value::Null, Value::Null), |finish| self.stop(finish));
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": reason, "stop_sequence": stop, "usage": usage,
        })
    }

    /// `stop_reason` and `stop_sequence`.
    fn stop(&self, finish: FinishReason) -> (Value, Value) {
        let sequence = match finish {
            FinishReason::StopString(index) => self.stops.get(index),
            _ => None,
        };
        let reason = match finish {
            FinishReason::Stop => "end_turn",
            FinishReason::StopString(_) => "stop_sequence",
            FinishReason::Length | FinishReason::InsufficientSystemResource => "max_tokens",
            FinishReason::ContextFull => "model_context_window_exceeded",
            FinishReason::ToolCalls => "tool_use",
            FinishReason::ContentFilter => "refusal",
        };
        (reason.into(), json!(sequence))
    }

    fn start(&mut self, usage: &Usage, out: &mut String) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let message = self.message(Vec::new(), None, self::usage(&Usage { completion_tokens: 0, ..*usage }));
        event("message_start", json!({ "message": message }), out);
        event("ping", json!({}), out);
    }

    fn begin(&mut self, block: Block, content: Value, out: &mut String) {
        self.close(out);
        self.open = Some(block);
        self.blocks += 1;
        event("content_block_start", json!({ "index": self.blocks - 1, "content_block": content }), out);
    }

    fn delta(&self, delta: Value, out: &mut String) {
        event("content_block_delta", json!({ "index": self.blocks - 1, "delta": delta }), out);
    }

    fn close(&mut self, out: &mut String) {
        let Some(block) = self.open.take() else { return };
        if block == Block::Thinking {
            self.delta(json!({ "type": "signature_delta", "signature": (self.sign)(&self.thinking) }), out);
        }
        event("content_block_stop", json!({ "index": self.blocks - 1 }), out);
    }

    fn finish(&mut self, finish: FinishReason, usage: &Usage, out: &mut String) {
        let (reason, stop) = self.stop(finish);
        let delta = json!({ "stop_reason": reason, "stop_sequence": stop });
        event("message_delta", json!({ "delta": delta, "usage": self::usage(usage) }), out);
        event("message_stop", json!({}), out);
    }
}

impl Render for Messages {
    fn keeps(&self, delta: &Delta) -> bool {
        matches!(delta, Delta::Reasoning { .. })
    }

    fn whole(&self, replies: &[Reply]) -> Result<String, Error> {
        let reply = crate::render::only(replies)?;
        let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
        let mut content = Vec::new();
        if !reply.reasoning.is_empty() {
            let signature = (self.sign)(&reply.reasoning);
            content.push(json!({ "type": "thinking", "thinking": reply.reasoning, "signature": signature }));
        }
        if !reply.text.is_empty() {
            content.push(json!({ "type": "text", "text": reply.text }));
        }
        for call in &reply.tool_calls {
            let input = arguments(&call.arguments);
            content.push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input }));
        }
        if finish == FinishReason::InsufficientSystemResource && content.is_empty() {
            return Err(overloaded());
        }
        let usage = usage(&reply.usage.unwrap_or_default());
        Ok(self.message(content, Some(finish), usage).to_string())
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Start(usage) => self.start(usage, out),
            Delta::Usage(usage) => {
                if let Some(finish) = self.finish.take() {
                    self.finish(finish, usage, out);
                }
                return;
            }
            _ => self.start(&Usage::default(), out),
        }
        match delta {
            Delta::Start(_) | Delta::Usage(_) => {}
            Delta::Reasoning { text, .. } => {
                if self.open != Some(Block::Thinking) {
                    self.begin(Block::Thinking, json!({ "type": "thinking", "thinking": "", "signature": "" }), out);
                }
                self.thinking.push_str(text);
                self.delta(json!({ "type": "thinking_delta", "thinking": text }), out);
            }
            Delta::Text { text, .. } => {
                if self.open != Some(Block::Text) {
                    self.begin(Block::Text, json!({ "type": "text", "text": "" }), out);
                }
                self.delta(json!({ "type": "text_delta", "text": text }), out);
            }
            Delta::ToolCall { id, name, .. } => {
                let content = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                self.begin(Block::ToolUse, content, out);
            }
            Delta::Arguments { text, .. } => {
                self.delta(json!({ "type": "input_json_delta", "partial_json": text }), out)
            }
            Delta::Finish(finish) => {
                self.close(out);
                self.finish = Some(*finish);
            }
        }
    }

    fn end(&mut self, out: &mut String) {
        match self.finish.take() {
            // Cut before it could be counted.
            Some(FinishReason::InsufficientSystemResource) => self.fail(&overloaded(), out),
            Some(finish) => self.finish(finish, &Usage::default(), out),
            None => {}
        }
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        let (_, body) = super::error(error, &self.id);
        named("error", &body, out);
    }

    fn keep_alive(&self, out: &mut String) {
        event("ping", json!({}), out);
    }
}

fn overloaded() -> Error {
    Error::new(ErrorKind::Overload, "The server had to end this answer, please send the request again")
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens).saturating_sub(usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}

/// An event whose data repeats its name as `type`.
fn event(name: &str, fields: Value, out: &mut String) {
    let mut data = json!({ "type": name });
    if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
        data.extend(fields);
    }
    named(name, &data.to_string(), out);
}

fn named(name: &str, data: &str, out: &mut String) {
    out.push_str("event: ");
    out.push_str(name);
    out.push('\n');
    crate::sse::event(data, out);
}
