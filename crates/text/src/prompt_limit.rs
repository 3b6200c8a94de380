//! The limit on the length of a prompt. A prompt that is certainly too long is refused before it is
//! tokenized completely, which would take seconds and many times its own memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat::Error;

use crate::tokenizer::Tokenizer;

/// Text up to this length is always tokenized at once.
const ALWAYS_TOKENIZED_BYTES: usize = 64 << 10;
/// Text up to this many bytes per token of the limit is also tokenized at once.
const BYTES_PER_TOKEN: usize = 4;
/// Length of the chunks in which longer text is counted first.
const CHUNK_BYTES: usize = 32 << 10;

/// The maximum number of tokens of a prompt.
#[derive(Clone, Debug)]
pub struct PromptLimit {
    /// Maximum number of tokens.
    pub max_tokens: usize,
    /// Set when the prompt is not needed any more.
    pub cancelled: Arc<AtomicBool>,
}

impl PromptLimit {
    /// Creates a limit of `max_tokens` that is not cancelled.
    pub fn new(max_tokens: usize) -> Self {
        Self { max_tokens, cancelled: Arc::default() }
    }

    /// Whether a text of this length is tokenized at once.
    pub(crate) fn is_tokenized_whole(&self, bytes: usize) -> bool {
        bytes <= self.max_tokens.saturating_mul(BYTES_PER_TOKEN).max(ALWAYS_TOKENIZED_BYTES)
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), RenderError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(RenderError::Cancelled) } else { Ok(()) }
    }
}

/// Why a prompt was not rendered.
#[derive(Clone, Debug, PartialEq)]
pub enum RenderError {
    /// The format cannot express the chat.
    Refused(Error),
    /// The prompt has more tokens than the limit: at least `at_least`.
    TooLong { at_least: usize },
    /// The prompt is not needed any more.
    Cancelled,
}

impl From<Error> for RenderError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Encodes text of a user, after `before` other tokens.
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

/// Counts the tokens of long text chunk by chunk, until it is certainly too long. The number of
/// tokens at the border of two chunks may differ by a few from that of the whole text.
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
        let (chunk, rest) = text.split_at(text.floor_char_boundary(CHUNK_BYTES.min(text.len())));
        tokens += tokenizer.encode(chunk).len();
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

    /// A tokenizer of bytes with one token of 200 bytes, so that the length in bytes is a weak
    /// lower bound of the number of tokens.
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
        let tokenizer = tokenizer();
        let text = "Ein Wort, 123 und é. ".repeat(10_000);
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
