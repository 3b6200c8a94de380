//! Any bytes are the answer of a provider of any dialect: deltas come in order or an error does,
//! however the bytes were cut.
#![no_main]

use chat::{Chat, Delta, ErrorKind};
use fuzzing::{bounded, pieces, steered};
use libfuzzer_sys::fuzz_target;
use wire::provider_limits::ProviderLimitExceeded;
use wire::sse::{self, SseFrame, SseParser};
use wire::upstream::Dialect;

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [seed])) = steered(input) else { return };
    bounded(bytes.len(), || check(bytes, seed));
});

fn check(bytes: &[u8], seed: u8) {
    let (frames, held) = parsed(pieces(bytes, seed)).expect("so few bytes exceed nothing");
    assert_eq!(parsed(vec![bytes]).expect("so few bytes exceed nothing"), (frames.clone(), held), "cut elsewhere");
    assert!(held <= 3 * bytes.len(), "a byte that is no UTF-8 becomes three");
    written_and_read(&frames);
    for dialect in [Dialect::OpenAi, Dialect::DeepSeek, Dialect::Anthropic, Dialect::Gemini] {
        let (mut reader, mut deltas, mut broken) = (dialect.event_reader(&Chat::default()), Vec::new(), false);
        for frame in &frames {
            let SseFrame::Event { data, .. } = frame else { continue };
            if let Err(error) = reader.read_event(data, &mut deltas) {
                assert!(error.message.len() <= data.len() + 1000, "{}", error.message);
                broken = true;
                break;
            }
        }
        if !broken {
            match reader.finish(&mut deltas) {
                Ok(()) => assert!(deltas.iter().any(|delta| matches!(delta, Delta::Finish(_)))),
                Err(error) => assert_eq!(error.kind, ErrorKind::Upstream(502)),
            }
        }
        chat::fold(deltas.into_iter().map(Ok)).expect("arguments follow their call");
    }
}

/// The frames, and how many bytes are held of the next.
fn parsed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<SseFrame>, usize), ProviderLimitExceeded> {
    let (mut parser, mut frames) = (SseParser::default(), Vec::new());
    for piece in pieces {
        parser.feed(piece, &mut frames)?;
    }
    Ok((frames, parser.buffered_bytes()))
}

/// Writes the frames that were read, and reads them again.
fn written_and_read(frames: &[SseFrame]) {
    let (mut text, mut written) = (String::new(), Vec::new());
    for frame in frames {
        match frame {
            SseFrame::Event { data, .. } => {
                sse::write_event(data, &mut text);
                written.push(SseFrame::Event { name: None, data: data.clone() });
            }
            SseFrame::Comment(words) => {
                sse::write_comment(words, &mut text);
                written.push(frame.clone());
            }
        }
    }
    let (again, held) = parsed([text.as_bytes()]).expect("so few bytes exceed nothing");
    assert_eq!((again, held), (written, 0));
}
