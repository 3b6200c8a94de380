//! An answer as one message, or as events.

use chat::{Delta, Error, ErrorKind, FinishReason, Reply, SignatureFormat, SignedReasoning, Usage};
use serde_json::{Value, json};

use crate::surface::anthropic::citations::{citation_body, text_blocks};
use crate::surface::anthropic::error::error_response;
use crate::surface::renderer::{Renderer, Signer, single_reply};
use crate::tool_arguments::parse_tool_arguments;

/// Renders one message.
pub struct MessageRenderer {
    id: String,
    /// The model id of the request, as the caller wrote it.
    model: String,
    /// The caller's stop sequences.
    stop_sequences: Vec<String>,
    signer: Signer,
    started: bool,
    /// The open block.
    open_block: Option<Block>,
    /// Number of blocks that have begun.
    block_count: usize,
    /// The thinking text so far, for its signature.
    thinking: String,
    /// The provider's signature of the open block.
    signature: Option<String>,
    /// The open block has a citation.
    is_cited: bool,
    pending_finish: Option<FinishReason>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    RedactedThinking,
    Text,
    ToolUse,
}

impl MessageRenderer {
    /// Creates a renderer.
    pub fn new(id: String, model: String, stop_sequences: Vec<String>, signer: Signer) -> Self {
        Self {
            id,
            model,
            stop_sequences,
            signer,
            started: false,
            open_block: None,
            block_count: 0,
            thinking: String::new(),
            signature: None,
            is_cited: false,
            pending_finish: None,
        }
    }

    fn message_body(&self, content: Vec<Value>, finish: Option<FinishReason>, usage: Value) -> Value {
        let (reason, stop) = finish.map_or((Value::Null, Value::Null), |finish| self.stop_reason_and_sequence(finish));
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": reason, "stop_sequence": stop, "usage": usage,
        })
    }

    /// `stop_reason` and `stop_sequence`.
    fn stop_reason_and_sequence(&self, finish: FinishReason) -> (Value, Value) {
        let sequence = match finish {
            FinishReason::StopString(index) => self.stop_sequences.get(index),
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

    fn write_start(&mut self, usage: &Usage, out: &mut String) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let message = self.message_body(Vec::new(), None, usage_body(&Usage { completion_tokens: 0, ..*usage }));
        write_event("message_start", json!({ "message": message }), out);
        write_event("ping", json!({}), out);
    }

    fn start_block(&mut self, block: Block, content: Value, out: &mut String) {
        self.close_block(out);
        self.open_block = Some(block);
        self.is_cited = false;
        self.block_count += 1;
        write_event("content_block_start", json!({ "index": self.block_count - 1, "content_block": content }), out);
    }

    fn write_delta(&self, delta: Value, out: &mut String) {
        write_event("content_block_delta", json!({ "index": self.block_count - 1, "delta": delta }), out);
    }

    fn close_block(&mut self, out: &mut String) {
        let Some(block) = self.open_block.take() else { return };
        if block == Block::Thinking {
            let signature = self.signature.take().unwrap_or_else(|| (self.signer)(&self.thinking));
            self.write_delta(json!({ "type": "signature_delta", "signature": signature }), out);
        }
        write_event("content_block_stop", json!({ "index": self.block_count - 1 }), out);
    }

    /// The thinking of a whole answer, in the blocks that the provider has signed. What it has not
    /// signed is signed here.
    fn thinking_blocks(&self, reply: &Reply) -> Vec<Value> {
        let block =
            |text: &str, signature: &str| json!({ "type": "thinking", "thinking": text, "signature": signature });
        let signed: Vec<&SignedReasoning> = reply.signatures.iter().filter(|signed| is_own(signed)).collect();
        let texts: String = signed.iter().map(|signed| signed.text.as_str()).collect();
        let (signed, unsigned) = match reply.reasoning.strip_prefix(&texts) {
            Some(rest) => (signed, rest),
            None => (Vec::new(), reply.reasoning.as_str()),
        };
        let mut blocks: Vec<Value> = Vec::new();
        blocks.extend(signed.into_iter().map(|signed| match signed.is_redacted() {
            true => redacted_block(signed),
            false => block(&signed.text, &signed.signature),
        }));
        blocks.extend((!unsigned.is_empty()).then(|| block(unsigned, &(self.signer)(unsigned))));
        blocks
    }

    fn write_signature(&mut self, signed: &SignedReasoning, out: &mut String) {
        if signed.is_redacted() {
            self.start_block(Block::RedactedThinking, redacted_block(signed), out);
            self.close_block(out);
        } else if self.open_block == Some(Block::Thinking) {
            self.signature = Some(signed.signature.clone());
            self.close_block(out);
        }
    }

    fn write_finish(&mut self, finish: FinishReason, usage: &Usage, out: &mut String) {
        let (reason, stop) = self.stop_reason_and_sequence(finish);
        let delta = json!({ "stop_reason": reason, "stop_sequence": stop });
        write_event("message_delta", json!({ "delta": delta, "usage": usage_body(usage) }), out);
        write_event("message_stop", json!({}), out);
    }
}

impl Renderer for MessageRenderer {
    fn buffers(&self, delta: &Delta) -> bool {
        matches!(delta, Delta::Reasoning { .. })
    }

    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        let reply = single_reply(replies)?;
        let finish = reply.finish.ok_or_else(|| Error::internal("the answer ended without a finish reason"))?;
        let mut content = Vec::new();
        content.extend(self.thinking_blocks(reply));
        if !reply.text.is_empty() {
            content.extend(text_blocks(&reply.text, &reply.citations));
        }
        for call in &reply.tool_calls {
            let input = parse_tool_arguments(&call.arguments);
            content.push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": input }));
        }
        if finish == FinishReason::InsufficientSystemResource && content.is_empty() {
            return Err(overloaded_error());
        }
        let usage = usage_body(&reply.usage.unwrap_or_default());
        Ok(self.message_body(content, Some(finish), usage).to_string())
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Start(usage) => self.write_start(usage, out),
            Delta::Usage(usage) => {
                if let Some(finish) = self.pending_finish.take() {
                    self.write_finish(finish, usage, out);
                }
                return;
            }
            _ => self.write_start(&Usage::default(), out),
        }
        match delta {
            Delta::Start(_) | Delta::Prompt { .. } | Delta::Media(_) | Delta::Dropped(_) | Delta::Usage(_) => {}
            Delta::Signature(signed) if is_own(signed) => self.write_signature(signed, out),
            Delta::Signature(_) => {}
            Delta::Citation(citation) => {
                if let Some(body) = citation_body(citation) {
                    if self.open_block != Some(Block::Text) {
                        self.start_block(Block::Text, json!({ "type": "text", "text": "" }), out);
                    }
                    self.write_delta(json!({ "type": "citations_delta", "citation": body }), out);
                    self.is_cited = true;
                }
            }
            Delta::Reasoning { text, .. } => {
                if self.open_block != Some(Block::Thinking) {
                    self.start_block(
                        Block::Thinking,
                        json!({ "type": "thinking", "thinking": "", "signature": "" }),
                        out,
                    );
                }
                self.thinking.push_str(text);
                self.write_delta(json!({ "type": "thinking_delta", "thinking": text }), out);
            }
            Delta::Text { text, .. } => {
                // Text behind a citation does not have it.
                if self.open_block != Some(Block::Text) || self.is_cited {
                    self.start_block(Block::Text, json!({ "type": "text", "text": "" }), out);
                }
                self.write_delta(json!({ "type": "text_delta", "text": text }), out);
            }
            Delta::ToolCall { id, name, .. } => {
                let content = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                self.start_block(Block::ToolUse, content, out);
            }
            Delta::Arguments { text, .. } => {
                self.write_delta(json!({ "type": "input_json_delta", "partial_json": text }), out)
            }
            Delta::Finish(finish) => {
                self.close_block(out);
                self.pending_finish = Some(*finish);
            }
        }
    }

    fn dropped(&self, delta: &Delta) -> Option<&'static str> {
        match delta {
            Delta::Dropped(name) => Some(name),
            Delta::Citation(citation) => citation_body(citation).is_none().then_some("citations of documents"),
            // The API has none in answers.
            Delta::Media(media) => Some(media.name()),
            _ => None,
        }
    }

    fn finish(&mut self, out: &mut String) {
        match self.pending_finish.take() {
            // The answer was cut off before its usage was known.
            Some(FinishReason::InsufficientSystemResource) => self.fail(&overloaded_error(), out),
            Some(finish) => self.write_finish(finish, &Usage::default(), out),
            None => {}
        }
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        let (_, body) = error_response(error, &self.id);
        write_named_event("error", &body, out);
    }

    fn keep_alive(&self, out: &mut String) {
        write_event("ping", json!({}), out);
    }
}

/// Whether a signature is one of this API.
fn is_own(signed: &SignedReasoning) -> bool {
    signed.format == SignatureFormat::Anthropic
}

fn redacted_block(signed: &SignedReasoning) -> Value {
    json!({ "type": "redacted_thinking", "data": signed.signature })
}

fn overloaded_error() -> Error {
    Error::new(ErrorKind::Overloaded, "The server had to end this answer, please send the request again")
}

fn usage_body(usage: &Usage) -> Value {
    let mut body = json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens).saturating_sub(usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    });
    if usage.cache_write_tokens > 0 {
        let hour = usage.cache_write_1h_tokens.min(usage.cache_write_tokens);
        body["cache_creation"] = json!({
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - hour,
            "ephemeral_1h_input_tokens": hour,
        });
    }
    body
}

/// An event whose data repeats its name as `type`.
fn write_event(name: &str, fields: Value, out: &mut String) {
    let mut data = json!({ "type": name });
    if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
        data.extend(fields);
    }
    write_named_event(name, &data.to_string(), out);
}

fn write_named_event(name: &str, data: &str, out: &mut String) {
    out.push_str("event: ");
    out.push_str(name);
    out.push('\n');
    crate::sse::write_event(data, out);
}
