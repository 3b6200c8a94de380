//! Scans responses that are forwarded unchanged for their usage, finish reason and errors.

use chat::{FinishReason, Usage};

use crate::passthrough::endpoint::ApiEndpoint;
use crate::passthrough::json_fields;
use crate::provider_limits::{
    MAX_EMPTY_EVENTS, MAX_EVENT_BYTES, MAX_IDLE_BYTES, MAX_LINE_BYTES, ProviderLimitExceeded,
};
use crate::token_count::ProviderUsage;
use crate::upstream::anthropic::{AnthropicUsage, finish_reason as anthropic_finish_reason};
use crate::upstream::openai::{OpenAiUsage, finish_reason as openai_finish_reason};
use anthropic::scan_anthropic_event;
use chat_completions::scan_chat_chunk;
use gemini::scan_gemini_event;
use media::{MediaUsage, scan_media_event};
use search::last_string_value;
pub use stats::ResponseStats;

mod anthropic;
mod chat_completions;
mod gemini;
mod media;
mod search;
mod stats;

/// Scans an event stream. With `hide_usage` it drops events that contain only usage, for callers
/// that did not request it.
#[derive(Debug, Default)]
pub struct SseScanner {
    endpoint: ApiEndpoint,
    hide_usage: bool,
    line: Vec<u8>,
    /// Whether the line is longer than the part that is kept.
    is_line_truncated: bool,
    /// The event so far, if events are held until they are complete.
    pending_event: Vec<u8>,
    /// Whether the event is dropped.
    suppress_event: bool,
    /// Anthropic's usage, which several events report.
    anthropic_usage: AnthropicUsage,
    /// Bytes of the line, of the event, and since the last event, including bytes
    /// that are not kept.
    lengths: LengthCounters,
    /// Number of events since the last one with content.
    empty_events: u64,
    /// Whether a `data:` line has been received.
    has_data: bool,
    /// The result so far.
    pub stats: ResponseStats,
    /// The limit that the provider has exceeded; the stream must be ended.
    pub exceeded: Option<ProviderLimitExceeded>,
}

#[derive(Debug, Default)]
struct LengthCounters {
    line: usize,
    event: usize,
    idle_bytes: usize,
}

/// Capacity that the line buffer keeps for the next line.
const RETAINED_LINE_CAPACITY: usize = 64 << 10;

impl SseScanner {
    /// Creates a scanner of responses of `endpoint`.
    pub fn new(endpoint: ApiEndpoint, hide_usage: bool) -> Self {
        Self { endpoint, hide_usage, ..Self::default() }
    }

    /// Scans bytes. Returns the bytes to forward instead; `None` when they are forwarded unchanged.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.endpoint == ApiEndpoint::Speech {
            self.stats.content_events = self.stats.content_events.max(u64::from(!bytes.is_empty()));
            return None;
        }
        let mut out = self.hide_usage.then(Vec::new);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.exceeded.is_some() {
                break;
            }
            self.append_to_line(piece);
            if out.is_some() {
                self.pending_event.extend_from_slice(piece);
            }
            if !piece.ends_with(b"\n") {
                continue;
            }
            let blank = !self.is_line_truncated && self.line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            if !blank {
                self.scan_line();
            }
            self.end_line(blank);
            if let (true, Some(out)) = (blank, &mut out) {
                let hide = std::mem::take(&mut self.suppress_event);
                if !hide {
                    out.append(&mut self.pending_event);
                }
                self.pending_event.clear();
            }
        }
        out
    }

    /// Ends the stream and returns the held bytes: an event without its empty line.
    pub fn finish(&mut self) -> Vec<u8> {
        if self.endpoint == ApiEndpoint::Speech {
            // The response ends with the connection.
            self.stats =
                ResponseStats { usage: Some(Usage::default()), is_complete: true, ..std::mem::take(&mut self.stats) };
            return Vec::new();
        }
        self.scan_line();
        // Gemini's last event is recognised by its finish reason.
        self.stats.is_complete |= self.endpoint == ApiEndpoint::GenerateContent && self.stats.finish_reason.is_some();
        let hide = std::mem::take(&mut self.suppress_event);
        if hide { Vec::new() } else { std::mem::take(&mut self.pending_event) }
    }

    /// Whether an event has been received at least in part, not only comments.
    pub fn has_started(&self) -> bool {
        self.has_data || self.line.starts_with(b"data:")
    }

    /// Number of bytes held: of the line, and of the event if it may be dropped.
    pub fn buffered_bytes(&self) -> usize {
        self.line.len() + self.pending_event.len()
    }

    fn append_to_line(&mut self, piece: &[u8]) {
        self.lengths.line += piece.len();
        self.lengths.event += piece.len();
        if self.lengths.line > MAX_LINE_BYTES {
            self.exceeded = Some(ProviderLimitExceeded::Line);
        } else if self.lengths.event > MAX_EVENT_BYTES {
            self.exceeded = Some(ProviderLimitExceeded::Event);
        }
        if self.line.len() + piece.len() > self.endpoint.max_line_bytes() {
            self.is_line_truncated = true;
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn end_line(&mut self, blank: bool) {
        self.lengths.idle_bytes = match self.is_line_truncated || self.line.starts_with(b"data:") {
            true => 0,
            false => self.lengths.idle_bytes + self.lengths.line,
        };
        if self.lengths.idle_bytes > MAX_IDLE_BYTES {
            self.exceeded = Some(ProviderLimitExceeded::Idle);
        }
        self.lengths.line = 0;
        if blank {
            self.lengths.event = 0;
        }
        self.line.clear();
        self.line.shrink_to(RETAINED_LINE_CAPACITY);
        self.is_line_truncated = false;
    }

    fn scan_line(&mut self) {
        let events_before = self.stats.content_events;
        self.scan_data_line();
        if self.stats.content_events > events_before {
            self.empty_events = 0;
        } else if self.line.starts_with(b"data:") {
            self.empty_events += 1;
        }
        if self.empty_events > MAX_EMPTY_EVENTS {
            self.exceeded = Some(ProviderLimitExceeded::EmptyEvents);
        }
    }

    fn scan_data_line(&mut self) {
        if self.is_line_truncated {
            self.stats.content_events += 1;
            return;
        }
        let Some(data) = self.line.strip_prefix(b"data:") else { return };
        self.has_data = true;
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.stats.is_complete = true;
        } else if self.endpoint == ApiEndpoint::Messages {
            scan_anthropic_event(data, &mut self.anthropic_usage, &mut self.stats);
        } else if self.endpoint == ApiEndpoint::GenerateContent {
            scan_gemini_event(data, &mut self.stats);
        } else if self.endpoint.media_name().is_some() {
            scan_media_event(data, &mut self.stats);
        } else {
            self.suppress_event |= scan_chat_chunk(data, self.hide_usage, &mut self.stats);
        }
    }
}

/// Scans a whole response.
pub fn scan_body(endpoint: ApiEndpoint, body: &[u8]) -> ResponseStats {
    if endpoint == ApiEndpoint::GenerateContent {
        let mut stats = ResponseStats::default();
        scan_gemini_event(body, &mut stats);
        return ResponseStats { content_events: 1, is_complete: true, ..stats };
    }
    let usage = json_fields::find_field(body, "usage").map(String::from_utf8_lossy);
    let usage = usage.as_deref();
    let (usage, finish_reason) = match endpoint {
        ApiEndpoint::Messages => {
            let usage = usage.and_then(AnthropicUsage::parse);
            (usage.map(Usage::from), last_string_value(body, "\"stop_reason\":").map(anthropic_finish_reason))
        }
        _ if endpoint.media_name().is_some() => {
            let usage = usage.and_then(MediaUsage::parse);
            // Without token counts the answer is billed per request.
            (Some(usage.map(Usage::from).unwrap_or_default()), Some(FinishReason::Stop))
        }
        _ => {
            let usage = usage.and_then(OpenAiUsage::parse).and_then(OpenAiUsage::into_usage);
            (usage, last_string_value(body, "\"finish_reason\":").map(openai_finish_reason))
        }
    };
    let finish_reason = finish_reason.or((endpoint == ApiEndpoint::Embeddings).then_some(FinishReason::Stop));
    ResponseStats { usage, finish_reason, content_events: 1, error_message: None, is_complete: true }
}

#[cfg(test)]
mod tests;
