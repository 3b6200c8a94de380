//! Any bytes are the body of a chat request: they are parsed or refused with a message.
#![no_main]

use fuzzing::bounded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    bounded(body.len(), || {
        if let Err(error) = wire::surface::chat_completions::request::parse_request(body) {
            assert!(!error.message.is_empty());
        }
    });
});
