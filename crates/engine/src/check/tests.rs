use super::*;
use chat::{Input, Message, Role, ToolCall};

fn limits(profile: Profile) -> Limits {
    Limits { context: 131_072, thinking: true, plain: true, profile, rules: ReasoningRules::V32, vocab: 129_280 }
}

fn says(messages: Vec<Message>) -> Chat {
    Chat { model: "deepseek-chat".into(), input: Input::Messages(messages), ..Chat::default() }
}

fn hi() -> Chat {
    says(vec![user("Say hi")])
}

fn user(text: &str) -> Message {
    Message::new(Role::User, text)
}

fn calls(ids: &[&str]) -> Message {
    let call = |id: &&str| ToolCall { id: id.to_string(), name: "f".into(), arguments: "{}".into() };
    let mut message = Message::new(Role::Assistant, "");
    message.content = None;
    message.tool_calls = Some(ids.iter().map(call).collect());
    message
}

fn answer(id: &str) -> Message {
    Message { tool_call_id: Some(id.into()), ..Message::new(Role::Tool, "24") }
}

fn tool(name: &str) -> Tool {
    Tool { name: name.into(), strict: false, function: Default::default() }
}

/// The refusal by the `deepseek` profile.
fn refusal(mut chat: Chat) -> String {
    check(&mut chat, &limits(Profile::DeepSeek)).expect_err("this chat is refused").message
}

/// The chat as the `lenient` profile hands it on.
fn accepted(mut chat: Chat) -> Chat {
    check(&mut chat, &limits(Profile::Lenient)).expect("this chat is accepted");
    chat
}

#[test]
fn ranges_are_judged_with_the_documented_texts() {
    type Spoil = fn(&mut Chat);
    let cases: [(Spoil, &str); 14] = [
        (|c| c.n = Some(2), "Invalid n value (currently only n = 1 is supported)"),
        (|c| c.max_tokens = Some(0), "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        (|c| c.max_tokens = Some(8193), "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        (
            |c| c.max_completion_tokens = Some(-1),
            "Invalid max_completion_tokens value, the valid range of max_completion_tokens is [1, 8192]",
        ),
        (|c| c.sampling.temperature = Some(2.1), "Invalid temperature value, the valid range of temperature is [0, 2]"),
        (|c| c.sampling.top_p = Some(0.0), "Invalid top_p value, the valid range of top_p is (0, 1.0]"),
        (
            |c| c.sampling.frequency_penalty = Some(-3.0),
            "Invalid frequency_penalty value, the valid range of frequency_penalty is [-2, 2]",
        ),
        (|c| c.stop = vec!["x".into(); 17], "Invalid stop value, at most 16 stop sequences are supported"),
        (|c| c.stop = vec![String::new()], "Invalid stop value, a stop sequence must have 1 to 256 characters"),
        (|c| c.format = Format::Unknown("xml".into()), "This response_format type is unavailable now"),
        (
            |c| c.top_logprobs = Some(5),
            "Invalid top_logprobs and logprobs value, logprobs must be set to true if top_logprobs is set",
        ),
        (
            |c| (c.logprobs, c.top_logprobs) = (Some(true), Some(21)),
            "Invalid top_logprobs value, the valid range of top_logprobs is [0, 20]",
        ),
        (
            |c| c.sampling.logit_bias = vec![(5, 101.0)],
            "Invalid logit_bias value, the valid range of logit_bias is [-100, 100]",
        ),
        (
            |c| c.user_id = Some("a b".into()),
            "Invalid 'user_id': string does not match pattern. Expected a string that matches the pattern \
             '^[a-zA-Z0-9_-]+$'.",
        ),
    ];
    for (spoil, text) in cases {
        let mut chat = hi();
        spoil(&mut chat);
        assert_eq!(refusal(chat), text);
    }
}

#[test]
fn the_first_fault_in_the_documents_order_wins() {
    let mut chat = says(vec![]);
    chat.sampling.temperature = Some(9.0);
    chat.max_tokens = Some(0);
    assert!(refusal(chat.clone()).starts_with("Invalid max_tokens"));
    chat.max_tokens = None;
    assert!(refusal(chat.clone()).starts_with("Invalid temperature"));
    chat.sampling.temperature = None;
    assert!(refusal(chat).starts_with("Invalid 'messages': empty array"));
}

#[test]
fn tools_are_named_uniquely_and_within_the_pattern() {
    let with = |tools: Vec<Tool>| Chat { tools, ..hi() };
    assert!(refusal(with(vec![tool("bad name")])).starts_with("Invalid 'tools[0].function.name': string does not"));
    assert!(refusal(with(vec![tool(&"x".repeat(65))])).contains("maximum length 64, but got a string with length 65"));
    assert_eq!(refusal(with(vec![tool("a"), tool("a")])), "Tool names must be unique.");
    let many = (0..129).map(|i| tool(&format!("t{i}"))).collect();
    assert!(refusal(with(many)).contains("maximum length 128, but got an array with length 129"));
    assert!(refusal(Chat { empty_tools: true, ..hi() }).starts_with("Invalid 'tools': empty array."));
    assert_eq!(accepted(Chat { empty_tools: true, ..hi() }).notes, ["an empty `tools` is treated as absent"]);
}

#[test]
fn a_forced_call_needs_its_tool_and_in_thinking_mode_leniency() {
    let choose = |choice, tools| Chat { tool_choice: Some(choice), tools, ..hi() };
    assert_eq!(refusal(choose(ToolChoice::Required, vec![])), "Tool choice is set but no tools are provided");
    assert_eq!(refusal(choose(ToolChoice::Named("x".into()), vec![tool("f")])), "Tool 'x' not found in tools");
    let thinking = Chat { thinking: Some(true), ..choose(ToolChoice::Required, vec![tool("f")]) };
    assert_eq!(refusal(thinking.clone()), "deepseek-chat does not support this tool_choice");
    assert_eq!(accepted(thinking).notes.len(), 1);
    assert!(accepted(choose(ToolChoice::Named("f".into()), vec![tool("f")])).notes.is_empty());
    accepted(Chat { parallel_tool_calls: Some(false), ..hi() });
}

#[test]
fn json_output_must_be_asked_for_in_words() {
    let asks = Chat { format: Format::JsonObject, ..hi() };
    assert!(refusal(asks.clone()).starts_with("Prompt must contain the word 'json' in some form"));
    let chat = accepted(asks.clone());
    let Input::Messages(messages) = &chat.input else { unreachable!() };
    assert_eq!((messages[0].role, messages[0].text().as_str()), (Role::System, "Respond with one JSON object."));
    assert_eq!(chat.notes.len(), 1);
    let input = Input::Messages(vec![Message::new(Role::System, "Be brief."), Message::new(Role::User, "Hi")]);
    let Input::Messages(messages) = accepted(Chat { input, ..asks.clone() }).input else { unreachable!() };
    assert_eq!(messages[0].text(), "Be brief.\n\nRespond with one JSON object.");
    let input = Input::Messages(vec![Message::new(Role::User, "Reply in JSON")]);
    assert!(accepted(Chat { input, ..asks }).notes.is_empty());
}

#[test]
fn a_schema_that_cannot_be_honoured_is_refused_with_keyword_and_path() {
    let format = |value: serde_json::Value| {
        let Ok(format) = serde_json::from_value(value) else { unreachable!() };
        Chat { format: Format::JsonSchema(format), ..hi() }
    };
    let schema = serde_json::json!({
        "type": "object", "properties": { "a": { "type": "string", "minLength": 2 } }, "required": ["a"],
        "additionalProperties": false
    });
    let strict = serde_json::json!({ "name": "P", "strict": true, "schema": schema });
    let message = refusal(format(strict.clone()));
    assert!(
        message.starts_with("Invalid schema for response_format 'P': ") && message.contains("minLength"),
        "{message}"
    );
    accepted(format(serde_json::json!({ "name": "P", "schema": schema })));
    assert!(refusal(format(serde_json::json!({ "name": "a b", "schema": schema }))).contains("json_schema.name"));

    let mut strict = Tool { strict: true, ..tool("f") };
    strict.function.insert("parameters".into(), schema);
    let calls = |beta, tools: &[Tool]| Chat { beta, tools: tools.to_vec(), ..hi() };
    assert!(refusal(calls(true, &[strict.clone()])).starts_with("Invalid schema for function 'f': "));
    let wish = accepted(calls(false, &[strict.clone()]));
    assert_eq!((wish.tools[0].strict, wish.notes.len()), (false, 1));
    assert_eq!(refusal(calls(true, &[strict, tool("g")])), "All tools must set strict to true in strict mode");
}

#[test]
fn thinking_widens_the_range_and_drops_sampling() {
    let mut chat = Chat { thinking: Some(true), max_tokens: Some(65536), ..hi() };
    chat.sampling.temperature = Some(0.1);
    chat.sampling.seed = Some(7);
    let chat = accepted(chat);
    assert_eq!((chat.sampling.temperature, chat.sampling.seed), (None, Some(7)));
    let asks = Chat { thinking: Some(true), logprobs: Some(true), ..hi() };
    assert_eq!(refusal(asks), "deepseek-chat does not support the parameter `logprobs`");
}

#[test]
fn a_mode_the_encoding_lacks_is_refused() {
    let plain = Limits { thinking: false, ..limits(Profile::Lenient) };
    let error = check(&mut Chat { thinking: Some(true), ..hi() }, &plain).unwrap_err();
    assert_eq!(error.message, "deepseek-chat does not support thinking");
    let thinker = Limits { plain: false, ..limits(Profile::Lenient) };
    assert_eq!(check(&mut hi(), &thinker).unwrap_err().message, "deepseek-chat does not support non-thinking");
}

#[test]
fn older_rules_switch_thinking_off_or_refuse_tools() {
    let chat = Chat { thinking: Some(true), tools: vec![tool("f")], ..hi() };
    let mut exp = chat.clone();
    check(&mut exp, &Limits { rules: ReasoningRules::V32Exp, ..limits(Profile::DeepSeek) }).unwrap();
    assert_eq!(exp.thinking, Some(false));
    let r1 = Limits { rules: ReasoningRules::R1, ..limits(Profile::DeepSeek) };
    assert_eq!(check(&mut chat.clone(), &r1).unwrap_err().message, "deepseek-chat does not support Function Calling");
}

#[test]
fn calls_are_answered_once_at_once_and_nothing_else_is() {
    let insufficient = "An assistant message with 'tool_calls' must be followed by tool messages";
    assert!(refusal(says(vec![user("a"), calls(&["a", "b"]), answer("a"), user("c")])).starts_with(insufficient));
    assert!(refusal(says(vec![user("a"), calls(&["a"]), user("b"), answer("a")])).starts_with(insufficient));
    let stray = "Messages with role 'tool' must be a response";
    assert!(refusal(says(vec![user("a"), answer("x")])).starts_with(stray));
    assert!(refusal(says(vec![user("a"), calls(&["a"]), answer("a"), answer("z")])).starts_with(stray));
    assert_eq!(
        refusal(says(vec![user("a"), calls(&["a"]), answer("a"), answer("a")])),
        "Duplicate value for 'tool_call_id' of a in message[3]"
    );
    assert_eq!(
        refusal(says(vec![user("a"), calls(&["a", "a"]), answer("a")])),
        "Duplicate value for 'tool_call_id' of a in message[1]"
    );
    accepted(says(vec![
        user("a"),
        calls(&["a", "b"]),
        answer("b"),
        answer("a"),
        user("c"),
        calls(&["a"]),
        answer("a"),
    ]));
}

#[test]
fn as_many_calls_as_a_body_holds_are_judged_at_once() {
    let many: Vec<&str> = ["z"; 500_000].to_vec();
    let mut messages = vec![user("a"), calls(&many)];
    messages.extend(vec![answer("a"); 4000]);
    messages.extend([answer("z"), user("b")]);
    let begun = std::time::Instant::now();
    assert!(refusal(says(messages)).starts_with("Messages with role 'tool' must be a response"));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "took {:?}", begun.elapsed());
}

#[test]
fn an_assistant_message_says_or_calls_something() {
    let mut silent = calls(&[]);
    let chat = says(vec![user("a"), silent.clone(), user("b")]);
    assert!(refusal(chat.clone()).starts_with("Invalid 'messages[1].tool_calls': empty array."));
    assert!(check(&mut chat.clone(), &limits(Profile::Lenient)).unwrap_err().message.contains("content or tool_calls"));
    silent.tool_calls = None;
    let text = "Invalid assistant message: content or tool_calls must be set";
    assert_eq!(refusal(says(vec![user("a"), silent, user("b")])), text);
}

#[test]
fn the_last_message_is_a_users_a_tools_or_a_prefix() {
    let chat = says(vec![user("a"), Message::new(Role::Assistant, "b")]);
    assert!(refusal(chat.clone()).starts_with("The last message of deepseek-chat must be a user message, or an"));
    let lenient = accepted(chat.clone());
    assert_eq!(lenient.notes, ["a last assistant message is treated as a prefix"]);
    assert_eq!(refusal(lenient.clone()), "The prefix parameter is only available on the beta endpoint");
    check(&mut Chat { beta: true, ..lenient }, &limits(Profile::DeepSeek)).unwrap();
    let mut early = Message::new(Role::Assistant, "b");
    early.prefix = true;
    assert_eq!(refusal(says(vec![user("a"), early, user("c")])), "Only the last message can set prefix");
    assert!(refusal(says(vec![user("a"), Message::new(Role::System, "s")])).starts_with("The last message of"));
}

#[test]
fn calls_of_the_current_turn_bring_their_reasoning() {
    let turn = says(vec![user("a"), calls(&["x"]), answer("x")]);
    let thinking = Chat { thinking: Some(true), ..turn.clone() };
    assert!(refusal(thinking.clone()).starts_with(
        "Missing `reasoning_content` field in the assistant message at message index 1. For more information"
    ));
    let lenient = accepted(thinking.clone());
    assert_eq!(lenient.notes.len(), 1);
    let Input::Messages(messages) = &lenient.input else { unreachable!() };
    assert_eq!(messages[1].reasoning.as_deref(), Some(""));
    let mut earlier = thinking;
    let Input::Messages(messages) = &mut earlier.input else { unreachable!() };
    messages.push(user("next"));
    check(&mut earlier, &limits(Profile::DeepSeek)).unwrap();
    assert!(accepted(turn).notes.is_empty());
}

#[test]
fn reasoning_the_prompt_must_not_see_is_dropped() {
    let mut old = Message::new(Role::Assistant, "b");
    old.reasoning = Some("old".into());
    let mut call = calls(&["x"]);
    call.reasoning = Some("why".into());
    let chat = says(vec![user("a"), old, user("c"), call, answer("x")]);
    let kept = |chat: Chat| {
        let Input::Messages(messages) = chat.input else { unreachable!() };
        messages.into_iter().filter_map(|message| message.reasoning).collect::<Vec<_>>()
    };
    assert_eq!(kept(accepted(Chat { thinking: Some(true), ..chat.clone() })), ["why"]);
    assert!(kept(accepted(chat)).is_empty());
}

#[test]
fn only_an_explicit_budget_can_be_too_large_for_the_context() {
    let limits = limits(Profile::DeepSeek);
    let asks = |max_tokens| Chat { max_tokens, thinking: Some(false), ..hi() };
    assert_eq!(budget(&asks(None), &limits, 130_000).unwrap(), 1_072);
    assert_eq!(budget(&asks(None), &limits, 10).unwrap(), 4_096);
    assert_eq!(budget(&asks(Some(8)), &limits, 131_064).unwrap(), 8);
    assert_eq!(
        budget(&asks(Some(4096)), &limits, 130_000).unwrap_err().message,
        "This model's maximum context length is 131072 tokens. However, you requested 134096 tokens (130000 in the \
         messages, 4096 in the completion). Please reduce the length of the messages or completion."
    );
    assert!(budget(&asks(None), &limits, 131_072).unwrap_err().message.contains("(131072 in the messages, 0 in the"));
    let small = Limits { context: 512, ..limits };
    assert_eq!(budget(&asks(None), &small, 100).unwrap(), 412);
}
