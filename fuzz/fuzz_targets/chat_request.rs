//! Input: the body of a chat request. It is parsed, or refused with a message.
#![no_main]

use fuzzing::within_time_limit;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    within_time_limit(body.len(), || {
        if let Err(error) = wire::surface::chat_completions::parse_request(body) {
            assert!(!error.message.is_empty());
        }
    });
});
