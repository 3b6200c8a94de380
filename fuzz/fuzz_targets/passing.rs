//! Any bytes are an answer that passes: what is seen of it does not depend on how it was cut, and it goes on as it came, but for
//! whole events that have nothing but usage where the caller did not ask for it.
#![no_main]

use fuzzing::{bounded, pieces, steered};
use libfuzzer_sys::fuzz_target;
use wire::Passage;
use wire::glance::{self, Events, Seen};

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [seed, passage])) = steered(input) else { return };
    let passage = Passage::ALL[usize::from(passage) % Passage::ALL.len()];
    bounded(bytes.len(), || {
        let seen = glance::whole(passage, bytes);
        assert!(seen.done && seen.pieces == 1);
        short(&seen);
        check(passage, bytes, seed);
    });
});

fn check(passage: Passage, bytes: &[u8], seed: u8) {
    let cut = pass(passage, false, pieces(bytes, seed));
    let whole = pass(passage, false, vec![bytes]);
    assert_eq!(cut, whole, "cut elsewhere");
    assert_eq!(whole.out, None);
    short(&whole.seen);
    let (cut, hidden) = (pass(passage, true, pieces(bytes, seed)), pass(passage, true, vec![bytes]));
    assert_eq!(cut, hidden, "cut elsewhere");
    assert_eq!(hidden.seen, whole.seen, "what is hidden is seen all the same");
    if let Some(out) = hidden.out {
        only_usage_is_missing(bytes, &out);
    }
}

/// The result of a stream.
#[derive(Debug, PartialEq)]
struct Passed {
    seen: Seen,
    has_begun: bool,
    /// The bytes that go on; `None` where they are unchanged.
    out: Option<Vec<u8>>,
}

fn pass<'a>(passage: Passage, hide_usage: bool, pieces: Vec<&'a [u8]>) -> Passed {
    let mut events = Events::new(passage, hide_usage);
    let (mut out, mut came) = (Vec::new(), Vec::new());
    for piece in pieces {
        came.extend_from_slice(piece);
        match events.pass(piece) {
            Some(other) => out.extend(other),
            None => out.extend_from_slice(piece),
        }
        assert!(events.held() <= 2 * came.len(), "no more is held than came, of the line and of the event");
    }
    let has_begun = events.has_begun();
    out.extend(events.rest());
    assert_eq!(events.exceeded, None);
    Passed { seen: events.seen, has_begun, out: (out != came).then_some(out) }
}

/// `out` is `bytes` without some events, each of which speaks of usage.
fn only_usage_is_missing(bytes: &[u8], out: &[u8]) {
    let mut left = out;
    for event in events(bytes) {
        match left.strip_prefix(event) {
            Some(rest) => left = rest,
            None => assert!(memchr::memmem::find(event, b"\"usage\":").is_some(), "an event is missing"),
        }
    }
    assert!(left.is_empty(), "more came out than went in");
}

/// The events of a stream, each with its empty line.
fn events(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut events, mut from, mut at) = (Vec::new(), 0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line.ends_with(b"\n") && line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            events.push(&bytes[from..at]);
            from = at;
        }
    }
    events.push(&bytes[from..]);
    events
}

/// Words of a provider are not kept at any length.
fn short(seen: &Seen) {
    assert!(seen.failure.as_ref().is_none_or(|words| words.chars().count() <= 500));
}
