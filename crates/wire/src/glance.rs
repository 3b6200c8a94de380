//! A look at answers that pass by untouched: what they cost, why they ended, whether they failed.

use chat::{FinishReason, Usage};

use crate::bounds::{EMPTY_EVENTS, EVENT_BYTES, Exceeded, IDLE_BYTES, LINE_BYTES};
use crate::count::Counts;
use crate::passage::Passage;
use crate::splice;
use crate::upstream::{anthropic, openai};
use event::{MediumUsage, chunk, content, medium, message, word_after};

mod event;

/// What has been seen of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub usage: Option<Usage>,
    pub finish: Option<FinishReason>,
    /// Events that brought a piece of the answer.
    pub pieces: u64,
    /// The provider reported a failure, in these words.
    pub failure: Option<String>,
    /// Its last event came.
    pub done: bool,
}

/// Looks at a stream of events. With `hide_usage` an event that has nothing but usage is held back, for a caller who did
/// not ask for it.
#[derive(Debug, Default)]
pub struct Events {
    passage: Passage,
    hide_usage: bool,
    line: Vec<u8>,
    /// The line is longer than what is kept of it.
    cut: bool,
    /// The event so far, while events are held until they are whole.
    held: Vec<u8>,
    hide: bool,
    /// Anthropic's counts, which come in parts.
    counts: anthropic::UsageBody,
    /// Bytes of the line, of the event, and since the last event, whether they are kept or not.
    length: Length,
    /// Events since the last piece of the answer.
    empty: u64,
    begun: bool,
    pub seen: Seen,
    /// The provider has sent too much: the stream has to end.
    pub exceeded: Option<Exceeded>,
}

#[derive(Debug, Default)]
struct Length {
    line: usize,
    event: usize,
    idle: usize,
}

/// Capacity of the line buffer that is kept for the next line.
const KEPT_BYTES: usize = 64 << 10;

impl Events {
    pub fn new(passage: Passage, hide_usage: bool) -> Self {
        Self { passage, hide_usage, ..Self::default() }
    }

    /// Looks at bytes that pass. `None`: they go on as they are; else what goes on in their place.
    pub fn pass(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.passage == Passage::Speech {
            self.seen.pieces = self.seen.pieces.max(u64::from(!bytes.is_empty()));
            return None;
        }
        let mut out = self.hide_usage.then(Vec::new);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.exceeded.is_some() {
                break;
            }
            self.keep(piece);
            if out.is_some() {
                self.held.extend_from_slice(piece);
            }
            if !piece.ends_with(b"\n") {
                continue;
            }
            let blank = !self.cut && self.line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            if !blank {
                self.look();
            }
            self.end_line(blank);
            if let (true, Some(out)) = (blank, &mut out) {
                let hide = std::mem::take(&mut self.hide);
                if !hide {
                    out.append(&mut self.held);
                }
                self.held.clear();
            }
        }
        out
    }

    /// What was held when the stream ended: an event without its empty line.
    pub fn rest(&mut self) -> Vec<u8> {
        if self.passage == Passage::Speech {
            // Its end is that of the connection.
            self.seen = Seen { usage: Some(Usage::default()), done: true, ..std::mem::take(&mut self.seen) };
            return Vec::new();
        }
        self.look();
        // Gemini's last event says why it ended, and does not look like the last.
        self.seen.done |= self.passage == Passage::GenerateContent && self.seen.finish.is_some();
        let hide = std::mem::take(&mut self.hide);
        if hide { Vec::new() } else { std::mem::take(&mut self.held) }
    }

    /// An event has come, or its first line is on its way: not only comments.
    pub fn has_begun(&self) -> bool {
        self.begun || self.line.starts_with(b"data:")
    }

    /// Bytes that are held: of the line, and of the event while it may be hidden.
    pub fn held(&self) -> usize {
        self.line.len() + self.held.len()
    }

    fn keep(&mut self, piece: &[u8]) {
        self.length.line += piece.len();
        self.length.event += piece.len();
        if self.length.line > LINE_BYTES {
            self.exceeded = Some(Exceeded::Line);
        } else if self.length.event > EVENT_BYTES {
            self.exceeded = Some(Exceeded::Event);
        }
        if self.line.len() + piece.len() > self.passage.line_bytes() {
            self.cut = true;
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn end_line(&mut self, blank: bool) {
        self.length.idle = match self.cut || self.line.starts_with(b"data:") {
            true => 0,
            false => self.length.idle + self.length.line,
        };
        if self.length.idle > IDLE_BYTES {
            self.exceeded = Some(Exceeded::Idle);
        }
        self.length.line = 0;
        if blank {
            self.length.event = 0;
        }
        self.line.clear();
        self.line.shrink_to(KEPT_BYTES);
        self.cut = false;
    }

    fn look(&mut self) {
        let before = self.seen.pieces;
        self.look_at_line();
        if self.seen.pieces > before {
            self.empty = 0;
        } else if self.line.starts_with(b"data:") {
            self.empty += 1;
        }
        if self.empty > EMPTY_EVENTS {
            self.exceeded = Some(Exceeded::Empty);
        }
    }

    fn look_at_line(&mut self) {
        if self.cut {
            self.seen.pieces += 1;
            return;
        }
        let Some(data) = self.line.strip_prefix(b"data:") else { return };
        self.begun = true;
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.seen.done = true;
        } else if self.passage == Passage::Messages {
            message(data, &mut self.counts, &mut self.seen);
        } else if self.passage == Passage::GenerateContent {
            content(data, &mut self.seen);
        } else if self.passage.medium().is_some() {
            medium(data, &mut self.seen);
        } else {
            self.hide |= chunk(data, self.hide_usage, &mut self.seen);
        }
    }
}

/// Looks at a whole answer.
pub fn whole(passage: Passage, body: &[u8]) -> Seen {
    if passage == Passage::GenerateContent {
        let mut seen = Seen::default();
        content(body, &mut seen);
        return Seen { pieces: 1, done: true, ..seen };
    }
    let usage = splice::field(body, "usage").map(String::from_utf8_lossy);
    let usage = usage.as_deref();
    let (usage, finish) = match passage {
        Passage::Messages => {
            let usage = usage.and_then(anthropic::UsageBody::read);
            (usage.map(Usage::from), word_after(body, "\"stop_reason\":").map(anthropic::reason))
        }
        _ if passage.medium().is_some() => {
            let usage = usage.and_then(MediumUsage::read);
            // Without tokens it is paid by the piece.
            (Some(usage.map(Usage::from).unwrap_or_default()), Some(FinishReason::Stop))
        }
        _ => {
            let usage = usage.and_then(openai::UsageBody::read).and_then(openai::UsageBody::usage);
            (usage, word_after(body, "\"finish_reason\":").map(openai::finish))
        }
    };
    let finish = finish.or((passage == Passage::Embeddings).then_some(FinishReason::Stop));
    Seen { usage, finish, pieces: 1, failure: None, done: true }
}

#[cfg(test)]
mod tests;
