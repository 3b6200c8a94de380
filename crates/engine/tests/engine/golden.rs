//! The engine with a real model: a small golden checkpoint of V3.2 whose indexer
//! selects 16 positions.

use std::path::Path;

use chat::Reply;
use engine::{Engine, Options};
use futures_util::future::join_all;
use weights::Checkpoint;

use crate::harness::{encoding, options_with_pages, random_letters, reply, user_chat};

fn start_golden_engine(options: Options) -> Engine {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/v32-bf16");
    let model = model::load(&Checkpoint::open(&folder).unwrap(), &model::Options::exact(2)).unwrap();
    Engine::start(model, encoding(), options).unwrap()
}

fn chats() -> Vec<chat::Chat> {
    let chat = |seed: u64| {
        let mut chat = user_chat(random_letters(seed, 20 + 40 * seed as usize));
        chat.max_tokens = Some(100);
        chat.sampling.seed = Some(seed as i64);
        chat
    };
    (0..5).map(chat).collect()
}

fn texts_and_token_counts(replies: Vec<Reply>) -> Vec<(String, u64)> {
    replies.into_iter().map(|reply| (reply.text, reply.usage.unwrap().completion_tokens)).collect()
}

#[tokio::test]
async fn company_chunks_pauses_and_cache_hits_change_no_answer_of_a_real_model() {
    let roomy = start_golden_engine(options_with_pages(64));
    let mut alone = Vec::new();
    for chat in chats() {
        alone.push(reply(&roomy, chat).await);
    }
    let alone = texts_and_token_counts(alone);
    assert!(alone.iter().all(|(_, tokens)| *tokens > 0));
    let again = join_all(chats().into_iter().map(|chat| reply(&roomy, chat))).await;
    assert!(again.iter().any(|reply| reply.usage.unwrap().cached_tokens > 0));
    assert_eq!(texts_and_token_counts(again), alone);
    // Together they need about 15 pages.
    let crowded = start_golden_engine(Options { batch_tokens: 7, ..options_with_pages(8) });
    assert_eq!(texts_and_token_counts(join_all(chats().into_iter().map(|chat| reply(&crowded, chat))).await), alone);
}
