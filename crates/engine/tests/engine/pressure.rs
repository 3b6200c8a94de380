//! Too many requests for the cache, the queue, or a caller's patience.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{Chat, Delta, ErrorKind, FinishReason};
use engine::Options;
use futures_util::StreamExt;
use futures_util::future::join_all;

use crate::harness::{ask, long, pages, read, reply, roomy, says, start, until};

#[tokio::test]
async fn paused_answers_go_on_as_if_nothing_had_happened() {
    // Each of the eight grows to 5 pages.
    let chats: Vec<Chat> = (0..8).map(|kind| long(kind, 50, 240)).collect();
    let (engine, dials) = start(pages(12));
    let replies = join_all(chats.iter().cloned().map(|chat| reply(&engine, chat))).await;
    let usual: u64 =
        replies.iter().map(|reply| reply.usage.unwrap()).map(|u| u.prompt_tokens + u.completion_tokens - 1).sum();
    assert!(dials.computed.load(Ordering::Relaxed) > usual, "somebody was paused and computed something again");
    for (chat, with_pauses) in chats.into_iter().zip(replies) {
        let alone = reply(&roomy(), chat).await;
        assert_eq!((alone.text, alone.finish), (with_pauses.text, with_pauses.finish));
        assert_eq!(alone.usage, with_pauses.usage, "pages found again after a pause are no hits");
    }
    until(&engine, |load| load.pages_used == 0 && load.running == 0 && load.waiting == 0).await;
}

#[tokio::test]
async fn an_answer_that_outgrows_the_whole_cache_ends_with_what_it_has() {
    let (engine, _) = start(pages(3));
    let cut = reply(&engine, long(1, 50, 1000)).await;
    assert_eq!(cut.finish, Some(FinishReason::InsufficientSystemResource));
    let usage = cut.usage.unwrap();
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, 3 * 64 + 1);
    assert!(reply(&roomy(), long(1, 50, 1000)).await.text.starts_with(&cut.text));

    let deltas: Vec<Delta> = ask(&engine, long(1, 500, 10)).await.unwrap().map(Result::unwrap).collect().await;
    assert!(
        matches!(
            deltas[..],
            [Delta::Start(_), Delta::Finish(FinishReason::InsufficientSystemResource), Delta::Usage(_)]
        ),
        "{deltas:?}"
    );
    assert_eq!(reply(&engine, long(2, 50, 100)).await.finish, Some(FinishReason::Length));
}

#[tokio::test]
async fn a_caller_who_hangs_up_frees_pages_and_disturbs_nobody() {
    let (engine, dials) = start(pages(512));
    dials.pace_ms.store(1, Ordering::Relaxed);
    let mut streams = Vec::new();
    for kind in 0..9 {
        streams.push(ask(&engine, long(kind, 200, 300)).await.unwrap());
    }
    for stream in &mut streams {
        assert!(matches!(stream.next().await, Some(Ok(Delta::Start(_)))));
    }
    let kept: Vec<_> = streams.into_iter().enumerate().filter(|(kind, _)| kind % 3 != 0).collect();
    until(&engine, |load| load.running == 6).await;
    assert!(engine.load().pages_used < 6 * 9);
    let replies = join_all(kept.into_iter().map(async |(kind, stream)| (kind, read(stream).await.unwrap()))).await;
    for (kind, with_others) in replies {
        assert_eq!(reply(&roomy(), long(kind as u64, 200, 300)).await.text, with_others.text);
    }
    until(&engine, |load| load.pages_used == 0).await;
    let steps = dials.steps.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(dials.steps.load(Ordering::Relaxed), steps, "nothing is computed for nobody");
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_caller_who_leaves_it_makes_room() {
    let (engine, dials) = start(Options { max_running: 1, queue: 2, ..pages(512) });
    dials.pace_ms.store(2, Ordering::Relaxed);
    let mut first = ask(&engine, long(1, 10, 4000)).await.unwrap();
    assert!(matches!(first.next().await, Some(Ok(Delta::Start(_)))));
    let second = ask(&engine, long(2, 10, 5)).await.unwrap();
    let third = ask(&engine, long(3, 10, 5)).await.unwrap();
    let refused = ask(&engine, says("me too")).await.err().unwrap();
    assert_eq!(refused.kind, ErrorKind::Overload);
    assert!(refused.retry_after.is_some());

    drop(second);
    until(&engine, |load| load.waiting == 1).await;
    let fourth = ask(&engine, long(4, 10, 5)).await.unwrap();
    drop(first);
    for stream in [third, fourth] {
        assert_eq!(read(stream).await.unwrap().finish, Some(FinishReason::Length));
    }
}

#[tokio::test]
async fn who_waits_too_long_is_refused_and_who_answers_too_long_is_cut() {
    let limits =
        Options { start_limit: Duration::from_millis(100), total_limit: Duration::from_millis(400), ..pages(512) };
    let (engine, dials) = start(Options { max_running: 1, ..limits });
    dials.pace_ms.store(5, Ordering::Relaxed);
    let running = ask(&engine, long(1, 10, 4000)).await.unwrap();
    until(&engine, |load| load.running == 1).await;
    let waiting = ask(&engine, long(2, 10, 5)).await.unwrap();
    assert_eq!(read(waiting).await.err().unwrap().kind, ErrorKind::Overload);
    let cut = read(running).await.unwrap();
    assert_eq!(cut.finish, Some(FinishReason::InsufficientSystemResource));
    assert_eq!(cut.text.len() as u64, cut.usage.unwrap().completion_tokens);
    assert!(cut.text.len() > 5);
}

#[tokio::test]
async fn a_slow_reader_waits_alone() {
    let (engine, dials) = start(Options { unread: 2, ..pages(512) });
    let slow = ask(&engine, long(1, 10, 300)).await.unwrap();
    assert_eq!(reply(&engine, long(2, 10, 300)).await.finish, Some(FinishReason::Length));
    let computed = dials.computed.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(dials.computed.load(Ordering::Relaxed), computed, "nothing is computed that nobody has room for");
    assert!(computed < 10 + 2 * 310, "the slow one is not done");
    assert_eq!(read(slow).await.unwrap().text, reply(&roomy(), long(1, 10, 300)).await.text);
}

#[tokio::test]
async fn a_slow_reader_keeps_no_pages_from_those_who_read() {
    let (engine, _) = start(Options { unread: 2, ..pages(12) });
    let mut slow = ask(&engine, long(1, 400, 100)).await.unwrap();
    let begun = slow.next().await.unwrap();
    // Alone this one fits, beside the other it does not.
    let quick = tokio::time::timeout(Duration::from_secs(10), reply(&engine, long(2, 10, 600)));
    assert_eq!(quick.await.expect("it does not wait for the slow one").finish, Some(FinishReason::Length));
    let slow = futures_util::stream::iter([begun]).chain(slow);
    assert_eq!(read(Box::pin(slow)).await.unwrap().text, reply(&roomy(), long(1, 400, 100)).await.text);
}

#[tokio::test]
async fn slow_readers_do_not_fill_the_house() {
    // Two places, and pages for two long answers: both are taken by callers who do not read.
    let (engine, _) = start(Options { unread: 2, max_running: 2, ..pages(16) });
    let slow = [ask(&engine, long(1, 400, 60)).await.unwrap(), ask(&engine, long(2, 400, 60)).await.unwrap()];
    until(&engine, |load| load.running == 2 && load.pages_used >= 14).await;
    for kind in 3..6 {
        let quick = tokio::time::timeout(Duration::from_secs(10), reply(&engine, long(kind, 300, 50))).await;
        assert_eq!(quick.expect("it does not wait for them").text, reply(&roomy(), long(kind, 300, 50)).await.text);
    }
    for (kind, slow) in (1..).zip(slow) {
        assert_eq!(read(slow).await.unwrap().text, reply(&roomy(), long(kind, 400, 60)).await.text);
    }
}

#[tokio::test]
async fn a_short_prompt_does_not_wait_for_a_long_one() {
    let (engine, dials) = start(Options { batch_tokens: 16, ..pages(512) });
    dials.pace_ms.store(1, Ordering::Relaxed);
    let long_one = ask(&engine, long(1, 3000, 5)).await.unwrap();
    let mut long_one = std::pin::pin!(long_one.peekable());
    until(&engine, |load| load.running == 1).await;
    assert_eq!(reply(&engine, long(2, 40, 10)).await.finish, Some(FinishReason::Length));
    let started = tokio::time::timeout(Duration::ZERO, long_one.as_mut().peek()).await;
    assert!(started.is_err(), "the long prompt is still being read");
    assert_eq!(long_one.collect::<Vec<_>>().await.len(), 1 + 5 + 2);
}
