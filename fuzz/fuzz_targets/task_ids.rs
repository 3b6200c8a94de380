//! Any bytes speak of tasks: callers see our ids, providers theirs, and there and back all other bytes are what they were.
#![no_main]

use fuzzing::{bounded, steered, without};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use wire::tasks::ids::{self, Pair};
use wire::tasks::{Kind, is_id};

/// Numbers and words, long enough to be looked for inside of texts and not.
const THEIRS: [&str; 6] = ["17733149", "4", "task-0123456789", "a", "0123-4567-89ab", "01234567890123456789"];

fuzz_target!(|input: &[u8]| {
    let Some((body, [kind, theirs, random])) = steered(input) else { return };
    let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
    let theirs = THEIRS[usize::from(theirs) % THEIRS.len()];
    let ours = kind.id_of([random; 16]);
    assert!(kind.is_ours(&ours) && is_id(&ours));
    bounded(body.len(), || {
        there_and_back(kind, body, theirs, &ours);
        several(kind, body, random);
        mentioned(kind, body);
        path(&String::from_utf8_lossy(body), theirs, &ours);
        told(kind, body);
    });
});

fn there_and_back(kind: Kind, body: &[u8], theirs: &str, ours: &str) {
    let pairs = [Pair { theirs, ours }];
    let has = |bytes: &[u8], id: &str| memmem::find(bytes, id.as_bytes()).is_some();
    let outward = ids::outward(kind, body, &pairs);
    assert!(outward.is_none() || has(body, theirs));
    if has(body, ours) {
        return;
    }
    assert_eq!(ids::inward(body, &pairs), None, "what is not ours is the caller's own");
    let Some(outward) = outward else { return };
    assert!(has(&outward, ours));
    // Of what is no JSON, a quote that is added may end what was no string.
    if wire::json::parse(body).is_err() {
        return;
    }
    wire::json::parse(&outward).expect("JSON stays JSON");
    let back = ids::inward(&outward, &pairs).expect("what is ours becomes theirs");
    // A number may have become a string.
    assert_eq!(without(&back, b'"'), without(body, b'"'));
}

/// Many tasks at once, as a list has them.
fn several(kind: Kind, body: &[u8], random: u8) {
    let ours: Vec<_> = (0..THEIRS.len()).map(|at| kind.id_of([random.wrapping_add(at as u8); 16])).collect();
    let pairs: Vec<_> = THEIRS.iter().zip(&ours).map(|(theirs, ours)| Pair { theirs, ours }).collect();
    if let Some(outward) = ids::outward(kind, body, &pairs) {
        if wire::json::parse(body).is_ok() {
            wire::json::parse(&outward).expect("JSON stays JSON");
        }
        ids::inward(&outward, &pairs);
    }
}

fn mentioned(kind: Kind, body: &[u8]) {
    let found = ids::candidates(kind, body, 8);
    assert!(found.len() <= 8);
    for id in found {
        assert!(kind.is_ours(&id) && memmem::find(body, id.as_bytes()).is_some());
    }
}

fn path(path: &str, theirs: &str, ours: &str) {
    let changed = ids::in_path(path, ours, theirs);
    if !path.contains(ours) && !path.contains('%') {
        assert_eq!(changed, path);
    }
    let before_query = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
    assert!(before_query(&changed).split('/').all(|segment| segment != ours));
    assert_eq!(changed.matches('/').count(), path.matches('/').count());
}

fn told(kind: Kind, body: &[u8]) {
    let Ok(answer) = serde_json::from_slice(body) else { return };
    if let Some(taken) = kind.taken(&answer) {
        assert!(is_id(&taken.id), "an id is a part of paths");
        assert!(kind.is_task(&answer) || kind == Kind::Midjourney, "what was taken is a task");
        assert!(kind.fetch_path(&taken.id).ends_with(&taken.id) || kind == Kind::Midjourney);
    }
    kind.is_submission(&answer);
    kind.state(&answer);
    kind.id_in_list(&answer);
    kind.parent(&answer);
}
