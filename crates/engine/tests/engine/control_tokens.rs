//! Answers of a model that prefers control tokens to text. The number of the case is that of
//! docs/api.md, section 5.

use std::sync::atomic::Ordering;

use chat::{Chat, FinishReason, Input, Message, Reply, ResponseFormat, Role, Tool, ToolChoice};
use engine::{Engine, Options, Profile};

use crate::harness::{MARKERS, encoding, options_with_pages, reply, start_engine, user_chat};

/// `bonus` is that of [`crate::harness::TestControls`].
fn confused_engine(bonus: u64) -> Engine {
    confused_engine_with_profile(bonus, Profile::Lenient)
}

fn confused_engine_with_profile(bonus: u64, profile: Profile) -> Engine {
    let (engine, controls) = start_engine(Options { profile, ..options_with_pages(512) });
    controls.marker_bonus.store(bonus, Ordering::Relaxed);
    engine
}

fn assert_no_control_tokens(reply: &Reply, chat: &Chat) {
    let calls = reply.tool_calls.iter().flat_map(|call| [&call.name, &call.arguments]);
    for shown in [&reply.text, &reply.reasoning].into_iter().chain(calls) {
        let marker = MARKERS.iter().find(|marker| shown.contains(**marker));
        assert_eq!(marker, None, "{shown:?} in the answer to {chat:?}");
    }
}

fn with_tools(choice: ToolChoice) -> Chat {
    let function = serde_json::json!({ "name": "f", "parameters": {
        "type": "object", "properties": { "a": { "type": "string" }, "b": { "type": "integer" } }, "required": ["a"]
    } });
    let tool = Tool { name: "f".into(), strict: false, function: function.as_object().unwrap().clone() };
    Chat { tools: vec![tool], tool_choice: Some(choice), ..user_chat("call it, or answer in json") }
}

fn with_prefix(mut chat: Chat, text: &str) -> Chat {
    let Input::Messages(messages) = &mut chat.input else { panic!("a conversation") };
    messages.push(Message { prefix: true, ..Message::new(Role::Assistant, text) });
    Chat { beta: true, ..chat }
}

/// A conversation as tokens, whose answer begins with its reasoning.
fn as_tokens() -> Chat {
    let chat = Chat { thinking: Some(true), ..user_chat("think about it") };
    let tokens = encoding().render(&chat).unwrap().tokens;
    Chat { input: Input::Tokens(tokens), thinking: Some(false), ..chat }
}

fn as_text() -> Chat {
    Chat { input: Input::Text { prefix: "Once upon a time".into(), suffix: None }, ..user_chat("") }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_47_no_control_token_is_shown_whatever_the_model_prefers() {
    let json = |chat| Chat { response_format: ResponseFormat::JsonObject, beta: true, ..chat };
    let chats = [
        user_chat("hello"),
        with_prefix(user_chat("hello"), "Well"),
        with_prefix(user_chat("hello"), "1 <"),
        json(user_chat("in json")),
        with_tools(ToolChoice::Auto),
        with_tools(ToolChoice::Required),
        with_tools(ToolChoice::None),
        with_prefix(with_tools(ToolChoice::None), "1 <"),
        json(with_tools(ToolChoice::Auto)),
        as_text(),
        as_tokens(),
    ];
    // With a bonus of 14 markers are as likely as letters, with 60 nothing else is.
    for (bonus, profile) in [(14, Profile::Lenient), (60, Profile::Lenient), (14, Profile::DeepSeek)] {
        let engine = confused_engine_with_profile(bonus, profile);
        for (seed, chat) in (0..).zip(chats.iter().cycle().take(6 * chats.len())) {
            for thinking in [false, true] {
                let is_completion = !matches!(chat.input, Input::Messages(_));
                let is_forced = chat.tool_choice == Some(ToolChoice::Required);
                if thinking && (is_completion || is_forced && profile == Profile::DeepSeek) {
                    continue;
                }
                let mut chat = Chat { max_tokens: Some(120), thinking: Some(thinking), ..chat.clone() };
                chat.sampling.seed = Some(seed);
                assert_no_control_tokens(&reply(&engine, chat.clone()).await, &chat);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_goes_on_where_a_confused_model_would_begin_the_next_turn() {
    let mut chat = user_chat("hello");
    chat.sampling.logit_bias = vec![(encoding().eos(), -100.0)];
    let answer = reply(&confused_engine(60), chat).await;
    assert_eq!((answer.finish, answer.usage.unwrap().completion_tokens), (Some(FinishReason::Length), 40));
    assert!(answer.text.chars().filter(char::is_ascii_graphic).count() > 30, "{}", answer.text);
}

#[tokio::test]
async fn reasoning_is_opened_once_at_most_and_closed_once() {
    let chat = Chat { thinking: Some(true), max_tokens: Some(40), ..user_chat("hello") };
    let answer = reply(&confused_engine(60), chat).await;
    // Beside 38 letters at least, the model says `<think>` at most at the beginning, and
    // `</think>`.
    assert!(answer.text.len() >= 38 && answer.reasoning.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn a_completion_of_tokens_ends_its_reasoning_without_showing_the_marker() {
    let mut chat = Chat { logprobs: Some(true), max_tokens: Some(400), ..as_tokens() };
    chat.sampling.logit_bias = vec![(encoding().eos(), -100.0)];
    let answer = reply(&confused_engine(14), chat).await;
    let sampled: Vec<&str> = answer.logprobs.iter().map(|token| token.token.as_str()).collect();
    assert!(sampled.contains(&"</think>") && sampled.contains(&"<think>"), "{sampled:?}");
    assert!(sampled.iter().all(|token| !["<｜User｜>", "｜DSML｜"].contains(token)), "{sampled:?}");
    assert!(answer.text.len() > 300 && !answer.text.contains("think>"), "{}", answer.text);
    let text = reply(&confused_engine(60), Chat { logprobs: Some(true), ..as_text() }).await;
    assert!(text.logprobs.iter().all(|token| !MARKERS.contains(&token.token.as_str())), "{text:?}");
}
