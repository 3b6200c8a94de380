//! The front door: a tokenizer and a prompt format together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat::{Chat, Error, FinishReason, Input, Message, Part, Reply, Tool, fold};

use crate::calls::{CallParser, NoCalls};
use crate::grammar::{Grammar, grammar};
use crate::limit::{PromptLimit, RenderError};
use crate::pieces::Pieces;
use crate::prompt::{
    ASSISTANT, BOS, DSML, END_THINK, EOS, FIM_BEGIN, FIM_END, FIM_HOLE, Prompt, SEARCH_BEGIN, THINK, USER, prompt,
};
use crate::{Decoder, EncodingName, Start, TextError, Tokenizer};

/// A tokenizer and a prompt format. Costly to make, cheap to share in an `Arc`.
pub struct Encoding {
    tokenizer: Tokenizer,
    name: EncodingName,
    prompt: Box<dyn Prompt>,
    eos: u32,
    call_markers: Vec<u32>,
    think: Option<u32>,
    end_think: Option<u32>,
    supports_fim: bool,
    /// Where the ids of calls come from: every decoder takes the next seed.
    seeds: AtomicU64,
}

/// A prompt, as text and as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    pub text: String,
    pub tokens: Vec<u32>,
    /// What the first generated token belongs to.
    pub start: Start,
}

impl Encoding {
    /// # Errors
    /// `MissingToken` when the tokenizer lacks a control token of the format, `Random` when the system has no randomness.
    pub fn new(tokenizer: Tokenizer, name: EncodingName) -> Result<Self, TextError> {
        let prompt = prompt(name);
        let mut markers = [BOS, EOS, USER, ASSISTANT].iter().chain(prompt.markers());
        if let Some(token) = markers.find(|token| tokenizer.marker(token).is_none()) {
            return Err(TextError::MissingToken { encoding: name.as_str(), token });
        }
        let eos = tokenizer.marker(EOS).ok_or(TextError::MissingToken { encoding: name.as_str(), token: EOS })?;
        let seed = getrandom::u64().map_err(|error| TextError::Random { reason: error.to_string() })?;
        Ok(Self {
            eos,
            call_markers: prompt.call_markers().iter().filter_map(|token| tokenizer.marker(token)).collect(),
            think: tokenizer.marker(THINK),
            end_think: tokenizer.marker(END_THINK),
            supports_fim: [FIM_BEGIN, FIM_HOLE, FIM_END].iter().all(|token| tokenizer.marker(token).is_some()),
            seeds: AtomicU64::new(seed),
            tokenizer,
            name,
            prompt,
        })
    }

    /// Which encoding a checkpoint wants, by its added tokens and the `model_type` of its configuration.
    pub fn detect(tokenizer: &Tokenizer, model_type: &str) -> EncodingName {
        let has = |token| tokenizer.marker(token).is_some();
        match () {
            () if has(DSML) => EncodingName::V32,
            () if has(SEARCH_BEGIN) && model_type == "deepseek_v32" => EncodingName::V32Exp,
            () if has(SEARCH_BEGIN) => EncodingName::V31,
            () if has(THINK) => EncodingName::R1,
            () => EncodingName::V3,
        }
    }

    pub fn name(&self) -> EncodingName {
        self.name
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The token that ends an answer.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The control tokens that only tool calls are made of: an engine that must not call bans them.
    pub fn call_markers(&self) -> &[u32] {
        &self.call_markers
    }

    /// Calls may begin behind `token`: DSML has a `<` before its marker.
    pub fn may_call_behind(&self, token: u32) -> bool {
        self.name != EncodingName::V32 || self.tokenizer.bytes(token).ends_with(b"<")
    }

    /// The shape promised for the answer to `chat`; `None` when it is free text without calls.
    ///
    /// # Errors
    /// `Invalid` when a schema cannot be honoured, with its path.
    pub fn grammar(&self, chat: &Chat) -> Result<Option<Grammar>, Error> {
        // R1 writes line breaks between reasoning and answer.
        let lead = if self.name == EncodingName::R1 { "/\\n{0,2}/" } else { "" };
        grammar(chat, lead, |tools, many| self.prompt.call_rules(&self.tokenizer, tools, many))
    }

    /// The tokens of the answer's beginning that the caller has given.
    pub fn given(&self, chat: &Chat, rendered: &Rendered) -> Vec<u32> {
        let Input::Messages(messages) = &chat.input else { return Vec::new() };
        let last = messages.last().filter(|message| message.prefix && rendered.start == Start::Content);
        last.map_or_else(Vec::new, |message| self.tokenizer.encode(&message.text()))
    }

    /// The tokens around reasoning, where the format has reasoning.
    pub(crate) fn think_markers(&self) -> (Option<u32>, Option<u32>) {
        if self.supports_thinking() { (self.think, self.end_think) } else { (None, None) }
    }

    pub fn supports_thinking(&self) -> bool {
        self.name != EncodingName::V3
    }

    /// Answers without thinking are possible.
    pub fn supports_plain(&self) -> bool {
        self.name != EncodingName::R1
    }

    pub fn supports_fim(&self) -> bool {
        self.supports_fim
    }

    /// The prompt of a chat. `thinking` that is not said means no thinking; R1 always thinks and V3 never does.
    ///
    /// # Errors
    /// `Invalid` when the format cannot express the chat, or when nothing would be left to answer.
    pub fn render(&self, chat: &Chat) -> Result<Rendered, Error> {
        self.render_within(chat, &PromptLimit::new(usize::MAX)).map_err(|error| match error {
            RenderError::Refused(error) => error,
            RenderError::TooLong { .. } | RenderError::Cancelled => {
                Error::internal("a prompt without a limit was refused")
            }
        })
    }

    /// The same of at most so many tokens.
    ///
    /// # Errors
    /// As [`Encoding::render`]; `TooLong` when the prompt has more tokens for sure. One that is short comes whole, however many
    /// it has.
    pub fn render_within(&self, chat: &Chat, limit: &PromptLimit) -> Result<Rendered, RenderError> {
        let mut pieces = Pieces::new(&self.tokenizer);
        pieces.template(BOS);
        let start = match &chat.input {
            Input::Messages(messages) => self.conversation(chat, messages, true, &mut pieces)?,
            Input::Text { prefix, suffix } => Some(self.text(chat, prefix, suffix.as_deref(), &mut pieces)?),
            Input::Tokens(tokens) => return self.tokens(tokens, limit),
        };
        let Some(start) = start else {
            return Err(RenderError::Refused(Error::invalid(format!(
                "The last message of {} must be a user message, or an assistant message with prefix mode on (refer to \
                 https://api-docs.deepseek.com/guides/chat_prefix_completion).",
                chat.model
            ))));
        };
        let (text, tokens) = pieces.finish_within(limit)?;
        Ok(Rendered { text, tokens, start })
    }

    /// A conversation as it stands, whoever spoke last: what the releases' own templates and encoders write.
    /// `generate` asks for the opening of an answer, where the format sets that apart.
    ///
    /// # Errors
    /// As [`Encoding::render`]; a raw completion is no conversation.
    pub fn transcript(&self, chat: &Chat, generate: bool) -> Result<(String, Vec<u32>), Error> {
        let Input::Messages(messages) = &chat.input else {
            return Err(Error::invalid("a completion of raw text is not a conversation"));
        };
        let mut pieces = Pieces::new(&self.tokenizer);
        pieces.template(BOS);
        self.conversation(chat, messages, generate, &mut pieces)?;
        Ok(pieces.finish())
    }

    fn conversation(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        pieces: &mut Pieces<'_>,
    ) -> Result<Option<Start>, Error> {
        for (index, message) in messages.iter().enumerate() {
            if let Some(kind) = not_text(message) {
                return Err(Error::invalid(format!(
                    "Failed to deserialize the JSON body into the target type: messages[{index}]: unknown variant {kind}, \
                     expected text"
                )));
            }
        }
        self.prompt.write(chat, messages, generate, pieces)
    }

    /// Raw completion, or fill-in-the-middle in the order prefix, suffix, middle.
    fn text(&self, chat: &Chat, prefix: &str, suffix: Option<&str>, pieces: &mut Pieces<'_>) -> Result<Start, Error> {
        let Some(suffix) = suffix else {
            pieces.content(prefix);
            return Ok(Start::Content);
        };
        if !self.supports_fim {
            return Err(Error::invalid(format!("{} does not support FIM", chat.model)));
        }
        pieces.template(FIM_BEGIN);
        pieces.content(prefix);
        pieces.template(FIM_HOLE);
        pieces.content(suffix);
        pieces.template(FIM_END);
        Ok(Start::Content)
    }

    /// Raw completion of the caller's own tokens. They may begin with the begin-of-sentence token, or leave it to us.
    fn tokens(&self, given: &[u32], limit: &PromptLimit) -> Result<Rendered, RenderError> {
        let known = self.tokenizer.len();
        if let Some(unknown) = given.iter().find(|&&id| id as usize >= known) {
            let message = format!("Invalid prompt: there is no token {unknown}, ids are below {known}");
            return Err(Error::invalid(message).into());
        }
        if given.len() > limit.tokens {
            return Err(RenderError::TooLong { at_least: given.len() });
        }
        let bos = self.tokenizer.marker(BOS).filter(|bos| given.first() != Some(bos));
        let tokens: Vec<u32> = bos.into_iter().chain(given.iter().copied()).collect();
        Ok(Rendered { text: self.tokenizer.decode(&tokens), tokens, start: Start::Content })
    }

    /// Reads the answer to `rendered`, which came of `chat`.
    pub fn decoder(self: &Arc<Self>, chat: &Chat, rendered: &Rendered) -> Decoder {
        self.decoder_seeded(chat, rendered, self.seeds.fetch_add(1, Ordering::Relaxed))
    }

    /// As [`Encoding::decoder`]; the same `seed` gives the same ids of tool calls.
    pub fn decoder_seeded(self: &Arc<Self>, chat: &Chat, rendered: &Rendered, seed: u64) -> Decoder {
        match &chat.input {
            Input::Text { .. } | Input::Tokens(_) => Decoder::raw(self.clone(), Box::new(NoCalls), &chat.stop, seed),
            Input::Messages(messages) => {
                let continues = messages.last().is_some_and(|message| message.prefix);
                Decoder::new(self.clone(), self.calls(&chat.tools), rendered.start, continues, &chat.stop, seed)
            }
        }
    }

    fn calls(&self, tools: &[Tool]) -> Box<dyn CallParser> {
        self.prompt.calls(&self.tokenizer, tools)
    }
}

/// Reads a whole answer: `text` is what the model generated, its control tokens written out. The end-of-sentence token
/// may be there or not. With `thinking` the prompt ended inside the reasoning.
///
/// # Errors
/// `Internal` when the deltas of the answer contradict each other, which is a fault of this crate.
pub fn parse(encoding: &Arc<Encoding>, thinking: bool, text: &str, tools: &[Tool]) -> Result<Reply, Error> {
    let start = if thinking { Start::Reasoning } else { Start::Content };
    let seed = encoding.seeds.fetch_add(1, Ordering::Relaxed);
    let mut decoder = Decoder::new(encoding.clone(), encoding.calls(tools), start, false, &[], seed);
    let mut deltas = Vec::new();
    let tokens = encoding.tokenizer.encode_marked(text);
    let ended = tokens.into_iter().find_map(|token| decoder.push(token, None, &mut deltas));
    let finish = ended.unwrap_or_else(|| decoder.finish(FinishReason::Stop, &mut deltas));
    let mut reply = fold(deltas.into_iter().map(Ok))?;
    reply.finish = Some(finish);
    Ok(reply)
}

fn not_text(message: &Message) -> Option<&str> {
    let parts = message.content.iter().flatten();
    parts.filter_map(|part| if let Part::Other { kind, .. } = part { Some(kind.as_str()) } else { None }).next()
}
