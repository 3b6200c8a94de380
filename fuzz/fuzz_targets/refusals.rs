//! Any bytes are what a provider refuses with, a list of its models, or an answer that may be another type: they are judged the same
//! twice, and become words of bounded length.
#![no_main]

use std::time::Duration;

use chat::ErrorKind;
use fuzzing::{bounded, steered};
use libfuzzer_sys::fuzz_target;
use wire::Passage;
use wire::fits::{self, Beginning};
use wire::upstream;

const STATUSES: [u16; 11] = [400, 401, 402, 404, 407, 413, 418, 429, 500, 503, 529];
const TYPES: [&str; 4] = ["application/json", "text/plain", "audio/mpeg", ""];

fuzz_target!(|input: &[u8]| {
    let Some((body, [status, passage, content_type])) = steered(input) else { return };
    let status = STATUSES[usize::from(status) % STATUSES.len()];
    let passage = Passage::ALL[usize::from(passage) % Passage::ALL.len()];
    let content_type = TYPES[usize::from(content_type) % TYPES.len()];
    bounded(body.len(), || {
        refused(status, body);
        answered(passage, content_type, body);
    });
});

fn refused(status: u16, body: &[u8]) {
    let error = upstream::refusal("p", status, Some(Duration::from_secs(1)), body);
    assert!(!error.message.is_empty() && error.message.chars().count() <= 1000);
    let is_credential = matches!(error.kind, ErrorKind::Upstream(401 | 403 | 407));
    assert!(!is_credential, "the operator's credentials are not the caller's");
    if let Some(models) = upstream::models(body) {
        assert!(models.iter().all(|id| id.len() <= 512) && models.len() <= 20_000);
    }
}

fn answered(passage: Passage, content_type: &str, body: &[u8]) {
    if let Err(Some(words)) = fits::whole(passage, content_type, body) {
        assert!(words.chars().count() <= 1000);
    }
    // More bytes do not change what a beginning is.
    let whole = fits::begins(passage, body);
    let lengths = (0..8).chain([1, 2, 3, 4, 5, 6, 7].map(|part| body.len() * part / 8));
    for part in lengths.filter_map(|length| body.get(..length)) {
        let begins = fits::begins(passage, part);
        assert!(begins == Beginning::Open || begins == whole, "{passage:?}: {begins:?}, then {whole:?}");
    }
}
