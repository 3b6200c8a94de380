//! Any bytes, with secrets and parts of them among them, are what a provider says: no secret comes
//! out, however the bytes were cut, and all other bytes do.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fuzzing::{bounded, pieces, steered};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;

// Its tests are not found from here.
#[rustfmt::skip]
#[path = "../../crates/gateway/src/secret.rs"]
mod secret;

use secret::{Scrubber, Secret, scrubbed};

/// One begins another, two overlap with themselves, and one is written in as many
/// ways as there are.
const SECRETS: [&str; 5] =
    ["sk-abcdefgh12345678", "sk-abcdefgh1234", "Pa/ss w\"rd+é1", "aaaaaaaaaaaaaaaaaaaa", "ab1ab1ab1ab1"];
/// Looked for in errors alone.
const SHORT: &str = "k3y!";

static IN_FORCE: LazyLock<Vec<Secret>> =
    LazyLock::new(|| SECRETS.iter().chain([&SHORT]).map(|secret| Secret::new(*secret)).collect());

/// The ways in which secrets are written, and halves of them.
static FRAGMENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut fragments = Vec::new();
    for secret in SECRETS.iter().chain([&SHORT]) {
        for form in written(secret).into_iter().chain([STANDARD.encode(format!("user:{secret}"))]) {
            let form = form.into_bytes();
            let half = form.len() / 2;
            fragments.extend([form[..half].to_vec(), form[half..].to_vec(), form[..form.len() - 1].to_vec(), form]);
        }
    }
    fragments
});

fn written(secret: &str) -> Vec<String> {
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
    let Some((bytes, [seed])) = steered(input) else { return };
    assert_eq!(IN_FORCE.len(), 6);
    let said = expanded(bytes);
    bounded(said.len(), || {
        let whole = passed(vec![&said]);
        assert_eq!(passed(pieces(&said, seed)), whole, "cut elsewhere");
        for secret in SECRETS.iter().flat_map(|secret| written(secret)) {
            assert!(memmem::find(&whole, secret.as_bytes()).is_none(), "{secret}");
        }
        only_stars_are_new(&said, &whole);
        error(&String::from_utf8_lossy(&said));
    });
});

/// The bytes with a fragment in the place of every one beyond ASCII but the last, which stay.
fn expanded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match FRAGMENTS.get(usize::from(byte.wrapping_sub(0x80))) {
            Some(fragment) if *byte >= 0x80 => out.extend_from_slice(fragment),
            _ => out.push(*byte),
        }
    }
    out
}

fn passed(pieces: Vec<&[u8]>) -> Vec<u8> {
    let mut scrubber = Scrubber::new();
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&scrubber.pass(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&scrubber.rest());
    out
}

fn error(text: &str) {
    let clean = scrubbed(text);
    for secret in SECRETS.iter().flat_map(|secret| written(secret)).chain([SHORT.to_owned()]) {
        assert!(!clean.contains(&secret), "{secret}");
    }
    only_stars_are_new(text.as_bytes(), clean.as_bytes());
    assert_eq!(scrubbed(&clean), clean);
}

/// The parts between stars stood there before, in this order; the first part at the beginning, the
/// last at the end.
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
        assert!(before == after, "bytes without a secret go on as they are");
        return;
    };
    let rest = before.strip_prefix(*first).expect("what stands before a secret goes on");
    let mut rest = rest.strip_suffix(*last).expect("what stands behind a secret goes on");
    for part in &parts[1..parts.len() - 1] {
        let at = memmem::find(rest, part).expect("what stands between secrets goes on");
        rest = &rest[at + part.len()..];
    }
}
