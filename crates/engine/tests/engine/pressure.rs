//! Too many requests for the cache, the queue or the time limits; clients that read slowly.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{Chat, Delta, ErrorKind, FinishReason};
use engine::Options;
use futures_util::StreamExt;
use futures_util::future::join_all;

use crate::harness::{
    collect_reply, fixed_length_chat, large_engine, options_with_pages, reply, start_engine, submit, user_chat,
    wait_for_load,
};

#[tokio::test]
async fn preempted_answers_continue_unchanged() {
    // Each of the eight grows to 5 pages.
    let chats: Vec<Chat> = (0..8).map(|seed| fixed_length_chat(seed, 50, 240)).collect();
    let (engine, controls) = start_engine(options_with_pages(12));
    let replies = join_all(chats.iter().cloned().map(|chat| reply(&engine, chat))).await;
    let usual: u64 =
        replies.iter().map(|reply| reply.usage.unwrap()).map(|u| u.prompt_tokens + u.completion_tokens - 1).sum();
    assert!(
        controls.computed_tokens.load(Ordering::Relaxed) > usual,
        "somebody was paused and computed something again"
    );
    for (chat, with_pauses) in chats.into_iter().zip(replies) {
        let alone = reply(&large_engine(), chat).await;
        assert_eq!((alone.text, alone.finish), (with_pauses.text, with_pauses.finish));
        assert_eq!(alone.usage, with_pauses.usage, "pages found again after a preemption are not hits");
    }
    wait_for_load(&engine, |load| load.pages_used == 0 && load.running == 0 && load.waiting == 0).await;
}

#[tokio::test]
async fn an_answer_that_outgrows_the_whole_cache_ends_with_what_it_has() {
    let (engine, _) = start_engine(options_with_pages(3));
    let cut = reply(&engine, fixed_length_chat(1, 50, 1000)).await;
    assert_eq!(cut.finish, Some(FinishReason::InsufficientSystemResource));
    let usage = cut.usage.unwrap();
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, 3 * 64 + 1);
    assert!(reply(&large_engine(), fixed_length_chat(1, 50, 1000)).await.text.starts_with(&cut.text));

    let deltas: Vec<Delta> =
        submit(&engine, fixed_length_chat(1, 500, 10)).await.unwrap().map(Result::unwrap).collect().await;
    assert!(
        matches!(
            deltas[..],
            [Delta::Start(_), Delta::Finish(FinishReason::InsufficientSystemResource), Delta::Usage(_)]
        ),
        "{deltas:?}"
    );
    assert_eq!(reply(&engine, fixed_length_chat(2, 50, 100)).await.finish, Some(FinishReason::Length));
}

#[tokio::test]
async fn a_client_that_disconnects_frees_its_pages_and_affects_no_others() {
    let (engine, controls) = start_engine(options_with_pages(512));
    controls.step_delay_ms.store(1, Ordering::Relaxed);
    let mut streams = Vec::new();
    for seed in 0..9 {
        streams.push(submit(&engine, fixed_length_chat(seed, 200, 300)).await.unwrap());
    }
    for stream in &mut streams {
        assert!(matches!(stream.next().await, Some(Ok(Delta::Start(_)))));
    }
    let kept: Vec<_> = streams.into_iter().enumerate().filter(|(seed, _)| seed % 3 != 0).collect();
    wait_for_load(&engine, |load| load.running == 6).await;
    assert!(engine.load().pages_used < 6 * 9);
    let replies =
        join_all(kept.into_iter().map(async |(seed, stream)| (seed, collect_reply(stream).await.unwrap()))).await;
    for (seed, with_others) in replies {
        assert_eq!(reply(&large_engine(), fixed_length_chat(seed as u64, 200, 300)).await.text, with_others.text);
    }
    wait_for_load(&engine, |load| load.pages_used == 0).await;
    let steps = controls.steps.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(controls.steps.load(Ordering::Relaxed), steps, "nothing is computed for nobody");
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_client_that_leaves_makes_room() {
    let (engine, controls) = start_engine(Options { max_running: 1, queue: 2, ..options_with_pages(512) });
    controls.step_delay_ms.store(2, Ordering::Relaxed);
    let mut first = submit(&engine, fixed_length_chat(1, 10, 4000)).await.unwrap();
    assert!(matches!(first.next().await, Some(Ok(Delta::Start(_)))));
    let second = submit(&engine, fixed_length_chat(2, 10, 5)).await.unwrap();
    let third = submit(&engine, fixed_length_chat(3, 10, 5)).await.unwrap();
    let refused = submit(&engine, user_chat("me too")).await.err().unwrap();
    assert_eq!(refused.kind, ErrorKind::Overloaded);
    assert!(refused.retry_after.is_some());

    drop(second);
    wait_for_load(&engine, |load| load.waiting == 1).await;
    let fourth = submit(&engine, fixed_length_chat(4, 10, 5)).await.unwrap();
    drop(first);
    for stream in [third, fourth] {
        assert_eq!(collect_reply(stream).await.unwrap().finish, Some(FinishReason::Length));
    }
}

#[tokio::test]
async fn waiting_too_long_is_refused_and_answering_too_long_is_cut() {
    let limits = Options {
        queue_timeout: Duration::from_millis(100),
        total_timeout: Duration::from_millis(400),
        ..options_with_pages(512)
    };
    let (engine, controls) = start_engine(Options { max_running: 1, ..limits });
    controls.step_delay_ms.store(5, Ordering::Relaxed);
    let running = submit(&engine, fixed_length_chat(1, 10, 4000)).await.unwrap();
    wait_for_load(&engine, |load| load.running == 1).await;
    let waiting = submit(&engine, fixed_length_chat(2, 10, 5)).await.unwrap();
    assert_eq!(collect_reply(waiting).await.err().unwrap().kind, ErrorKind::Overloaded);
    let cut = collect_reply(running).await.unwrap();
    assert_eq!(cut.finish, Some(FinishReason::InsufficientSystemResource));
    assert_eq!(cut.text.len() as u64, cut.usage.unwrap().completion_tokens);
    assert!(cut.text.len() > 5);
}

#[tokio::test]
async fn a_slow_reader_waits_alone() {
    let (engine, controls) = start_engine(Options { channel_capacity: 2, ..options_with_pages(512) });
    let slow = submit(&engine, fixed_length_chat(1, 10, 300)).await.unwrap();
    assert_eq!(reply(&engine, fixed_length_chat(2, 10, 300)).await.finish, Some(FinishReason::Length));
    let computed = controls.computed_tokens.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        controls.computed_tokens.load(Ordering::Relaxed),
        computed,
        "nothing is computed that nobody has room for"
    );
    assert!(computed < 10 + 2 * 310, "the slow one is not done");
    assert_eq!(
        collect_reply(slow).await.unwrap().text,
        reply(&large_engine(), fixed_length_chat(1, 10, 300)).await.text
    );
}

#[tokio::test]
async fn a_slow_reader_keeps_no_pages_from_other_requests() {
    let (engine, _) = start_engine(Options { channel_capacity: 2, ..options_with_pages(12) });
    let mut slow = submit(&engine, fixed_length_chat(1, 400, 100)).await.unwrap();
    let begun = slow.next().await.unwrap();
    // This request fits alone, but not together with the other.
    let quick = tokio::time::timeout(Duration::from_secs(10), reply(&engine, fixed_length_chat(2, 10, 600)));
    assert_eq!(quick.await.expect("it does not wait for the slow one").finish, Some(FinishReason::Length));
    let slow = futures_util::stream::iter([begun]).chain(slow);
    assert_eq!(
        collect_reply(Box::pin(slow)).await.unwrap().text,
        reply(&large_engine(), fixed_length_chat(1, 400, 100)).await.text
    );
}

#[tokio::test]
async fn slow_readers_do_not_fill_the_engine() {
    // Two running requests and pages for two long answers, taken by clients that do not read.
    let (engine, _) = start_engine(Options { channel_capacity: 2, max_running: 2, ..options_with_pages(16) });
    let slow = [
        submit(&engine, fixed_length_chat(1, 400, 60)).await.unwrap(),
        submit(&engine, fixed_length_chat(2, 400, 60)).await.unwrap(),
    ];
    wait_for_load(&engine, |load| load.running == 2 && load.pages_used >= 14).await;
    for seed in 3..6 {
        let quick =
            tokio::time::timeout(Duration::from_secs(10), reply(&engine, fixed_length_chat(seed, 300, 50))).await;
        assert_eq!(
            quick.expect("it does not wait for them").text,
            reply(&large_engine(), fixed_length_chat(seed, 300, 50)).await.text
        );
    }
    for (seed, slow) in (1..).zip(slow) {
        assert_eq!(
            collect_reply(slow).await.unwrap().text,
            reply(&large_engine(), fixed_length_chat(seed, 400, 60)).await.text
        );
    }
}

#[tokio::test]
async fn a_short_prompt_does_not_wait_for_a_long_one() {
    let (engine, controls) = start_engine(Options { batch_tokens: 16, ..options_with_pages(512) });
    controls.step_delay_ms.store(1, Ordering::Relaxed);
    let long_one = submit(&engine, fixed_length_chat(1, 3000, 5)).await.unwrap();
    let mut long_one = std::pin::pin!(long_one.peekable());
    wait_for_load(&engine, |load| load.running == 1).await;
    assert_eq!(reply(&engine, fixed_length_chat(2, 40, 10)).await.finish, Some(FinishReason::Length));
    let started = tokio::time::timeout(Duration::ZERO, long_one.as_mut().peek()).await;
    assert!(started.is_err(), "the long prompt is still being read");
    assert_eq!(long_one.collect::<Vec<_>>().await.len(), 1 + 5 + 2);
}
