//! How far the answer of a provider has come: whether it has begun, failed or ended, and what of it
//! is billed. Forwarded and converted answers are judged by the same definitions, which are made
//! of parsed events:
//!
//! - *Content* is what a caller reads: text, reasoning, a part of a tool call, a picture. Roles,
//!   ids and signatures are not.
//! - A *billable piece* is an event with content. An answer *begins* with its first piece.
//! - A *failure* is an error that an event or a body reports, a finish reason that means one, and
//!   data that is not an event of the API.
//! - The *end* is a finish reason, or the event that the API sends last.

mod answer_progress;
mod cache_creation;
pub(crate) mod chat_completions;
mod content;
mod converse;
pub(crate) mod extra_counts;
pub(crate) mod generate_content;
pub(crate) mod messages;
pub(crate) mod responses;

use chat::{Error, FinishReason};
use serde::de::IgnoredAny;

use crate::upstream::error::not_of_its_dialect;
use messages::MessagesUsage;

pub use answer_progress::AnswerProgress;

/// The format of the events of an answer, and of whole answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerFormat {
    /// Chat completions and legacy completions.
    #[default]
    ChatCompletions,
    /// Anthropic's Messages API.
    Messages,
    /// Gemini's `generateContent`.
    GenerateContent,
    /// OpenAI's Responses API.
    Responses,
    /// Amazon Bedrock's Converse API.
    Converse,
}

/// Reads the progress of an answer from its events, or from the whole answer.
#[derive(Debug, Default)]
pub struct ProgressReader {
    format: AnswerFormat,
    /// Anthropic's usage, which several events report.
    messages_usage: MessagesUsage,
    /// The item of a response that is being streamed.
    last_item: responses::LastItem,
    progress: AnswerProgress,
}

impl ProgressReader {
    pub fn new(format: AnswerFormat) -> Self {
        Self { format, ..Self::default() }
    }

    /// The progress so far.
    pub fn progress(&self) -> &AnswerProgress {
        &self.progress
    }

    /// The progress of an answer that was read.
    pub fn into_progress(self) -> AnswerProgress {
        self.progress
    }

    /// Reads the data of an event. Returns whether it has the usage and nothing else.
    pub fn read_event(&mut self, data: &[u8]) -> bool {
        if self.progress.failure.is_some() || self.progress.is_complete {
            return false;
        }
        if data.trim_ascii() == b"[DONE]" {
            self.progress.is_complete = true;
            self.progress.infer_reason();
            return false;
        }
        let read = match self.format {
            _ if !is_object(data) => Err(not_of_its_dialect()),
            AnswerFormat::ChatCompletions => chat_completions::read_chunk(data, &mut self.progress),
            AnswerFormat::Messages => {
                messages::read_event(data, &mut self.messages_usage, &mut self.progress).map(|()| false)
            }
            AnswerFormat::GenerateContent => generate_content::read_event(data, &mut self.progress).map(|()| false),
            AnswerFormat::Responses => {
                responses::read_event(data, &mut self.last_item, &mut self.progress).map(|()| false)
            }
            AnswerFormat::Converse => converse::read_event(data, &mut self.progress).map(|()| false),
        };
        match read {
            Ok(is_only_usage) => {
                self.progress.infer_reason();
                is_only_usage
            }
            Err(failure) => {
                self.progress.failure = Some(failure);
                false
            }
        }
    }

    /// Reads a whole answer, which is one piece if it has content.
    pub fn read_body(&mut self, body: &[u8]) {
        let read = match self.format {
            _ if !is_object(body) => Err(not_of_its_dialect()),
            AnswerFormat::ChatCompletions => chat_completions::read_chunk(body, &mut self.progress).map(|_| ()),
            AnswerFormat::Messages => messages::read_body(body, &mut self.progress),
            AnswerFormat::GenerateContent => generate_content::read_event(body, &mut self.progress),
            AnswerFormat::Responses => responses::read_body(body, &mut self.progress),
            AnswerFormat::Converse => converse::read_body(body, &mut self.progress),
        };
        let progress = &mut self.progress;
        (progress.is_complete, progress.is_usage_final) = (true, progress.usage.is_some());
        progress.infer_reason();
        progress.failure = read.and_then(|()| progress.end()).err();
    }

    /// Ends the answer, whose last event has arrived. One with a finish reason needs no other.
    ///
    /// # Errors
    /// As [`AnswerProgress::end`].
    pub fn finish(&mut self) -> Result<FinishReason, Error> {
        let end = self.progress.end();
        self.progress.is_complete |= end.is_ok();
        end
    }

    /// Checks that no failure has arrived.
    ///
    /// # Errors
    /// The failure.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.progress.failure.clone().map_or(Ok(()), Err)
    }
}

/// Whether `data` is a JSON object. A derived `Deserialize` would read the same fields of a list.
fn is_object(data: &[u8]) -> bool {
    data.trim_ascii_start().first() == Some(&b'{')
}

/// Whether the data of an event that may be cut off is whole.
pub fn is_whole_event(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]" || (is_object(data) && serde_json::from_slice::<IgnoredAny>(data).is_ok())
}

#[cfg(test)]
mod tests;
