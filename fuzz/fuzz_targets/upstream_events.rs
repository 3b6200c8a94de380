//! Any bytes are the answer of a provider of any dialect: deltas come in order or an error does.
#![no_main]

use chat::{Chat, Delta};
use libfuzzer_sys::fuzz_target;
use wire::sse::{Frame, Parser};
use wire::upstream::Dialect;

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cut, bytes) = input;
    let (mut parser, mut frames) = (Parser::default(), Vec::new());
    for piece in bytes.chunks(usize::from(cut).max(1)) {
        if parser.feed(piece, &mut frames).is_err() {
            break;
        }
    }
    for dialect in [Dialect::OpenAi, Dialect::DeepSeek, Dialect::Anthropic, Dialect::Gemini] {
        let (mut reader, mut deltas, mut broken) = (dialect.reader(&Chat::default()), Vec::new(), false);
        for frame in &frames {
            let Frame::Event { data, .. } = frame else { continue };
            if reader.event(data, &mut deltas).is_err() {
                broken = true;
                break;
            }
        }
        if !broken && reader.end(&mut deltas).is_ok() {
            assert!(deltas.iter().any(|delta| matches!(delta, Delta::Finish(_))));
        }
        chat::fold(deltas.into_iter().map(Ok)).expect("arguments follow their call");
    }
});
