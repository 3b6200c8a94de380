//! The disk cache: hits after a restart, their scope, and answers that do not depend on them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{Chat, Provider};
use engine::{DiskCacheOptions, Engine, Options};

use crate::harness::{
    TestControls, collect_reply, options_with_pages, random_letters, reply, start_engine, user_chat, wait_for_load,
};

fn options(folder: &Path, max_bytes: u64) -> Options {
    let disk = DiskCacheOptions { folder: folder.to_owned(), max_bytes, fingerprint: [1; 32] };
    Options { disk: Some(disk), ..options_with_pages(64) }
}

fn start_with_disk_cache(folder: &Path) -> (Engine, Arc<TestControls>) {
    start_engine(options(folder, 1 << 20))
}

fn long_prompt_chat(seed: u64) -> Chat {
    user_chat(random_letters(seed, 1000))
}

/// Drops the last handle and waits until the engine's thread has unlocked the folder.
async fn stop_and_wait_for_lock(engine: Engine, folder: &Path) {
    drop(engine);
    let lock = std::fs::File::open(folder.join("lock")).unwrap();
    for _ in 0..2000 {
        if lock.try_lock().is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the folder is still locked after 10 s");
}

async fn text_and_cached_tokens(engine: &Engine, chat: Chat) -> (String, u64) {
    let reply = reply(engine, chat).await;
    (reply.text, reply.usage.unwrap().cached_tokens)
}

#[tokio::test]
async fn after_a_restart_a_prompt_is_read_from_disk_and_the_answer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = start_with_disk_cache(folder.path());
    let (cold, none) = text_and_cached_tokens(&first, long_prompt_chat(1)).await;
    let (warm, hit) = text_and_cached_tokens(&first, long_prompt_chat(1)).await;
    stop_and_wait_for_lock(first, folder.path()).await;
    let (second, controls) = start_with_disk_cache(folder.path());
    let (restarted, found) = text_and_cached_tokens(&second, long_prompt_chat(1)).await;
    assert_eq!((none, hit, found), (0, 960, 960));
    assert_eq!((&warm, &restarted), (&cold, &cold));
    // The prompt has 1,003 tokens, the answer 40 at most.
    assert!(controls.computed_tokens.load(Ordering::Relaxed) < 100);
}

#[tokio::test]
async fn a_conversation_that_grows_pays_for_its_new_tokens_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = start_with_disk_cache(folder.path());
    text_and_cached_tokens(&first, user_chat(random_letters(1, 500))).await;
    stop_and_wait_for_lock(first, folder.path()).await;
    let (second, _) = start_with_disk_cache(folder.path());
    let grown = format!("{}{}", random_letters(1, 500), random_letters(2, 300));
    assert_eq!(text_and_cached_tokens(&second, user_chat(grown)).await.1, 448);
}

#[tokio::test]
async fn other_callers_and_other_prompts_never_hit() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = start_with_disk_cache(folder.path());
    text_and_cached_tokens(&first, Chat { user: Some("alice".into()), ..long_prompt_chat(1) }).await;
    stop_and_wait_for_lock(first, folder.path()).await;
    let (second, _) = start_with_disk_cache(folder.path());
    for user in [None, Some("bob".into()), Some("".into())] {
        assert_eq!(text_and_cached_tokens(&second, Chat { user, ..long_prompt_chat(1) }).await.1, 0);
    }
    assert_eq!(text_and_cached_tokens(&second, long_prompt_chat(2)).await.1, 0);
    assert_eq!(
        text_and_cached_tokens(&second, Chat { user: Some("alice".into()), ..long_prompt_chat(1) }).await.1,
        960
    );
}

#[tokio::test]
async fn damage_ends_the_hit_and_the_answer_is_still_right() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = start_with_disk_cache(folder.path());
    let (cold, _) = text_and_cached_tokens(&first, long_prompt_chat(1)).await;
    stop_and_wait_for_lock(first, folder.path()).await;
    let files = || {
        let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|end| end == "page")).collect::<Vec<_>>()
    };
    let all = files();
    assert_eq!(all.len(), 16);
    for (index, path) in all.iter().enumerate() {
        let mut bytes = std::fs::read(path).unwrap();
        match index % 3 {
            0 => bytes[200] ^= 1,
            1 => bytes.truncate(300),
            _ => continue,
        }
        std::fs::write(path, bytes).unwrap();
    }
    // Every damaged page ends one hit and is written again.
    let mut found = Vec::new();
    while found.last() != Some(&960) {
        let (next, _) = start_with_disk_cache(folder.path());
        let (text, hit) = text_and_cached_tokens(&next, long_prompt_chat(1)).await;
        assert_eq!(text, cold);
        assert!(hit % 64 == 0 && found.len() < 16, "{hit} after {found:?}");
        found.push(hit);
        stop_and_wait_for_lock(next, folder.path()).await;
    }
    assert!(found[0] < 960);
}

#[tokio::test]
async fn the_bound_holds_under_many_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let bound = 20_000;
    let (engine, _) = start_engine(options(folder.path(), bound));
    for seed in 0..20 {
        text_and_cached_tokens(&engine, long_prompt_chat(seed)).await;
        let sizes = std::fs::read_dir(folder.path()).unwrap().filter_map(|entry| entry.ok()?.metadata().ok());
        assert!(sizes.map(|metadata| metadata.len()).sum::<u64>() <= bound);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_while_pages_are_read_leaks_none() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = start_with_disk_cache(folder.path());
    text_and_cached_tokens(&first, long_prompt_chat(1)).await;
    stop_and_wait_for_lock(first, folder.path()).await;
    let (second, _) = start_with_disk_cache(folder.path());
    for _ in 0..20 {
        let mut chat = long_prompt_chat(1);
        second.validate(&mut chat).unwrap();
        drop(second.chat(chat).await.unwrap());
    }
    wait_for_load(&second, |load| load.running == 0 && load.waiting == 0 && load.pages_used == 0).await;
    assert_eq!(text_and_cached_tokens(&second, long_prompt_chat(1)).await.1, 960);
}

#[tokio::test]
async fn many_readers_of_one_prompt_after_a_restart_are_all_answered_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = start_with_disk_cache(folder.path());
    let (cold, _) = text_and_cached_tokens(&first, long_prompt_chat(1)).await;
    stop_and_wait_for_lock(first, folder.path()).await;
    let (second, _) = start_engine(Options { max_running: 3, ..options(folder.path(), 1 << 20) });
    let mut streams = Vec::new();
    for _ in 0..12 {
        let mut chat = long_prompt_chat(1);
        second.validate(&mut chat).unwrap();
        streams.push(second.chat(chat).await.unwrap().deltas);
    }
    for stream in streams {
        assert_eq!(collect_reply(stream).await.unwrap().text, cold);
    }
}
