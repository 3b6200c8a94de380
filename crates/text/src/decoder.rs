//! A decoder turns generated tokens into deltas: it separates reasoning, content and tool calls,
//! waits for whole characters, and finds stop strings.

use std::sync::Arc;

use chat::{Chat, Delta, Error, FinishReason, Input, Reply, TokenLogprob, Tool, fold};

use crate::call_id::CallIdGenerator;
use crate::call_parser::{CallParser, ParserEvent, PlainTextParser};
use crate::encoding::{Encoding, Rendered};
use crate::encoding_name::EncodingName;
use crate::prompt_format::ResponseStart;
use crate::reasoning_trimmer::ReasoningTrimmer;
use crate::stop_matcher::StopMatcher;
use crate::utf8_decoder::Utf8Decoder;

/// Decodes the tokens of one answer.
pub struct Decoder {
    encoding: Arc<Encoding>,
    phase: Phase,
    utf8: Utf8Decoder,
    call_parser: Box<dyn CallParser>,
    stop_matcher: StopMatcher,
    call_ids: CallIdGenerator,
    call_count: usize,
    /// The log-probabilities of tokens whose text has not been emitted yet.
    logprobs: Vec<TokenLogprob>,
    reasoning_tokens: u64,
    trimmer: ReasoningTrimmer,
    /// Tokens that end the answer besides the end-of-sentence token.
    more_end_tokens: Vec<u32>,
    /// The marker of a call that ends open reasoning; `None` for an answer without tools.
    call_start: Option<u32>,
    finish_reason: Option<FinishReason>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first token, which may be a reasoning marker.
    Opening(ResponseStart),
    Reasoning,
    Answer,
}

impl Encoding {
    /// Creates a decoder of the answer to `rendered`, the prompt of `chat`.
    pub fn decoder(self: &Arc<Self>, chat: &Chat, rendered: &Rendered) -> Decoder {
        self.decoder_with_seed(chat, rendered, self.next_seed())
    }

    /// Like [`Encoding::decoder`], with ids of tool calls that depend on `seed` alone.
    pub fn decoder_with_seed(self: &Arc<Self>, chat: &Chat, rendered: &Rendered, seed: u64) -> Decoder {
        let mut decoder = match &chat.input {
            Input::Text { .. } | Input::Tokens(_) => {
                let shows_markers = matches!(chat.input, Input::Text { .. }) && !chat.parse_special;
                let parser = PlainTextParser { shows_markers };
                Decoder::raw(self.clone(), Box::new(parser), &chat.stop, seed)
            }
            Input::Messages(messages) => {
                let is_continuation = messages.last().is_some_and(|message| message.prefix);
                Decoder::new(self.clone(), &chat.tools, rendered.start, is_continuation, &chat.stop, seed)
            }
        };
        decoder.more_end_tokens.extend(&chat.end_tokens);
        decoder
    }
}

/// Parses a whole answer. `text` is the generated text with its control tokens spelled out; the
/// end-of-sentence token is optional. With `thinking` the prompt ended inside the reasoning.
///
/// # Errors
/// `Internal` when the deltas of the answer contradict each other, which is a bug of this crate.
pub fn parse_completion(encoding: &Arc<Encoding>, thinking: bool, text: &str, tools: &[Tool]) -> Result<Reply, Error> {
    let start = if thinking { ResponseStart::Reasoning } else { ResponseStart::Content };
    let seed = encoding.next_seed();
    let mut decoder = Decoder::new(encoding.clone(), tools, start, false, &[], seed);
    let mut deltas = Vec::new();
    let tokens = encoding.tokenizer().encode_with_added_tokens(text);
    let ended = tokens.into_iter().find_map(|token| decoder.push(token, None, &mut deltas));
    let finish = ended.unwrap_or_else(|| decoder.finish(FinishReason::Stop, &mut deltas));
    let mut reply = fold(deltas.into_iter().map(Ok))?;
    reply.finish = Some(finish);
    Ok(reply)
}

impl Decoder {
    /// `start` is the part of the answer that comes first. With `is_continuation` the prompt
    /// contained the beginning of the answer.
    pub(crate) fn new(
        encoding: Arc<Encoding>,
        tools: &[Tool],
        start: ResponseStart,
        is_continuation: bool,
        stop: &[String],
        seed: u64,
    ) -> Self {
        let is_r1 = encoding.name() == EncodingName::R1;
        let leading_to_drop =
            if is_r1 && start == ResponseStart::Reasoning && !is_continuation { usize::MAX } else { 0 };
        Self {
            phase: Phase::Opening(start),
            utf8: Utf8Decoder::default(),
            call_parser: encoding.call_parser(tools),
            stop_matcher: StopMatcher::new(stop),
            call_ids: CallIdGenerator::new(seed),
            call_count: 0,
            logprobs: Vec::new(),
            reasoning_tokens: 0,
            trimmer: ReasoningTrimmer {
                is_r1,
                holds_tag_start: encoding.name() == EncodingName::V32 && !tools.is_empty(),
                leading_to_drop,
                pending: String::new(),
            },
            more_end_tokens: encoding.more_end_tokens().to_vec(),
            call_start: encoding.call_start().filter(|_| !tools.is_empty()),
            finish_reason: None,
            encoding,
        }
    }

    /// Creates a decoder of answers that are plain text.
    pub(crate) fn raw(encoding: Arc<Encoding>, call_parser: Box<dyn CallParser>, stop: &[String], seed: u64) -> Self {
        let decoder = Self::new(encoding, &[], ResponseStart::Content, true, stop, seed);
        Self { phase: Phase::Answer, call_parser, ..decoder }
    }

    /// Decodes one generated token and appends the deltas that it makes certain: `Reasoning`,
    /// `Text`, `ToolCall` and `Arguments`.
    ///
    /// Returns the reason if the answer ends here: by the end token, or by a stop string, whose
    /// text is not emitted. Later tokens are ignored.
    pub fn push(&mut self, token: u32, logprob: Option<TokenLogprob>, out: &mut Vec<Delta>) -> Option<FinishReason> {
        if self.finish_reason.is_some() {
            return self.finish_reason;
        }
        if token == self.encoding.eos() || self.more_end_tokens.contains(&token) {
            return Some(self.finish(FinishReason::Stop, out));
        }
        self.logprobs.extend(logprob);
        let encoding = self.encoding.clone();
        let bytes = encoding.tokenizer().bytes(token);
        if encoding.tokenizer().is_added_token(token) {
            let text = self.utf8.finish();
            self.push_text(&text, out);
            self.push_marker(token, &String::from_utf8_lossy(bytes), out);
        } else {
            self.resolve_opening(None);
            self.reasoning_tokens += u64::from(self.phase == Phase::Reasoning);
            let text = self.utf8.push(bytes);
            self.push_text(&text, out);
        }
        self.finish_reason
    }

    /// Ends the answer and appends the text that was held back. `Stop` means that the model ended
    /// the answer itself.
    ///
    /// Returns the reason to report: `ToolCalls` when the model ended the answer after a call,
    /// `Length` when it ended inside a call.
    pub fn finish(&mut self, reason: FinishReason, out: &mut Vec<Delta>) -> FinishReason {
        if let Some(ended) = self.finish_reason {
            return ended;
        }
        let text = self.utf8.finish();
        self.push_text(&text, out);
        if let Some(ended) = self.finish_reason {
            return ended;
        }
        let rest = self.trimmer.end();
        self.emit_reasoning(rest, out);
        let mut events = Vec::new();
        let ended_by_model = reason == FinishReason::Stop;
        let complete = self.call_parser.finish(!ended_by_model, &mut events);
        self.emit_events(events, out);
        if let Some(ended) = self.finish_reason {
            return ended;
        }
        let rest = self.stop_matcher.finish();
        self.emit_content(rest, out);
        let reason = match reason {
            FinishReason::Stop if self.call_count > 0 && complete => FinishReason::ToolCalls,
            FinishReason::Stop if self.call_count > 0 => FinishReason::Length,
            reason => reason,
        };
        self.finish_reason = Some(reason);
        reason
    }

    /// The tokens that end the answer besides the end-of-sentence token.
    pub fn more_end_tokens(&self) -> &[u32] {
        &self.more_end_tokens
    }

    /// Whether the next token belongs to the reasoning, as far as the tokens so far determine it.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.phase, Phase::Reasoning | Phase::Opening(ResponseStart::Reasoning))
    }

    /// The reasoning markers that may come next: those that the decoder takes as markers. Elsewhere
    /// they would be text.
    pub fn allowed_think_tokens(&self) -> impl Iterator<Item = u32> {
        let (think, end_think) = self.encoding.think_tokens();
        let opens = match self.phase {
            Phase::Opening(start) => start == ResponseStart::Reasoning || self.trimmer.is_r1,
            Phase::Reasoning | Phase::Answer => false,
        };
        think.filter(|_| opens).into_iter().chain(end_think.filter(|_| self.phase != Phase::Answer))
    }

    /// Whether a call may begin here, within the reasoning, and end it.
    pub fn can_call_end_reasoning(&self) -> bool {
        self.is_reasoning() && self.call_start.is_some() && self.trimmer.may_begin_call()
    }

    /// Number of tokens between the reasoning markers, markers excluded.
    pub fn reasoning_tokens(&self) -> u64 {
        self.reasoning_tokens
    }

    /// Decides at the first token which part of the answer comes first. Returns whether `marker`
    /// only announced that part, so that it is consumed.
    fn resolve_opening(&mut self, marker: Option<u32>) -> bool {
        let Phase::Opening(start) = self.phase else { return false };
        let (think, end_think) = self.encoding.think_tokens();
        let is = |known: Option<u32>| known.is_some() && known == marker;
        self.phase = if start == ResponseStart::Reasoning { Phase::Reasoning } else { Phase::Answer };
        if is(think) && (start == ResponseStart::Reasoning || self.trimmer.is_r1) {
            self.phase = Phase::Reasoning;
            self.trimmer.leading_to_drop = if self.trimmer.is_r1 { usize::MAX } else { 1 };
            return true;
        }
        is(end_think) && start == ResponseStart::Content
    }

    fn push_marker(&mut self, token: u32, text: &str, out: &mut Vec<Delta>) {
        if self.resolve_opening(Some(token)) {
            self.logprobs.clear();
        } else if self.phase != Phase::Reasoning {
            let mut events = Vec::new();
            self.call_parser.push_marker(token, text, &mut events);
            self.emit_events(events, out);
        } else if Some(token) == self.encoding.think_tokens().1 {
            let rest = self.trimmer.end();
            self.emit_reasoning(rest, out);
            self.phase = Phase::Answer;
            self.logprobs.clear();
            self.trimmer.leading_to_drop = if self.trimmer.is_r1 { 2 } else { 0 };
        } else if let Some(lead) = self.call_lead(token) {
            self.phase = Phase::Answer;
            self.logprobs.clear();
            let mut events = Vec::new();
            self.call_parser.push_text(lead, &mut events);
            self.call_parser.push_marker(token, text, &mut events);
            self.emit_events(events, out);
        } else {
            self.reasoning_tokens += 1;
            self.push_text(text, out);
        }
    }

    /// Ends the reasoning if `token` begins a call in it, as models write that do not close it
    /// first. Returns the text of the call before the token.
    fn call_lead(&mut self, token: u32) -> Option<&'static str> {
        self.call_start.filter(|start| *start == token).and_then(|_| self.trimmer.end_with_call())
    }

    fn push_text(&mut self, text: &str, out: &mut Vec<Delta>) {
        let text = self.trimmer.strip_leading(text);
        if text.is_empty() {
            return;
        }
        if self.phase == Phase::Reasoning {
            let text = self.trimmer.hold_trailing(text);
            self.emit_reasoning(text, out);
        } else {
            let mut events = Vec::new();
            self.call_parser.push_text(text, &mut events);
            self.emit_events(events, out);
        }
    }

    /// Emits the deltas of parser events. Content goes through the stop strings; the
    /// first call ends it.
    fn emit_events(&mut self, events: Vec<ParserEvent>, out: &mut Vec<Delta>) {
        for event in events {
            match event {
                ParserEvent::Text(text) => {
                    let (text, hit) = self.stop_matcher.push(&text);
                    self.emit_content(text, out);
                    if let Some(index) = hit {
                        self.finish_reason = Some(FinishReason::StopString(index));
                        return;
                    }
                }
                ParserEvent::Call { name } => {
                    let rest = self.stop_matcher.finish();
                    self.emit_content(rest, out);
                    self.logprobs.clear();
                    let index = self.call_count;
                    self.call_count += 1;
                    out.push(Delta::ToolCall { index, id: self.call_ids.next(index), name });
                }
                ParserEvent::Arguments(text) => self.emit_arguments(text, out),
            }
        }
    }

    fn emit_reasoning(&mut self, more: String, out: &mut Vec<Delta>) {
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

    fn emit_content(&mut self, more: String, out: &mut Vec<Delta>) {
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

    fn emit_arguments(&mut self, more: String, out: &mut Vec<Delta>) {
        self.logprobs.clear();
        if more.is_empty() {
            return;
        }
        match out.last_mut() {
            Some(Delta::Arguments { text, .. }) => text.push_str(&more),
            _ => out.push(Delta::Arguments { index: self.call_count - 1, text: more }),
        }
    }
}
