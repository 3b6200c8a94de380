//! Any bytes speak of tasks: callers see our ids, providers theirs, and there and back all other
//! bytes are what they were.
#![no_main]

use fuzzing::{bounded, steered, without};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use wire::tasks::id_rewriting::{self, IdPair};
use wire::tasks::{TaskKind, is_path_safe_id};

/// Numbers and words, long enough to be looked for inside of texts and not.
const THEIRS: [&str; 6] = ["17733149", "4", "task-0123456789", "a", "0123-4567-89ab", "01234567890123456789"];

fuzz_target!(|input: &[u8]| {
    let Some((body, [kind, theirs, random])) = steered(input) else { return };
    let kind = TaskKind::ALL[usize::from(kind) % TaskKind::ALL.len()];
    let theirs = THEIRS[usize::from(theirs) % THEIRS.len()];
    let ours = kind.new_public_id([random; 16]);
    assert!(kind.is_public_id(&ours) && is_path_safe_id(&ours));
    bounded(body.len(), || {
        there_and_back(kind, body, theirs, &ours);
        several(kind, body, random);
        check_found_ids(kind, body);
        path(&String::from_utf8_lossy(body), theirs, &ours);
        check_task_response(kind, body);
    });
});

fn there_and_back(kind: TaskKind, body: &[u8], theirs: &str, ours: &str) {
    let pairs = [IdPair { provider_id: theirs, public_id: ours }];
    let has = |bytes: &[u8], id: &str| memmem::find(bytes, id.as_bytes()).is_some();
    let outward = id_rewriting::to_public_ids(kind, body, &pairs);
    assert!(outward.is_none() || has(body, theirs));
    if has(body, ours) {
        return;
    }
    assert_eq!(id_rewriting::to_provider_ids(body, &pairs), None, "what is not ours is the caller's own");
    let Some(outward) = outward else { return };
    assert!(has(&outward, ours));
    // Of what is no JSON, a quote that is added may end what was no string.
    if wire::json::parse(body).is_err() {
        return;
    }
    wire::json::parse(&outward).expect("JSON stays JSON");
    let back = id_rewriting::to_provider_ids(&outward, &pairs).expect("what is ours becomes theirs");
    // A number may have become a string.
    assert_eq!(without(&back, b'"'), without(body, b'"'));
}

/// Many tasks at once, as a list has them.
fn several(kind: TaskKind, body: &[u8], random: u8) {
    let ours: Vec<_> = (0..THEIRS.len()).map(|at| kind.new_public_id([random.wrapping_add(at as u8); 16])).collect();
    let pairs: Vec<_> = THEIRS.iter().zip(&ours).map(|(theirs, ours)| IdPair { provider_id: theirs, public_id: ours }).collect();
    if let Some(outward) = id_rewriting::to_public_ids(kind, body, &pairs) {
        if wire::json::parse(body).is_ok() {
            wire::json::parse(&outward).expect("JSON stays JSON");
        }
        id_rewriting::to_provider_ids(&outward, &pairs);
    }
}

fn check_found_ids(kind: TaskKind, body: &[u8]) {
    let found = id_rewriting::find_public_ids(kind, body, 8);
    assert!(found.len() <= 8);
    for id in found {
        assert!(kind.is_public_id(&id) && memmem::find(body, id.as_bytes()).is_some());
    }
}

fn path(path: &str, theirs: &str, ours: &str) {
    let changed = id_rewriting::replace_in_path(path, ours, theirs);
    if !path.contains(ours) && !path.contains('%') {
        assert_eq!(changed, path);
    }
    let before_query = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
    assert!(before_query(&changed).split('/').all(|segment| segment != ours));
    assert_eq!(changed.matches('/').count(), path.matches('/').count());
}

fn check_task_response(kind: TaskKind, body: &[u8]) {
    let Ok(answer) = serde_json::from_slice(body) else { return };
    if let Some(taken) = kind.accepted_task(&answer) {
        assert!(is_path_safe_id(&taken.id), "an id is a part of paths");
        assert!(kind.is_task_response(&answer) || kind == TaskKind::Midjourney, "what was taken is a task");
        assert!(kind.fetch_path(&taken.id).ends_with(&taken.id) || kind == TaskKind::Midjourney);
    }
    kind.is_submission_response(&answer);
    kind.state(&answer);
    kind.id_in_list(&answer);
    kind.parent_task_id(&answer);
}
