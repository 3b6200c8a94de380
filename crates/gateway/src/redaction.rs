//! Redaction: replaces registered secrets in errors and logs, and in the answers of providers.
//!
//! Errors and logs are redacted more strictly than answers, in which a short secret would match
//! ordinary words.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use aho_corasick::packed::Searcher;
use aho_corasick::{AhoCorasick, MatchKind};
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use parking_lot::Mutex;

/// The replacement for a secret.
const REPLACEMENT: &str = "***";
/// The minimum length of a secret with several classes of characters that is redacted from answers.
const MIN_LENGTH_IN_ANSWERS: usize = 8;
/// The same for a secret with a single class of characters. It is larger, because a password such
/// as `cachalot` is also an ordinary word.
const MIN_LENGTH_OF_ONE_CLASS: usize = 16;
/// The minimum length of a secret with several classes of characters that is redacted from errors
/// and logs. For a single class it is [`MIN_LENGTH_IN_ANSWERS`]. Shorter ones are never redacted.
const MIN_LENGTH_IN_ERRORS: usize = 4;

/// The maximum number of prefixes of the vectorised search.
const MAX_PREFILTER_PREFIXES: usize = 100;

/// The registered secrets, with a count of their holders. There is one registry in the process,
/// which may run several gateways.
#[derive(Default)]
pub(crate) struct SecretRegistry {
    /// The number of holders of each secret.
    counts: Mutex<BTreeMap<String, usize>>,
    matcher: ArcSwap<SecretMatcher>,
}

impl SecretRegistry {
    pub(crate) fn global() -> &'static Self {
        static REGISTRY: LazyLock<SecretRegistry> = LazyLock::new(SecretRegistry::default);
        &REGISTRY
    }

    pub(crate) fn add(&self, secret: &str) {
        let mut counts = self.counts.lock();
        let count = counts.entry(secret.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            self.matcher.store(Arc::new(SecretMatcher::new(counts.keys())));
        }
    }

    pub(crate) fn remove(&self, secret: &str) {
        let mut counts = self.counts.lock();
        let Some(count) = counts.get_mut(secret) else { return };
        *count -= 1;
        if *count == 0 {
            counts.remove(secret);
            self.matcher.store(Arc::new(SecretMatcher::new(counts.keys())));
        }
    }
}

/// Replaces the registered secrets in an error, a log line or a header.
pub fn redact_secrets(text: &str) -> Cow<'_, str> {
    match &SecretRegistry::global().matcher.load().in_errors {
        Some(automaton) if automaton.is_match(text) => {
            let mut out = String::with_capacity(text.len());
            automaton.replace_all_with(text, &mut out, |_, _, out| {
                out.push_str(REPLACEMENT);
                true
            });
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(text),
    }
}

/// A search for the registered secrets. A secret that is redacted from answers is found as it is,
/// and as URLs, JSON strings and base64 encode it. Any other is found only as it is.
#[derive(Default)]
struct SecretMatcher {
    in_answers: Option<AhoCorasick>,
    /// A vectorised search for the prefixes of `patterns`: bytes without a prefix have no secret.
    prefilter: Option<Searcher>,
    /// The patterns of `in_answers`, and the secrets that are redacted from errors only.
    in_errors: Option<AhoCorasick>,
    /// The patterns of `in_answers`, sorted.
    patterns: Vec<Vec<u8>>,
    /// The first byte of each pattern.
    first_bytes: ByteSet,
    /// All bytes of each pattern but its last.
    inner_bytes: ByteSet,
    max_pattern_len: usize,
}

struct ByteSet([bool; 256]);

impl Default for ByteSet {
    fn default() -> Self {
        Self([false; 256])
    }
}

impl SecretMatcher {
    fn new<'a>(secrets: impl Iterator<Item = &'a String>) -> Self {
        let mut patterns = Vec::new();
        let mut short = Vec::new();
        for secret in secrets {
            match secret.len() {
                _ if is_distinctive(secret) => patterns.extend(encodings(secret)),
                MIN_LENGTH_IN_ANSWERS.. => short.push(secret.clone().into_bytes()),
                MIN_LENGTH_IN_ERRORS.. if character_classes(secret) > 1 => short.push(secret.clone().into_bytes()),
                _ => {}
            }
        }
        patterns.sort_unstable();
        patterns.dedup();
        let all: Vec<_> = patterns.iter().chain(&short).cloned().collect();
        let in_answers = build_automaton(&patterns);
        let in_errors = build_automaton(&all);
        let mut matcher = Self { in_answers, prefilter: prefix_prefilter(&patterns), in_errors, ..Self::default() };
        for pattern in &patterns {
            matcher.first_bytes.0[usize::from(pattern[0])] = true;
            pattern[..pattern.len() - 1].iter().for_each(|byte| matcher.inner_bytes.0[usize::from(*byte)] = true);
            matcher.max_pattern_len = matcher.max_pattern_len.max(pattern.len());
        }
        Self { patterns, ..matcher }
    }

    /// The first index, not below `from`, from which the rest of `bytes` is an incomplete pattern;
    /// the length of `bytes` if there is none.
    fn partial_match_start(&self, bytes: &[u8], from: usize) -> usize {
        let ends_within = bytes.last().is_some_and(|last| self.inner_bytes.0[usize::from(*last)]);
        if !ends_within {
            return bytes.len();
        }
        let from = from.max((bytes.len() + 1).saturating_sub(self.max_pattern_len));
        let is_partial_match = |at: &usize| {
            let rest = &bytes[*at..];
            // The patterns are sorted: those that are longer than `rest` and begin with it come
            // right after those that are not greater than it.
            let index = self.patterns.partition_point(|pattern| pattern.as_slice() <= rest);
            self.patterns.get(index).is_some_and(|pattern| pattern.starts_with(rest))
        };
        let candidates = (from..bytes.len()).filter(|at| self.first_bytes.0[usize::from(bytes[*at])]);
        candidates.into_iter().find(is_partial_match).unwrap_or(bytes.len())
    }
}

/// Builds the search for the prefixes of the patterns. The prefixes are usually few, because the
/// keys of a service begin alike. `None` without patterns, or if there are more than
/// [`MAX_PREFILTER_PREFIXES`] even of the shortest prefixes.
fn prefix_prefilter(patterns: &[Vec<u8>]) -> Option<Searcher> {
    let candidates = [6, 5, 4, 3]
        .into_iter()
        .map(|length| patterns.iter().map(|pattern| &pattern[..length.min(pattern.len())]).collect::<BTreeSet<_>>());
    let prefixes = candidates.into_iter().find(|prefixes| (1..=MAX_PREFILTER_PREFIXES).contains(&prefixes.len()))?;
    Searcher::new(prefixes)
}

fn build_automaton(patterns: &[Vec<u8>]) -> Option<AhoCorasick> {
    if patterns.is_empty() {
        return None;
    }
    let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns);
    // The build fails only for patterns of billions of bytes.
    built.inspect_err(|error| tracing::error!(%error, "failed to build the secret matcher")).ok()
}

/// Whether a secret is too long or too mixed to be an ordinary word, and is redacted from answers.
fn is_distinctive(secret: &str) -> bool {
    secret.len() >= MIN_LENGTH_OF_ONE_CLASS || (secret.len() >= MIN_LENGTH_IN_ANSWERS && character_classes(secret) > 1)
}

/// The number of character classes in a secret: lower case, upper case, and others.
fn character_classes(secret: &str) -> usize {
    let is: [fn(u8) -> bool; 3] =
        [|byte| byte.is_ascii_lowercase(), |byte| byte.is_ascii_uppercase(), |byte| !byte.is_ascii_alphabetic()];
    is.into_iter().filter(|is| secret.bytes().any(*is)).count()
}

/// The forms in which a secret can appear: as it is, and encoded for a URL, in JSON and in base64.
fn encodings(secret: &str) -> Vec<Vec<u8>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let percent = |upper: bool| -> String {
        let encode = |byte: u8| match byte {
            byte if plain(byte) => char::from(byte).to_string(),
            byte if upper => format!("%{byte:02X}"),
            byte => format!("%{byte:02x}"),
        };
        secret.bytes().map(encode).collect()
    };
    let quoted = serde_json::Value::from(secret).to_string();
    let json = quoted[1..quoted.len() - 1].to_owned();
    let mut forms = vec![secret.to_owned(), percent(true), percent(false), json.replace('/', "\\/"), json];
    // Base64 depends on the number of bytes before the secret, as in `user:password`.
    for before in 0..3 {
        let bytes = [&b"\0\0"[..before], secret.as_bytes()].concat();
        let secret_digits = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&bytes)[secret_digits.clone()].to_owned());
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
}

/// Redacts an answer as it arrives, also where a secret spans several chunks. Bytes at the end of a
/// chunk that may begin a secret are held back. A chunk without a secret is returned without a
/// copy, unless bytes were held back before it. The default redacts nothing.
#[derive(Default)]
pub(crate) struct Redactor {
    matcher: Option<Arc<SecretMatcher>>,
    held_back: Vec<u8>,
}

impl Redactor {
    /// A redactor of the secrets that are registered now. Secrets that are registered later pass.
    pub(crate) fn new() -> Self {
        let matcher = SecretRegistry::global().matcher.load_full();
        Self { matcher: matcher.in_answers.is_some().then_some(matcher), held_back: Vec::new() }
    }

    /// Replaces secrets in the next chunk, and returns the bytes that are not held back.
    pub(crate) fn redact(&mut self, bytes: Bytes) -> Bytes {
        let Some((matcher, automaton)) =
            self.matcher.as_ref().and_then(|matcher| Some((matcher, matcher.in_answers.as_ref()?)))
        else {
            return bytes;
        };
        let bytes = match self.held_back.is_empty() {
            true => bytes,
            false => {
                let mut joined = std::mem::take(&mut self.held_back);
                joined.extend_from_slice(&bytes);
                joined.into()
            }
        };
        let mut keep_from = matcher.partial_match_start(&bytes, 0);
        if matcher.prefilter.as_ref().is_some_and(|prefilter| prefilter.find(&bytes).is_none()) {
            self.held_back.extend_from_slice(&bytes[keep_from..]);
            return bytes.slice(..keep_from);
        }
        let mut out = Vec::new();
        let mut from = 0;
        for found in automaton.find_iter(&bytes) {
            if found.start() >= keep_from {
                break;
            }
            out.extend_from_slice(&bytes[from..found.start()]);
            out.extend_from_slice(REPLACEMENT.as_bytes());
            from = found.end();
        }
        if keep_from < from {
            keep_from = matcher.partial_match_start(&bytes, from);
        }
        self.held_back.extend_from_slice(&bytes[keep_from..]);
        match from {
            0 => bytes.slice(..keep_from),
            _ => {
                out.extend_from_slice(&bytes[from..keep_from]);
                out.into()
            }
        }
    }

    /// Ends the stream: returns the bytes that were held back, redacted.
    pub(crate) fn finish(&mut self) -> Bytes {
        let held_back = std::mem::take(&mut self.held_back);
        let redacted = self.matcher.as_ref().and_then(|matcher| {
            let replacements = vec![REPLACEMENT; matcher.patterns.len()];
            Some(matcher.in_answers.as_ref()?.replace_all_bytes(&held_back, &replacements))
        });
        redacted.unwrap_or(held_back).into()
    }
}

#[cfg(test)]
mod tests;
