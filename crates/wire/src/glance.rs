//! A look at answers that pass by untouched: what they cost, why they ended, whether they failed.

use std::fmt;

use chat::{FinishReason, Usage};
use memchr::memmem;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::bounds::{EMPTY_EVENTS, EVENT_BYTES, Exceeded, IDLE_BYTES, LINE_BYTES, has_few_values};
use crate::count::{Count, Counts};
use crate::passage::Passage;
use crate::splice;
use crate::upstream::{anthropic, gemini, openai};

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

/// What is kept of the memory of a line.
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

fn has(data: &[u8], needle: &str) -> bool {
    memmem::find(data, needle.as_bytes()).is_some()
}

/// Looks at one chunk. Returns whether it has nothing but usage, and is to be hidden then.
fn chunk(data: &[u8], hide_usage: bool, seen: &mut Seen) -> bool {
    let has = |needle| has(data, needle);
    let mut hide = false;
    // Only few events need to be read.
    if has("\"usage\":") && !has("\"usage\":null") && !has("\"usage\": null") {
        let chunk: Option<Chunk> = serde_json::from_slice(data).ok();
        if let Some(Chunk { usage: Some(usage), choices }) = chunk {
            seen.usage = openai::UsageBody::of(Some(usage)).and_then(openai::UsageBody::usage).or(seen.usage);
            hide = hide_usage && choices.is_empty();
        }
    }
    if let Some(reason) = word_after(data, "\"finish_reason\":") {
        seen.finish = Some(openai::finish(reason));
    }
    if (has("\"delta\"") && !has("\"role\"")) || has("\"text\":") {
        seen.pieces += 1;
    }
    if has("\"error\"") && !has("\"choices\"") {
        seen.failure = Some(failure(data));
    }
    hide
}

/// Looks at one event of Anthropic's.
fn message(data: &[u8], counts: &mut anthropic::UsageBody, seen: &mut Seen) {
    // The most frequent kind is not read.
    if has(data, "\"content_block_delta\"") {
        seen.pieces += 1;
        return;
    }
    let Ok(event) = serde_json::from_slice::<MessageEvent>(data) else { return };
    for usage in [event.usage, event.message.and_then(|message| message.usage)] {
        let Some(usage) = anthropic::UsageBody::of(usage) else { continue };
        counts.update(usage);
        seen.usage = Some((*counts).into());
    }
    if let Some(reason) = event.delta.and_then(|delta| delta.stop_reason) {
        seen.finish = Some(anthropic::reason(&reason));
    }
    match event.kind.as_str() {
        "message_stop" => seen.done = true,
        "error" => seen.failure = Some(failure(data)),
        _ => {}
    }
}

/// Looks at one event of Gemini's, or at its whole answer.
fn content(data: &[u8], seen: &mut Seen) {
    let Ok(event) = serde_json::from_slice::<ContentEvent>(data) else { return };
    seen.pieces += u64::from(event.candidates.any);
    seen.usage = gemini::UsageBody::of(event.usage_metadata).map(Usage::from).or(seen.usage);
    let ended = event.candidates.finish_reason;
    let ended = ended.map(|reason| gemini::reason(&reason, has(data, "\"functionCall\"")));
    let blocked = event.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
    seen.finish = blocked.then_some(FinishReason::ContentFilter).or(ended).or(seen.finish);
    if event.error.is_some() {
        seen.failure = Some(failure(data));
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentEvent<'a> {
    #[serde(default)]
    candidates: Candidates,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    prompt_feedback: Option<gemini::Feedback>,
    error: Option<serde::de::IgnoredAny>,
}

/// The candidates of an answer: that there are any, and the first reason for their end. They are not kept, there may be millions.
#[derive(Default)]
struct Candidates {
    any: bool,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentEnd {
    finish_reason: Option<String>,
}

impl<'de> Deserialize<'de> for Candidates {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Candidates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of candidates")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Candidates, A::Error> {
                let mut candidates = Candidates::default();
                while let Some(ContentEnd { finish_reason }) = list.next_element()? {
                    candidates.any = true;
                    candidates.finish_reason = candidates.finish_reason.or(finish_reason);
                }
                Ok(candidates)
            }
        }
        json.deserialize_seq(List)
    }
}

/// Looks at one event of an image or a transcript.
fn medium(data: &[u8], seen: &mut Seen) {
    seen.pieces += 1;
    // The large ones are pictures in the making.
    if !has(data, "\"usage\"") && !has(data, "\"error\"") && !has(data, ".done\"") && !has(data, ".completed\"") {
        return;
    }
    let Ok(event) = serde_json::from_slice::<MediumEvent>(data) else { return };
    seen.usage = MediumUsage::of(event.usage).map(Usage::from).or(seen.usage);
    if event.kind.ends_with(".done") || event.kind.ends_with(".completed") {
        seen.finish = Some(FinishReason::Stop);
        seen.usage = seen.usage.or(Some(Usage::default()));
    }
    if event.kind == "error" || event.error.is_some() {
        seen.failure = Some(failure(data));
    }
}

#[derive(Deserialize)]
struct MediumEvent<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    error: Option<serde::de::IgnoredAny>,
}

/// What images and transcripts count by.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MediumUsage {
    input_tokens: Count,
    output_tokens: Count,
}

impl Counts for MediumUsage {
    const UNREADABLE: Self = Self { input_tokens: Count::UNREADABLE, output_tokens: Count::NONE };
}

impl From<MediumUsage> for Usage {
    fn from(usage: MediumUsage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens.tokens(),
            completion_tokens: usage.output_tokens.tokens(),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
struct MessageEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    message: Option<MessageBody<'a>>,
    delta: Option<MessageEnd>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageBody<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageEnd {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    choices: Vec<serde::de::IgnoredAny>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
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

/// The string that follows the last `key`, if one does. A key inside a string has its quotes escaped and is another.
fn word_after<'a>(data: &'a [u8], key: &str) -> Option<&'a str> {
    let from = memmem::rfind(data, key.as_bytes())? + key.len();
    let rest = data[from..].trim_ascii_start().strip_prefix(b"\"")?;
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}

fn failure(data: &[u8]) -> String {
    // An error of more values is none that could be told.
    const MOST: usize = 10_000;
    let value = has_few_values(data, MOST).then(|| serde_json::from_slice::<Value>(data).ok());
    let value = value.flatten().unwrap_or_default();
    let words = ["/error/message", "/error"].iter().find_map(|pointer| value.pointer(pointer)?.as_str());
    words.unwrap_or("the provider broke off").chars().take(500).collect()
}

#[cfg(test)]
mod tests;
