//! Secrets in force, and the search that takes them out of what others say.
//!
//! A [`Secret`] is known to the search for as long as one copy of it lives, so that whoever uses a secret cannot forget to name it.

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
const STARS: &str = "***";
/// Shorter secrets are looked for in error texts alone: in answers they would hit ordinary words.
const LEAST_IN_ANSWERS: usize = 8;
/// Secrets of one kind of characters have to be this long: a password such as `cachalot` is a word of answers too.
const LEAST_OF_ONE_KIND: usize = 16;
/// Secrets shorter than this are not searched for at all. Secrets of one kind of characters need [`LEAST_IN_ANSWERS`].
const LEAST_IN_ERRORS: usize = 4;

/// The most patterns that the vectorised search takes.
const MOST_BEGINNINGS: usize = 100;

/// A credential; it cannot be printed, and no provider can say it to a caller.
#[derive(Clone)]
pub struct Secret(Arc<Registered>);

struct Registered(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        let secret = secret.into();
        Known::of_process().add(&secret);
        Self(Arc::new(Registered(secret)))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0.0
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        Known::of_process().remove(&self.0);
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

/// The secrets of this process: a library that asks providers serves several gateways in one process.
#[derive(Default)]
struct Known {
    /// How often each is held.
    held: Mutex<BTreeMap<String, usize>>,
    search: ArcSwap<Search>,
}

impl Known {
    fn of_process() -> &'static Self {
        static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);
        &KNOWN
    }

    fn add(&self, secret: &str) {
        let mut held = self.held();
        let count = held.entry(secret.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            self.search.store(Arc::new(Search::of(held.keys())));
        }
    }

    fn remove(&self, secret: &str) {
        let mut held = self.held();
        let Some(count) = held.get_mut(secret) else { return };
        *count -= 1;
        if *count == 0 {
            held.remove(secret);
            self.search.store(Arc::new(Search::of(held.keys())));
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        // A count is changed at once.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text without the secrets in force, for errors, logs and headers.
pub fn scrubbed(text: &str) -> Cow<'_, str> {
    match &Known::of_process().search.load().in_errors {
        Some(search) if search.is_match(text) => {
            let mut out = String::with_capacity(text.len());
            search.replace_all_with(text, &mut out, |_, _, out| {
                out.push_str(STARS);
                true
            });
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(text),
    }
}

/// Everything that is looked for: each secret as it is, and as a URL, a string of JSON and base64 have it.
#[derive(Default)]
struct Search {
    in_answers: Option<AhoCorasick>,
    /// The beginnings of its patterns: where none of them stands, which vector instructions tell, there is no secret.
    quick: Option<Searcher>,
    in_errors: Option<AhoCorasick>,
    /// Of `in_answers`, by first byte.
    patterns: Vec<Vec<u8>>,
    /// Bytes that a pattern may begin with, and those that may stand before its last.
    begins: Flags,
    within: Flags,
    longest: usize,
}

struct Flags([bool; 256]);

impl Default for Flags {
    fn default() -> Self {
        Self([false; 256])
    }
}

impl Search {
    fn of<'a>(secrets: impl Iterator<Item = &'a String>) -> Self {
        let (mut patterns, mut short) = (Vec::new(), Vec::new());
        for secret in secrets {
            match secret.len() {
                _ if is_searchable(secret) => patterns.extend(forms(secret)),
                LEAST_IN_ANSWERS.. => short.push(secret.clone().into_bytes()),
                LEAST_IN_ERRORS.. if kinds(secret) > 1 => short.push(secret.clone().into_bytes()),
                _ => {}
            }
        }
        patterns.sort_unstable();
        patterns.dedup();
        let all: Vec<_> = patterns.iter().chain(&short).cloned().collect();
        let (in_answers, in_errors) = (automaton(&patterns), automaton(&all));
        let mut search = Self { in_answers, quick: quick(&patterns), in_errors, ..Self::default() };
        for pattern in &patterns {
            search.begins.0[usize::from(pattern[0])] = true;
            pattern[..pattern.len() - 1].iter().for_each(|byte| search.within.0[usize::from(*byte)] = true);
            search.longest = search.longest.max(pattern.len());
        }
        Self { patterns, ..search }
    }

    /// Where the last bytes from `from` on begin that may be the beginning of a secret; the length of `bytes` when none are.
    fn may_go_on(&self, bytes: &[u8], from: usize) -> usize {
        let ends_within = bytes.last().is_some_and(|last| self.within.0[usize::from(*last)]);
        if !ends_within {
            return bytes.len();
        }
        let from = from.max((bytes.len() + 1).saturating_sub(self.longest));
        let goes_on = |at: &usize| {
            let rest = &bytes[*at..];
            // Sorted: those that begin with `rest` stand together, from the first that is not less.
            let place = self.patterns.partition_point(|pattern| pattern.as_slice() <= rest);
            self.patterns.get(place).is_some_and(|pattern| pattern.starts_with(rest))
        };
        let candidates = (from..bytes.len()).filter(|at| self.begins.0[usize::from(bytes[*at])]);
        candidates.into_iter().find(goes_on).unwrap_or(bytes.len())
    }
}

/// Looks for the beginnings of patterns, which are fewer: keys of one service begin alike.
fn quick(patterns: &[Vec<u8>]) -> Option<Searcher> {
    let beginnings = [6, 5, 4, 3]
        .into_iter()
        .map(|length| patterns.iter().map(|pattern| &pattern[..length.min(pattern.len())]).collect::<BTreeSet<_>>());
    let few = beginnings.into_iter().find(|beginnings| (1..=MOST_BEGINNINGS).contains(&beginnings.len()))?;
    Searcher::new(few)
}

fn automaton(patterns: &[Vec<u8>]) -> Option<AhoCorasick> {
    if patterns.is_empty() {
        return None;
    }
    let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns);
    // It fails beyond billions of bytes alone, which no environment holds.
    built.inspect_err(|error| tracing::error!(%error, "secrets cannot be looked for")).ok()
}

/// It is no word that answers may have of themselves.
fn is_searchable(secret: &str) -> bool {
    secret.len() >= LEAST_OF_ONE_KIND || (secret.len() >= LEAST_IN_ANSWERS && kinds(secret) > 1)
}

/// How many of small letters, capital letters and other characters it has.
fn kinds(secret: &str) -> usize {
    let is: [fn(u8) -> bool; 3] =
        [|byte| byte.is_ascii_lowercase(), |byte| byte.is_ascii_uppercase(), |byte| !byte.is_ascii_alphabetic()];
    is.into_iter().filter(|is| secret.bytes().any(*is)).count()
}

/// The ways in which it is written.
fn forms(secret: &str) -> Vec<Vec<u8>> {
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
        let own = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&bytes)[own.clone()].to_owned());
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
}

/// Takes secrets out of bytes as they arrive, also where two pieces share one. Bytes without a secret go on as they are; held back are
/// only those at the end of a piece that a secret may begin with.
#[derive(Default)]
pub(crate) struct Scrubber {
    search: Option<Arc<Search>>,
    held: Vec<u8>,
}

impl Scrubber {
    /// For the secrets that are in force now.
    pub(crate) fn new() -> Self {
        let search = Known::of_process().search.load_full();
        Self { search: search.in_answers.is_some().then_some(search), held: Vec::new() }
    }

    /// Removes secrets from `bytes`, and returns the bytes that may go on.
    pub(crate) fn pass(&mut self, bytes: Bytes) -> Bytes {
        let Some((search, automaton)) =
            self.search.as_ref().and_then(|search| Some((search, search.in_answers.as_ref()?)))
        else {
            return bytes;
        };
        let bytes = match self.held.is_empty() {
            true => bytes,
            false => {
                let mut joined = std::mem::take(&mut self.held);
                joined.extend_from_slice(&bytes);
                joined.into()
            }
        };
        let mut hold = search.may_go_on(&bytes, 0);
        if search.quick.as_ref().is_some_and(|quick| quick.find(&bytes).is_none()) {
            self.held.extend_from_slice(&bytes[hold..]);
            return bytes.slice(..hold);
        }
        let (mut out, mut from) = (Vec::new(), 0);
        for found in automaton.find_iter(&bytes) {
            if found.start() >= hold {
                break;
            }
            out.extend_from_slice(&bytes[from..found.start()]);
            out.extend_from_slice(STARS.as_bytes());
            from = found.end();
        }
        if hold < from {
            hold = search.may_go_on(&bytes, from);
        }
        self.held.extend_from_slice(&bytes[hold..]);
        match from {
            0 => bytes.slice(..hold),
            _ => {
                out.extend_from_slice(&bytes[from..hold]);
                out.into()
            }
        }
    }

    /// Returns the bytes that were held back, at the end of the stream.
    pub(crate) fn rest(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        let whole = self.search.as_ref().and_then(|search| {
            Some(search.in_answers.as_ref()?.replace_all_bytes(&held, &vec![STARS; search.patterns.len()]))
        });
        whole.unwrap_or(held).into()
    }
}

#[cfg(test)]
mod tests;
