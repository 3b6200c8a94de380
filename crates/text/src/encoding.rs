//! The front door: a tokenizer and a prompt format together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chat::{Chat, Error, FinishReason, Input, Message, Part, Reply, Tool, fold};

use crate::call_parser::{CallParser, PlainTextParser};
use crate::grammar::{Grammar, answer_grammar};
use crate::prompt_format::{
    ASSISTANT, BOS, DSML, END_THINK, EOS, FIM_BEGIN, FIM_END, FIM_HOLE, PromptFormat, SEARCH_BEGIN, THINK, USER,
    prompt_format,
};
use crate::prompt_limit::{PromptLimit, RenderError};
use crate::prompt_writer::PromptWriter;
use crate::{Decoder, EncodingName, ResponseStart, TextError, Tokenizer};

/// A tokenizer and a prompt format. Costly to make, cheap to share in an `Arc`.
pub struct Encoding {
    tokenizer: Tokenizer,
    name: EncodingName,
    format: Box<dyn PromptFormat>,
    eos: u32,
    call_markers: Vec<u32>,
    think: Option<u32>,
    end_think: Option<u32>,
    supports_fim: bool,
    /// Where the ids of calls come from: every decoder takes the next seed.
    next_call_id_seed: AtomicU64,
}

/// A prompt, as text and as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    pub text: String,
    pub tokens: Vec<u32>,
    /// What the first generated token belongs to.
    pub start: ResponseStart,
}

impl Encoding {
    /// # Errors
    /// `MissingToken` when the tokenizer lacks a control token of the format, `Random` when the
    /// system has no randomness.
    pub fn new(tokenizer: Tokenizer, name: EncodingName) -> Result<Self, TextError> {
        let prompt = prompt_format(name);
        let mut markers = [BOS, EOS, USER, ASSISTANT].iter().chain(prompt.required_tokens());
        if let Some(token) = markers.find(|token| tokenizer.added_token_id(token).is_none()) {
            return Err(TextError::MissingToken { encoding: name.as_str(), token });
        }
        let eos =
            tokenizer.added_token_id(EOS).ok_or(TextError::MissingToken { encoding: name.as_str(), token: EOS })?;
        let seed = getrandom::u64().map_err(|error| TextError::Random { reason: error.to_string() })?;
        Ok(Self {
            eos,
            call_markers: prompt.call_tokens().iter().filter_map(|token| tokenizer.added_token_id(token)).collect(),
            think: tokenizer.added_token_id(THINK),
            end_think: tokenizer.added_token_id(END_THINK),
            supports_fim: [FIM_BEGIN, FIM_HOLE, FIM_END].iter().all(|token| tokenizer.added_token_id(token).is_some()),
            next_call_id_seed: AtomicU64::new(seed),
            tokenizer,
            name,
            format: prompt,
        })
    }

    /// Which encoding a checkpoint wants, by its added tokens and the `model_type` of
    /// its configuration.
    pub fn detect(tokenizer: &Tokenizer, model_type: &str) -> EncodingName {
        let has = |token| tokenizer.added_token_id(token).is_some();
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
    pub fn call_tokens(&self) -> &[u32] {
        &self.call_markers
    }

    /// Calls may begin behind `token`: DSML has a `<` before its marker.
    pub fn can_call_follow(&self, token: u32) -> bool {
        self.name != EncodingName::V32 || self.tokenizer.bytes(token).ends_with(b"<")
    }

    /// The shape promised for the answer to `chat`; `None` when it is free text without calls.
    ///
    /// # Errors
    /// `Invalid` when a schema cannot be honoured, with its path.
    pub fn grammar(&self, chat: &Chat) -> Result<Option<Grammar>, Error> {
        // R1 writes line breaks between reasoning and answer.
        let lead = if self.name == EncodingName::R1 { "/\\n{0,2}/" } else { "" };
        answer_grammar(chat, lead, |tools, many| self.format.call_rules(&self.tokenizer, tools, many))
    }

    /// The tokens of the answer's beginning that the caller has given.
    pub fn prefilled_tokens(&self, chat: &Chat, rendered: &Rendered) -> Vec<u32> {
        let Input::Messages(messages) = &chat.input else { return Vec::new() };
        let last = messages.last().filter(|message| message.prefix && rendered.start == ResponseStart::Content);
        last.map_or_else(Vec::new, |message| self.tokenizer.encode(&message.text()))
    }

    /// The tokens around reasoning, where the format has reasoning.
    pub(crate) fn think_tokens(&self) -> (Option<u32>, Option<u32>) {
        if self.supports_thinking() { (self.think, self.end_think) } else { (None, None) }
    }

    pub fn supports_thinking(&self) -> bool {
        self.name != EncodingName::V3
    }

    /// Answers without thinking are possible.
    pub fn supports_non_thinking(&self) -> bool {
        self.name != EncodingName::R1
    }

    pub fn supports_fim(&self) -> bool {
        self.supports_fim
    }

    /// The prompt of a chat. `thinking` that is not said means no thinking; R1 always thinks
    /// and V3 never does.
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
    /// As [`Encoding::render`]; `TooLong` when the prompt has more tokens for sure. One that is
    /// short comes whole, however many it has.
    pub fn render_within(&self, chat: &Chat, limit: &PromptLimit) -> Result<Rendered, RenderError> {
        let mut prompt = PromptWriter::new(&self.tokenizer);
        prompt.push_template(BOS);
        let start = match &chat.input {
            Input::Messages(messages) => self.write_conversation(chat, messages, true, &mut prompt)?,
            Input::Text { prefix, suffix } => {
                Some(self.write_completion(chat, prefix, suffix.as_deref(), &mut prompt)?)
            }
            Input::Tokens(tokens) => return self.render_tokens(tokens, limit),
        };
        let Some(start) = start else {
            return Err(RenderError::Refused(Error::invalid(format!(
                "The last message of {} must be a user message, or an assistant message with prefix mode on (refer to \
                 https://api-docs.deepseek.com/guides/chat_prefix_completion).",
                chat.model
            ))));
        };
        let (text, tokens) = prompt.finish_within(limit)?;
        Ok(Rendered { text, tokens, start })
    }

    /// A conversation as it stands, whoever spoke last: what the releases' own templates
    /// and encoders write. `generate` asks for the opening of an answer, where the format
    /// sets that apart.
    ///
    /// # Errors
    /// As [`Encoding::render`]; a raw completion is no conversation.
    pub fn transcript(&self, chat: &Chat, generate: bool) -> Result<(String, Vec<u32>), Error> {
        let Input::Messages(messages) = &chat.input else {
            return Err(Error::invalid("a completion of raw text is not a conversation"));
        };
        let mut prompt = PromptWriter::new(&self.tokenizer);
        prompt.push_template(BOS);
        self.write_conversation(chat, messages, generate, &mut prompt)?;
        Ok(prompt.finish())
    }

    fn write_conversation(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        prompt: &mut PromptWriter<'_>,
    ) -> Result<Option<ResponseStart>, Error> {
        for (index, message) in messages.iter().enumerate() {
            if let Some(kind) = first_non_text_kind(message) {
                return Err(Error::invalid(format!(
                    "Failed to deserialize the JSON body into the target type: messages[{index}]: unknown variant {kind}, \
                     expected text"
                )));
            }
        }
        self.format.write_prompt(chat, messages, generate, prompt)
    }

    /// Raw completion, or fill-in-the-middle in the order prefix, suffix, middle.
    fn write_completion(
        &self,
        chat: &Chat,
        prefix: &str,
        suffix: Option<&str>,
        prompt: &mut PromptWriter<'_>,
    ) -> Result<ResponseStart, Error> {
        let Some(suffix) = suffix else {
            prompt.push_content(prefix);
            return Ok(ResponseStart::Content);
        };
        if !self.supports_fim {
            return Err(Error::invalid(format!("{} does not support FIM", chat.model)));
        }
        prompt.push_template(FIM_BEGIN);
        prompt.push_content(prefix);
        prompt.push_template(FIM_HOLE);
        prompt.push_content(suffix);
        prompt.push_template(FIM_END);
        Ok(ResponseStart::Content)
    }

    /// Raw completion of the caller's own tokens. They may begin with the begin-of-sentence token,
    /// or leave it to us.
    fn render_tokens(&self, given: &[u32], limit: &PromptLimit) -> Result<Rendered, RenderError> {
        let known = self.tokenizer.len();
        if let Some(unknown) = given.iter().find(|&&id| id as usize >= known) {
            let message = format!("Invalid prompt: there is no token {unknown}, ids are below {known}");
            return Err(Error::invalid(message).into());
        }
        if given.len() > limit.max_tokens {
            return Err(RenderError::TooLong { at_least: given.len() });
        }
        let bos = self.tokenizer.added_token_id(BOS).filter(|bos| given.first() != Some(bos));
        let tokens: Vec<u32> = bos.into_iter().chain(given.iter().copied()).collect();
        Ok(Rendered { text: self.tokenizer.decode(&tokens), tokens, start: ResponseStart::Content })
    }

    /// Reads the answer to `rendered`, which came of `chat`.
    pub fn decoder(self: &Arc<Self>, chat: &Chat, rendered: &Rendered) -> Decoder {
        self.decoder_with_seed(chat, rendered, self.next_call_id_seed.fetch_add(1, Ordering::Relaxed))
    }

    /// As [`Encoding::decoder`]; the same `seed` gives the same ids of tool calls.
    pub fn decoder_with_seed(self: &Arc<Self>, chat: &Chat, rendered: &Rendered, seed: u64) -> Decoder {
        match &chat.input {
            Input::Text { .. } | Input::Tokens(_) => {
                Decoder::raw(self.clone(), Box::new(PlainTextParser), &chat.stop, seed)
            }
            Input::Messages(messages) => {
                let is_continuation = messages.last().is_some_and(|message| message.prefix);
                Decoder::new(
                    self.clone(),
                    self.call_parser(&chat.tools),
                    rendered.start,
                    is_continuation,
                    &chat.stop,
                    seed,
                )
            }
        }
    }

    fn call_parser(&self, tools: &[Tool]) -> Box<dyn CallParser> {
        self.format.call_parser(&self.tokenizer, tools)
    }
}

/// Reads a whole answer: `text` is what the model generated, its control tokens written
/// out. The end-of-sentence token may be there or not. With `thinking` the prompt ended
/// inside the reasoning.
///
/// # Errors
/// `Internal` when the deltas of the answer contradict each other, which is a fault of this crate.
pub fn parse_completion(encoding: &Arc<Encoding>, thinking: bool, text: &str, tools: &[Tool]) -> Result<Reply, Error> {
    let start = if thinking { ResponseStart::Reasoning } else { ResponseStart::Content };
    let seed = encoding.next_call_id_seed.fetch_add(1, Ordering::Relaxed);
    let mut decoder = Decoder::new(encoding.clone(), encoding.call_parser(tools), start, false, &[], seed);
    let mut deltas = Vec::new();
    let tokens = encoding.tokenizer.encode_with_added_tokens(text);
    let ended = tokens.into_iter().find_map(|token| decoder.push(token, None, &mut deltas));
    let finish = ended.unwrap_or_else(|| decoder.finish(FinishReason::Stop, &mut deltas));
    let mut reply = fold(deltas.into_iter().map(Ok))?;
    reply.finish = Some(finish);
    Ok(reply)
}

fn first_non_text_kind(message: &Message) -> Option<&str> {
    let parts = message.content.iter().flatten();
    parts.filter_map(|part| if let Part::Other { kind, .. } = part { Some(kind.as_str()) } else { None }).next()
}
