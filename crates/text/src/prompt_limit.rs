//! How long a prompt may be. One that is too long for sure is refused before it is tokenized whole:
//! that would take seconds, and many times its own memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat::Error;

use crate::Tokenizer;

/// Text of at most so many bytes is always tokenized whole.
const ALWAYS_TOKENIZED_BYTES: usize = 64 << 10;
/// So is text of at most so many bytes for each token that there may be.
const BYTES_PER_TOKEN: usize = 4;
/// Longer text is counted in pieces of so many bytes first.
const CHUNK_BYTES: usize = 32 << 10;

/// Most tokens of a prompt.
#[derive(Clone, Debug)]
pub struct PromptLimit {
    pub max_tokens: usize,
    /// Turns true when nobody waits for the prompt any more.
    pub cancelled: Arc<AtomicBool>,
}

impl PromptLimit {
    pub fn new(tokens: usize) -> Self {
        Self { max_tokens: tokens, cancelled: Arc::default() }
    }

    /// Text that is tokenized whole, whatever it is.
    pub(crate) fn is_tokenized_whole(&self, bytes: usize) -> bool {
        bytes <= self.max_tokens.saturating_mul(BYTES_PER_TOKEN).max(ALWAYS_TOKENIZED_BYTES)
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), RenderError> {
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
pub(crate) fn encode_within(
    tokenizer: &Tokenizer,
    text: &str,
    before: usize,
    limit: &PromptLimit,
) -> Result<Vec<u32>, RenderError> {
    limit.check_cancelled()?;
    let min_tokens = before + text.len().div_ceil(tokenizer.longest_token_bytes());
    if min_tokens > limit.max_tokens {
        return Err(RenderError::TooLong { at_least: min_tokens });
    }
    if !limit.is_tokenized_whole(text.len()) {
        count_in_chunks(tokenizer, text, before, limit)?;
    }
    let ids = tokenizer.encode(text);
    match before + ids.len() {
        at_least if at_least > limit.max_tokens => Err(RenderError::TooLong { at_least }),
        _ => Ok(ids),
    }
}

/// Tokenizes long text piece by piece, until it is too long beyond doubt: where a piece is cut
/// there may be a token more or less.
fn count_in_chunks(
    tokenizer: &Tokenizer,
    mut text: &str,
    before: usize,
    limit: &PromptLimit,
) -> Result<(), RenderError> {
    let margin = limit.max_tokens / 4 + 1024;
    let mut tokens = before;
    while !text.is_empty() {
        limit.check_cancelled()?;
        let (piece, rest) = text.split_at(text.floor_char_boundary(CHUNK_BYTES.min(text.len())));
        tokens += tokenizer.encode(piece).len();
        if tokens > limit.max_tokens.saturating_add(margin) {
            return Err(RenderError::TooLong { at_least: tokens - margin });
        }
        text = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::byte_tokenizer;

    /// A tokenizer of bytes that has a token of 200 of them, so that bytes alone say
    /// little of the tokens.
    fn tokenizer() -> Tokenizer {
        byte_tokenizer(&["<".repeat(200).as_str()])
    }

    #[test]
    fn bytes_alone_refuse_what_no_tokens_could_hold() {
        let text = "7".repeat(30_000_000);
        let refused = encode_within(&tokenizer(), &text, 10, &PromptLimit::new(100_000));
        assert_eq!(refused, Err(RenderError::TooLong { at_least: 150_010 }));
    }

    #[test]
    fn a_long_text_is_counted_only_until_it_is_too_long() {
        let text = "7".repeat(1_000_000);
        let Err(RenderError::TooLong { at_least }) = encode_within(&tokenizer(), &text, 0, &PromptLimit::new(10_000))
        else {
            panic!("it is too long")
        };
        assert!((10_001..40_000).contains(&at_least), "{at_least} of a million");
    }

    #[test]
    fn what_fits_is_tokenized_as_without_a_limit() {
        let (tokenizer, text) = (tokenizer(), "Ein Wort, 123 und é. ".repeat(10_000));
        let ids = encode_within(&tokenizer, &text, 0, &PromptLimit::new(text.len())).unwrap();
        assert_eq!(ids, tokenizer.encode(&text));
        let refused = encode_within(&tokenizer, &text, 1, &PromptLimit::new(text.len()));
        assert_eq!(refused, Err(RenderError::TooLong { at_least: text.len() + 1 }));
    }

    #[test]
    fn a_text_that_nobody_waits_for_is_not_tokenized() {
        let limit = PromptLimit::new(100);
        limit.cancelled.store(true, Ordering::Relaxed);
        assert_eq!(encode_within(&tokenizer(), "Hi", 0, &limit), Err(RenderError::Cancelled));
    }
}
