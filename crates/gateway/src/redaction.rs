//! Secrets in force, and the search that takes them out of what others say.
//!
//! A [`Secret`] is known to the search for as long as one copy of it lives, so that whoever uses a
//! secret cannot forget to name it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use aho_corasick::packed::Searcher;
use aho_corasick::{AhoCorasick, MatchKind};
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;

/// The replacement for a secret.
const REPLACEMENT: &str = "***";
/// Shorter secrets are looked for in error texts alone: in answers they would hit ordinary words.
const MIN_LENGTH_IN_ANSWERS: usize = 8;
/// Secrets of one kind of characters have to be this long: a password such as `cachalot` is a
/// word of answers too.
const MIN_LENGTH_OF_ONE_CLASS: usize = 16;
/// Secrets shorter than this are not searched for at all. Secrets of one kind of characters need
/// [`MIN_LENGTH_IN_ANSWERS`].
const MIN_LENGTH_IN_ERRORS: usize = 4;

/// The most patterns that the vectorised search takes.
const MAX_PREFILTER_PREFIXES: usize = 100;

/// A credential; it cannot be printed, and no provider can say it to a caller.
#[derive(Clone)]
pub struct Secret(Arc<RegisteredSecret>);

struct RegisteredSecret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        let secret = secret.into();
        SecretRegistry::global().add(&secret);
        Self(Arc::new(RegisteredSecret(secret)))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0.0
    }
}

impl Drop for RegisteredSecret {
    fn drop(&mut self) {
        SecretRegistry::global().remove(&self.0);
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// The secrets of this process: a library that asks providers serves several
/// gateways in one process.
#[derive(Default)]
struct SecretRegistry {
    /// How often each is held.
    counts: Mutex<BTreeMap<String, usize>>,
    matcher: ArcSwap<SecretMatcher>,
}

impl SecretRegistry {
    fn global() -> &'static Self {
        static REGISTRY: LazyLock<SecretRegistry> = LazyLock::new(SecretRegistry::default);
        &REGISTRY
    }

    fn add(&self, secret: &str) {
        let mut counts = self.lock_counts();
        let count = counts.entry(secret.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            self.matcher.store(Arc::new(SecretMatcher::new(counts.keys())));
        }
    }

    fn remove(&self, secret: &str) {
        let mut counts = self.lock_counts();
        let Some(count) = counts.get_mut(secret) else { return };
        *count -= 1;
        if *count == 0 {
            counts.remove(secret);
            self.matcher.store(Arc::new(SecretMatcher::new(counts.keys())));
        }
    }

    fn lock_counts(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // A count is changed at once.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text without the secrets in force, for errors, logs and headers.
pub fn redact_secrets(text: &str) -> Cow<'_, str> {
    match &SecretRegistry::global().matcher.load().in_errors {
        Some(search) if search.is_match(text) => {
            let mut out = String::with_capacity(text.len());
            search.replace_all_with(text, &mut out, |_, _, out| {
                out.push_str(REPLACEMENT);
                true
            });
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(text),
    }
}

/// Everything that is looked for: each secret as it is, and as a URL, a string of JSON
/// and base64 have it.
#[derive(Default)]
struct SecretMatcher {
    in_answers: Option<AhoCorasick>,
    /// The beginnings of its patterns: where none of them stands, which vector instructions tell,
    /// there is no secret.
    prefilter: Option<Searcher>,
    in_errors: Option<AhoCorasick>,
    /// Of `in_answers`, by first byte.
    patterns: Vec<Vec<u8>>,
    /// Bytes that a pattern may begin with, and those that may stand before its last.
    first_bytes: ByteSet,
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
        let (mut patterns, mut short) = (Vec::new(), Vec::new());
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
        let (in_answers, in_errors) = (build_automaton(&patterns), build_automaton(&all));
        let mut matcher = Self { in_answers, prefilter: prefix_prefilter(&patterns), in_errors, ..Self::default() };
        for pattern in &patterns {
            matcher.first_bytes.0[usize::from(pattern[0])] = true;
            pattern[..pattern.len() - 1].iter().for_each(|byte| matcher.inner_bytes.0[usize::from(*byte)] = true);
            matcher.max_pattern_len = matcher.max_pattern_len.max(pattern.len());
        }
        Self { patterns, ..matcher }
    }

    /// Where the last bytes from `from` on begin that may be the beginning of a secret; the length
    /// of `bytes` when none are.
    fn partial_match_start(&self, bytes: &[u8], from: usize) -> usize {
        let ends_within = bytes.last().is_some_and(|last| self.inner_bytes.0[usize::from(*last)]);
        if !ends_within {
            return bytes.len();
        }
        let from = from.max((bytes.len() + 1).saturating_sub(self.max_pattern_len));
        let is_partial_match = |at: &usize| {
            let rest = &bytes[*at..];
            // Sorted: those that begin with `rest` stand together, from the first that is not less.
            let place = self.patterns.partition_point(|pattern| pattern.as_slice() <= rest);
            self.patterns.get(place).is_some_and(|pattern| pattern.starts_with(rest))
        };
        let candidates = (from..bytes.len()).filter(|at| self.first_bytes.0[usize::from(bytes[*at])]);
        candidates.into_iter().find(is_partial_match).unwrap_or(bytes.len())
    }
}

/// Looks for the beginnings of patterns, which are fewer: keys of one service begin alike.
fn prefix_prefilter(patterns: &[Vec<u8>]) -> Option<Searcher> {
    let candidates = [6, 5, 4, 3]
        .into_iter()
        .map(|length| patterns.iter().map(|pattern| &pattern[..length.min(pattern.len())]).collect::<BTreeSet<_>>());
    let prefixes =
        candidates.into_iter().find(|beginnings| (1..=MAX_PREFILTER_PREFIXES).contains(&beginnings.len()))?;
    Searcher::new(prefixes)
}

fn build_automaton(patterns: &[Vec<u8>]) -> Option<AhoCorasick> {
    if patterns.is_empty() {
        return None;
    }
    let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns);
    // It fails beyond billions of bytes alone, which no environment holds.
    built.inspect_err(|error| tracing::error!(%error, "secrets cannot be looked for")).ok()
}

/// It is no word that answers may have of themselves.
fn is_distinctive(secret: &str) -> bool {
    secret.len() >= MIN_LENGTH_OF_ONE_CLASS || (secret.len() >= MIN_LENGTH_IN_ANSWERS && character_classes(secret) > 1)
}

/// How many of small letters, capital letters and other characters it has.
fn character_classes(secret: &str) -> usize {
    let is: [fn(u8) -> bool; 3] =
        [|byte| byte.is_ascii_lowercase(), |byte| byte.is_ascii_uppercase(), |byte| !byte.is_ascii_alphabetic()];
    is.into_iter().filter(|is| secret.bytes().any(*is)).count()
}

/// The ways in which it is written.
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
    // Behind one or two other bytes, as in `user:password`, its base64 is another.
    for before in 0..3 {
        let bytes = [&b"\0\0"[..before], secret.as_bytes()].concat();
        let secret_digits = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&bytes)[secret_digits.clone()].to_owned());
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
}

/// Takes secrets out of bytes as they arrive, also where two pieces share one. Bytes
/// without a secret go on as they are; held back are only those at the end of a piece that
/// a secret may begin with.
#[derive(Default)]
pub(crate) struct Redactor {
    matcher: Option<Arc<SecretMatcher>>,
    held_back: Vec<u8>,
}

impl Redactor {
    /// For the secrets that are in force now.
    pub(crate) fn new() -> Self {
        let search = SecretRegistry::global().matcher.load_full();
        Self { matcher: search.in_answers.is_some().then_some(search), held_back: Vec::new() }
    }

    /// Removes secrets from `bytes`, and returns the bytes that may go on.
    pub(crate) fn redact(&mut self, bytes: Bytes) -> Bytes {
        let Some((search, automaton)) =
            self.matcher.as_ref().and_then(|search| Some((search, search.in_answers.as_ref()?)))
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
        let mut keep_from = search.partial_match_start(&bytes, 0);
        if search.prefilter.as_ref().is_some_and(|quick| quick.find(&bytes).is_none()) {
            self.held_back.extend_from_slice(&bytes[keep_from..]);
            return bytes.slice(..keep_from);
        }
        let (mut out, mut from) = (Vec::new(), 0);
        for found in automaton.find_iter(&bytes) {
            if found.start() >= keep_from {
                break;
            }
            out.extend_from_slice(&bytes[from..found.start()]);
            out.extend_from_slice(REPLACEMENT.as_bytes());
            from = found.end();
        }
        if keep_from < from {
            keep_from = search.partial_match_start(&bytes, from);
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

    /// Returns the bytes that were held back, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held_back);
        let whole = self.matcher.as_ref().and_then(|search| {
            Some(search.in_answers.as_ref()?.replace_all_bytes(&held, &vec![REPLACEMENT; search.patterns.len()]))
        });
        whole.unwrap_or(held).into()
    }
}

#[cfg(test)]
mod tests;
