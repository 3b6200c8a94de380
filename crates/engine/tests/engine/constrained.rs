//! Constrained decoding with a model of random logits.

use chat::{Chat, FinishReason, Message, Reply, ResponseFormat, Role, Tool, ToolChoice};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::harness::{encoding, large_engine, options_with_pages, reply, start_engine, submit, user_chat};

fn tool(name: &str, parameters: Value, strict: bool) -> Tool {
    let function = json!({ "name": name, "parameters": parameters });
    Tool { name: name.into(), strict, function: function.as_object().unwrap().clone() }
}

fn weather_tool(strict: bool) -> Tool {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": { "type": "string" },
            "unit": { "enum": ["celsius", "fahrenheit"] },
            "days": { "type": "integer", "minimum": 1, "maximum": 7 },
        },
        "required": ["city", "unit", "days"],
        "additionalProperties": false,
    });
    tool("get_weather", parameters, strict)
}

fn with_seed_and_600_tokens(mut chat: Chat, seed: i64) -> Chat {
    chat.max_tokens = Some(600);
    chat.sampling.seed = Some(seed);
    chat
}

fn json_chat(seed: i64) -> Chat {
    with_seed_and_600_tokens(Chat { response_format: ResponseFormat::JsonObject, ..user_chat("answer in json") }, seed)
}

fn call_arguments(reply: &Reply, index: usize) -> Value {
    serde_json::from_str(&reply.tool_calls[index].arguments).expect("arguments are JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn json_mode_gives_one_object_even_from_noise() {
    let engine = large_engine();
    let mut finished = 0;
    for seed in 0..30 {
        let reply = reply(&engine, json_chat(seed)).await;
        assert!(reply.text.starts_with('{'), "{}", reply.text);
        if reply.finish == Some(FinishReason::Stop) {
            finished += 1;
            // Numbers may exceed the range of a double.
            serde_json::from_str::<IgnoredAny>(&reply.text).expect("JSON");
        } else {
            assert_eq!(reply.finish, Some(FinishReason::Length));
        }
    }
    assert!(finished > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_calls_fit_their_schema() {
    let engine = large_engine();
    let mut finished = 0;
    for seed in 0..30 {
        let chat = Chat {
            tools: vec![weather_tool(true)],
            tool_choice: Some(ToolChoice::Required),
            parallel_tool_calls: Some(false),
            ..user_chat("weather?")
        };
        let mut chat = with_seed_and_600_tokens(chat, seed);
        // Random text hardly ever closes a tag.
        chat.sampling.logit_bias = vec![(encoding().call_tokens()[0], 60.0), (60, 8.0), (47, 8.0)];
        let reply = reply(&engine, chat).await;
        assert_eq!(reply.text, "");
        if reply.finish != Some(FinishReason::ToolCalls) {
            assert_eq!(reply.finish, Some(FinishReason::Length));
            continue;
        }
        finished += 1;
        assert_eq!((reply.tool_calls.len(), reply.tool_calls[0].name.as_str()), (1, "get_weather"));
        let arguments = call_arguments(&reply, 0);
        assert!(arguments["city"].is_string(), "{arguments}");
        assert!(arguments["unit"] == "celsius" || arguments["unit"] == "fahrenheit", "{arguments}");
        assert!((1..=7).contains(&arguments["days"].as_i64().unwrap()), "{arguments}");
        assert_eq!(arguments.as_object().unwrap().len(), 3);
    }
    assert!(finished > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_tool_is_the_one_that_is_called() {
    let engine = large_engine();
    let other = tool("other", json!({ "type": "object", "properties": {} }), false);
    let chat = Chat {
        tools: vec![weather_tool(false), other],
        tool_choice: Some(ToolChoice::Named("other".into())),
        ..user_chat("call it")
    };
    for seed in 0..5 {
        let reply = reply(
            &engine,
            with_seed_and_600_tokens(Chat { parallel_tool_calls: Some(seed != 0), ..chat.clone() }, seed),
        )
        .await;
        assert!(!reply.tool_calls.is_empty());
        let whole = reply.tool_calls.iter().filter(|call| call.arguments == "{}").count();
        assert!(whole + 1 >= reply.tool_calls.len() && reply.tool_calls.iter().all(|call| call.name == "other"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_constraint_begins_after_the_reasoning() {
    let engine = large_engine();
    let mut chat = json_chat(3);
    chat.thinking = Some(true);
    chat.sampling.logit_bias = Vec::new();
    // Random text hardly ever closes its reasoning, so the prefix does.
    let mut prefix = Message::new(Role::Assistant, "{\"a\":");
    prefix.reasoning = Some("hm".into());
    prefix.prefix = true;
    let chat::Input::Messages(messages) = &mut chat.input else { unreachable!() };
    messages.push(prefix);
    let answer = reply(&engine, chat.clone()).await;
    if answer.finish == Some(FinishReason::Stop) {
        serde_json::from_str::<Value>(&format!("{{\"a\":{}", answer.text))
            .expect("JSON goes on where the prefix ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_would_end_its_reasoning_without_the_promised_answer_answers() {
    let engine = large_engine();
    let mut answered = 0;
    for seed in 0..8 {
        let forced =
            Chat { tools: vec![weather_tool(true)], tool_choice: Some(ToolChoice::Required), ..user_chat("?") };
        for chat in [json_chat(seed), with_seed_and_600_tokens(forced, seed)] {
            let is_json = chat.tools.is_empty();
            let answer = reply(&engine, Chat { thinking: Some(true), ..chat }).await;
            // The model wants to end after one token in 60.
            let has_begun = if is_json { answer.text.starts_with('{') } else { !answer.tool_calls.is_empty() };
            answered += usize::from(has_begun);
            assert!(has_begun || answer.finish == Some(FinishReason::Length), "{answer:?}");
            assert!(!answer.reasoning.is_empty());
        }
    }
    assert!(answered > 12, "{answered} of 16");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_begins_in_open_reasoning_ends_it() {
    let (engine, controls) = start_engine(options_with_pages(512));
    let marker = encoding().call_tokens()[0];
    // Every vowel leads to an `e`, and that to a call.
    let vowels = b"aiou".map(|vowel| (u32::from(vowel), u32::from(b'e')));
    let call = [(u32::from(b'e'), u32::from(b'<')), (u32::from(b'<'), marker)];
    controls.followed_by.lock().unwrap().extend(vowels.into_iter().chain(call));
    let chat = Chat { tools: vec![weather_tool(true)], thinking: Some(true), ..user_chat("weather?") };
    let mut called = 0;
    for seed in 0..6 {
        for choice in [ToolChoice::Auto, ToolChoice::Required, ToolChoice::Named("get_weather".into())] {
            let chat = Chat { tool_choice: Some(choice), parallel_tool_calls: Some(false), ..chat.clone() };
            let mut chat = with_seed_and_600_tokens(chat, seed);
            // Random text hardly ever closes a tag.
            chat.sampling.logit_bias = vec![(marker, 60.0), (60, 8.0), (47, 8.0)];
            let answer = reply(&engine, chat).await;
            // The model may also want to end before its first `e`.
            let Some(first) = answer.reasoning.find('e') else { continue };
            assert_eq!(first + 1, answer.reasoning.len(), "{answer:?}");
            assert_eq!((answer.tool_calls[0].name.as_str(), answer.text.as_str()), ("get_weather", ""));
            called += 1;
            if answer.finish == Some(FinishReason::ToolCalls) {
                assert!(call_arguments(&answer, 0)["city"].is_string());
            }
        }
    }
    assert!(called > 5, "{called} of 18");
    // Without tools the marker cannot be sampled.
    for more in [Chat { tools: Vec::new(), ..chat.clone() }, Chat { tool_choice: Some(ToolChoice::None), ..chat }] {
        let answer = reply(&engine, with_seed_and_600_tokens(more, 1)).await;
        assert!(!answer.reasoning.contains("DSML") && answer.tool_calls.is_empty(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_begins_no_json_is_refused() {
    let engine = large_engine();
    let mut chat = json_chat(0);
    let mut prefix = Message::new(Role::Assistant, "Sure! ");
    prefix.prefix = true;
    let chat::Input::Messages(messages) = &mut chat.input else { unreachable!() };
    messages.push(prefix);
    let Err(error) = submit(&engine, chat).await else { panic!("it is refused") };
    assert!(error.message.starts_with("The prefix does not begin"), "{}", error.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_constrained_answer() {
    let engine = large_engine();
    assert_eq!(reply(&engine, json_chat(9)).await.text, reply(&engine, json_chat(9)).await.text);
}
