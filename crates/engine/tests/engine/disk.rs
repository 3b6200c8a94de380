//! Prefix pages that survive the engine: what is found, for whom, and that it changes no answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{Chat, Provider};
use engine::{DiskOptions, Engine, Options};

use crate::harness::{Dials, letters, pages, read, reply, says, start, until};

fn options(folder: &Path, bytes: u64) -> Options {
    let disk = DiskOptions { folder: folder.to_owned(), bytes, identity: [1; 32] };
    Options { disk: Some(disk), ..pages(64) }
}

fn engine(folder: &Path) -> (Engine, Arc<Dials>) {
    start(options(folder, 1 << 20))
}

fn question(kind: u64) -> Chat {
    says(letters(kind, 1000))
}

/// Drops the last handle and waits until the engine's thread has let go of the folder.
async fn stop(engine: Engine, folder: &Path) {
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

async fn cached(engine: &Engine, chat: Chat) -> (String, u64) {
    let reply = reply(engine, chat).await;
    (reply.text, reply.usage.unwrap().cached_tokens)
}

#[tokio::test]
async fn after_a_restart_a_prompt_is_read_from_disk_and_the_answer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = engine(folder.path());
    let (cold, none) = cached(&first, question(1)).await;
    let (warm, hit) = cached(&first, question(1)).await;
    stop(first, folder.path()).await;
    let (second, dials) = engine(folder.path());
    let (restarted, found) = cached(&second, question(1)).await;
    assert_eq!((none, hit, found), (0, 960, 960));
    assert_eq!((&warm, &restarted), (&cold, &cold));
    // The prompt has 1,003 tokens, the answer 40 at most.
    assert!(dials.computed.load(Ordering::Relaxed) < 100);
}

#[tokio::test]
async fn a_conversation_that_grows_pays_for_its_new_tokens_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = engine(folder.path());
    cached(&first, says(letters(1, 500))).await;
    stop(first, folder.path()).await;
    let (second, _) = engine(folder.path());
    let grown = format!("{}{}", letters(1, 500), letters(2, 300));
    assert_eq!(cached(&second, says(grown)).await.1, 448);
}

#[tokio::test]
async fn other_callers_and_other_prompts_never_hit() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = engine(folder.path());
    cached(&first, Chat { user: Some("alice".into()), ..question(1) }).await;
    stop(first, folder.path()).await;
    let (second, _) = engine(folder.path());
    for user in [None, Some("bob".into()), Some("".into())] {
        assert_eq!(cached(&second, Chat { user, ..question(1) }).await.1, 0);
    }
    assert_eq!(cached(&second, question(2)).await.1, 0);
    assert_eq!(cached(&second, Chat { user: Some("alice".into()), ..question(1) }).await.1, 960);
}

#[tokio::test]
async fn damage_ends_the_hit_and_the_answer_is_still_right() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = engine(folder.path());
    let (cold, _) = cached(&first, question(1)).await;
    stop(first, folder.path()).await;
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
    // Every damaged page ends one hit, and is written anew.
    let mut found = Vec::new();
    while found.last() != Some(&960) {
        let (next, _) = engine(folder.path());
        let (text, hit) = cached(&next, question(1)).await;
        assert_eq!(text, cold);
        assert!(hit % 64 == 0 && found.len() < 16, "{hit} after {found:?}");
        found.push(hit);
        stop(next, folder.path()).await;
    }
    assert!(found[0] < 960);
}

#[tokio::test]
async fn the_bound_holds_under_many_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let bound = 20_000;
    let (engine, _) = start(options(folder.path(), bound));
    for kind in 0..20 {
        cached(&engine, question(kind)).await;
        let sizes = std::fs::read_dir(folder.path()).unwrap().filter_map(|entry| entry.ok()?.metadata().ok());
        assert!(sizes.map(|metadata| metadata.len()).sum::<u64>() <= bound);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_while_pages_are_read_leaks_none() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = engine(folder.path());
    cached(&first, question(1)).await;
    stop(first, folder.path()).await;
    let (second, _) = engine(folder.path());
    for _ in 0..20 {
        let mut chat = question(1);
        second.check(&mut chat).unwrap();
        drop(second.chat(chat).await.unwrap());
    }
    until(&second, |load| load.running == 0 && load.waiting == 0 && load.pages_used == 0).await;
    assert_eq!(cached(&second, question(1)).await.1, 960);
}

#[tokio::test]
async fn many_readers_of_one_prompt_after_a_restart_are_all_answered_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = engine(folder.path());
    let (cold, _) = cached(&first, question(1)).await;
    stop(first, folder.path()).await;
    let (second, _) = start(Options { max_running: 3, ..options(folder.path(), 1 << 20) });
    let mut streams = Vec::new();
    for _ in 0..12 {
        let mut chat = question(1);
        second.check(&mut chat).unwrap();
        streams.push(second.chat(chat).await.unwrap());
    }
    for stream in streams {
        assert_eq!(read(stream).await.unwrap().text, cold);
    }
}
