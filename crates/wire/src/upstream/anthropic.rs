//! The client of Anthropic's Messages API: builds requests and reads events (API document 3). It is
//! the counterpart of `surface::anthropic`.

use std::collections::HashMap;

use chat::{Delta, Error, ErrorKind, FinishReason, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::token_count::{ProviderUsage, TokenCount};
use crate::upstream::error::{invalid_event, provider_error};
use crate::upstream::event_reader::{EventReader, SignedReasoning};
pub(super) use request::request_body;

mod request;

/// Reads the events of one message.
#[derive(Debug, Default)]
pub(super) struct AnthropicEventReader {
    /// The first index of each of the caller's stop strings.
    stop_indices: HashMap<String, usize>,
    usage: AnthropicUsage,
    /// The open block.
    block: Block,
    /// Number of calls that have begun.
    call_count: usize,
    /// The thinking text of the open block.
    thinking: String,
    signed_reasoning: Vec<SignedReasoning>,
    finish_reason: Option<FinishReason>,
    seen_message_stop: bool,
}

/// The type of the open block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    Other,
    Call {
        any_arguments: bool,
    },
}

/// An event. Its parts are parsed only where its type needs them, so that others
/// may have any value.
#[derive(Deserialize)]
struct Event<'a> {
    r#type: String,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageBody<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Parses a part that the type of the event requires.
fn required_part<'a, T: Deserialize<'a>>(json: Option<&'a RawValue>) -> Result<T, Error> {
    serde_json::from_str(json.map_or("null", RawValue::get)).map_err(|error| invalid_event(&error))
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentBlock {
    ToolUse {
        id: String,
        name: String,
        input: Option<Value>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockDelta {
    TextDelta {
        text: String,
    },
    ThinkingDelta {
        thinking: String,
    },
    SignatureDelta {
        signature: String,
    },
    InputJsonDelta {
        partial_json: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct MessageEnd {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    r#type: Option<String>,
    message: Option<String>,
}

/// The usage of the API, whose `input_tokens` do not include those of the cache.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AnthropicUsage {
    input_tokens: TokenCount,
    cache_read_input_tokens: TokenCount,
    cache_creation_input_tokens: TokenCount,
    output_tokens: TokenCount,
}

impl ProviderUsage for AnthropicUsage {
    const INVALID: Self = Self {
        input_tokens: TokenCount::INVALID,
        cache_read_input_tokens: TokenCount::ABSENT,
        cache_creation_input_tokens: TokenCount::ABSENT,
        output_tokens: TokenCount::ABSENT,
    };
}

impl AnthropicUsage {
    /// Takes over the counts of a later event.
    pub(crate) fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }
}

impl From<AnthropicUsage> for Usage {
    fn from(body: AnthropicUsage) -> Self {
        let read = body.cache_read_input_tokens.or_zero();
        let written = body.cache_creation_input_tokens.or_zero();
        Self {
            prompt_tokens: body.input_tokens.or_zero().saturating_add(read).saturating_add(written),
            cached_tokens: read,
            cache_write_tokens: written,
            completion_tokens: body.output_tokens.or_zero(),
            reasoning_tokens: None,
        }
    }
}

impl AnthropicEventReader {
    pub(super) fn new(stops: &[String]) -> Self {
        let stop_indices = stops.iter().enumerate().rev().map(|(index, stop)| (stop.clone(), index)).collect();
        Self { stop_indices, ..Self::default() }
    }
}

impl EventReader for AnthropicEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        let event: Event = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        match event.r#type.as_str() {
            "message_start" => {
                let message: MessageBody = required_part(event.message)?;
                self.usage.update(AnthropicUsage::parse_optional(message.usage).unwrap_or_default());
                out.push(Delta::Start(Usage { completion_tokens: 0, ..self.usage.into() }));
            }
            "content_block_start" => self.start_block(required_part(event.content_block)?, out),
            "content_block_delta" => self.read_block_delta(required_part(event.delta)?, out),
            "content_block_stop" => {
                // A call without arguments has no delta, but callers expect an object.
                if self.block == (Block::Call { any_arguments: false }) {
                    out.push(Delta::Arguments { index: self.call_count - 1, text: "{}".into() });
                }
                self.block = Block::Other;
            }
            "message_delta" => {
                let delta: MessageEnd = required_part(event.delta)?;
                self.usage.update(AnthropicUsage::parse_optional(event.usage).unwrap_or_default());
                if let Some(reason) = delta.stop_reason {
                    self.finish_reason = Some(self.finish_reason(&reason, delta.stop_sequence.as_deref()));
                }
            }
            "message_stop" => self.seen_message_stop = true,
            "error" => return Err(error_event(required_part(event.error)?)),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let finish = self.finish_reason.take().filter(|_| self.seen_message_stop);
        let finish = finish.ok_or_else(|| provider_error("The provider's answer broke off before its end"))?;
        out.push(Delta::Finish(finish));
        out.push(Delta::Usage(self.usage.into()));
        Ok(())
    }

    fn take_signed(&mut self) -> Vec<SignedReasoning> {
        std::mem::take(&mut self.signed_reasoning)
    }
}

impl AnthropicEventReader {
    fn start_block(&mut self, block: ContentBlock, out: &mut Vec<Delta>) {
        self.thinking.clear();
        self.block = Block::Other;
        if let ContentBlock::ToolUse { id, name, input } = block {
            let index = self.call_count;
            self.call_count += 1;
            out.push(Delta::ToolCall { index, id, name });
            // Some services send the whole input at once.
            let complete_input = input.filter(|input| input.as_object().is_some_and(|input| !input.is_empty()));
            self.block = Block::Call { any_arguments: complete_input.is_some() };
            out.extend(complete_input.map(|input| Delta::Arguments { index, text: input.to_string() }));
        }
    }

    fn read_block_delta(&mut self, delta: BlockDelta, out: &mut Vec<Delta>) {
        let logprobs = Vec::new();
        match delta {
            BlockDelta::TextDelta { text } if !text.is_empty() => out.push(Delta::Text { text, logprobs }),
            BlockDelta::ThinkingDelta { thinking: text } if !text.is_empty() => {
                self.thinking.push_str(&text);
                out.push(Delta::Reasoning { text, logprobs });
            }
            // A signature ends the thinking of its block; a second one is ignored.
            BlockDelta::SignatureDelta { signature } if !signature.is_empty() && !self.thinking.is_empty() => {
                self.signed_reasoning.push(SignedReasoning { text: std::mem::take(&mut self.thinking), signature });
            }
            BlockDelta::InputJsonDelta { partial_json: text } if !text.is_empty() && self.call_count > 0 => {
                self.block = Block::Call { any_arguments: true };
                out.push(Delta::Arguments { index: self.call_count - 1, text });
            }
            _ => {}
        }
    }

    fn finish_reason(&self, reason: &str, sequence: Option<&str>) -> FinishReason {
        let stop_index = sequence.and_then(|text| self.stop_indices.get(text).copied());
        stop_index
            .filter(|_| reason == "stop_sequence")
            .map_or_else(|| self::finish_reason(reason), FinishReason::StopString)
    }
}

/// The meaning of a `stop_reason`.
pub(crate) fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextFull,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        // `end_turn`, `pause_turn`, or an unknown stop sequence.
        _ => FinishReason::Stop,
    }
}

fn error_event(error: ErrorBody) -> Error {
    let kind = match error.r#type.as_deref() {
        Some("overloaded_error") => ErrorKind::Overloaded,
        Some("rate_limit_error") => ErrorKind::RateLimited,
        Some("timeout_error") => ErrorKind::Timeout,
        _ => ErrorKind::Upstream(502),
    };
    Error::new(kind, error.message.unwrap_or_else(|| "The provider broke off".into()))
}
