//! A writer of prompts. Template text may contain control tokens; content is always ordinary text.

use std::ops::Range;

use crate::prompt_limit::{self, PromptLimit, RenderError};
use crate::tokenizer::Tokenizer;

/// The text of a prompt, and the ranges of its control tokens.
pub(crate) struct PromptWriter<'a> {
    tokenizer: &'a Tokenizer,
    text: String,
    markers: Vec<(Range<usize>, u32)>,
}

impl<'a> PromptWriter<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, text: String::new(), markers: Vec::new() }
    }

    /// Appends text of the template. Markers in it become control tokens.
    pub(crate) fn push_template(&mut self, text: &str) {
        let start = self.text.len();
        let markers = self.tokenizer.find_added_tokens(text).into_iter();
        self.markers.extend(markers.map(|(at, id)| (start + at.start..start + at.end, id)));
        self.text.push_str(text);
    }

    /// Appends content. It stays ordinary text, even if it looks like a marker.
    pub(crate) fn push_content(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Returns the text and its ids if they are within `limit`. A short text is always tokenized,
    /// so that its exact length is known.
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
        let mut ids = Vec::new();
        let mut done = 0;
        for (at, id) in self.markers {
            ids.extend(prompt_limit::encode_within(self.tokenizer, &self.text[done..at.start], ids.len(), limit)?);
            ids.push(id);
            done = at.end;
        }
        ids.extend(prompt_limit::encode_within(self.tokenizer, &self.text[done..], ids.len(), limit)?);
        Ok((self.text, ids))
    }

    /// Returns the text and its ids. Text between two markers is encoded as one piece, as in the
    /// reference implementation.
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
