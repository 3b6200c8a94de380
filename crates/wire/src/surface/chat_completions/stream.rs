//! A chat completion, streamed as `chat.completion.chunk` events or as one body.
//!
//! Without `include_usage` the finish chunk contains the usage, so it is held back until the usage
//! arrives. With it, the usage follows in a chunk of its own, and all other chunks contain
//! `"usage": null`. Usage is sent only once, because some clients add up the usage of all chunks.

use std::collections::{HashMap, HashSet};

use chat::{Delta, Error, FinishReason, Media, MediaKind, Reply, TokenLogprob, Usage};
use serde::Serialize;

use crate::reasoning_details::ReasoningDetail;
use crate::sse;
use crate::surface::chat_completions::annotations::Annotation;
use crate::surface::chat_completions::media::{Audio, AudioPieces, Image, is_taken};
use crate::surface::chat_completions::response::{ChatUsage, Envelope, LogprobBody, ToolCallBody, render_logprobs};
use crate::surface::error::error_body;
use crate::surface::renderer::Renderer;

/// Renders one chat completion.
#[derive(Debug)]
pub struct ChatChunkRenderer {
    envelope: Envelope,
    include_usage: bool,
    /// The choice that the following deltas belong to.
    choice: usize,
    /// The choices that have begun.
    started: HashSet<usize>,
    /// A choice and its finish reason, held back until the usage arrives; only without
    /// `include_usage`.
    pending_finish: Option<(usize, FinishReason)>,
    /// The signatures of each choice so far.
    signature_counts: HashMap<usize, usize>,
    image_count: usize,
    /// The media type of the audio of each choice.
    audio_types: HashMap<usize, String>,
}

impl ChatChunkRenderer {
    /// Creates a renderer. With `include_usage` the last chunk has the usage and no choices.
    pub fn new(envelope: Envelope, include_usage: bool) -> Self {
        Self {
            envelope,
            include_usage,
            choice: 0,
            started: HashSet::new(),
            pending_finish: None,
            signature_counts: HashMap::new(),
            image_count: 0,
            audio_types: HashMap::new(),
        }
    }
}

impl Renderer for ChatChunkRenderer {
    fn body(&self, replies: &[Reply]) -> Result<String, Error> {
        self.envelope.body(replies)
    }

    fn set_choice(&mut self, index: usize) {
        self.choice = index;
    }

    fn push(&mut self, delta: &Delta, out: &mut String) {
        // The usage belongs to no choice.
        if !matches!(delta, Delta::Usage(_)) && self.started.insert(self.choice) {
            self.write_delta(DeltaBody::first(self.envelope.thinking), out);
        }
        let thinking = self.envelope.thinking;
        match delta {
            Delta::Start(_) | Delta::Prompt { .. } | Delta::Dropped(_) => {}
            Delta::Citation(citation) => {
                if let Some(annotation) = Annotation::new(citation) {
                    self.write_delta(DeltaBody { annotations: Some([annotation]), ..DeltaBody::default() }, out);
                }
            }
            Delta::Reasoning { text, logprobs } => self.write_tokens(DeltaBody::reasoning(text), logprobs, out),
            Delta::Signature(signed) => {
                let count = self.signature_counts.entry(self.choice).or_default();
                let reasoning_details = Some([ReasoningDetail::new(*count, signed)]);
                *count += 1;
                self.write_delta(DeltaBody { reasoning_details, ..DeltaBody::default() }, out);
            }
            Delta::Text { text, logprobs } => self.write_tokens(DeltaBody::text(text, thinking), logprobs, out),
            Delta::ToolCall { index, id, name } => {
                self.write_delta(DeltaBody::call(ToolCallBody::start(*index, id, name)), out);
            }
            Delta::Arguments { index, text } => {
                self.write_delta(DeltaBody::call(ToolCallBody::continuation(*index, text)), out)
            }
            Delta::Media(media) => self.write_media(media, out),
            Delta::Finish(reason) if self.include_usage => self.write_finish(self.choice, *reason, None, out),
            Delta::Finish(reason) => {
                if let Some((choice, reason)) = self.pending_finish.replace((self.choice, *reason)) {
                    self.write_finish(choice, reason, None, out);
                }
            }
            Delta::Usage(usage) if self.include_usage => self.write_usage(usage, out),
            Delta::Usage(usage) => {
                if let Some((choice, reason)) = self.pending_finish.take() {
                    self.write_finish(choice, reason, Some(usage), out);
                }
            }
        }
    }

    fn dropped(&self, delta: &Delta) -> Option<&'static str> {
        match delta {
            Delta::Dropped(name) => Some(name),
            Delta::Citation(citation) if citation.url.is_none() => Some("citations of documents"),
            Delta::Media(media) if !self.has_place_for(media) => Some(media.name()),
            _ => None,
        }
    }

    fn missing(&self, replies: &[Reply]) -> Vec<&'static str> {
        let is_left_out = replies.iter().any(|reply| AudioPieces::of(&reply.media).is_any_left_out());
        is_left_out.then_some("audio").into_iter().collect()
    }

    /// Appends the finish chunk without usage if it is still held back, then `[DONE]`.
    fn finish(&mut self, out: &mut String) {
        if let Some((choice, reason)) = self.pending_finish.take() {
            self.write_finish(choice, reason, None, out);
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
        let choice = Choice { index: self.choice, delta, logprobs: None, finish_reason: None };
        self.write_chunk(Some(choice), None, out);
    }

    /// Whether the choice has a place for this media.
    fn has_place_for(&self, media: &Media) -> bool {
        let audio_type = self.audio_types.get(&self.choice).map(String::as_str);
        media.kind == MediaKind::Image || is_taken(audio_type, media)
    }

    fn write_media(&mut self, media: &Media, out: &mut String) {
        let images = Image::new(self.image_count, media).map(|image| [image]);
        let audio = Audio::new(&self.envelope.id, self.envelope.created, media).filter(|_| self.has_place_for(media));
        self.image_count += usize::from(images.is_some());
        if let (Some((media_type, _)), true) = (media.data(), audio.is_some()) {
            self.audio_types.entry(self.choice).or_insert_with(|| media_type.to_owned());
        }
        if images.is_some() || audio.is_some() {
            self.write_delta(DeltaBody { images, audio, ..DeltaBody::default() }, out);
        }
    }

    /// Writes text; with `logprobs: null` unless they were requested.
    fn write_tokens(&self, delta: DeltaBody<'_>, tokens: &[TokenLogprob], out: &mut String) {
        let logprobs = self.envelope.logprobs.then(|| ChunkLogprobs { content: render_logprobs(tokens) });
        let choice = Choice { index: self.choice, delta, logprobs, finish_reason: None };
        self.write_chunk(Some(choice), None, out);
    }

    fn write_finish(&self, index: usize, reason: FinishReason, usage: Option<&Usage>, out: &mut String) {
        let delta = DeltaBody::finish(self.envelope.thinking && reason != FinishReason::ToolCalls);
        let choice = Choice { index, delta, logprobs: None, finish_reason: Some(reason.as_str()) };
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
    index: usize,
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
    reasoning_details: Option<[ReasoningDetail<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCallBody<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<[Annotation<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<[Image<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<Audio<'a>>,
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
