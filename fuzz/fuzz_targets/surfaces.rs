//! Input: the body of a request on each of the other surfaces. It is parsed, or
//! refused with a message.
#![no_main]

use fuzzing::within_time_limit;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    within_time_limit(body.len(), || {
        let errors = [
            wire::surface::anthropic::parse_request(body, false).err(),
            wire::surface::anthropic::parse_request(body, true).err(),
            wire::surface::gemini::parse_request(body, "m").err(),
            wire::surface::responses::parse_request(body).err(),
            wire::surface::completions::parse_request(body).err(),
        ];
        for error in errors.into_iter().flatten() {
            assert!(!error.message.is_empty());
        }
    });
});
