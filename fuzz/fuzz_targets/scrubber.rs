//! Input: bytes of a provider that contain secrets and parts of them. No secret remains, however
//! the bytes are split, and all other bytes do.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fuzzing::{split, split_control, within_time_limit};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;

// rustfmt does not find its test module from here.
#[rustfmt::skip]
#[path = "../../crates/gateway/src/redaction.rs"]
mod redaction;
#[path = "../../crates/gateway/src/secret.rs"]
mod secret;

use redaction::{Redactor, redact_secrets};
use secret::Secret;

/// Secrets: one is a prefix of another, two overlap with themselves, and one needs every escape.
const SECRETS: [&str; 5] =
    ["sk-abcdefgh12345678", "sk-abcdefgh1234", "Pa/ss w\"rd+é1", "aaaaaaaaaaaaaaaaaaaa", "ab1ab1ab1ab1"];
/// A secret that is replaced only in errors.
const SHORT_SECRET: &str = "k3y!";

static REGISTERED: LazyLock<Vec<Secret>> =
    LazyLock::new(|| SECRETS.iter().chain([&SHORT_SECRET]).map(|secret| Secret::new(*secret)).collect());

/// The spellings of secrets, and halves of them.
static FRAGMENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut fragments = Vec::new();
    for secret in SECRETS.iter().chain([&SHORT_SECRET]) {
        for form in spellings(secret).into_iter().chain([STANDARD.encode(format!("user:{secret}"))]) {
            let form = form.into_bytes();
            let half = form.len() / 2;
            fragments.extend([form[..half].to_vec(), form[half..].to_vec(), form[..form.len() - 1].to_vec(), form]);
        }
    }
    fragments
});

/// The spellings of a secret: raw, percent-encoded, in JSON.
fn spellings(secret: &str) -> Vec<String> {
    let percent = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let json = serde_json::Value::from(secret).to_string();
    let json = &json[1..json.len() - 1];
    let mut forms =
        vec![secret.to_owned(), secret.bytes().map(percent).collect(), json.to_owned(), json.replace('/', "\\/")];
    forms.dedup();
    forms
}

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [seed])) = split_control(input) else { return };
    assert_eq!(REGISTERED.len(), 6);
    let input = expand(bytes);
    within_time_limit(input.len(), || {
        let whole = redact(vec![&input]);
        assert_eq!(redact(split(&input, seed)), whole, "split differently");
        for secret in SECRETS.iter().flat_map(|secret| spellings(secret)) {
            assert!(memmem::find(&whole, secret.as_bytes()).is_none(), "{secret}");
        }
        only_stars_are_new(&input, &whole);
        check_error_text(&String::from_utf8_lossy(&input));
    });
});

/// Replaces bytes beyond ASCII by fragments.
fn expand(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match FRAGMENTS.get(usize::from(byte.wrapping_sub(0x80))) {
            Some(fragment) if *byte >= 0x80 => out.extend_from_slice(fragment),
            _ => out.push(*byte),
        }
    }
    out
}

fn redact(pieces: Vec<&[u8]>) -> Vec<u8> {
    let mut redactor = Redactor::new();
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&redactor.redact(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&redactor.finish());
    out
}

fn check_error_text(text: &str) {
    let clean = redact_secrets(text);
    for secret in SECRETS.iter().flat_map(|secret| spellings(secret)).chain([SHORT_SECRET.to_owned()]) {
        assert!(!clean.contains(&secret), "{secret}");
    }
    only_stars_are_new(text.as_bytes(), clean.as_bytes());
    assert_eq!(redact_secrets(&clean), clean);
}

/// Checks that the parts between stars occur in the input in this order, the first part at its
/// beginning and the last at its end.
fn only_stars_are_new(before: &[u8], after: &[u8]) {
    if before.contains(&b'*') {
        return;
    }
    let (mut parts, mut from) = (Vec::new(), 0);
    for at in memmem::find_iter(after, b"***") {
        parts.push(&after[from..at]);
        from = at + 3;
    }
    parts.push(&after[from..]);
    let [first, .., last] = &parts[..] else {
        assert!(before == after, "bytes without a secret stay unchanged");
        return;
    };
    let rest = before.strip_prefix(*first).expect("bytes before a secret stay");
    let mut rest = rest.strip_suffix(*last).expect("bytes after a secret stay");
    for part in &parts[1..parts.len() - 1] {
        let at = memmem::find(rest, part).expect("bytes between secrets stay");
        rest = &rest[at + part.len()..];
    }
}
