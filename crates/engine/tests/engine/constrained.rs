//! Constrained decoding with a model of random logits.

use chat::{Chat, FinishReason, Message, Reply, ResponseFormat, Role, Tool, ToolChoice};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::harness::{encoding, large_engine, reply, submit, user_chat};

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
    let open = Chat { max_tokens: Some(50), ..json_chat(4) };
    let open = reply(&engine, Chat { thinking: Some(true), ..open }).await;
    assert_eq!((open.finish, open.text.as_str()), (Some(FinishReason::Length), ""));
    assert!(!open.reasoning.is_empty());
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
