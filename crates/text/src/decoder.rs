//! From generated tokens to deltas: reasoning, content and calls told apart, whole characters only, stop strings found.

use std::sync::Arc;

use chat::{Delta, FinishReason, TokenLogprob};

use crate::call_id::CallIds;
use crate::calls::{CallParser, Event};
use crate::stop::Stop;
use crate::utf8::Utf8;
use crate::{Encoding, EncodingName, Start};

/// Reads one answer.
pub struct Decoder {
    encoding: Arc<Encoding>,
    phase: Phase,
    utf8: Utf8,
    calls: Box<dyn CallParser>,
    stop: Stop,
    ids: CallIds,
    n_calls: usize,
    /// Of tokens whose text is not out yet.
    logprobs: Vec<TokenLogprob>,
    reasoning_tokens: u64,
    line_breaks: LineBreaks,
    ended: Option<FinishReason>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first token, which may be a think marker.
    Opening(Start),
    Reasoning,
    Answer,
}

/// The line breaks around reasoning, which R1 writes and nobody wants to read.
struct LineBreaks {
    /// R1's convention holds.
    r1: bool,
    /// How many may still be dropped from the beginning of what comes.
    leading: usize,
    /// Line breaks that are dropped if the reasoning ends here.
    held: String,
}

impl Decoder {
    /// `start` is the state the prompt left; `continues` that it gave the beginning of the answer.
    pub(crate) fn new(
        encoding: Arc<Encoding>,
        calls: Box<dyn CallParser>,
        start: Start,
        continues: bool,
        stop: &[String],
        seed: u64,
    ) -> Self {
        let r1 = encoding.name() == EncodingName::R1;
        let leading = if r1 && start == Start::Reasoning && !continues { usize::MAX } else { 0 };
        Self {
            encoding,
            phase: Phase::Opening(start),
            utf8: Utf8::default(),
            calls,
            stop: Stop::new(stop),
            ids: CallIds::new(seed),
            n_calls: 0,
            logprobs: Vec::new(),
            reasoning_tokens: 0,
            line_breaks: LineBreaks { r1, leading, held: String::new() },
            ended: None,
        }
    }

    /// For answers that are text and nothing else.
    pub(crate) fn raw(encoding: Arc<Encoding>, calls: Box<dyn CallParser>, stop: &[String], seed: u64) -> Self {
        let decoder = Self::new(encoding, calls, Start::Content, true, stop, seed);
        Self { phase: Phase::Answer, ..decoder }
    }

    /// Takes one generated token and appends what it makes certain: `Reasoning`, `Text`, `ToolCall` and `Arguments`.
    ///
    /// Returns why the answer ends here, when it does: the end token, or a stop string (whose text is not given out).
    /// From then on nothing is taken any more.
    pub fn push(&mut self, token: u32, logprob: Option<TokenLogprob>, out: &mut Vec<Delta>) -> Option<FinishReason> {
        if self.ended.is_some() {
            return self.ended;
        }
        if token == self.encoding.eos() {
            return Some(self.finish(FinishReason::Stop, out));
        }
        self.logprobs.extend(logprob);
        let encoding = self.encoding.clone();
        let bytes = encoding.tokenizer().bytes(token);
        if encoding.tokenizer().is_special(token) {
            let text = self.utf8.finish();
            self.text(&text, out);
            self.marker(token, &String::from_utf8_lossy(bytes), out);
        } else {
            self.open(None);
            self.reasoning_tokens += u64::from(self.phase == Phase::Reasoning);
            let text = self.utf8.push(bytes);
            self.text(&text, out);
        }
        self.ended
    }

    /// Ends the answer and appends what was held back. `Stop` means that the model had said all.
    ///
    /// Returns the reason to report: `ToolCalls` when the model ended by itself and called, `Length` when it ended
    /// inside of a call.
    pub fn finish(&mut self, reason: FinishReason, out: &mut Vec<Delta>) -> FinishReason {
        if let Some(ended) = self.ended {
            return ended;
        }
        let text = self.utf8.finish();
        self.text(&text, out);
        if let Some(ended) = self.ended {
            return ended;
        }
        let mut events = Vec::new();
        let by_itself = reason == FinishReason::Stop;
        let complete = self.calls.finish(!by_itself, &mut events);
        self.deliver(events, out);
        if let Some(ended) = self.ended {
            return ended;
        }
        let rest = self.stop.finish();
        self.content(rest, out);
        let reason = match reason {
            FinishReason::Stop if self.n_calls > 0 && complete => FinishReason::ToolCalls,
            FinishReason::Stop if self.n_calls > 0 => FinishReason::Length,
            reason => reason,
        };
        self.ended = Some(reason);
        reason
    }

    /// The next token belongs to the reasoning, as far as one can know.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.phase, Phase::Reasoning | Phase::Opening(Start::Reasoning))
    }

    /// Tokens between the think markers, markers excluded.
    pub fn reasoning_tokens(&self) -> u64 {
        self.reasoning_tokens
    }

    /// Decides, at the first token, where the answer begins. True when `marker` only said so and is done with.
    fn open(&mut self, marker: Option<u32>) -> bool {
        let Phase::Opening(start) = self.phase else { return false };
        let (think, end_think) = self.encoding.think_markers();
        let is = |known: Option<u32>| known.is_some() && known == marker;
        self.phase = if start == Start::Reasoning { Phase::Reasoning } else { Phase::Answer };
        if is(think) && (start == Start::Reasoning || self.line_breaks.r1) {
            self.phase = Phase::Reasoning;
            self.line_breaks.leading = if self.line_breaks.r1 { usize::MAX } else { 1 };
            return true;
        }
        is(end_think) && start == Start::Content
    }

    fn marker(&mut self, token: u32, text: &str, out: &mut Vec<Delta>) {
        if self.open(Some(token)) {
            self.logprobs.clear();
        } else if self.phase != Phase::Reasoning {
            let mut events = Vec::new();
            self.calls.marker(token, text, &mut events);
            self.deliver(events, out);
        } else if Some(token) == self.encoding.think_markers().1 {
            self.phase = Phase::Answer;
            self.logprobs.clear();
            self.line_breaks.held.clear();
            self.line_breaks.leading = if self.line_breaks.r1 { 2 } else { 0 };
        } else {
            self.reasoning_tokens += 1;
            self.text(text, out);
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<Delta>) {
        let text = self.line_breaks.strip_leading(text);
        if text.is_empty() {
            return;
        }
        if self.phase == Phase::Reasoning {
            let text = self.line_breaks.hold_trailing(text);
            self.reasoning(text, out);
        } else {
            let mut events = Vec::new();
            self.calls.text(text, &mut events);
            self.deliver(events, out);
        }
    }

    /// Content passes the stop strings; the first call ends it.
    fn deliver(&mut self, events: Vec<Event>, out: &mut Vec<Delta>) {
        for event in events {
            match event {
                Event::Text(text) => {
                    let (text, hit) = self.stop.push(&text);
                    self.content(text, out);
                    if let Some(index) = hit {
                        self.ended = Some(FinishReason::StopString(index));
                        return;
                    }
                }
                Event::Call { name } => {
                    let rest = self.stop.finish();
                    self.content(rest, out);
                    self.logprobs.clear();
                    let index = self.n_calls;
                    self.n_calls += 1;
                    out.push(Delta::ToolCall { index, id: self.ids.next(index), name });
                }
                Event::Arguments(text) => self.arguments(text, out),
            }
        }
    }

    fn reasoning(&mut self, more: String, out: &mut Vec<Delta>) {
        if more.is_empty() {
            return;
        }
        let more_logprobs = std::mem::take(&mut self.logprobs);
        match out.last_mut() {
            Some(Delta::Reasoning { text, logprobs }) => {
                text.push_str(&more);
                logprobs.extend(more_logprobs);
            }
            _ => out.push(Delta::Reasoning { text: more, logprobs: more_logprobs }),
        }
    }

    fn content(&mut self, more: String, out: &mut Vec<Delta>) {
        if more.is_empty() {
            return;
        }
        let more_logprobs = std::mem::take(&mut self.logprobs);
        match out.last_mut() {
            Some(Delta::Text { text, logprobs }) => {
                text.push_str(&more);
                logprobs.extend(more_logprobs);
            }
            _ => out.push(Delta::Text { text: more, logprobs: more_logprobs }),
        }
    }

    fn arguments(&mut self, more: String, out: &mut Vec<Delta>) {
        self.logprobs.clear();
        if more.is_empty() {
            return;
        }
        match out.last_mut() {
            Some(Delta::Arguments { text, .. }) => text.push_str(&more),
            _ => out.push(Delta::Arguments { index: self.n_calls - 1, text: more }),
        }
    }
}

impl LineBreaks {
    fn strip_leading<'a>(&mut self, mut text: &'a str) -> &'a str {
        while self.leading > 0 && !text.is_empty() {
            let Some(rest) = text.strip_prefix('\n') else {
                self.leading = 0;
                break;
            };
            self.leading -= 1;
            text = rest;
        }
        text
    }

    /// The text so far, without line breaks that may turn out to be the last ones.
    fn hold_trailing(&mut self, text: &str) -> String {
        if !self.r1 {
            return text.to_owned();
        }
        // What is held is line breaks: only what is new is looked at.
        let (sure, breaks) = text.split_at(text.trim_end_matches('\n').len());
        if sure.is_empty() {
            self.held.push_str(breaks);
            return String::new();
        }
        let mut out = std::mem::replace(&mut self.held, breaks.to_owned());
        out.push_str(sure);
        out
    }
}
