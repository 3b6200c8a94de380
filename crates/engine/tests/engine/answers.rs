//! The content of answers, and their independence of batching and caching.

use std::sync::atomic::Ordering;

use chat::{Attention, Chat, Delta, FinishReason, Input, Provider, Reply, Sampling, Tool, Usage};
use engine::{Engine, PrefillProgress, Profile, SamplingDefaults};
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::harness::{
    CONTEXT, collect_reply, encoding, large_engine, options_with_pages, random_letters, reply, start_engine, submit,
    user_chat,
};

#[tokio::test]
async fn deltas_come_in_order_and_tokens_are_counted() {
    let engine = large_engine();
    let chat = user_chat("hello");
    let prompt = encoding().render(&chat).unwrap().tokens.len() as u64;
    let deltas: Vec<Delta> = submit(&engine, chat).await.unwrap().map(Result::unwrap).collect().await;
    let Delta::Start(Usage { prompt_tokens, cached_tokens: 0, completion_tokens: 0, .. }) = deltas[0] else {
        panic!("{deltas:?}");
    };
    assert_eq!(prompt_tokens, prompt);
    let [middle @ .., Delta::Finish(FinishReason::Length), Delta::Usage(usage)] = &deltas[1..] else {
        panic!("{deltas:?}");
    };
    assert!(!middle.is_empty() && middle.iter().all(|delta| matches!(delta, Delta::Text { .. })));
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens), (prompt, 0, 40));
    assert_eq!(usage.reasoning_tokens, None);
}

#[tokio::test]
async fn the_end_token_ends_an_answer_and_is_counted() {
    let engine = large_engine();
    let mut stopped = 0;
    for seed in 0..20 {
        let mut chat = user_chat("go on");
        chat.max_tokens = Some(200);
        chat.sampling.seed = Some(seed);
        let reply = reply(&engine, chat).await;
        let generated = reply.usage.unwrap().completion_tokens;
        if reply.finish == Some(FinishReason::Stop) {
            stopped += 1;
            // Nearly all tokens are letters; incomplete characters make the text longer, never
            // shorter.
            assert!(generated as usize <= reply.text.len() + 1, "{generated} {}", reply.text.len());
        } else {
            assert_eq!((reply.finish, generated), (Some(FinishReason::Length), 200));
        }
    }
    assert!(stopped > 10, "{stopped}");
}

#[tokio::test]
async fn a_seed_decides_the_answer_and_temperature_0_needs_none() {
    let engine = large_engine();
    let with = async |sampling: Sampling| reply(&engine, chat::Chat { sampling, ..user_chat("hi") }).await.text;
    let seeded = |seed| Sampling { seed, ..Sampling::default() };
    assert_eq!(with(seeded(Some(5))).await, with(seeded(Some(5))).await);
    assert_ne!(with(seeded(Some(5))).await, with(seeded(Some(6))).await);
    assert_ne!(with(seeded(None)).await, with(seeded(None)).await);
    let greedy = |seed| Sampling { temperature: Some(0.0), seed, ..Sampling::default() };
    assert_eq!(with(greedy(None)).await, with(greedy(Some(9))).await);
}

#[tokio::test]
async fn the_seed_of_the_operator_applies_to_requests_without_one() {
    let (engine, _) = start_engine(engine::Options { seed: Some(5), ..options_with_pages(512) });
    let with = async |engine: &Engine, seed| {
        reply(engine, chat::Chat { sampling: Sampling { seed, ..Sampling::default() }, ..user_chat("hi") }).await.text
    };
    let free = large_engine();
    assert_eq!(with(&engine, None).await, with(&free, Some(5)).await);
    assert_eq!(with(&engine, Some(6)).await, with(&free, Some(6)).await);
}

#[tokio::test]
async fn the_defaults_of_the_model_apply_in_the_lenient_profile() {
    let start = |profile, sampling_defaults| {
        start_engine(engine::Options { profile, sampling_defaults, ..options_with_pages(512) }).0
    };
    let greedy = SamplingDefaults { temperature: Some(0.0), ..SamplingDefaults::default() };
    let (lenient, service) = (start(Profile::Lenient, greedy), start(Profile::DeepSeek, greedy));
    let with = |sampling, thinking| Chat { sampling, thinking: Some(thinking), ..user_chat("hi") };
    let seeded = Sampling { seed: Some(3), ..Sampling::default() };
    let cold = Sampling { temperature: Some(0.0), ..seeded.clone() };
    let hot = Sampling { temperature: Some(1.0), ..seeded.clone() };
    for thinking in [false, true] {
        let of = async |engine: &Engine, sampling: &Sampling| {
            let reply = reply(engine, with(sampling.clone(), thinking)).await;
            reply.reasoning + &reply.text
        };
        let (greedy, sampled) = (of(&lenient, &cold).await, of(&lenient, &hot).await);
        assert_ne!(greedy, sampled);
        assert_eq!(of(&lenient, &seeded).await, greedy, "the default of the model");
        assert_eq!(of(&service, &seeded).await, sampled, "the default of the service");
        // The service ignores temperatures in thinking mode.
        assert_eq!(of(&service, &cold).await, if thinking { sampled } else { greedy });
    }
}

#[tokio::test]
async fn a_repetition_penalty_covers_prompt_and_answer() {
    let options = |penalty| engine::Options {
        sampling_defaults: SamplingDefaults { repetition_penalty: Some(penalty), ..SamplingDefaults::default() },
        ..options_with_pages(512)
    };
    let greedy = |text: &str| {
        let mut chat = user_chat(text);
        chat.sampling.temperature = Some(0.0);
        chat.sampling.logit_bias = vec![(encoding().eos(), -100.0)];
        chat
    };
    // The logits of printable letters are 4 to 8, so a penalty of 3 takes every letter but once,
    // and those of the prompt not at all. There are 95.
    let (engine, _) = start_engine(options(3.0));
    let text = reply(&engine, greedy("abcdefghijklmnopqrstuvwxyz")).await.text;
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    assert_eq!((text.len(), letters.len()), (40, 40), "{text}");
    assert!(!text.contains(|letter: char| letter.is_ascii_lowercase()), "{text}");
    let (plain, _) = start_engine(options(1.0));
    assert_eq!(reply(&plain, greedy("abc")).await, reply(&large_engine(), greedy("abc")).await);
}

/// Prompts of many lengths, some with a common prefix; answers of many lengths.
fn mixed_chats(n: u64) -> Vec<chat::Chat> {
    let chat = |i: u64| {
        let text = format!(
            "{}{}",
            random_letters(i % 3, (i as usize % 5) * 90),
            random_letters(100 + i, 1 + (i as usize * 37) % 300)
        );
        let mut chat = user_chat(text);
        chat.max_tokens = Some(20 + (i as i64 * 13) % 150);
        chat.sampling.seed = Some(i as i64);
        chat.sampling.top_p = i.is_multiple_of(2).then_some(0.9);
        chat.sampling.frequency_penalty = i.is_multiple_of(3).then_some(0.5);
        chat
    };
    (0..n).map(chat).collect()
}

/// The reply without the number of cached tokens, which may depend on other requests.
fn without_cached_tokens(mut reply: Reply) -> Reply {
    reply.usage = reply.usage.map(|usage| chat::Usage { cached_tokens: 0, ..usage });
    reply
}

#[tokio::test]
async fn thirty_two_requests_at_once_are_each_answered_as_alone() {
    let defaults = SamplingDefaults { top_k: Some(20), repetition_penalty: Some(1.3), ..SamplingDefaults::default() };
    for sampling_defaults in [SamplingDefaults::default(), defaults] {
        let start = || start_engine(engine::Options { sampling_defaults, ..options_with_pages(512) }).0;
        let together = start();
        let replies = join_all(mixed_chats(32).into_iter().map(|chat| reply(&together, chat))).await;
        for (chat, reply_together) in mixed_chats(32).into_iter().zip(replies) {
            assert_eq!(without_cached_tokens(reply(&start(), chat).await), without_cached_tokens(reply_together));
        }
    }
}

#[tokio::test]
async fn the_size_of_chunks_changes_nothing() {
    let all = async |batch_tokens| {
        let (engine, _) = start_engine(engine::Options { batch_tokens, ..options_with_pages(512) });
        let replies = join_all(mixed_chats(8).into_iter().map(|chat| reply(&engine, chat))).await;
        replies.into_iter().map(without_cached_tokens).collect::<Vec<_>>()
    };
    let whole = all(10_000).await;
    assert_eq!(all(1).await, whole);
    assert_eq!(all(63).await, whole);
}

#[tokio::test]
async fn a_prompt_seen_before_is_read_from_the_cache_in_pages_of_64() {
    let (engine, controls) = start_engine(options_with_pages(64));
    let chat = user_chat(random_letters(1, 300));
    let first = reply(&engine, chat.clone()).await;
    let computed = controls.computed_tokens.load(Ordering::Relaxed);
    let second = reply(&engine, chat.clone()).await;
    let prompt = first.usage.unwrap().prompt_tokens;
    let hit = (prompt - 1) / 64 * 64;
    assert_eq!((first.usage.unwrap().cached_tokens, second.usage.unwrap().cached_tokens), (0, hit));
    assert_eq!(controls.computed_tokens.load(Ordering::Relaxed) - computed, computed - hit);
    assert_eq!(first.text, second.text);

    let stranger = chat::Chat { user: Some("somebody else".into()), ..chat };
    assert_eq!(reply(&engine, stranger.clone()).await.usage.unwrap().cached_tokens, 0);
    assert_eq!(reply(&engine, stranger).await.usage.unwrap().cached_tokens, hit);
}

#[tokio::test]
async fn prompts_that_arrive_together_share_what_they_have_in_common() {
    let (engine, controls) = start_engine(options_with_pages(512));
    controls.step_delay_ms.store(1, Ordering::Relaxed);
    let chat = |seed| user_chat(format!("{}{}", random_letters(1, 1000), random_letters(seed, 50)));
    let replies = join_all((10..18).map(|seed| reply(&engine, chat(seed)))).await;
    let computed = controls.computed_tokens.load(Ordering::Relaxed);
    assert!(computed < 3000, "{computed} positions computed: eight times 1,100 would be 8,800");
    let alone = reply(&large_engine(), chat(17)).await;
    assert_eq!(without_cached_tokens(alone), without_cached_tokens(replies.into_iter().nth(7).unwrap()));
}

#[tokio::test]
async fn the_answer_is_part_of_the_next_prompts_prefix() {
    let engine = large_engine();
    let mut first = user_chat(random_letters(1, 100));
    first.max_tokens = Some(120);
    first.sampling.logit_bias = vec![(encoding().eos(), -100.0)];
    // Bytes that are not valid UTF-8 would be replaced in the text.
    first.sampling.logit_bias.extend((128..256).map(|id| (id, -100.0)));
    let answer = reply(&engine, first.clone()).await;
    let mut second = first;
    let chat::Input::Messages(messages) = &mut second.input else { unreachable!() };
    messages.push(chat::Message::new(chat::Role::Assistant, answer.text));
    messages.push(chat::Message::new(chat::Role::User, "and then?"));
    // Begin of sentence, user, 100 letters, assistant, end of thinking, 120 letters: 224 tokens,
    // the last of them not computed.
    assert_eq!(reply(&engine, second).await.usage.unwrap().cached_tokens, 192);
}

#[tokio::test]
async fn a_stop_string_ends_an_answer_before_it() {
    let engine = large_engine();
    let whole = reply(&engine, user_chat("stop")).await.text;
    let letters: Vec<char> = whole.chars().collect();
    let stop: String = letters[10..13].iter().collect();
    let stopped = reply(&engine, chat::Chat { stop: vec![stop.clone()], ..user_chat("stop") }).await;
    assert_eq!(stopped.text, whole[..whole.find(&stop).unwrap()]);
    assert_eq!(stopped.finish, Some(FinishReason::StopString(0)));
    assert!(stopped.usage.unwrap().completion_tokens < 40);
}

#[tokio::test]
async fn logprobs_cover_every_token_of_the_text() {
    let engine = large_engine();
    let chat = chat::Chat { logprobs: Some(true), top_logprobs: Some(3), ..user_chat("how likely?") };
    let with = reply(&engine, chat).await;
    assert_eq!(with.text, reply(&engine, user_chat("how likely?")).await.text);
    let bytes: Vec<u8> = with.logprobs.iter().flat_map(|token| token.bytes.clone().unwrap()).collect();
    assert_eq!(String::from_utf8_lossy(&bytes), with.text);
    for token in &with.logprobs {
        assert!(token.logprob <= 0.0 && (token.logprob > -20.0 || token.logprob == -9999.0), "{token:?}");
        assert_eq!(token.top.len(), 3);
        assert!(token.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        let named = token.top.iter().find(|top| top.token == token.token);
        assert!(named.is_none_or(|top| top.logprob == token.logprob));
    }
    assert!(with.logprobs.iter().any(|token| token.logprob == -9999.0), "some token was not among the likeliest 20");

    let plain = chat::Chat { logprobs: Some(true), ..user_chat("how likely?") };
    assert!(reply(&engine, plain).await.logprobs.iter().all(|token| token.top.is_empty()));
    assert!(reply(&engine, user_chat("how likely?")).await.logprobs.is_empty());
}

#[tokio::test]
async fn reasoning_is_counted_and_bias_spares_it() {
    let engine = large_engine();
    let mut chat = user_chat("think");
    chat.thinking = Some(true);
    chat.sampling.logit_bias = vec![(u32::from(b'A'), 100.0)];
    let thinking = reply(&engine, chat.clone()).await;
    assert_eq!((thinking.text.as_str(), thinking.usage.unwrap().reasoning_tokens), ("", Some(40)));
    assert_ne!(thinking.reasoning, "A".repeat(40));
    chat.thinking = Some(false);
    assert_eq!(reply(&engine, chat).await.text, "A".repeat(40));
}

#[tokio::test]
async fn a_request_without_tools_gets_no_call() {
    let engine = large_engine();
    let marker = encoding().call_tokens()[0];
    let mut chat = user_chat("call");
    chat.sampling = Sampling {
        temperature: Some(0.0),
        logit_bias: vec![(marker, 100.0), (b'<'.into(), 70.0), (encoding().eos(), -100.0)],
        ..Sampling::default()
    };
    chat.logprobs = Some(true);
    assert_eq!(reply(&engine, chat.clone()).await.text.len(), 40);
    chat.tools =
        vec![Tool { name: "f".into(), strict: false, function: serde_json::from_str(r#"{"name":"f"}"#).unwrap() }];
    let called = reply(&engine, chat.clone()).await;
    assert_eq!((called.text.as_str(), called.finish), ("", Some(FinishReason::Length)));
    chat.tool_choice = Some(chat::ToolChoice::None);
    assert_eq!(reply(&engine, chat).await.text.len(), 40);
}

#[tokio::test]
async fn a_prompt_far_beyond_the_context_is_refused_before_it_is_tokenized() {
    let engine = large_engine();
    let digits = || "0123456789".repeat(3_000_000);
    let with = |input| Chat { input, ..user_chat(String::new()) };
    let text = |suffix| Input::Text { prefix: digits(), suffix };
    let prompts = [user_chat(digits()), with(text(None)), with(Input::Tokens(vec![48; 1_000_000]))];
    for prompt in prompts {
        let began = std::time::Instant::now();
        let counted = engine.count_tokens(prompt.clone()).await.unwrap_err();
        let refused = submit(&engine, prompt).await.err().unwrap();
        for error in [counted, refused] {
            let begins = "This model's maximum context length is 4096 tokens. However, you requested at least ";
            assert!(error.message.starts_with(begins), "{error}");
        }
        // Tokenizing the complete prompt takes 18 seconds, and ten times as much in a debug build.
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }
    // A prompt that is only counted may be longer than the context.
    assert!(engine.count_tokens(user_chat(random_letters(1, CONTEXT + 100))).await.unwrap() > CONTEXT as u64);
}

#[tokio::test]
async fn a_prompt_beyond_the_context_is_refused_and_a_default_budget_is_cut() {
    let engine = large_engine();
    let error = submit(&engine, user_chat(random_letters(1, CONTEXT))).await.err().unwrap();
    assert!(error.message.starts_with("This model's maximum context length is 4096 tokens."), "{error}");

    let mut long = user_chat(random_letters(1, CONTEXT - 50));
    long.max_tokens = None;
    long.sampling.logit_bias = vec![(encoding().eos(), -100.0)];
    let reply = reply(&engine, long).await;
    let usage = reply.usage.unwrap();
    assert_eq!(
        (reply.finish, usage.prompt_tokens + usage.completion_tokens),
        (Some(FinishReason::ContextFull), CONTEXT as u64)
    );
}

#[tokio::test]
async fn progress_is_reported_while_a_prompt_is_read() {
    let (engine, controls) = start_engine(engine::Options { batch_tokens: 50, ..options_with_pages(64) });
    controls.step_delay_ms.store(5, Ordering::Relaxed);
    let (sender, mut progress) = watch::channel(PrefillProgress::default());
    let watched = tokio::spawn(async move {
        let mut seen = Vec::new();
        while progress.changed().await.is_ok() {
            seen.push(*progress.borrow_and_update());
        }
        seen
    });
    let deltas = engine.chat_with_progress(user_chat(random_letters(1, 500)), Some(sender)).await.unwrap().deltas;
    let total = collect_reply(deltas).await.unwrap().usage.unwrap().prompt_tokens as usize;
    let seen = watched.await.unwrap();
    assert!(seen.len() > 5 && seen.is_sorted_by(|a, b| a.processed < b.processed), "{seen:?}");
    assert_eq!(seen.last(), Some(&PrefillProgress { processed: total, total }));
}

#[tokio::test]
async fn prompts_with_a_path_of_their_own_share_no_pages_with_others() {
    let engine = large_engine();
    let cached = async |attention, user: Option<&str>| {
        let chat = Chat { attention, user: user.map(Into::into), ..user_chat(random_letters(7, 300)) };
        reply(&engine, chat).await.usage.unwrap().cached_tokens
    };
    for attention in [None, Some(Attention::Dense), Some(Attention::Sparse)] {
        assert_eq!(cached(attention, None).await, 0, "{attention:?}");
        assert!(cached(attention, None).await > 200, "{attention:?}");
        assert_eq!(cached(attention, Some("a")).await, 0, "{attention:?} of a user");
    }
    // A user with the name of a path.
    assert_eq!(cached(None, Some("\0dense\0")).await, 0);
}
