//! The client of Anthropic's Messages API: builds requests and reads events (API document 3). It is
//! the counterpart of `surface::anthropic`.

use std::collections::HashMap;

use chat::{Delta, Error, FinishReason, SignedReasoning, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::progress::{AnswerFormat, AnswerProgress, ProgressReader};
use crate::upstream::block_citations::BlockCitations;
use crate::upstream::error::invalid_event;
use crate::upstream::event_reader::EventReader;
use crate::upstream::openai::forgiving;
use citation::read_citation;
pub(super) use request::request_body;
pub(crate) use request::{MIN_THINKING_TOKENS, thinking_budget};

mod citation;
mod history;
mod request;

/// Reads the events of one message.
#[derive(Debug, Default)]
pub(super) struct AnthropicEventReader {
    /// The first index of each of the caller's stop strings.
    stop_indices: HashMap<String, usize>,
    progress: ProgressReader,
    /// The stop string that ended the message.
    stop_sequence: Option<String>,
    /// The open block.
    block: Block,
    /// Number of calls that have begun.
    call_count: usize,
    /// The thinking text of the open block.
    thinking: String,
    citations: BlockCitations,
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
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

/// A whole message.
#[derive(Deserialize)]
struct WholeMessage {
    #[serde(default)]
    content: Vec<ContentBlock>,
    stop_sequence: Option<String>,
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
    /// Its text is empty at the start of a block, and whole in a whole message.
    Text {
        #[serde(default)]
        text: String,
        #[serde(default, deserialize_with = "forgiving")]
        citations: Vec<Map<String, Value>>,
    },
    /// As `Text`.
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        #[serde(default)]
        data: String,
    },
    /// The use of a tool that the service runs.
    ServerToolUse,
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
    CitationsDelta {
        #[serde(default, deserialize_with = "forgiving")]
        citation: Map<String, Value>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct MessageEnd {
    stop_sequence: Option<String>,
}

impl AnthropicEventReader {
    pub(super) fn new(stops: &[String]) -> Self {
        let stop_indices = stops.iter().enumerate().rev().map(|(index, stop)| (stop.clone(), index)).collect();
        Self { stop_indices, progress: ProgressReader::new(AnswerFormat::Messages), ..Self::default() }
    }
}

impl EventReader for AnthropicEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_event(data.as_bytes());
        self.progress.check()?;
        let event: Event = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        match event.r#type.as_str() {
            "message_start" => out.push(self.start()),
            "content_block_start" => self.start_block(required_part(event.content_block)?, out),
            "content_block_delta" => self.read_block_delta(required_part(event.delta)?, out),
            "content_block_stop" => self.stop_block(out),
            "message_delta" => self.stop_sequence = required_part::<MessageEnd>(event.delta)?.stop_sequence,
            _ => {}
        }
        Ok(())
    }

    fn read_body(&mut self, body: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_body(body.as_bytes());
        self.progress.check()?;
        let message: WholeMessage = serde_json::from_str(body).map_err(|error| invalid_event(&error))?;
        out.push(self.start());
        for block in message.content {
            self.start_block(block, out);
            self.stop_block(out);
        }
        self.stop_sequence = message.stop_sequence;
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let finish = self.progress.finish()?;
        self.citations.finish(out);
        let stop_index = self.stop_sequence.as_ref().and_then(|text| self.stop_indices.get(text).copied());
        out.push(Delta::Finish(match (finish, stop_index) {
            (FinishReason::Stop, Some(index)) => FinishReason::StopString(index),
            _ => finish,
        }));
        out.extend(self.progress().usage.map(Delta::Usage));
        Ok(())
    }

    fn progress(&self) -> &AnswerProgress {
        self.progress.progress()
    }
}

/// The signature of a text, or redacted reasoning without one.
pub(super) fn signature(text: String, signature: String) -> Delta {
    Delta::Signature(SignedReasoning::of_claude(text, signature))
}

impl AnthropicEventReader {
    /// The start, with what is known of the prompt.
    fn start(&self) -> Delta {
        Delta::Start(Usage { completion_tokens: 0, ..self.progress().usage.unwrap_or_default() })
    }

    fn stop_block(&mut self, out: &mut Vec<Delta>) {
        // A call without arguments has no delta, but callers expect an object.
        if self.block == (Block::Call { any_arguments: false }) {
            out.push(Delta::Arguments { index: self.call_count - 1, text: "{}".into() });
        }
        self.block = Block::Other;
        self.citations.finish(out);
    }

    fn start_block(&mut self, block: ContentBlock, out: &mut Vec<Delta>) {
        self.thinking.clear();
        self.block = Block::Other;
        match block {
            ContentBlock::ToolUse { id, name, input } => {
                let index = self.call_count;
                self.call_count += 1;
                out.push(Delta::ToolCall { index, id, name });
                // Some services send the whole input at once.
                let complete_input = input.filter(|input| input.as_object().is_some_and(|input| !input.is_empty()));
                self.block = Block::Call { any_arguments: complete_input.is_some() };
                out.extend(complete_input.map(|input| Delta::Arguments { index, text: input.to_string() }));
            }
            ContentBlock::Text { text, citations } => {
                self.read_block_delta(BlockDelta::TextDelta { text }, out);
                citations.into_iter().for_each(|citation| self.citations.add(read_citation(citation)));
            }
            ContentBlock::Thinking { thinking, signature } => {
                self.read_block_delta(BlockDelta::ThinkingDelta { thinking }, out);
                self.read_block_delta(BlockDelta::SignatureDelta { signature }, out);
            }
            ContentBlock::RedactedThinking { data } => out.push(signature(String::new(), data)),
            ContentBlock::ServerToolUse => out.push(Delta::Dropped("server_tool_use")),
            ContentBlock::Other => {}
        }
    }

    fn read_block_delta(&mut self, delta: BlockDelta, out: &mut Vec<Delta>) {
        let logprobs = Vec::new();
        match delta {
            BlockDelta::TextDelta { text } if !text.is_empty() => {
                self.citations.add_text(&text);
                out.push(Delta::Text { text, logprobs });
            }
            BlockDelta::CitationsDelta { citation } => self.citations.add(read_citation(citation)),
            BlockDelta::ThinkingDelta { thinking: text } if !text.is_empty() => {
                self.thinking.push_str(&text);
                out.push(Delta::Reasoning { text, logprobs });
            }
            // A signature ends the thinking of its block; a second one is ignored.
            BlockDelta::SignatureDelta { signature } if !signature.is_empty() && !self.thinking.is_empty() => {
                out.push(self::signature(std::mem::take(&mut self.thinking), signature));
            }
            BlockDelta::InputJsonDelta { partial_json: text } if !text.is_empty() && self.call_count > 0 => {
                self.block = Block::Call { any_arguments: true };
                out.push(Delta::Arguments { index: self.call_count - 1, text });
            }
            _ => {}
        }
    }
}
