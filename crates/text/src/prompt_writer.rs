//! A prompt under construction: our own template text, in which markers count, and other people's
//! words, in which nothing does.

use std::ops::Range;

use crate::Tokenizer;
use crate::prompt_limit::{self, PromptLimit, RenderError};

/// Text with the places of its control tokens.
pub(crate) struct PromptWriter<'a> {
    tokenizer: &'a Tokenizer,
    text: String,
    markers: Vec<(Range<usize>, u32)>,
}

impl<'a> PromptWriter<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, text: String::new(), markers: Vec::new() }
    }

    /// Adds text of the format itself: markers in it become control tokens.
    pub(crate) fn push_template(&mut self, text: &str) {
        let start = self.text.len();
        let markers = self.tokenizer.find_added_tokens(text).into_iter();
        self.markers.extend(markers.map(|(at, id)| (start + at.start..start + at.end, id)));
        self.text.push_str(text);
    }

    /// Adds what somebody wrote: it stays ordinary text, whatever it looks like.
    pub(crate) fn push_content(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The same of at most so many tokens. What is short is tokenized whole, so that its
    /// length is known.
    ///
    /// # Errors
    /// `TooLong`, `Cancelled`.
    pub(crate) fn finish_within(self, limit: &PromptLimit) -> Result<(String, Vec<u32>), RenderError> {
        if limit.is_tokenized_whole(self.text.len()) {
            limit.check_cancelled()?;
            return Ok(self.finish());
        }
        let marker_bytes: usize = self.markers.iter().map(|(at, _)| at.len()).sum();
        let min_tokens =
            (self.text.len() - marker_bytes).div_ceil(self.tokenizer.longest_token_bytes()) + self.markers.len();
        if min_tokens > limit.max_tokens {
            return Err(RenderError::TooLong { at_least: min_tokens });
        }
        let (mut ids, mut done) = (Vec::new(), 0);
        for (at, id) in self.markers {
            ids.extend(prompt_limit::encode_within(self.tokenizer, &self.text[done..at.start], ids.len(), limit)?);
            ids.push(id);
            done = at.end;
        }
        ids.extend(prompt_limit::encode_within(self.tokenizer, &self.text[done..], ids.len(), limit)?);
        Ok((self.text, ids))
    }

    /// The whole text and its ids. Text between two markers is encoded in one go, as
    /// the reference does.
    pub(crate) fn finish(self) -> (String, Vec<u32>) {
        let mut ids = Vec::new();
        let mut done = 0;
        for (at, id) in self.markers {
            ids.extend(self.tokenizer.encode(&self.text[done..at.start]));
            ids.push(id);
            done = at.end;
        }
        ids.extend(self.tokenizer.encode(&self.text[done..]));
        (self.text, ids)
    }
}
