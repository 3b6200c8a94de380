//! Any bytes are an answer that passes: what is seen of it does not depend on how it was cut,
//! and it goes on as it came, but for whole events that have nothing but usage where the caller
//! did not ask for it.
#![no_main]

use fuzzing::{bounded, pieces, steered};
use libfuzzer_sys::fuzz_target;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::usage_scanner::{self, Events, ResponseStats};

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [seed, endpoint])) = steered(input) else { return };
    let endpoint = ApiEndpoint::ALL[usize::from(endpoint) % ApiEndpoint::ALL.len()];
    bounded(bytes.len(), || {
        let stats = usage_scanner::scan_body(endpoint, bytes);
        assert!(stats.is_complete && stats.content_events == 1);
        check_message_length(&stats);
        check(endpoint, bytes, seed);
    });
});

fn check(endpoint: ApiEndpoint, bytes: &[u8], seed: u8) {
    let cut = scan(endpoint, false, pieces(bytes, seed));
    let whole = scan(endpoint, false, vec![bytes]);
    assert_eq!(cut, whole, "cut elsewhere");
    assert_eq!(whole.out, None);
    check_message_length(&whole.stats);
    let (cut, hidden) = (scan(endpoint, true, pieces(bytes, seed)), scan(endpoint, true, vec![bytes]));
    assert_eq!(cut, hidden, "cut elsewhere");
    assert_eq!(hidden.stats, whole.stats, "what is hidden is seen all the same");
    if let Some(out) = hidden.out {
        only_usage_is_missing(bytes, &out);
    }
}

/// The result of a stream.
#[derive(Debug, PartialEq)]
struct ScanResult {
    stats: ResponseStats,
    has_started: bool,
    /// The bytes that go on; `None` where they are unchanged.
    out: Option<Vec<u8>>,
}

fn scan<'a>(endpoint: ApiEndpoint, hide_usage: bool, pieces: Vec<&'a [u8]>) -> ScanResult {
    let mut scanner = SseScanner::new(endpoint, hide_usage);
    let (mut out, mut fed) = (Vec::new(), Vec::new());
    for piece in pieces {
        fed.extend_from_slice(piece);
        match scanner.feed(piece) {
            Some(other) => out.extend(other),
            None => out.extend_from_slice(piece),
        }
        assert!(scanner.buffered_bytes() <= 2 * fed.len(), "no more is held than came, of the line and of the event");
    }
    let has_started = scanner.has_started();
    out.extend(scanner.finish());
    assert_eq!(scanner.exceeded, None);
    ScanResult { stats: scanner.stats, has_started, out: (out != fed).then_some(out) }
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
fn check_message_length(stats: &ResponseStats) {
    assert!(stats.error_message.as_ref().is_none_or(|words| words.chars().count() <= 500));
}
