//! Input: a response of Bedrock. As bytes, it is a binary event stream that is rarely valid; as
//! lines, it is the events of one that is, each a type and a payload. The frames do not depend on
//! how the bytes are split, and the deltas are in order or there is an error.
#![no_main]

use chat::{Chat, Delta, ErrorKind};
use fuzzing::{split, split_control, within_time_limit};
use libfuzzer_sys::fuzz_target;
use wire::sse::SseFrame;
use wire::upstream::Dialect;

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [seed])) = split_control(input) else { return };
    within_time_limit(bytes.len(), || {
        check(bytes, seed);
        let (stream, count) = messages(bytes);
        let frames = check(&stream, seed);
        assert!(frames <= count, "more frames than messages");
    });
});

/// Checks a stream, and returns the number of its frames.
fn check(bytes: &[u8], seed: u8) -> usize {
    let (frames, held) = parse(split(bytes, seed));
    assert_eq!((&frames, held), (&parse(vec![bytes]).0, parse(vec![bytes]).1), "split differently");
    assert!(held <= bytes.len(), "at most the incomplete message is held");
    let (mut reader, mut deltas) = (Dialect::Bedrock.event_reader(&Chat::default()), Vec::new());
    let mut failed = false;
    for frame in &frames {
        let SseFrame::Event { data, .. } = frame else { panic!("a binary stream has no comments") };
        if let Err(error) = reader.read_event(data, &mut deltas) {
            assert!(error.message.len() <= data.len() + 1000, "{}", error.message);
            failed = true;
            break;
        }
    }
    if !failed {
        match reader.finish(&mut deltas) {
            Ok(()) => assert!(deltas.iter().any(|delta| matches!(delta, Delta::Finish(_)))),
            Err(error) => assert!(matches!(error.kind, ErrorKind::Upstream(502) | ErrorKind::Overloaded)),
        }
    }
    chat::fold(deltas.into_iter().map(Ok)).expect("arguments follow their call");
    frames.len()
}

/// The frames, and the number of bytes held of an incomplete message.
fn parse(pieces: Vec<&[u8]>) -> (Vec<SseFrame>, usize) {
    let (mut parser, mut frames) = (Dialect::Bedrock.frame_parser(), Vec::new());
    for piece in pieces {
        if parser.feed(piece, &mut frames).is_err() {
            // A message that says it is longer than the limit.
            return (frames, 0);
        }
    }
    (frames, parser.buffered_bytes())
}

/// A valid stream with a message for each line: the type of the event, a space, the payload. A type
/// that begins with `!` is that of an exception. Returns the number of messages, too.
fn messages(lines: &[u8]) -> (Vec<u8>, usize) {
    let (mut stream, mut count) = (Vec::new(), 0);
    for line in lines.split(|byte| *byte == b'\n') {
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let (kind, payload) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (kind, headers): (_, [&[u8]; 2]) = match kind.strip_prefix(b"!") {
            Some(kind) => (kind, [b":exception-type", b"exception"]),
            None => (kind, [b":event-type", b"event"]),
        };
        let kind = &kind[..kind.len().min(200)];
        let mut fields = Vec::new();
        for (name, value) in [(headers[0], kind), (&b":message-type"[..], headers[1])] {
            fields.push(name.len() as u8);
            fields.extend_from_slice(name);
            // The type of a text.
            fields.push(7);
            fields.extend_from_slice(&(value.len() as u16).to_be_bytes());
            fields.extend_from_slice(value);
        }
        let at = stream.len();
        let length = 16 + fields.len() + payload.len();
        stream.extend_from_slice(&(length as u32).to_be_bytes());
        stream.extend_from_slice(&(fields.len() as u32).to_be_bytes());
        stream.extend_from_slice(&crc32(&stream[at..]).to_be_bytes());
        stream.extend_from_slice(&fields);
        stream.extend_from_slice(payload);
        stream.extend_from_slice(&crc32(&stream[at..]).to_be_bytes());
        count += 1;
    }
    (stream, count)
}

/// The CRC-32 of ISO 3309, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
