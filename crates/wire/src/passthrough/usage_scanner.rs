//! Scans responses that are forwarded for the progress of the answer. Their bytes stay as they are,
//! but for the name of reasoning.

use chat::{Error, Usage};

use crate::passthrough::endpoint::ApiEndpoint;
use crate::passthrough::{json_fields, reasoning_name};
use crate::progress::chat_completions::OpenAiUsage;
use crate::progress::{AnswerFormat, AnswerProgress, ProgressReader, is_whole_event};
use crate::provider_limits::{MAX_EMPTY_EVENTS, MAX_EVENT_BYTES, ProviderLimitExceeded};
use crate::sse::{SseFrame, SseParser};
use crate::token_count::ProviderUsage;
use media::MediaUsage;

mod media;

/// Scans an event stream. With `hide_usage` it drops events that contain only usage, for callers
/// that did not request it. Reasoning of chat completions gets the name `reasoning_content`, too.
#[derive(Debug, Default)]
pub struct SseScanner {
    endpoint: ApiEndpoint,
    hide_usage: bool,
    /// Whether reasoning gets the name that DeepSeek's clients read.
    renames_reasoning: bool,
    parser: SseParser,
    frames: Vec<SseFrame>,
    reader: AnswerReader,
    /// The bytes of the event so far, if events are held until they are complete.
    pending_event: Vec<u8>,
    /// Whether an event or a comment has arrived.
    has_frames: bool,
    /// Number of events since the last one with content.
    empty_events: u64,
    /// The limit that the provider has exceeded; the stream must be ended.
    pub exceeded: Option<ProviderLimitExceeded>,
}

/// The reader of the events of an endpoint.
#[derive(Debug)]
enum AnswerReader {
    Text(ProgressReader),
    /// Images and audio.
    Media(AnswerProgress),
}

impl Default for AnswerReader {
    fn default() -> Self {
        Self::Text(ProgressReader::default())
    }
}

impl AnswerReader {
    fn progress(&self) -> &AnswerProgress {
        match self {
            Self::Text(reader) => reader.progress(),
            Self::Media(progress) => progress,
        }
    }
}

impl SseScanner {
    /// Creates a scanner of responses of `endpoint`.
    pub fn new(endpoint: ApiEndpoint, hide_usage: bool) -> Self {
        let reader = match endpoint.media_name() {
            Some(_) => AnswerReader::Media(AnswerProgress::default()),
            None => AnswerReader::Text(ProgressReader::new(answer_format(endpoint))),
        };
        let renames_reasoning = endpoint == ApiEndpoint::ChatCompletions;
        Self { endpoint, hide_usage, renames_reasoning, reader, ..Self::default() }
    }

    /// The progress so far.
    pub fn progress(&self) -> &AnswerProgress {
        self.reader.progress()
    }

    /// Whether an event or a comment has arrived.
    pub fn has_frames(&self) -> bool {
        self.has_frames
    }

    /// Scans bytes. Returns the bytes to forward instead; `None` when they are forwarded unchanged.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if let (ApiEndpoint::Speech, AnswerReader::Media(progress)) = (self.endpoint, &mut self.reader) {
            progress.pieces = progress.pieces.max(u64::from(!bytes.is_empty()));
            return None;
        }
        if !self.hide_usage && !self.renames_reasoning {
            self.parse(bytes);
            return None;
        }
        let mut out = Vec::new();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.exceeded.is_some() {
                break;
            }
            self.pending_event.extend_from_slice(line);
            let is_only_usage = self.parse(line);
            if self.pending_event.len() > MAX_EVENT_BYTES {
                self.exceeded = self.exceeded.or(Some(ProviderLimitExceeded::Event));
            }
            // The event, or the lines between two events.
            if line.ends_with(b"\n") && self.parser.buffered_bytes() == 0 {
                match reasoning_name::add_to_event(&self.pending_event).filter(|_| self.renames_reasoning) {
                    _ if is_only_usage && self.hide_usage => {}
                    Some(renamed) => out.extend(renamed),
                    None => out.extend_from_slice(&self.pending_event),
                }
                self.pending_event.clear();
            }
        }
        Some(out)
    }

    /// Ends the stream and returns the held bytes: an event without its empty line.
    ///
    /// # Errors
    /// As [`AnswerProgress::end`], for an answer that is not complete.
    pub fn finish(&mut self) -> (Vec<u8>, Result<(), Error>) {
        let last = self.parser.finish().filter(|data| is_whole_event(data.as_bytes()));
        self.frames.extend(last.map(|data| SseFrame::Event { name: None, data }));
        let hides = self.read_frames();
        let rest = std::mem::take(&mut self.pending_event);
        let ended = match &mut self.reader {
            AnswerReader::Text(reader) => reader.finish().map(|_| ()),
            AnswerReader::Media(progress) if self.endpoint == ApiEndpoint::Speech => {
                // The response ends with the connection.
                let pieces = progress.pieces;
                *progress = AnswerProgress::completed(Some(Usage::default()));
                progress.pieces = pieces;
                Ok(())
            }
            AnswerReader::Media(progress) => {
                progress.is_complete |= progress.finish_reason.is_some();
                progress.end().map(|_| ())
            }
        };
        (if hides && self.hide_usage { Vec::new() } else { rest }, ended)
    }

    /// Number of bytes held: of the line, and of the event if it may be dropped.
    pub fn buffered_bytes(&self) -> usize {
        self.parser.buffered_bytes() + self.pending_event.len()
    }

    /// Parses bytes. Returns whether they complete an event that has only usage.
    fn parse(&mut self, bytes: &[u8]) -> bool {
        if self.exceeded.is_none() {
            self.exceeded = self.parser.feed(bytes, &mut self.frames).err();
        }
        self.read_frames()
    }

    /// Reads the parsed frames. Returns whether the last one has only usage.
    fn read_frames(&mut self) -> bool {
        let mut is_only_usage = false;
        let mut frames = std::mem::take(&mut self.frames);
        self.has_frames |= !frames.is_empty();
        for frame in frames.drain(..) {
            let SseFrame::Event { data, .. } = frame else { continue };
            let pieces = self.progress().pieces;
            is_only_usage = match &mut self.reader {
                AnswerReader::Text(reader) => reader.read_event(data.as_bytes()),
                AnswerReader::Media(progress) => {
                    if progress.failure.is_none() {
                        progress.failure = media::read_event(data.as_bytes(), progress).err();
                    }
                    false
                }
            };
            self.empty_events = if self.progress().pieces > pieces { 0 } else { self.empty_events + 1 };
            if self.empty_events > MAX_EMPTY_EVENTS {
                self.exceeded = Some(ProviderLimitExceeded::EmptyEvents);
            }
        }
        self.frames = frames;
        is_only_usage
    }
}

/// The format of answers of text.
fn answer_format(endpoint: ApiEndpoint) -> AnswerFormat {
    match endpoint {
        ApiEndpoint::Responses => AnswerFormat::Responses,
        ApiEndpoint::Messages => AnswerFormat::Messages,
        ApiEndpoint::GenerateContent => AnswerFormat::GenerateContent,
        _ => AnswerFormat::ChatCompletions,
    }
}

/// Scans a whole response.
pub fn scan_body(endpoint: ApiEndpoint, body: &[u8]) -> AnswerProgress {
    let usage = || json_fields::find_field(body, "usage").map(String::from_utf8_lossy);
    match endpoint {
        _ if endpoint.media_name().is_some() => {
            let usage = usage().and_then(|usage| MediaUsage::parse(&usage)).map(Usage::from);
            // Without token counts the answer is billed per request.
            AnswerProgress::completed(Some(usage.unwrap_or_default()))
        }
        ApiEndpoint::Embeddings => {
            let usage = usage().and_then(|usage| OpenAiUsage::parse(&usage));
            AnswerProgress::completed(usage.and_then(OpenAiUsage::into_usage))
        }
        _ => {
            let mut reader = ProgressReader::new(answer_format(endpoint));
            reader.read_body(body);
            reader.into_progress()
        }
    }
}

#[cfg(test)]
mod tests;
