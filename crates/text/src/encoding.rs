//! An encoding: a tokenizer together with a prompt format.

use std::sync::atomic::{AtomicU64, Ordering};

use chat::{Chat, Error, Input, Message, Part, Tool};

use crate::call_parser::CallParser;
use crate::control_tokens::{
    ASSISTANT, BOS, DSML, END_THINK, EOS, FIM_BEGIN, FIM_END, FIM_HOLE, SEARCH_BEGIN, THINK, USER,
};
use crate::encoding_name::EncodingName;
use crate::error::TextError;
use crate::grammar::{Grammar, answer_grammar};
use crate::prompt_format::{PromptFormat, ResponseStart};
use crate::prompt_limit::{PromptLimit, RenderError};
use crate::prompt_writer::PromptWriter;
use crate::registry::prompt_format;
use crate::tokenizer::Tokenizer;

/// A tokenizer and a prompt format. Creating one is expensive; share it in an `Arc`.
pub struct Encoding {
    tokenizer: Tokenizer,
    name: EncodingName,
    format: Box<dyn PromptFormat>,
    eos: u32,
    /// Tokens that end an answer besides `eos`.
    more_end_tokens: Vec<u32>,
    call_start: Option<u32>,
    call_markers: Vec<u32>,
    think: Option<u32>,
    end_think: Option<u32>,
    supports_fim: bool,
    /// The seed of the next decoder's call ids.
    next_call_id_seed: AtomicU64,
}

/// A rendered prompt, as text and as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    pub text: String,
    pub tokens: Vec<u32>,
    /// The part of the answer that the first generated token belongs to.
    pub start: ResponseStart,
}

impl Encoding {
    /// Combines `tokenizer` with the prompt format `name`.
    ///
    /// # Errors
    /// `MissingToken` when the tokenizer lacks a control token of the format, `Random` when the
    /// system's random number generator fails.
    pub fn new(tokenizer: Tokenizer, name: EncodingName) -> Result<Self, TextError> {
        let format = prompt_format(name);
        let mut markers = [BOS, EOS, USER, ASSISTANT].iter().chain(format.required_tokens());
        if let Some(token) = markers.find(|token| tokenizer.added_token_id(token).is_none()) {
            return Err(TextError::MissingToken { encoding: name.as_str(), token });
        }
        let eos =
            tokenizer.added_token_id(EOS).ok_or(TextError::MissingToken { encoding: name.as_str(), token: EOS })?;
        let seed = getrandom::u64().map_err(|error| TextError::Random { reason: error.to_string() })?;
        Ok(Self {
            eos,
            more_end_tokens: Vec::new(),
            call_start: tokenizer.added_token_id(format.call_tokens()[0]),
            call_markers: format.call_tokens().iter().filter_map(|token| tokenizer.added_token_id(token)).collect(),
            think: tokenizer.added_token_id(THINK),
            end_think: tokenizer.added_token_id(END_THINK),
            supports_fim: [FIM_BEGIN, FIM_HOLE, FIM_END].iter().all(|token| tokenizer.added_token_id(token).is_some()),
            next_call_id_seed: AtomicU64::new(seed),
            tokenizer,
            name,
            format,
        })
    }

    /// Adds tokens that end an answer, besides the end-of-sentence token.
    ///
    /// # Errors
    /// `UnknownEndToken` for an id that the tokenizer does not have.
    pub fn with_end_tokens(self, tokens: Vec<u32>) -> Result<Self, TextError> {
        let ids = self.tokenizer.len();
        match tokens.iter().find(|&&token| token as usize >= ids) {
            Some(&token) => Err(TextError::UnknownEndToken { token, ids }),
            None => Ok(Self { more_end_tokens: tokens, ..self }),
        }
    }

    /// Detects the encoding of a checkpoint from its added tokens and the `model_type` of its
    /// configuration.
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

    /// The name of the encoding.
    pub fn name(&self) -> EncodingName {
        self.name
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The end-of-sentence token, which ends an answer.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// The tokens that end an answer besides the end-of-sentence token.
    pub fn more_end_tokens(&self) -> &[u32] {
        &self.more_end_tokens
    }

    /// The control tokens of the tokenizer: all its added tokens. Text never encodes to one, and
    /// answers do not show them.
    pub fn control_tokens(&self) -> &[u32] {
        self.tokenizer.added_tokens()
    }

    /// The control token that begins a block of calls.
    pub(crate) fn call_start(&self) -> Option<u32> {
        self.call_start
    }

    /// The control tokens that occur only in tool calls.
    pub fn call_tokens(&self) -> &[u32] {
        &self.call_markers
    }

    /// Whether a call may begin after `token`. A DSML marker follows a `<`.
    pub fn can_call_follow(&self, token: u32) -> bool {
        self.name != EncodingName::V32 || self.tokenizer.bytes(token).ends_with(b"<")
    }

    /// The grammar that constrains the answer to `chat`; `None` for free text without tool calls.
    ///
    /// # Errors
    /// `InvalidRequest` when a schema cannot be enforced, with the path in it.
    pub fn grammar(&self, chat: &Chat) -> Result<Option<Grammar>, Error> {
        // R1 writes line breaks between reasoning and answer.
        let lead = if self.name == EncodingName::R1 { "/\\n{0,2}/" } else { "" };
        answer_grammar(chat, lead, |tools, allow_parallel| {
            self.format.call_rules(&self.tokenizer, tools, allow_parallel)
        })
    }

    /// The tokens of the answer that the caller has prefilled.
    pub fn prefilled_tokens(&self, chat: &Chat, rendered: &Rendered) -> Vec<u32> {
        let Input::Messages(messages) = &chat.input else { return Vec::new() };
        let last = messages.last().filter(|message| message.prefix && rendered.start == ResponseStart::Content);
        last.map_or_else(Vec::new, |message| self.tokenizer.encode(&message.text()))
    }

    /// The tokens that open and close the reasoning; `None` where the format has no reasoning.
    pub fn think_tokens(&self) -> (Option<u32>, Option<u32>) {
        if self.supports_thinking() { (self.think, self.end_think) } else { (None, None) }
    }

    /// Whether answers with reasoning are possible.
    pub fn supports_thinking(&self) -> bool {
        self.name != EncodingName::V3
    }

    /// Whether answers without reasoning are possible.
    pub fn supports_non_thinking(&self) -> bool {
        self.name != EncodingName::R1
    }

    /// Whether the tokenizer has the tokens of fill-in-the-middle completion.
    pub fn supports_fim(&self) -> bool {
        self.supports_fim
    }

    /// Renders the prompt of a chat. An unspecified `thinking` means without thinking; R1 always
    /// thinks and V3 never does.
    ///
    /// # Errors
    /// `InvalidRequest` when the format cannot express the chat, or when nothing is left to answer.
    pub fn render(&self, chat: &Chat) -> Result<Rendered, Error> {
        self.render_within(chat, &PromptLimit::new(usize::MAX)).map_err(|error| match error {
            RenderError::Refused(error) => error,
            RenderError::TooLong { .. } | RenderError::Cancelled => {
                Error::internal("a prompt without a limit was refused")
            }
        })
    }

    /// Renders the prompt of a chat if it is within `limit`.
    ///
    /// # Errors
    /// As [`Encoding::render`]; `TooLong` when the prompt certainly has more tokens than the limit;
    /// a short text is always returned, whatever its number of tokens. `Cancelled`.
    pub fn render_within(&self, chat: &Chat, limit: &PromptLimit) -> Result<Rendered, RenderError> {
        let mut prompt = PromptWriter::new(&self.tokenizer);
        // A text whose control tokens count may have this one itself.
        if !matches!(&chat.input, Input::Text { prefix, .. } if chat.parse_special && prefix.starts_with(BOS)) {
            prompt.push_template(BOS);
        }
        let start = match &chat.input {
            Input::Text { prefix, suffix: None } if chat.parse_special => {
                prompt.push_template(prefix);
                Some(ResponseStart::Content)
            }
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

    /// Renders a conversation whose last message may be of any role, as the templates and encoders
    /// of the releases do. With `generate` the opening of an answer is added, if the format has a
    /// separate one.
    ///
    /// # Errors
    /// As [`Encoding::render`]; `InvalidRequest` for a raw completion.
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

    /// Writes a raw completion, or a fill-in-the-middle completion in the order
    /// prefix, suffix, middle.
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

    /// Renders a raw completion of the caller's tokens. The begin-of-sentence token is added unless
    /// they begin with it.
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

    /// The seed of the next decoder's call ids.
    pub(crate) fn next_seed(&self) -> u64 {
        self.next_call_id_seed.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn call_parser(&self, tools: &[Tool]) -> Box<dyn CallParser> {
        self.format.call_parser(&self.tokenizer, tools)
    }
}

fn first_non_text_kind(message: &Message) -> Option<&str> {
    let parts = message.content.iter().flatten();
    parts.filter_map(|part| if let Part::Other { kind, .. } = part { Some(kind.as_str()) } else { None }).next()
}
