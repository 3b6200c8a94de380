//! Panics and invalid outputs of the model, the end of the engine, and options that are refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{Delta, ErrorKind, FinishReason, Provider};
use engine::{Engine, Options, StartError};
use futures_util::StreamExt;

use crate::harness::{
    HashModel, NAN_CHAR, PANIC_CHAR, collect_reply, encoding, fixed_length_chat, large_engine, options_with_pages,
    random_letters, reply, start_engine, submit, user_chat, wait_for_load,
};

#[tokio::test]
async fn a_panic_fails_the_running_requests_and_the_engine_continues() {
    let (engine, controls) = start_engine(options_with_pages(64));
    controls.step_delay_ms.store(1, Ordering::Relaxed);
    for _ in 0..3 {
        let mut bystander = submit(&engine, fixed_length_chat(1, 130, 3000)).await.unwrap();
        assert!(matches!(bystander.next().await, Some(Ok(Delta::Start(_)))));
        let culprit = submit(&engine, user_chat(PANIC_CHAR.to_string())).await.unwrap();
        for stream in [culprit, bystander] {
            assert_eq!(collect_reply(stream).await.err().unwrap().kind, ErrorKind::Internal);
        }
        assert!(engine.is_ready());
        let after = reply(&engine, user_chat(random_letters(1, 130))).await;
        assert_eq!(after.usage.unwrap().cached_tokens, 0, "nothing of the old cache is trusted");
        assert_eq!(after.text, reply(&large_engine(), user_chat(random_letters(1, 130))).await.text);
    }
    wait_for_load(&engine, |load| load.pages_used == 0 && load.pages_total == 64).await;
}

#[tokio::test]
async fn an_output_that_is_not_a_number_fails_only_its_own_request() {
    let engine = large_engine();
    let good = submit(&engine, user_chat("good")).await.unwrap();
    let bad = submit(&engine, user_chat(NAN_CHAR.to_string())).await.unwrap();
    assert_eq!(collect_reply(bad).await.err().unwrap().kind, ErrorKind::Internal);
    assert_eq!(collect_reply(good).await.unwrap().finish, Some(FinishReason::Length));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_all_answers_and_the_thread() {
    let (engine, controls) = start_engine(Options { max_running: 1, ..options_with_pages(64) });
    controls.step_delay_ms.store(1, Ordering::Relaxed);
    let mut running = submit(&engine, fixed_length_chat(1, 10, 3000)).await.unwrap();
    assert!(matches!(running.next().await, Some(Ok(Delta::Start(_)))));
    let waiting = submit(&engine, user_chat("me too")).await.unwrap();
    let second = engine.clone();
    drop(engine);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(second.is_ready());
    drop(second);
    assert_eq!(collect_reply(running).await.unwrap().finish, Some(FinishReason::InsufficientSystemResource));
    assert_eq!(collect_reply(waiting).await.err().unwrap().kind, ErrorKind::Overloaded);
    for _ in 0..1000 {
        if Arc::strong_count(&controls) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the model is still there");
}

#[test]
fn an_engine_with_an_option_of_zero_does_not_start() {
    let refusal = |options| Engine::start(Box::new(HashModel::new(Arc::default())), encoding(), options).err().unwrap();
    assert!(refusal(options_with_pages(0)).to_string().contains("cache_pages"));
    assert!(refusal(Options { queue: 0, ..options_with_pages(1) }).to_string().contains("queue"));
    let mut model = HashModel::new(Arc::default());
    model.shrink_vocabulary(100);
    let error = Engine::start(Box::new(model), encoding(), options_with_pages(1)).err().unwrap();
    assert!(matches!(error, StartError::Vocabulary { tokenizer: 263, model: 100 }), "{error}");
}
