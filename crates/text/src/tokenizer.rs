//! A byte-level BPE tokenizer, read from a `tokenizer.json`.
//!
//! The BPE is kitoken's, loaded without added tokens, so that text of a user never encodes to one.
//! Added tokens and the bytes of every id are kept here.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::ops::Range;

use kitoken::convert::convert_tokenizers;
use kitoken::{Kitoken, Model, Processing};
use serde::Deserialize;

use crate::error::TextError;

/// Maximum number of ids. A higher id means a damaged file: the byte table has one entry per id.
const MAX_TOKEN_IDS: usize = 1 << 22;

/// Maximum length in characters of a run of white space and of characters that the pre-tokenizer's
/// regular expression does not match; longer runs are split. The expression takes up to six steps
/// per character, and its engine stops at a million.
const MAX_RUN_CHARS: usize = 100_000;

/// Encodes text to token ids and decodes ids to text.
pub struct Tokenizer {
    bpe: Kitoken,
    /// The bytes of all ids, concatenated.
    bytes: Vec<u8>,
    /// The offset of each id in `bytes`, and the total length at the end.
    byte_offsets: Vec<usize>,
    /// Length of the longest token in bytes.
    longest_token_bytes: usize,
    special: Vec<bool>,
    /// The ids of all added tokens, ascending.
    added_ids: Vec<u32>,
    added: HashMap<String, u32>,
    /// The lengths of added tokens by their first byte, longest first.
    added_lengths: HashMap<u8, Vec<usize>>,
}

#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// `NotATokenizer` when the file cannot be parsed, `Unsupported` when it is not byte-level BPE
    /// with plain added tokens.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TextError> {
        let not_a_tokenizer = |reason: String| TextError::NotATokenizer { reason };
        let file: TokenizerFile = serde_json::from_slice(bytes).map_err(|error| not_a_tokenizer(error.to_string()))?;
        let mut definition = convert_tokenizers(bytes).map_err(|error| not_a_tokenizer(error.to_string()))?;
        // Without them, content never encodes to control tokens.
        definition.specials.clear();
        // Left in the file by the last call of whoever saved it; Hugging Face's loader resets both.
        definition
            .config
            .processing
            .retain(|step| !matches!(step, Processing::Truncate { .. } | Processing::Pad { .. }));
        let Model::BytePair { vocab, chars: false } = &definition.model else {
            return Err(unsupported("something else than a byte-level BPE model"));
        };
        let tokens = vocab.iter().map(|token| (token.id, token.bytes.as_slice()));
        let added = file.added_tokens.iter().map(|added| (added.id, added.content.as_bytes()));
        let (bytes, byte_offsets) = byte_table(tokens.clone().chain(added))?;
        if let Some(byte) = first_missing_byte(tokens.map(|(_, bytes)| bytes)) {
            return Err(unsupported(format!("to do without a token for the byte {byte:#04x}")));
        }
        let bpe = Kitoken::from_definition(definition).map_err(|error| not_a_tokenizer(error.to_string()))?;

        let mut tokenizer = Self {
            bpe,
            longest_token_bytes: byte_offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0).max(1),
            special: vec![false; byte_offsets.len() - 1],
            bytes,
            byte_offsets,
            added_ids: Vec::new(),
            added: HashMap::new(),
            added_lengths: HashMap::new(),
        };
        for added in file.added_tokens {
            tokenizer.insert_added_token(added)?;
        }
        tokenizer.added_ids = (0..tokenizer.len() as u32).filter(|&id| tokenizer.is_added_token(id)).collect();
        Ok(tokenizer)
    }

    fn insert_added_token(&mut self, added: AddedToken) -> Result<(), TextError> {
        let AddedToken { id, content, single_word, lstrip, rstrip } = added;
        if single_word || lstrip || rstrip {
            return Err(unsupported(format!("`single_word`, `lstrip` or `rstrip` for the added token `{content}`")));
        }
        let Some(&first) = content.as_bytes().first() else {
            return Err(unsupported(format!("an empty added token (id {id})")));
        };
        self.special[id as usize] = true;
        let lengths = self.added_lengths.entry(first).or_default();
        if let Err(index) = lengths.binary_search_by(|length| content.len().cmp(length)) {
            lengths.insert(index, content.len());
        }
        self.added.insert(content, id);
        Ok(())
    }

    /// Encodes text of a user. Added tokens are never recognised, special or not.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let encode =
            |text: &str| self.bpe.encode(text, &[][..]).expect("every byte has a token, so every text has ids");
        let mut ids = Vec::new();
        let mut done = 0;
        for end in run_split_offsets(text) {
            ids.extend(encode(&text[done..end]));
            done = end;
        }
        ids.extend(encode(&text[done..]));
        ids
    }

    /// Encodes trusted text, in which added tokens are recognised.
    pub fn encode_with_added_tokens(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut done = 0;
        for (at, id) in self.find_added_tokens(text) {
            ids.extend(self.encode(&text[done..at.start]));
            ids.push(id);
            done = at.end;
        }
        ids.extend(self.encode(&text[done..]));
        ids
    }

    /// The ranges of added tokens in `text`, leftmost first; the longest where several begin at the
    /// same byte.
    pub(crate) fn find_added_tokens(&self, text: &str) -> Vec<(Range<usize>, u32)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let lengths = self.added_lengths.get(&text.as_bytes()[at]).map(Vec::as_slice).unwrap_or_default();
            let candidates = lengths.iter().filter_map(|length| text.get(at..at + length));
            let hit = candidates.filter_map(|word| Some((word.len(), *self.added.get(word)?))).next();
            let (length, id) = hit.unzip();
            found.extend(id.map(|id| (at..at + length.unwrap_or(0), id)));
            at += length.unwrap_or(1);
        }
        found
    }

    /// The id of `token`: an added token, or else the lowest id with the same bytes.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        let added = self.added.get(token).copied();
        added.or_else(|| (0..self.len() as u32).find(|&id| !token.is_empty() && self.bytes(id) == token.as_bytes()))
    }

    /// The id of an added token.
    pub(crate) fn added_token_id(&self, token: &str) -> Option<u32> {
        self.added.get(token).copied()
    }

    /// The bytes of `id`; empty for an unknown id.
    pub fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        if id < self.len() { &self.bytes[self.byte_offsets[id]..self.byte_offsets[id + 1]] } else { &[] }
    }

    /// Whether `id` is an added token, which text of a user never encodes to.
    pub fn is_added_token(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }

    /// The ids of all added tokens, ascending.
    pub fn added_tokens(&self) -> &[u32] {
        &self.added_ids
    }

    /// One more than the highest id. (A model's embedding may have more rows.)
    pub fn len(&self) -> usize {
        self.byte_offsets.len() - 1
    }

    /// Length of the longest token in bytes. A text has at least its length divided by this many
    /// tokens.
    pub fn longest_token_bytes(&self) -> usize {
        self.longest_token_bytes
    }

    /// Always false: a tokenizer without tokens is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decodes `ids`, added tokens included. Invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("ids", &self.len()).field("added", &self.added.len()).finish()
    }
}

/// The byte offsets at which long runs of non-word characters are split.
fn run_split_offsets(text: &str) -> Vec<usize> {
    if text.len() <= MAX_RUN_CHARS {
        return Vec::new();
    }
    let mut ends = Vec::new();
    let mut run = 0;
    for (at, letter) in text.char_indices() {
        run = if is_non_word(letter) { run + 1 } else { 0 };
        if run > MAX_RUN_CHARS {
            ends.push(at);
            run = 1;
        }
    }
    ends
}

/// Whether `letter` is white space, a control or format character, private or unassigned. Beyond
/// ASCII also symbols, which the standard library does not distinguish from these.
fn is_non_word(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control() || !(letter.is_ascii() || letter.is_alphanumeric())
}

/// The bytes of all ids in order, and the offset of each id. An unused id has no bytes.
fn byte_table<'a>(tokens: impl Iterator<Item = (u32, &'a [u8])>) -> Result<(Vec<u8>, Vec<usize>), TextError> {
    let mut by_id: Vec<&[u8]> = Vec::new();
    for (id, bytes) in tokens {
        let id = id as usize;
        if id >= MAX_TOKEN_IDS {
            return Err(unsupported(format!("token ids as high as {id}")));
        }
        if id >= by_id.len() {
            by_id.resize(id + 1, &[]);
        }
        if !by_id[id].is_empty() && by_id[id] != bytes {
            return Err(unsupported(format!("two tokens with the id {id}")));
        }
        by_id[id] = bytes;
    }
    let mut offsets = vec![0];
    offsets.extend(by_id.iter().scan(0, |end, bytes| {
        *end += bytes.len();
        Some(*end)
    }));
    Ok((by_id.concat(), offsets))
}

fn first_missing_byte<'a>(tokens: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let mut seen = [false; 256];
    for bytes in tokens {
        if let [byte] = bytes {
            seen[*byte as usize] = true;
        }
    }
    seen.iter().position(|seen| !seen)
}

fn unsupported(what: impl Into<String>) -> TextError {
    TextError::Unsupported { what: what.into() }
}
