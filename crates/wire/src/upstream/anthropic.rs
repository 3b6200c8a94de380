//! Anthropic's Messages API, asked and heard (API document 3): the mirror of
//! `surface::anthropic::parse_request` and `surface::anthropic::MessageRenderer`.

use std::collections::HashMap;

use chat::{Delta, Error, ErrorKind, FinishReason, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{EventReader, SignedReasoning, invalid_event, provider_error};
use crate::token_count::{ProviderUsage, TokenCount};
pub(super) use request::request_body;

mod request;

/// Reads the events of one message.
#[derive(Debug, Default)]
pub(super) struct AnthropicEventReader {
    /// The caller's stop strings, and the first place of each.
    stop_indices: HashMap<String, usize>,
    usage: AnthropicUsage,
    /// The kind of each block, by its index.
    block: Block,
    /// Calls begun.
    call_count: usize,
    /// All of the thinking of the block that is open.
    thinking: String,
    signed_reasoning: Vec<SignedReasoning>,
    finish_reason: Option<FinishReason>,
    seen_message_stop: bool,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    Other,
    Call {
        any_arguments: bool,
    },
}

/// An event, whose parts are read as its type needs them: what no type needs may be anything.
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

/// A part that an event of its type has to have.
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

/// Counts as the API gives them: those of the cache are not part of `input_tokens`.
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
    /// What a later event says counts.
    pub(crate) fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
    }
}

impl From<AnthropicUsage> for Usage {
    fn from(body: AnthropicUsage) -> Self {
        let (read, written) = (body.cache_read_input_tokens.or_zero(), body.cache_creation_input_tokens.or_zero());
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
        let stops = stops.iter().enumerate().rev().map(|(place, stop)| (stop.clone(), place)).collect();
        Self { stop_indices: stops, ..Self::default() }
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
                // A call without arguments has none at all; others expect an object.
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
            // Whole at once, as some services do.
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
            // It ends the thinking of its block: a second one signs nothing.
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

/// What a `stop_reason` means.
pub(crate) fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextFull,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        // `end_turn`, `pause_turn`, a stop sequence that the caller did not name.
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
