//! Input: a response that is forwarded. The result of the scan does not depend on how the bytes are
//! split. The bytes are forwarded unchanged, except for events that contain only usage if the
//! caller did not request it.
#![no_main]

use fuzzing::{split, split_control, within_time_limit};
use libfuzzer_sys::fuzz_target;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::usage_scanner::{self, SseScanner};
use wire::progress::AnswerProgress;

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [seed, endpoint])) = split_control(input) else { return };
    let endpoint = ApiEndpoint::ALL[usize::from(endpoint) % ApiEndpoint::ALL.len()];
    within_time_limit(bytes.len(), || {
        let progress = usage_scanner::scan_body(endpoint, bytes);
        assert!(progress.is_complete && progress.pieces <= 1);
        check_message_length(&progress);
        check(endpoint, bytes, seed);
    });
});

fn check(endpoint: ApiEndpoint, bytes: &[u8], seed: u8) {
    let cut = scan(endpoint, false, split(bytes, seed));
    let whole = scan(endpoint, false, vec![bytes]);
    assert_eq!(cut, whole, "split differently");
    assert_eq!(whole.out, None);
    check_message_length(&whole.progress);
    let cut = scan(endpoint, true, split(bytes, seed));
    let hidden = scan(endpoint, true, vec![bytes]);
    assert_eq!(cut, hidden, "split differently");
    assert_eq!(hidden.progress, whole.progress, "hidden usage is scanned too");
    if let Some(out) = hidden.out {
        only_usage_is_missing(bytes, &out);
    }
}

/// The result of scanning a stream.
#[derive(Debug, PartialEq)]
struct ScanResult {
    progress: AnswerProgress,
    has_frames: bool,
    /// The forwarded bytes; `None` where they are unchanged.
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
        assert!(scanner.buffered_bytes() <= 2 * fed.len(), "at most the line and the event are held");
    }
    let has_frames = scanner.has_frames();
    out.extend(scanner.finish().0);
    assert_eq!(scanner.exceeded, None);
    ScanResult { progress: scanner.progress().clone(), has_frames, out: (out != fed).then_some(out) }
}

/// Checks that `out` is `bytes` without some events, each of which contains usage.
fn only_usage_is_missing(bytes: &[u8], out: &[u8]) {
    let mut left = out;
    for event in events(bytes) {
        match left.strip_prefix(event) {
            Some(rest) => left = rest,
            None => assert!(memchr::memmem::find(event, b"\"usage\":").is_some(), "an event is missing"),
        }
    }
    assert!(left.is_empty(), "the output has additional bytes");
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

/// Checks that a long message of a provider is shortened.
fn check_message_length(progress: &AnswerProgress) {
    assert!(progress.failure.as_ref().is_none_or(|failure| failure.message.chars().count() <= 1000));
}
