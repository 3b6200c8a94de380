//! Input: the response of a provider of each dialect. The deltas are in order or there is an error,
//! and the frames do not depend on how the bytes are split.
#![no_main]

use chat::{Chat, Delta, ErrorKind};
use fuzzing::{split, split_control, within_time_limit};
use libfuzzer_sys::fuzz_target;
use wire::provider_limits::ProviderLimitExceeded;
use wire::sse::{self, SseFrame, SseParser};
use wire::upstream::Dialect;

/// Bedrock's events arrive as binary messages, and are read in the same form.
const DIALECTS: [Dialect; 6] = [
    Dialect::OpenAi,
    Dialect::DeepSeek,
    Dialect::Responses,
    Dialect::Anthropic,
    Dialect::Gemini,
    Dialect::Bedrock,
];

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [seed])) = split_control(input) else { return };
    within_time_limit(bytes.len(), || check(bytes, seed));
});

fn check(bytes: &[u8], seed: u8) {
    let (frames, held) = parse(split(bytes, seed)).expect("the input is below all limits");
    let whole = parse(vec![bytes]).expect("the input is below all limits");
    assert_eq!(whole, (frames.clone(), held), "split differently");
    assert!(held <= 3 * bytes.len(), "an invalid byte becomes three");
    check_round_trip(&frames);
    for dialect in DIALECTS {
        let mut reader = dialect.event_reader(&Chat::default());
        let mut deltas = Vec::new();
        let mut failed = false;
        for frame in &frames {
            let SseFrame::Event { data, .. } = frame else { continue };
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
    }
}

/// The frames, and the number of bytes held of an incomplete one.
fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<SseFrame>, usize), ProviderLimitExceeded> {
    let (mut parser, mut frames) = (SseParser::default(), Vec::new());
    for piece in pieces {
        parser.feed(piece, &mut frames)?;
    }
    Ok((frames, parser.buffered_bytes()))
}

/// Writes the frames and parses them again.
fn check_round_trip(frames: &[SseFrame]) {
    let (mut text, mut written) = (String::new(), Vec::new());
    for frame in frames {
        match frame {
            SseFrame::Event { data, .. } => {
                sse::write_event(data, &mut text);
                written.push(SseFrame::Event { name: None, data: data.clone() });
            }
            SseFrame::Comment(text_of_comment) => {
                sse::write_comment(text_of_comment, &mut text);
                written.push(frame.clone());
            }
        }
    }
    let parsed = parse([text.as_bytes()]).expect("the input is below all limits");
    assert_eq!(parsed, (written, 0));
}
