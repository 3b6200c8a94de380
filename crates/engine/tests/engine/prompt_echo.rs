//! Raw completions that repeat their prompt with its log-probabilities, as evaluation harnesses ask
//! for them.

use chat::{Chat, FinishReason, Input, Reply};

use crate::harness::{encoding, large_engine, options_with_pages, random_letters, reply, start_engine, submit};

/// A completion of `input` whose answer repeats it.
fn echo(input: Input, max_tokens: i64, logprobs: bool) -> Chat {
    Chat {
        model: "deepseek-chat".into(),
        input,
        max_tokens: Some(max_tokens),
        echo_prompt: true,
        logprobs: logprobs.then_some(true),
        top_logprobs: logprobs.then_some(1),
        ..Chat::default()
    }
}

fn text(prefix: &str) -> Input {
    Input::Text { prefix: prefix.into(), suffix: None }
}

/// The log-probabilities of a prompt and of the answer.
fn numbers(reply: &Reply) -> Vec<f32> {
    reply.prompt_logprobs.iter().chain(&reply.logprobs).map(|token| token.logprob).collect()
}

#[tokio::test]
async fn a_prompt_has_the_numbers_that_its_tokens_had_as_an_answer() {
    let engine = large_engine();
    let prompt = random_letters(3, 300);
    let mut chat = echo(text(&prompt), 90, true);
    chat.sampling.temperature = Some(0.0);
    chat.sampling.logit_bias = vec![(encoding().eos(), -100.0)];
    let first = reply(&engine, chat.clone()).await;
    assert_eq!((first.prompt.as_str(), first.prompt_logprobs.len(), first.logprobs.len()), (prompt.as_str(), 300, 90));
    // All of it is in the cache by now, and is computed again for its numbers.
    let whole = format!("{prompt}{}", first.text);
    let second = reply(&engine, echo(text(&whole), 0, true)).await;
    assert_eq!((second.text.as_str(), second.finish), ("", Some(FinishReason::Length)));
    assert_eq!(numbers(&second), numbers(&first));
    assert_eq!(second.usage.unwrap().completion_tokens, 0);
    assert_eq!(second.prompt_logprobs[350].top.len(), 1);
    let tokens: String = second.prompt_logprobs.iter().map(|token| token.token.as_str()).collect();
    assert_eq!(tokens, whole);
}

#[tokio::test]
async fn prompts_that_compete_for_pages_keep_their_numbers() {
    let (engine, _) = start_engine(options_with_pages(12));
    let alone = |seed| echo(text(&random_letters(seed, 400)), 5, true);
    let mut expected = Vec::new();
    for seed in 0..3 {
        expected.push(numbers(&reply(&large_engine(), alone(seed)).await)[..400].to_vec());
    }
    let replies = futures_util::future::join_all((0..3).map(|seed| reply(&engine, alone(seed)))).await;
    for (reply, expected) in replies.iter().zip(expected) {
        assert_eq!(numbers(reply)[..400], expected);
    }
}

#[tokio::test]
async fn tokens_are_repeated_as_they_were_given() {
    let engine = large_engine();
    let bos = encoding().tokenizer().encode_with_added_tokens("<｜begin▁of▁sentence｜>")[0];
    let given = |begins: bool| Input::Tokens([bos].into_iter().filter(|_| begins).chain([97, 98, 99]).collect());
    let with_bos = reply(&engine, echo(given(true), 1, true)).await;
    let without = reply(&engine, echo(given(false), 1, true)).await;
    assert_eq!((with_bos.prompt_logprobs.len(), without.prompt_logprobs.len()), (4, 3));
    // Nothing precedes the first token; the one that was added precedes the caller's.
    assert!(with_bos.prompt_logprobs[0].logprob.is_nan() && with_bos.prompt_logprobs[0].top.is_empty());
    assert_eq!(numbers(&with_bos)[1..4], numbers(&without)[..3]);
    assert_eq!((without.prompt.as_str(), with_bos.usage.unwrap().prompt_tokens), ("abc", 4));
    let plain = reply(&engine, echo(given(false), 1, false)).await;
    assert_eq!((plain.prompt.as_str(), plain.prompt_logprobs.len()), ("abc", 0));
}

#[tokio::test]
async fn control_tokens_in_a_text_count_when_that_is_asked_for() {
    let engine = large_engine();
    let template = "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜></think>";
    let tokens = |chat: Chat| {
        let engine = &engine;
        async move { reply(engine, chat).await.usage.unwrap().prompt_tokens }
    };
    let plain = echo(text(template), 1, true);
    let parsed = Chat { parse_special: true, ..plain.clone() };
    assert_eq!(tokens(plain).await as usize, 1 + template.len());
    assert_eq!(tokens(parsed.clone()).await, 6);
    let echoed = reply(&engine, parsed.clone()).await;
    assert_eq!((echoed.prompt.as_str(), echoed.prompt_logprobs.len()), (template, 6));
    assert!(echoed.prompt_logprobs[0].logprob.is_nan());
    // The begin-of-sentence token is added where the text does not begin with it.
    let (_, rest) = template.split_at("<｜begin▁of▁sentence｜>".len());
    assert_eq!(tokens(Chat { input: text(rest), ..parsed.clone() }).await, 6);
    // The middle of two texts is filled in between texts.
    let middle = Input::Text { prefix: "<think>".into(), suffix: Some("b".into()) };
    let refused = submit(&engine, Chat { input: middle, beta: true, ..parsed }).await.err().unwrap();
    assert!(refused.message.contains("FIM"), "the tokenizer of the tests has none: {refused}");
}
