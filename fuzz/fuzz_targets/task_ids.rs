//! Input: bodies with ids of tasks. Callers receive public ids, providers their own; translating
//! there and back keeps all other bytes.
#![no_main]

use fuzzing::{split_control, within_time_limit, without};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use wire::tasks::id_rewriting::{self, IdPair};
use wire::tasks::{TaskKind, is_path_safe_id};

/// Provider ids: numbers and words, short and long enough to be replaced inside texts.
const PROVIDER_IDS: [&str; 6] = ["17733149", "4", "task-0123456789", "a", "0123-4567-89ab", "01234567890123456789"];

fuzz_target!(|input: &[u8]| {
    let Some((body, [kind, provider_id, random])) = split_control(input) else { return };
    let kind = TaskKind::ALL[usize::from(kind) % TaskKind::ALL.len()];
    let provider_id = PROVIDER_IDS[usize::from(provider_id) % PROVIDER_IDS.len()];
    let public_id = kind.new_public_id([random; 16]);
    assert!(kind.is_public_id(&public_id) && is_path_safe_id(&public_id));
    within_time_limit(body.len(), || {
        check_round_trip(kind, body, provider_id, &public_id);
        check_list(kind, body, random);
        check_found_ids(kind, body);
        check_path(&String::from_utf8_lossy(body), provider_id, &public_id);
        check_task_response(kind, body);
    });
});

fn check_round_trip(kind: TaskKind, body: &[u8], provider_id: &str, public_id: &str) {
    let pairs = [IdPair { provider_id, public_id }];
    let has = |bytes: &[u8], id: &str| memmem::find(bytes, id.as_bytes()).is_some();
    let translated = id_rewriting::to_public_ids(kind, body, &pairs);
    assert!(translated.is_none() || has(body, provider_id));
    if has(body, public_id) {
        return;
    }
    assert_eq!(id_rewriting::to_provider_ids(body, &pairs), None, "other ids belong to the caller");
    let Some(translated) = translated else { return };
    assert!(has(&translated, public_id));
    // In invalid JSON, an added quote may end something that is not a string.
    if wire::json::parse(body).is_err() {
        return;
    }
    wire::json::parse(&translated).expect("JSON stays JSON");
    let back = id_rewriting::to_provider_ids(&translated, &pairs).expect("public ids become provider ids");
    // A number may have become a string.
    assert_eq!(without(&back, b'"'), without(body, b'"'));
}

/// Translates several ids at once, as in a list of tasks.
fn check_list(kind: TaskKind, body: &[u8], random: u8) {
    let public_ids: Vec<_> =
        (0..PROVIDER_IDS.len()).map(|at| kind.new_public_id([random.wrapping_add(at as u8); 16])).collect();
    let pairs: Vec<_> = PROVIDER_IDS
        .iter()
        .zip(&public_ids)
        .map(|(provider_id, public_id)| IdPair { provider_id, public_id })
        .collect();
    if let Some(translated) = id_rewriting::to_public_ids(kind, body, &pairs) {
        if wire::json::parse(body).is_ok() {
            wire::json::parse(&translated).expect("JSON stays JSON");
        }
        id_rewriting::to_provider_ids(&translated, &pairs);
    }
}

fn check_found_ids(kind: TaskKind, body: &[u8]) {
    let found = id_rewriting::find_public_ids(kind, body, 8);
    assert!(found.len() <= 8);
    for id in found {
        assert!(kind.is_public_id(&id) && memmem::find(body, id.as_bytes()).is_some());
    }
}

fn check_path(path: &str, provider_id: &str, public_id: &str) {
    let changed = id_rewriting::replace_in_path(path, public_id, provider_id);
    if !path.contains(public_id) && !path.contains('%') {
        assert_eq!(changed, path);
    }
    let before_query = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
    assert!(before_query(&changed).split('/').all(|segment| segment != public_id));
    assert_eq!(changed.matches('/').count(), path.matches('/').count());
}

fn check_task_response(kind: TaskKind, body: &[u8]) {
    let Ok(answer) = serde_json::from_slice(body) else { return };
    if let Some(task) = kind.accepted_task(&answer) {
        assert!(is_path_safe_id(&task.id), "an id is part of paths");
        assert!(kind.is_task_response(&answer) || kind == TaskKind::Midjourney, "an accepted task is a task");
        assert!(kind.fetch_path(&task.id).ends_with(&task.id) || kind == TaskKind::Midjourney);
    }
    kind.is_submission_response(&answer);
    kind.state(&answer);
    kind.id_in_list(&answer);
    kind.parent_task_id(&answer);
}
