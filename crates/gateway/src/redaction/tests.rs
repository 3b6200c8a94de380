use super::*;
use crate::secret::Secret;

const KEY: &str = "sk-0perator+secret/key==";

fn redacted(pieces: &[&[u8]]) -> Vec<u8> {
    let mut redactor = Redactor::new();
    let mut out: Vec<u8> = pieces.iter().flat_map(|piece| redactor.redact(Bytes::copy_from_slice(piece))).collect();
    out.extend(redactor.finish());
    out
}

#[test]
fn a_registered_secret_is_redacted_in_every_encoding() {
    let secret = Secret::new(KEY);
    let basic = STANDARD_NO_PAD.encode(format!("user:{KEY}"));
    for said in [
        format!("authorization: Bearer {KEY}"),
        format!("GET /?key={}", "sk-0perator%2Bsecret%2Fkey%3D%3D"),
        "key=sk-0perator%2bsecret%2fkey%3d%3d".into(),
        r#"{"echo":"sk-0perator+secret\/key=="}"#.into(),
        format!("authorization: Basic {basic}"),
        STANDARD_NO_PAD.encode(format!("a{KEY}zz")),
        URL_SAFE_NO_PAD.encode(KEY),
    ] {
        let text = redact_secrets(&said).into_owned();
        assert!(text.contains("***") && !text.contains("secret") && !text.contains("yZXQ"), "{said}: {text}");
        assert_eq!(redacted(&[said.as_bytes()]), text.as_bytes(), "{said}");
        // Split at any byte.
        for cut in 0..said.len() {
            let (a, b) = said.as_bytes().split_at(cut);
            assert_eq!(redacted(&[a, b]), text.as_bytes(), "{said} at {cut}");
        }
        let single: Vec<&[u8]> = said.as_bytes().chunks(1).collect();
        assert_eq!(redacted(&single), text.as_bytes(), "{said}");
    }
    drop(secret);
    assert_eq!(redact_secrets(KEY), KEY, "it is not registered any more");
}

#[test]
fn ordinary_bytes_are_returned_at_once_without_a_copy() {
    let _secret = Secret::new("sk-ordinary-bytes-0001");
    let mut redactor = Redactor::new();
    let event = Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"sk-ordinary risks\"}}]}\n\n");
    let passed = redactor.redact(event.clone());
    assert_eq!((passed.as_ptr(), passed.len()), (event.as_ptr(), event.len()), "not a copy");
    // Bytes that may begin a secret are held back until the next chunk.
    assert_eq!(redactor.redact(Bytes::from_static(b"it is sk-ordi")), "it is ");
    assert_eq!(redactor.redact(Bytes::from_static(b"nary")), "");
    assert_eq!(redactor.redact(Bytes::from_static(b" again")), "sk-ordinary again");
    assert_eq!(redactor.redact(Bytes::from_static(b"ends with sk-")), "ends with ");
    assert_eq!(redactor.finish(), "sk-");
}

#[test]
fn of_secrets_with_a_common_prefix_the_longest_is_redacted() {
    let _secrets = [Secret::new("sk-begin-alike"), Secret::new("sk-begin-alike-and-longer")];
    for (said, left) in [
        ("a sk-begin-alike-and-longer b", "a *** b"),
        ("a sk-begin-alike-and b", "a ***-and b"),
        ("sk-begin-alikesk-begin-alike-and-longer", "******"),
        ("sk-begin-alike", "***"),
        ("sk-begin-sk-begin-alike", "sk-begin-***"),
    ] {
        for cut in 0..said.len() {
            let (a, b) = said.as_bytes().split_at(cut);
            assert_eq!(String::from_utf8(redacted(&[a, b])).unwrap(), left, "{said} at {cut}");
        }
    }
}

#[test]
fn a_short_secret_is_redacted_from_errors_alone() {
    let _secrets = [Secret::new("whalesong"), Secret::new("k3y-9"), Secret::new("word"), Secret::new("")];
    assert_eq!(redacted(&[b"a whalesong, k3y-9 and a word"]), b"a whalesong, k3y-9 and a word");
    assert_eq!(redact_secrets("a whalesong, k3y-9 and a word"), "a ***, *** and a word");
}

/// The time of redaction without a match. Printed by
/// `cargo test -p gateway --release redaction::tests::redaction_cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn redaction_cost() {
    let event = Bytes::from(format!(
        "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" {}\"}},\"finish_reason\":null}}]}}\n\n",
        "word"
    ));
    let large = Bytes::from(event.repeat(1000));
    for keys in [0, 1, 10, 40] {
        let secrets: Vec<_> = (0..keys).map(|_| Secret::new(crate::generate_token("sk-"))).collect();
        for (name, bytes, rounds) in [("event", &event, 200_000), ("of 1000 events", &large, 2000)] {
            let mut redactor = Redactor::new();
            let mut best = f64::MAX;
            for _ in 0..7 {
                let start = std::time::Instant::now();
                for _ in 0..rounds {
                    assert_eq!(std::hint::black_box(redactor.redact(bytes.clone())).len(), bytes.len());
                }
                best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
            }
            eprintln!("{keys:>3} secrets, {name:<15} {} bytes: {best:>10.0} ns", bytes.len());
        }
        drop(secrets);
    }
}
