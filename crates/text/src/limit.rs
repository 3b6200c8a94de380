//! How long a prompt may be. One that is too long for sure is refused before it is tokenized whole: that would take seconds, and many
//! times its own memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat::Error;

use crate::Tokenizer;

/// Text of at most so many bytes is always tokenized whole.
const SHORT: usize = 64 << 10;
/// So is text of at most so many bytes for each token that there may be.
const BYTES_A_TOKEN: usize = 4;
/// Longer text is counted in pieces of so many bytes first.
const PIECE: usize = 32 << 10;

/// Most tokens of a prompt.
#[derive(Clone, Debug)]
pub struct PromptLimit {
    pub tokens: usize,
    /// Turns true when nobody waits for the prompt any more.
    pub cancelled: Arc<AtomicBool>,
}

impl PromptLimit {
    pub fn new(tokens: usize) -> Self {
        Self { tokens, cancelled: Arc::default() }
    }

    /// Text that is tokenized whole, whatever it is.
    pub(crate) fn is_short(&self, bytes: usize) -> bool {
        bytes <= self.tokens.saturating_mul(BYTES_A_TOKEN).max(SHORT)
    }

    pub(crate) fn check(&self) -> Result<(), RenderError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(RenderError::Cancelled) } else { Ok(()) }
    }
}

/// Why there is no prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum RenderError {
    /// The format cannot express the chat.
    Refused(Error),
    /// It has more tokens than there may be, at least so many.
    TooLong { at_least: usize },
    /// Nobody waits for it.
    Cancelled,
}

impl From<Error> for RenderError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// The ids of what somebody wrote, behind `before` others.
///
/// # Errors
/// `TooLong`, `Cancelled`.
pub(crate) fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    before: usize,
    limit: &PromptLimit,
) -> Result<Vec<u32>, RenderError> {
    limit.check()?;
    let least = before + text.len().div_ceil(tokenizer.longest());
    if least > limit.tokens {
        return Err(RenderError::TooLong { at_least: least });
    }
    if !limit.is_short(text.len()) {
        count(tokenizer, text, before, limit)?;
    }
    let ids = tokenizer.encode(text);
    match before + ids.len() {
        at_least if at_least > limit.tokens => Err(RenderError::TooLong { at_least }),
        _ => Ok(ids),
    }
}

/// Tokenizes long text piece by piece, until it is too long beyond doubt: where a piece is cut there may be a token more or less.
fn count(tokenizer: &Tokenizer, mut text: &str, before: usize, limit: &PromptLimit) -> Result<(), RenderError> {
    let doubt = limit.tokens / 4 + 1024;
    let mut tokens = before;
    while !text.is_empty() {
        limit.check()?;
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE.min(text.len())));
        tokens += tokenizer.encode(piece).len();
        if tokens > limit.tokens.saturating_add(doubt) {
            return Err(RenderError::TooLong { at_least: tokens - doubt });
        }
        text = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::tiny;

    /// A tokenizer of bytes that has a token of 200 of them, so that bytes alone say little of the tokens.
    fn tokenizer() -> Tokenizer {
        tiny(&["<".repeat(200).as_str()])
    }

    #[test]
    fn bytes_alone_refuse_what_no_tokens_could_hold() {
        let text = "7".repeat(30_000_000);
        let refused = encode(&tokenizer(), &text, 10, &PromptLimit::new(100_000));
        assert_eq!(refused, Err(RenderError::TooLong { at_least: 150_010 }));
    }

    #[test]
    fn a_long_text_is_counted_only_until_it_is_too_long() {
        let text = "7".repeat(1_000_000);
        let Err(RenderError::TooLong { at_least }) = encode(&tokenizer(), &text, 0, &PromptLimit::new(10_000)) else {
            panic!("it is too long")
        };
        assert!((10_001..40_000).contains(&at_least), "{at_least} of a million");
    }

    #[test]
    fn what_fits_is_tokenized_as_without_a_limit() {
        let (tokenizer, text) = (tokenizer(), "Ein Wort, 123 und é. ".repeat(10_000));
        let ids = encode(&tokenizer, &text, 0, &PromptLimit::new(text.len())).unwrap();
        assert_eq!(ids, tokenizer.encode(&text));
        let refused = encode(&tokenizer, &text, 1, &PromptLimit::new(text.len()));
        assert_eq!(refused, Err(RenderError::TooLong { at_least: text.len() + 1 }));
    }

    #[test]
    fn a_text_that_nobody_waits_for_is_not_tokenized() {
        let limit = PromptLimit::new(100);
        limit.cancelled.store(true, Ordering::Relaxed);
        assert_eq!(encode(&tokenizer(), "Hi", 0, &limit), Err(RenderError::Cancelled));
    }
}
