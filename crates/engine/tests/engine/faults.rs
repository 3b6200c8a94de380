//! What goes wrong inside, and how it ends for those outside.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{Delta, ErrorKind, FinishReason, Provider};
use engine::{Engine, Options, StartError};
use futures_util::StreamExt;

use crate::harness::{
    HashModel, NAN, PANIC, ask, encoding, letters, long, pages, read, reply, roomy, says, start, until,
};

#[tokio::test]
async fn a_panic_fails_those_who_run_and_the_engine_goes_on() {
    let (engine, dials) = start(pages(64));
    dials.pace_ms.store(1, Ordering::Relaxed);
    for _ in 0..3 {
        let mut bystander = ask(&engine, long(1, 130, 3000)).await.unwrap();
        assert!(matches!(bystander.next().await, Some(Ok(Delta::Start(_)))));
        let culprit = ask(&engine, says(PANIC.to_string())).await.unwrap();
        for stream in [culprit, bystander] {
            assert_eq!(read(stream).await.err().unwrap().kind, ErrorKind::Internal);
        }
        assert!(engine.ready());
        let after = reply(&engine, says(letters(1, 130))).await;
        assert_eq!(after.usage.unwrap().cached_tokens, 0, "nothing of the old cache is trusted");
        assert_eq!(after.text, reply(&roomy(), says(letters(1, 130))).await.text);
    }
    until(&engine, |load| load.pages_used == 0 && load.pages_total == 64).await;
}

#[tokio::test]
async fn an_output_that_is_no_number_fails_its_own_request_only() {
    let engine = roomy();
    let good = ask(&engine, says("good")).await.unwrap();
    let bad = ask(&engine, says(NAN.to_string())).await.unwrap();
    assert_eq!(read(bad).await.err().unwrap().kind, ErrorKind::Internal);
    assert_eq!(read(good).await.unwrap().finish, Some(FinishReason::Length));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_all_answers_and_the_thread() {
    let (engine, dials) = start(Options { max_running: 1, ..pages(64) });
    dials.pace_ms.store(1, Ordering::Relaxed);
    let mut running = ask(&engine, long(1, 10, 3000)).await.unwrap();
    assert!(matches!(running.next().await, Some(Ok(Delta::Start(_)))));
    let waiting = ask(&engine, says("me too")).await.unwrap();
    let second = engine.clone();
    drop(engine);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(second.ready());
    drop(second);
    assert_eq!(read(running).await.unwrap().finish, Some(FinishReason::InsufficientSystemResource));
    assert_eq!(read(waiting).await.err().unwrap().kind, ErrorKind::Overload);
    for _ in 0..1000 {
        if Arc::strong_count(&dials) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the model is still there");
}

#[test]
fn an_engine_that_could_do_nothing_does_not_start() {
    let refusal = |options| Engine::start(Box::new(HashModel::new(Arc::default())), encoding(), options).err().unwrap();
    assert!(refusal(pages(0)).to_string().contains("cache_pages"));
    assert!(refusal(Options { queue: 0, ..pages(1) }).to_string().contains("queue"));
    let mut model = HashModel::new(Arc::default());
    model.shrink_vocabulary(100);
    let error = Engine::start(Box::new(model), encoding(), pages(1)).err().unwrap();
    assert!(matches!(error, StartError::Vocabulary { tokenizer: 263, model: 100 }), "{error}");
}
