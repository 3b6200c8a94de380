//! A growing answer as `chat.completion.chunk` events.
//!
//! Without `include_usage` the finish chunk carries the usage, so it waits for it; with it, the
//! usage comes alone in one more chunk and every other chunk says `"usage": null`. Usage never
//! appears twice: clients that sum would count double.

use chat::{Delta, Error, FinishReason, Reply, TokenLogprob, Usage};
use serde::Serialize;

use crate::sse;
use crate::surface::Renderer;
use crate::surface::chat_completions::response::{ChatUsage, Envelope, LogprobBody, ToolCallBody, render_logprobs};

/// Renders one chat completion.
#[derive(Debug)]
pub struct ChatChunkRenderer {
    envelope: Envelope,
    include_usage: bool,
    started: bool,
    /// The end of the answer, waiting for the usage it is sent with.
    pending_finish: Option<FinishReason>,
}

impl ChatChunkRenderer {
    pub fn new(envelope: Envelope, include_usage: bool) -> Self {
        Self { envelope, include_usage, started: false, pending_finish: None }
    }
}

impl Renderer for ChatChunkRenderer {
    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        self.envelope.body(crate::surface::renderer::single_reply(replies)?)
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

    /// A finish chunk whose usage never came, then `[DONE]`.
    fn finish(&mut self, out: &mut String) {
        if let Some(reason) = self.pending_finish.take() {
            self.write_finish(reason, None, out);
        }
        sse::write_event("[DONE]", out);
    }

    fn fail(&mut self, error: &Error, out: &mut String) {
        sse::write_event(&crate::surface::error::error_body(error), out);
        sse::write_event("[DONE]", out);
    }
}

impl ChatChunkRenderer {
    fn write_delta(&self, delta: DeltaBody<'_>, out: &mut String) {
        self.write_chunk(Some(Choice { index: 0, delta, logprobs: None, finish_reason: None }), None, out);
    }

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
    /// Outer `None`: no such key. Inner `None`: null.
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

/// Outer `None`: no such key. Inner `None`: null.
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
    fn first(thinking: bool) -> Self {
        let delta = if thinking { Self::reasoning("") } else { Self::text("", false) };
        Self { role: Some("assistant"), ..delta }
    }

    fn reasoning(text: &'a str) -> Self {
        Self { content: Some(None), reasoning_content: Some(Some(text)), ..Self::default() }
    }

    fn text(text: &'a str, thinking: bool) -> Self {
        Self { content: Some(Some(text)), reasoning_content: thinking.then_some(None), ..Self::default() }
    }

    fn call(call: ToolCallBody<'a>) -> Self {
        Self { tool_calls: Some([call]), ..Self::default() }
    }

    /// Without a null `reasoning_content` after tool calls: the Node helper would keep the null and
    /// lose the reasoning.
    fn finish(null_reasoning: bool) -> Self {
        Self::text("", null_reasoning)
    }
}

#[cfg(test)]
mod tests;
