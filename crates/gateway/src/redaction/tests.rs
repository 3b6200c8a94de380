use super::*;

const KEY: &str = "sk-0perator+secret/key==";

fn redacted(pieces: &[&[u8]]) -> Vec<u8> {
    let mut redactor = Redactor::new();
    let mut out: Vec<u8> = pieces.iter().flat_map(|piece| redactor.redact(Bytes::copy_from_slice(piece))).collect();
    out.extend(redactor.finish());
    out
}

#[test]
fn a_secret_in_force_is_not_said_in_any_of_its_forms() {
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
        // However the bytes are cut.
        for cut in 0..said.len() {
            let (a, b) = said.as_bytes().split_at(cut);
            assert_eq!(redacted(&[a, b]), text.as_bytes(), "{said} at {cut}");
        }
        let single: Vec<&[u8]> = said.as_bytes().chunks(1).collect();
        assert_eq!(redacted(&single), text.as_bytes(), "{said}");
    }
    drop(secret);
    assert_eq!(redact_secrets(KEY), KEY, "it is not in force any more");
}

#[test]
fn ordinary_bytes_go_on_as_they_came_and_at_once() {
    let _secret = Secret::new("sk-ordinary-bytes-0001");
    let mut redactor = Redactor::new();
    let event = Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"sk-ordinary risks\"}}]}\n\n");
    let passed = redactor.redact(event.clone());
    assert_eq!((passed.as_ptr(), passed.len()), (event.as_ptr(), event.len()), "not a copy");
    // What may be the beginning of a secret waits for the next piece.
    assert_eq!(redactor.redact(Bytes::from_static(b"it is sk-ordi")), "it is ");
    assert_eq!(redactor.redact(Bytes::from_static(b"nary")), "");
    assert_eq!(redactor.redact(Bytes::from_static(b" again")), "sk-ordinary again");
    assert_eq!(redactor.redact(Bytes::from_static(b"ends with sk-")), "ends with ");
    assert_eq!(redactor.finish(), "sk-");
}

#[test]
fn of_secrets_that_begin_alike_the_longest_is_taken_out() {
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
fn a_short_secret_leaves_answers_alone_but_not_errors() {
    let _secrets = [Secret::new("whalesong"), Secret::new("k3y-9"), Secret::new("word"), Secret::new("")];
    assert_eq!(redacted(&[b"a whalesong, k3y-9 and a word"]), b"a whalesong, k3y-9 and a word");
    assert_eq!(redact_secrets("a whalesong, k3y-9 and a word"), "a ***, *** and a word");
}

#[test]
fn a_secret_is_not_printed() {
    assert_eq!(format!("{:?}", Secret::new("sk-operator")), "Secret(***)");
    assert!(Secret::new("sk-operator") == Secret::new("sk-operator"));
}

/// How long it takes, where nothing is found. Printed by
/// `cargo test -p gateway --release redaction::tests::what_it_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_it_costs() {
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
