//! A chat completion, streamed as `chat.completion.chunk` events or as one body.
//!
//! Without `include_usage` the finish chunk contains the usage, so it is held back until the usage
//! arrives. With it, the usage follows in a chunk of its own, and all other chunks contain
//! `"usage": null`. Usage is sent only once, because some clients add up the usage of all chunks.

use chat::{Delta, Error, FinishReason, Reply, TokenLogprob, Usage};
use serde::Serialize;

use crate::sse;
use crate::surface::chat_completions::response::{ChatUsage, Envelope, LogprobBody, ToolCallBody, render_logprobs};
use crate::surface::error::error_body;
use crate::surface::renderer::{Renderer, single_reply};

/// Renders one chat completion, which has a single choice.
#[derive(Debug)]
pub struct ChatChunkRenderer {
    envelope: Envelope,
    include_usage: bool,
    started: bool,
    /// The finish reason, held back until the usage arrives; only without `include_usage`.
    pending_finish: Option<FinishReason>,
}

impl ChatChunkRenderer {
    /// Creates a renderer. With `include_usage` the last chunk has the usage and no choices.
    pub fn new(envelope: Envelope, include_usage: bool) -> Self {
        Self { envelope, include_usage, started: false, pending_finish: None }
    }
}

impl Renderer for ChatChunkRenderer {
    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        self.envelope.body(single_reply(replies)?)
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        if !std::mem::replace(&mut self.started, true) {
            self.write_delta(DeltaBody::first(self.envelope.thinking), out);
        }
        let thinking = self.envelope.thinking;
        match delta {
            Delta::Start(_) => {}
            Delta::Reasoning { text, logprobs } => self.write_tokens(DeltaBody::reasoning(text), logprobs, out),
            Delta::Text { text, logprobs } => self.write_tokens(DeltaBody::text(text, thinking), logprobs, out),
            Delta::ToolCall { index, id, name } => {
                self.write_delta(DeltaBody::call(ToolCallBody::start(*index, id, name)), out);
            }
            Delta::Arguments { index, text } => {
                self.write_delta(DeltaBody::call(ToolCallBody::continuation(*index, text)), out)
            }
            Delta::Finish(reason) if self.include_usage => self.write_finish(*reason, None, out),
            Delta::Finish(reason) => self.pending_finish = Some(*reason),
            Delta::Usage(usage) if self.include_usage => self.write_usage(usage, out),
            Delta::Usage(usage) => {
                if let Some(reason) = self.pending_finish.take() {
                    self.write_finish(reason, Some(usage), out);
                }
            }
        }
    }

    /// Appends the finish chunk without usage if it is still held back, then `[DONE]`.
    fn finish(&mut self, out: &mut String) {
        if let Some(reason) = self.pending_finish.take() {
            self.write_finish(reason, None, out);
        }
        sse::write_event("[DONE]", out);
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        sse::write_event(&error_body(error), out);
        sse::write_event("[DONE]", out);
    }
}

impl ChatChunkRenderer {
    fn write_delta(&self, delta: DeltaBody<'_>, out: &mut String) {
        self.write_chunk(Some(Choice { index: 0, delta, logprobs: None, finish_reason: None }), None, out);
    }

    /// Writes text; with `logprobs: null` unless they were requested.
    fn write_tokens(&self, delta: DeltaBody<'_>, tokens: &[TokenLogprob], out: &mut String) {
        let logprobs = self.envelope.logprobs.then(|| ChunkLogprobs { content: render_logprobs(tokens) });
        self.write_chunk(Some(Choice { index: 0, delta, logprobs, finish_reason: None }), None, out);
    }

    fn write_finish(&self, reason: FinishReason, usage: Option<&Usage>, out: &mut String) {
        let delta = DeltaBody::finish(self.envelope.thinking && reason != FinishReason::ToolCalls);
        let choice = Choice { index: 0, delta, logprobs: None, finish_reason: Some(reason.as_str()) };
        self.write_chunk(Some(choice), usage, out);
    }

    fn write_usage(&self, usage: &Usage, out: &mut String) {
        self.write_chunk(None, Some(usage), out);
    }

    fn write_chunk(&self, choice: Option<Choice<'_>>, usage: Option<&Usage>, out: &mut String) {
        let usage = usage.map(|usage| ChatUsage::new(usage, self.envelope.thinking));
        let chunk = Chunk {
            id: &self.envelope.id,
            object: "chat.completion.chunk",
            created: self.envelope.created,
            model: &self.envelope.model,
            system_fingerprint: &self.envelope.system_fingerprint,
            choices: choice.as_slice(),
            usage: if self.include_usage { Some(usage) } else { usage.map(Some) },
        };
        sse::write_event(&serde_json::to_string(&chunk).expect("a chunk is plain data"), out);
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: &'a [Choice<'a>],
    /// Outer `None`: the key is absent. Inner `None`: null.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<ChatUsage>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: DeltaBody<'a>,
    logprobs: Option<ChunkLogprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct ChunkLogprobs<'a> {
    content: Vec<LogprobBody<'a>>,
}

/// The delta of a chunk. Outer `None`: the key is absent. Inner `None`: null.
#[derive(Default, Serialize)]
struct DeltaBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCallBody<'a>; 1]>,
}

impl<'a> DeltaBody<'a> {
    /// The delta of the first chunk: the role and an empty text, of reasoning if `thinking`.
    fn first(thinking: bool) -> Self {
        let delta = if thinking { Self::reasoning("") } else { Self::text("", false) };
        Self { role: Some("assistant"), ..delta }
    }

    /// A delta of reasoning, with null as `content`.
    fn reasoning(text: &'a str) -> Self {
        Self { content: Some(None), reasoning_content: Some(Some(text)), ..Self::default() }
    }

    /// A delta of the answer; with null as `reasoning_content` if `thinking`.
    fn text(text: &'a str, thinking: bool) -> Self {
        Self { content: Some(Some(text)), reasoning_content: thinking.then_some(None), ..Self::default() }
    }

    fn call(call: ToolCallBody<'a>) -> Self {
        Self { tool_calls: Some([call]), ..Self::default() }
    }

    /// The delta of a finish chunk. `null_reasoning` must be false after tool calls: the helper of
    /// the Node SDK would replace the reasoning that it has collected by the null.
    fn finish(null_reasoning: bool) -> Self {
        Self::text("", null_reasoning)
    }
}

#[cfg(test)]
mod tests;
