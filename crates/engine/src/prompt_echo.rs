//! The prompt of a raw completion that the answer repeats, with the log-probabilities of its
//! tokens.

use chat::{Chat, Delta, Input, TokenLogprob};
use text::{Rendered, Tokenizer};

use crate::logprobs::prompt_logprob;

/// A prompt to repeat. Its log-probabilities are collected while the prompt is computed.
pub(crate) struct PromptEcho {
    text: String,
    /// The index of the caller's first token: 1 behind a begin-of-sentence token that was added.
    first: usize,
    prompt_tokens: usize,
    /// Number of alternatives of every token; `None`: without log-probabilities.
    top_logprobs: Option<usize>,
    /// Those of the caller's tokens so far.
    logprobs: Vec<TokenLogprob>,
}

impl PromptEcho {
    /// The prompt of `chat`, if its answer repeats it.
    pub(crate) fn of(
        chat: &Chat,
        rendered: &Rendered,
        top_logprobs: Option<usize>,
        tokenizer: &Tokenizer,
    ) -> Option<Self> {
        let (text, first) = match &chat.input {
            _ if !chat.echo_prompt => return None,
            Input::Messages(_) => return None,
            Input::Text { prefix, .. } => (prefix.clone(), usize::from(rendered.text != *prefix)),
            Input::Tokens(given) => (tokenizer.decode(given), rendered.tokens.len() - given.len()),
        };
        let mut logprobs = Vec::new();
        if let Some(token) = rendered.tokens.first().filter(|_| first == 0 && top_logprobs.is_some()) {
            logprobs.push(TokenLogprob {
                token: String::from_utf8_lossy(tokenizer.bytes(*token)).into_owned(),
                logprob: f32::NAN,
                bytes: None,
                top: Vec::new(),
            });
        }
        Some(Self { text, first, prompt_tokens: rendered.tokens.len(), top_logprobs, logprobs })
    }

    /// Whether outputs of the prompt are still needed.
    pub(crate) fn needs_logits(&self) -> bool {
        self.top_logprobs.is_some() && self.next_token() < self.prompt_tokens
    }

    /// Records the output of the prompt's position `position`. One that was recorded before, as
    /// after a preemption, is ignored. `tokens` are the prompt and the answer so far.
    pub(crate) fn record(&mut self, position: usize, tokens: &[u32], logits: &[f32], tokenizer: &Tokenizer) {
        if let Some(top) = self.top_logprobs.filter(|_| self.needs_logits() && position + 1 == self.next_token()) {
            self.logprobs.push(prompt_logprob(logits, tokens[position + 1], top, tokenizer));
        }
    }

    /// The prompt as a part of the answer.
    pub(crate) fn into_delta(self) -> Delta {
        Delta::Prompt { text: self.text, logprobs: self.logprobs }
    }

    /// The index of the token whose log-probability is recorded next.
    fn next_token(&self) -> usize {
        self.first + self.logprobs.len()
    }
}
