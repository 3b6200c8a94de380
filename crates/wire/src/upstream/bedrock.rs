//! The client of Amazon Bedrock's Converse API: builds requests and reads events. The events are
//! those of `event_stream`.

use chat::{Delta, Error, Media, Usage};
use serde::Deserialize;
use serde_json::Value;

use crate::progress::{AnswerFormat, AnswerProgress, ProgressReader};
use crate::upstream::anthropic::signature;
use crate::upstream::block_citations::BlockCitations;
use crate::upstream::error::invalid_event;
use crate::upstream::event_reader::EventReader;
use crate::upstream::openai::forgiving;
use citation::read_citation;
pub(super) use request::{chat_path, request_body};

mod citation;
mod request;
#[cfg(test)]
mod tests;

/// Reads the events of one answer.
#[derive(Debug)]
pub(super) struct ConverseEventReader {
    progress: ProgressReader,
    started: bool,
    /// The open block is a call; whether any of its arguments has arrived.
    open_call: Option<bool>,
    call_count: usize,
    /// The reasoning of the open block.
    reasoning: String,
    citations: BlockCitations,
}

impl Default for ConverseEventReader {
    fn default() -> Self {
        Self {
            progress: ProgressReader::new(AnswerFormat::Converse),
            started: false,
            open_call: None,
            call_count: 0,
            reasoning: String::new(),
            citations: BlockCitations::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    content_block_start: Option<BlockStart>,
    content_block_delta: Option<BlockDelta>,
    content_block_stop: Option<Value>,
}

#[derive(Deserialize)]
struct BlockStart {
    #[serde(default)]
    start: Block,
}

#[derive(Deserialize)]
struct BlockDelta {
    #[serde(default)]
    delta: DeltaBody,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeltaBody {
    text: Option<String>,
    tool_use: Option<ToolInput>,
    reasoning_content: Option<ReasoningText>,
    citation: Option<Value>,
}

#[derive(Deserialize)]
struct ToolInput {
    #[serde(default)]
    input: String,
}

/// A whole block, or the start of one.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    text: Option<String>,
    tool_use: Option<ToolUse>,
    reasoning_content: Option<ReasoningBlock>,
    #[serde(default, deserialize_with = "forgiving")]
    citations_content: CitedText,
    image: Option<Value>,
}

/// A text with citations.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CitedText {
    content: Vec<Value>,
    citations: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse {
    tool_use_id: String,
    name: String,
    input: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningBlock {
    reasoning_text: Option<ReasoningText>,
    redacted_content: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReasoningText {
    text: String,
    signature: String,
    /// The redacted reasoning of a delta.
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    output: Output,
}

#[derive(Deserialize)]
struct Output {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Vec<Block>,
}

impl EventReader for ConverseEventReader {
    fn read_event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_event(data.as_bytes());
        self.progress.check()?;
        self.start(out);
        let event: Event = serde_json::from_str(data).map_err(|error| invalid_event(&error))?;
        if let Some(BlockStart { start }) = event.content_block_start {
            self.start_block(start, out);
        }
        if let Some(BlockDelta { delta }) = event.content_block_delta {
            self.read_delta(delta, out);
        }
        if event.content_block_stop.is_some() {
            self.stop_block(out);
        }
        Ok(())
    }

    fn read_body(&mut self, body: &str, out: &mut Vec<Delta>) -> Result<(), Error> {
        self.progress.read_body(body.as_bytes());
        self.progress.check()?;
        self.start(out);
        let answer: Answer = serde_json::from_str(body).map_err(|error| invalid_event(&error))?;
        for block in answer.output.message.content {
            self.start_block(block, out);
            self.stop_block(out);
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), Error> {
        let finish = self.progress.finish()?;
        self.citations.finish(out);
        out.push(Delta::Finish(finish));
        out.extend(self.progress().usage.map(Delta::Usage));
        Ok(())
    }

    fn progress(&self) -> &AnswerProgress {
        self.progress.progress()
    }
}

impl ConverseEventReader {
    fn start(&mut self, out: &mut Vec<Delta>) {
        if !std::mem::replace(&mut self.started, true) {
            out.push(Delta::Start(Usage::default()));
        }
    }

    fn start_block(&mut self, block: Block, out: &mut Vec<Delta>) {
        if let Some(ToolUse { tool_use_id, name, input }) = block.tool_use {
            out.push(Delta::ToolCall { index: self.call_count, id: tool_use_id, name });
            self.call_count += 1;
            let input = input.filter(|input| input.as_object().is_some_and(|fields| !fields.is_empty()));
            self.open_call = Some(input.is_some());
            let index = self.call_count - 1;
            out.extend(input.map(|input| Delta::Arguments { index, text: input.to_string() }));
        }
        let reasoning_content = block.reasoning_content.map(|block| {
            let text = block.reasoning_text.unwrap_or_default();
            ReasoningText { redacted_content: block.redacted_content, ..text }
        });
        out.extend(block.image.map(|image| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (format, data) = (text(&image["format"]), text(&image["source"]["bytes"]));
            let media = Media::from_data(&format!("image/{format}"), &data).filter(|_| !data.is_empty());
            media.map_or(Delta::Dropped("images"), Delta::Media)
        }));
        self.read_delta(DeltaBody { text: block.text, reasoning_content, ..DeltaBody::default() }, out);
        for text in block.citations_content.content {
            let text = text["text"].as_str().map(str::to_owned);
            self.read_delta(DeltaBody { text, ..DeltaBody::default() }, out);
        }
        for citation in block.citations_content.citations {
            read_citation(&citation, &mut self.citations, out);
        }
    }

    fn read_delta(&mut self, delta: DeltaBody, out: &mut Vec<Delta>) {
        let logprobs = Vec::new;
        if let Some(ReasoningText { text, signature: proof, redacted_content }) = delta.reasoning_content {
            out.extend(redacted_content.map(|data| signature(String::new(), data)));
            if !text.is_empty() {
                self.reasoning.push_str(&text);
                out.push(Delta::Reasoning { text, logprobs: logprobs() });
            }
            if !proof.is_empty() && !self.reasoning.is_empty() {
                out.push(signature(std::mem::take(&mut self.reasoning), proof));
            }
        }
        if let Some(citation) = delta.citation {
            read_citation(&citation, &mut self.citations, out);
        }
        if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
            self.citations.add_text(&text);
            out.push(Delta::Text { text, logprobs: logprobs() });
        }
        let input = delta.tool_use.map(|tool| tool.input).filter(|input| !input.is_empty());
        if let (Some(text), Some(has_arguments)) = (input, &mut self.open_call) {
            *has_arguments = true;
            out.push(Delta::Arguments { index: self.call_count - 1, text });
        }
    }

    fn stop_block(&mut self, out: &mut Vec<Delta>) {
        // A call without arguments has no delta, but callers expect an object.
        if self.open_call.take() == Some(false) {
            out.push(Delta::Arguments { index: self.call_count - 1, text: "{}".into() });
        }
        self.reasoning.clear();
        self.citations.finish(out);
    }
}
