//! Input: an error response of a provider, a list of its models, or a response of an
//! unexpected type.
//! Messages have a limited length.
#![no_main]

use std::time::Duration;

use chat::ErrorKind;
use fuzzing::{split_control, within_time_limit};
use libfuzzer_sys::fuzz_target;
use wire::passthrough::ApiEndpoint;
use wire::passthrough::response_validation;
use wire::upstream;

const STATUSES: [u16; 11] = [400, 401, 402, 404, 407, 413, 418, 429, 500, 503, 529];
const TYPES: [&str; 4] = ["application/json", "text/plain", "audio/mpeg", ""];

fuzz_target!(|input: &[u8]| {
    let Some((body, [status, endpoint, content_type])) = split_control(input) else { return };
    let status = STATUSES[usize::from(status) % STATUSES.len()];
    let endpoint = ApiEndpoint::ALL[usize::from(endpoint) % ApiEndpoint::ALL.len()];
    let content_type = TYPES[usize::from(content_type) % TYPES.len()];
    within_time_limit(body.len(), || {
        check_error(status, body);
        check_response(endpoint, content_type, body);
    });
});

fn check_error(status: u16, body: &[u8]) {
    let error = upstream::map_error("p", status, Some(Duration::from_secs(1)), body);
    assert!(!error.message.is_empty() && error.message.chars().count() <= 1000);
    let is_credential = matches!(error.kind, ErrorKind::Upstream(401 | 403 | 407));
    assert!(!is_credential, "the operator's credentials are not the caller's");
    if let Some(models) = upstream::parse_model_list(body) {
        assert!(models.iter().all(|id| id.len() <= 512) && models.len() <= 20_000);
    }
}

fn check_response(endpoint: ApiEndpoint, content_type: &str, body: &[u8]) {
    if let Err(Some(message)) = response_validation::validate_media(endpoint, content_type, body) {
        assert!(message.chars().count() <= 1000);
    }
    assert!(upstream::reported_error(body).message.chars().count() <= 1000);
}
