use super::*;
use chat::{Input, Message, ResponseFormat, Role, Sampling, Tool, ToolCall, ToolChoice};

fn rules(profile: Profile) -> ValidationRules {
    ValidationRules {
        context: 131_072,
        supports_thinking: true,
        supports_non_thinking: true,
        profile,
        reasoning_rules: ReasoningRules::V32,
        has_sparse_attention: true,
        vocab_size: 129_280,
    }
}

fn chat_of(messages: Vec<Message>) -> Chat {
    Chat { model: "deepseek-chat".into(), input: Input::Messages(messages), ..Chat::default() }
}

fn simple_chat() -> Chat {
    chat_of(vec![user_message("Say hi")])
}

fn user_message(text: &str) -> Message {
    Message::new(Role::User, text)
}

fn calling_message(ids: &[&str]) -> Message {
    let call = |id: &&str| ToolCall { id: id.to_string(), name: "f".into(), arguments: "{}".into() };
    let mut message = Message::new(Role::Assistant, "");
    message.content = None;
    message.tool_calls = Some(ids.iter().map(call).collect());
    message
}

fn tool_result(id: &str) -> Message {
    Message { tool_call_id: Some(id.into()), ..Message::new(Role::Tool, "24") }
}

fn tool(name: &str) -> Tool {
    Tool { name: name.into(), strict: false, function: Default::default() }
}

/// The refusal by the `deepseek` profile.
fn error_of_deepseek_profile(mut chat: Chat) -> String {
    check(&mut chat, &rules(Profile::DeepSeek)).expect_err("this chat is refused").message
}

/// The chat after validation by the `lenient` profile.
fn accepted_by_lenient_profile(mut chat: Chat) -> Chat {
    check(&mut chat, &rules(Profile::Lenient)).expect("this chat is accepted");
    chat
}

#[test]
fn ranges_are_checked_with_the_documented_texts() {
    type Edit = fn(&mut Chat);
    let cases: [(Edit, &str); 14] = [
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
        (|c| c.response_format = ResponseFormat::Unknown("xml".into()), "This response_format type is unavailable now"),
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
        let mut chat = simple_chat();
        spoil(&mut chat);
        assert_eq!(error_of_deepseek_profile(chat), text);
    }
}

#[test]
fn the_first_fault_in_the_documents_order_wins() {
    let mut chat = chat_of(vec![]);
    chat.sampling.temperature = Some(9.0);
    chat.max_tokens = Some(0);
    assert!(error_of_deepseek_profile(chat.clone()).starts_with("Invalid max_tokens"));
    chat.max_tokens = None;
    assert!(error_of_deepseek_profile(chat.clone()).starts_with("Invalid temperature"));
    chat.sampling.temperature = None;
    assert!(error_of_deepseek_profile(chat).starts_with("Invalid 'messages': empty array"));
}

#[test]
fn tools_are_named_uniquely_and_within_the_pattern() {
    let with = |tools: Vec<Tool>| Chat { tools, ..simple_chat() };
    assert!(
        error_of_deepseek_profile(with(vec![tool("bad name")]))
            .starts_with("Invalid 'tools[0].function.name': string does not")
    );
    assert!(
        error_of_deepseek_profile(with(vec![tool(&"x".repeat(65))]))
            .contains("maximum length 64, but got a string with length 65")
    );
    assert_eq!(error_of_deepseek_profile(with(vec![tool("a"), tool("a")])), "Tool names must be unique.");
    let many = (0..129).map(|i| tool(&format!("t{i}"))).collect();
    assert!(error_of_deepseek_profile(with(many)).contains("maximum length 128, but got an array with length 129"));
    assert!(
        error_of_deepseek_profile(Chat { empty_tools: true, ..simple_chat() })
            .starts_with("Invalid 'tools': empty array.")
    );
    assert_eq!(
        accepted_by_lenient_profile(Chat { empty_tools: true, ..simple_chat() }).notes,
        ["an empty `tools` is treated as absent"]
    );
}

#[test]
fn a_forced_call_needs_its_tool_and_in_thinking_mode_leniency() {
    let choose = |choice, tools| Chat { tool_choice: Some(choice), tools, ..simple_chat() };
    assert_eq!(
        error_of_deepseek_profile(choose(ToolChoice::Required, vec![])),
        "Tool choice is set but no tools are provided"
    );
    assert_eq!(
        error_of_deepseek_profile(choose(ToolChoice::Named("x".into()), vec![tool("f")])),
        "Tool 'x' not found in tools"
    );
    let thinking = Chat { thinking: Some(true), ..choose(ToolChoice::Required, vec![tool("f")]) };
    assert_eq!(error_of_deepseek_profile(thinking.clone()), "deepseek-chat does not support this tool_choice");
    assert_eq!(accepted_by_lenient_profile(thinking).notes.len(), 1);
    assert!(accepted_by_lenient_profile(choose(ToolChoice::Named("f".into()), vec![tool("f")])).notes.is_empty());
    accepted_by_lenient_profile(Chat { parallel_tool_calls: Some(false), ..simple_chat() });
}

#[test]
fn json_output_must_be_asked_for_in_words() {
    let json_chat = Chat { response_format: ResponseFormat::JsonObject, ..simple_chat() };
    assert!(
        error_of_deepseek_profile(json_chat.clone()).starts_with("Prompt must contain the word 'json' in some form")
    );
    let chat = accepted_by_lenient_profile(json_chat.clone());
    let Input::Messages(messages) = &chat.input else { unreachable!() };
    assert_eq!((messages[0].role, messages[0].text().as_str()), (Role::System, "Respond with one JSON object."));
    assert_eq!(chat.notes.len(), 1);
    let input = Input::Messages(vec![Message::new(Role::System, "Be brief."), Message::new(Role::User, "Hi")]);
    let Input::Messages(messages) = accepted_by_lenient_profile(Chat { input, ..json_chat.clone() }).input else {
        unreachable!()
    };
    assert_eq!(messages[0].text(), "Be brief.\n\nRespond with one JSON object.");
    let input = Input::Messages(vec![Message::new(Role::User, "Reply in JSON")]);
    assert!(accepted_by_lenient_profile(Chat { input, ..json_chat }).notes.is_empty());
}

#[test]
fn a_schema_that_cannot_be_honoured_is_refused_with_keyword_and_path() {
    let format = |value: serde_json::Value| {
        let Ok(format) = serde_json::from_value(value) else { unreachable!() };
        Chat { response_format: ResponseFormat::JsonSchema(format), ..simple_chat() }
    };
    let schema = serde_json::json!({
        "type": "object", "properties": { "a": { "type": "string", "minLength": 2 } }, "required": ["a"],
        "additionalProperties": false
    });
    let strict = serde_json::json!({ "name": "P", "strict": true, "schema": schema });
    let message = error_of_deepseek_profile(format(strict.clone()));
    assert!(
        message.starts_with("Invalid schema for response_format 'P': ") && message.contains("minLength"),
        "{message}"
    );
    accepted_by_lenient_profile(format(serde_json::json!({ "name": "P", "schema": schema })));
    assert!(
        error_of_deepseek_profile(format(serde_json::json!({ "name": "a b", "schema": schema })))
            .contains("json_schema.name")
    );

    let mut strict = Tool { strict: true, ..tool("f") };
    strict.function.insert("parameters".into(), schema);
    let calls = |beta, tools: &[Tool]| Chat { beta, tools: tools.to_vec(), ..simple_chat() };
    assert!(error_of_deepseek_profile(calls(true, &[strict.clone()])).starts_with("Invalid schema for function 'f': "));
    let wish = accepted_by_lenient_profile(calls(false, &[strict.clone()]));
    assert_eq!((wish.tools[0].strict, wish.notes.len()), (false, 0));
    assert_eq!(
        error_of_deepseek_profile(calls(true, &[strict, tool("g")])),
        "All tools must set strict to true in strict mode"
    );
}

#[test]
fn thinking_widens_the_range_and_the_service_then_drops_sampling() {
    let mut thinking = Chat { thinking: Some(true), max_tokens: Some(65536), ..simple_chat() };
    thinking.sampling = Sampling {
        temperature: Some(0.1),
        top_p: Some(0.5),
        frequency_penalty: Some(0.1),
        presence_penalty: Some(0.2),
        seed: Some(7),
        logit_bias: vec![(5, 1.0)],
        ..Sampling::default()
    };
    let lenient = accepted_by_lenient_profile(thinking.clone());
    assert_eq!((&lenient.sampling, lenient.notes.len()), (&thinking.sampling, 0));
    let mut service = thinking.clone();
    check(&mut service, &rules(Profile::DeepSeek)).unwrap();
    let kept = Sampling { seed: Some(7), logit_bias: vec![(5, 1.0)], ..Sampling::default() };
    assert_eq!(service.sampling, kept);
    thinking.sampling.temperature = Some(2.1);
    assert!(check(&mut thinking, &rules(Profile::Lenient)).unwrap_err().message.starts_with("Invalid temperature"));
    let thinking_chat = Chat { thinking: Some(true), logprobs: Some(true), ..simple_chat() };
    assert_eq!(error_of_deepseek_profile(thinking_chat), "deepseek-chat does not support the parameter `logprobs`");
}

#[test]
fn a_mode_the_encoding_lacks_is_refused() {
    let plain = ValidationRules { supports_thinking: false, ..rules(Profile::DeepSeek) };
    let error = check(&mut Chat { thinking: Some(true), ..simple_chat() }, &plain).unwrap_err();
    assert_eq!(error.message, "deepseek-chat does not support thinking");
    let thinker = ValidationRules { supports_non_thinking: false, ..rules(Profile::DeepSeek) };
    assert_eq!(check(&mut simple_chat(), &thinker).unwrap_err().message, "deepseek-chat does not support non-thinking");
}

#[test]
fn older_rules_switch_thinking_off_or_refuse_tools() {
    let chat = Chat { thinking: Some(true), tools: vec![tool("f")], ..simple_chat() };
    let mut exp = chat.clone();
    check(&mut exp, &ValidationRules { reasoning_rules: ReasoningRules::V32Exp, ..rules(Profile::DeepSeek) }).unwrap();
    assert_eq!(exp.thinking, Some(false));
    let r1 = ValidationRules { reasoning_rules: ReasoningRules::R1, ..rules(Profile::DeepSeek) };
    assert_eq!(check(&mut chat.clone(), &r1).unwrap_err().message, "deepseek-chat does not support Function Calling");
}

#[test]
fn the_lenient_profile_answers_in_the_mode_that_the_model_has() {
    let r1 = |profile| ValidationRules {
        reasoning_rules: ReasoningRules::R1,
        supports_non_thinking: false,
        ..rules(profile)
    };
    let v3 = |profile| ValidationRules { supports_thinking: false, ..rules(profile) };
    for (rules, asked, error, note) in [
        (
            &r1 as &dyn Fn(Profile) -> ValidationRules,
            false,
            "does not support non-thinking",
            "this model always thinks",
        ),
        (&v3, true, "does not support thinking", "this model does not think"),
    ] {
        let chat = Chat { thinking: Some(asked), ..simple_chat() };
        assert!(check(&mut chat.clone(), &rules(Profile::DeepSeek)).unwrap_err().message.ends_with(error));
        let mut accepted = chat;
        check(&mut accepted, &rules(Profile::Lenient)).unwrap();
        assert_eq!((accepted.thinking, accepted.notes), (Some(!asked), vec![note.to_owned()]));
    }
    let mut calling = Chat { thinking: Some(true), tools: vec![tool("f")], ..simple_chat() };
    check(&mut calling, &r1(Profile::Lenient)).unwrap();
    assert_eq!((calling.thinking, calling.notes.len()), (Some(true), 1));
    let text = Input::Text { prefix: "Once".into(), suffix: None };
    let mut completion = Chat { thinking: Some(true), input: text, ..simple_chat() };
    check(&mut completion, &r1(Profile::Lenient)).unwrap();
    assert_eq!(completion.thinking, Some(false));
}

#[test]
fn calls_are_answered_once_at_once_and_nothing_else_is() {
    let insufficient = "An assistant message with 'tool_calls' must be followed by tool messages";
    assert!(
        error_of_deepseek_profile(chat_of(vec![
            user_message("a"),
            calling_message(&["a", "b"]),
            tool_result("a"),
            user_message("c")
        ]))
        .starts_with(insufficient)
    );
    assert!(
        error_of_deepseek_profile(chat_of(vec![
            user_message("a"),
            calling_message(&["a"]),
            user_message("b"),
            tool_result("a")
        ]))
        .starts_with(insufficient)
    );
    let stray = "Messages with role 'tool' must be a response";
    assert!(error_of_deepseek_profile(chat_of(vec![user_message("a"), tool_result("x")])).starts_with(stray));
    assert!(
        error_of_deepseek_profile(chat_of(vec![
            user_message("a"),
            calling_message(&["a"]),
            tool_result("a"),
            tool_result("z")
        ]))
        .starts_with(stray)
    );
    assert_eq!(
        error_of_deepseek_profile(chat_of(vec![
            user_message("a"),
            calling_message(&["a"]),
            tool_result("a"),
            tool_result("a")
        ])),
        "Duplicate value for 'tool_call_id' of a in message[3]"
    );
    assert_eq!(
        error_of_deepseek_profile(chat_of(vec![user_message("a"), calling_message(&["a", "a"]), tool_result("a")])),
        "Duplicate value for 'tool_call_id' of a in message[1]"
    );
    accepted_by_lenient_profile(chat_of(vec![
        user_message("a"),
        calling_message(&["a", "b"]),
        tool_result("b"),
        tool_result("a"),
        user_message("c"),
        calling_message(&["a"]),
        tool_result("a"),
    ]));
}

#[test]
fn as_many_calls_as_a_body_holds_are_checked_in_linear_time() {
    let many: Vec<&str> = ["z"; 500_000].to_vec();
    let mut messages = vec![user_message("a"), calling_message(&many)];
    messages.extend(vec![tool_result("a"); 4000]);
    messages.extend([tool_result("z"), user_message("b")]);
    let started = std::time::Instant::now();
    assert!(error_of_deepseek_profile(chat_of(messages)).starts_with("Messages with role 'tool' must be a response"));
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "took {:?}", started.elapsed());
}

#[test]
fn an_assistant_message_says_or_calls_something() {
    let mut silent = calling_message(&[]);
    let chat = chat_of(vec![user_message("a"), silent.clone(), user_message("b")]);
    assert!(error_of_deepseek_profile(chat.clone()).starts_with("Invalid 'messages[1].tool_calls': empty array."));
    let mut lenient = chat.clone();
    check(&mut lenient, &rules(Profile::Lenient)).unwrap();
    assert_eq!(
        lenient.notes,
        ["an empty `tool_calls` is treated as absent", "an assistant message without content is empty"]
    );
    silent.tool_calls = None;
    let text = "Invalid assistant message: content or tool_calls must be set";
    assert_eq!(error_of_deepseek_profile(chat_of(vec![user_message("a"), silent, user_message("b")])), text);
}

#[test]
fn the_last_message_is_a_users_a_tools_or_a_prefix() {
    let chat = chat_of(vec![user_message("a"), Message::new(Role::Assistant, "b")]);
    assert!(
        error_of_deepseek_profile(chat.clone())
            .starts_with("The last message of deepseek-chat must be a user message, or an")
    );
    let lenient = accepted_by_lenient_profile(chat.clone());
    assert_eq!(lenient.notes, ["a last assistant message is treated as a prefix"]);
    assert_eq!(
        error_of_deepseek_profile(lenient.clone()),
        "The prefix parameter is only available on the beta endpoint"
    );
    check(&mut Chat { beta: true, ..lenient }, &rules(Profile::DeepSeek)).unwrap();
    let mut early = Message::new(Role::Assistant, "b");
    early.prefix = true;
    assert_eq!(
        error_of_deepseek_profile(chat_of(vec![user_message("a"), early, user_message("c")])),
        "Only the last message can set prefix"
    );
    assert!(
        error_of_deepseek_profile(chat_of(vec![user_message("a"), Message::new(Role::System, "s")]))
            .starts_with("The last message of")
    );
}

#[test]
fn calls_of_the_current_turn_bring_their_reasoning() {
    let turn = chat_of(vec![user_message("a"), calling_message(&["x"]), tool_result("x")]);
    let thinking = Chat { thinking: Some(true), ..turn.clone() };
    assert!(error_of_deepseek_profile(thinking.clone()).starts_with(
        "Missing `reasoning_content` field in the assistant message at message index 1. For more information"
    ));
    let lenient = accepted_by_lenient_profile(thinking.clone());
    assert_eq!(lenient.notes.len(), 1);
    let Input::Messages(messages) = &lenient.input else { unreachable!() };
    assert_eq!(messages[1].reasoning.as_deref(), Some(""));
    let mut earlier = thinking;
    let Input::Messages(messages) = &mut earlier.input else { unreachable!() };
    messages.push(user_message("next"));
    check(&mut earlier, &rules(Profile::DeepSeek)).unwrap();
    assert!(accepted_by_lenient_profile(turn).notes.is_empty());
}

#[test]
fn reasoning_the_prompt_must_not_see_is_dropped() {
    let mut old = Message::new(Role::Assistant, "b");
    old.reasoning = Some("old".into());
    let mut call = calling_message(&["x"]);
    call.reasoning = Some("why".into());
    let chat = chat_of(vec![user_message("a"), old, user_message("c"), call, tool_result("x")]);
    let kept = |chat: Chat| {
        let Input::Messages(messages) = chat.input else { unreachable!() };
        messages.into_iter().filter_map(|message| message.reasoning).collect::<Vec<_>>()
    };
    assert_eq!(kept(accepted_by_lenient_profile(Chat { thinking: Some(true), ..chat.clone() })), ["why"]);
    assert!(kept(accepted_by_lenient_profile(chat)).is_empty());
}

#[test]
fn only_an_explicit_budget_can_be_too_large_for_the_context() {
    let rules = rules(Profile::DeepSeek);
    let chat_with = |max_tokens| Chat { max_tokens, thinking: Some(false), ..simple_chat() };
    let limit = |chat: &Chat, rules: &_, prompt| output_limit(chat, rules, prompt).map(|limit| limit.max_new_tokens);
    let refused = |chat: &Chat, rules: &_, prompt| limit(chat, rules, prompt).unwrap_err().message;
    assert_eq!(limit(&chat_with(None), &rules, 130_000).unwrap(), 1_072);
    assert_eq!(limit(&chat_with(None), &rules, 10).unwrap(), 4_096);
    assert_eq!(limit(&chat_with(Some(8)), &rules, 131_064).unwrap(), 8);
    assert_eq!(
        refused(&chat_with(Some(4096)), &rules, 130_000),
        "This model's maximum context length is 131072 tokens. However, you requested 134096 tokens (130000 in the \
         messages, 4096 in the completion). Please reduce the length of the messages or completion."
    );
    assert!(refused(&chat_with(None), &rules, 131_072).contains("(131072 in the messages, 0 in the"));
    let small = ValidationRules { context: 512, ..rules };
    assert_eq!(limit(&chat_with(None), &small, 100).unwrap(), 412);
}

#[test]
fn the_lenient_profile_cuts_an_explicit_budget_to_what_the_prompt_leaves() {
    let rules = ValidationRules { context: 8192, ..rules(Profile::Lenient) };
    let limited = |max_tokens: i64, thinking, input: Input, prompt| {
        let mut chat = Chat { max_tokens: Some(max_tokens), thinking: Some(thinking), input, ..simple_chat() };
        check(&mut chat, &rules).unwrap();
        output_limit(&chat, &rules, prompt).map(|limit| (limit.max_new_tokens, limit.note.is_some()))
    };
    let messages = || simple_chat().input;
    let text = || Input::Text { prefix: "a".into(), suffix: None };
    for (max_tokens, thinking, input) in
        [(32_000, false, messages()), (8192, false, messages()), (64_000, true, messages()), (i64::MAX, false, text())]
    {
        assert_eq!(limited(max_tokens, thinking, input, 200).unwrap(), (7992, true), "{max_tokens}");
    }
    assert_eq!(limited(7992, false, messages(), 200).unwrap(), (7992, false));
    // Only a prompt that leaves nothing is refused.
    assert!(limited(32_000, false, messages(), 8192).unwrap_err().message.starts_with("This model's maximum context"));
    for max_tokens in [0, -1] {
        let mut chat = Chat { max_tokens: Some(max_tokens), ..simple_chat() };
        let refused = check(&mut chat, &rules).unwrap_err().message;
        assert_eq!(refused, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]");
    }
}

#[test]
fn the_lenient_profile_places_system_messages_where_an_answer_can_follow() {
    let system = |text: &str| Message::new(Role::System, text);
    let placed = |messages: Vec<Message>| {
        let chat = accepted_by_lenient_profile(chat_of(messages));
        let Input::Messages(messages) = chat.input else { unreachable!() };
        let texts = messages.iter().map(|message| (message.role, message.text())).collect::<Vec<_>>();
        (texts, chat.notes.len())
    };
    let at_the_end = placed(vec![system("s"), user_message("a"), system("b"), system("c")]);
    assert_eq!(at_the_end, (vec![(Role::System, "s".into()), (Role::User, "a\n\nb\n\nc".into())], 1));
    let behind_results = placed(vec![user_message("a"), calling_message(&["x"]), tool_result("x"), system("b")]);
    assert_eq!(behind_results.0.last(), Some(&(Role::Tool, "24\n\nb".to_owned())));
    let after_an_answer = placed(vec![user_message("a"), Message::new(Role::Assistant, "b"), system("c"), system("d")]);
    assert_eq!(after_an_answer.0.last(), Some(&(Role::User, "c\n\nd".to_owned())));
    assert_eq!(placed(vec![system("a"), system("b")]).0, [(Role::System, "a".into()), (Role::User, "b".into())]);
    let calls = calling_message(&["x", "y"]);
    let amid = vec![user_message("a"), calls, tool_result("x"), system("b"), tool_result("y"), user_message("c")];
    let roles: Vec<_> = placed(amid.clone()).0.into_iter().map(|(role, _)| role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::System, Role::User]);
    assert!(error_of_deepseek_profile(chat_of(amid)).starts_with("An assistant message with 'tool_calls'"));
    // Elsewhere they keep their place.
    let between = vec![user_message("a"), system("b"), user_message("c")];
    assert_eq!((placed(between.clone()).0.len(), placed(between).1), (3, 0));
}

#[test]
fn sparse_attention_needs_an_indexer() {
    let dense_model = ValidationRules { has_sparse_attention: false, ..rules(Profile::Lenient) };
    let with = |attention| Chat { attention, ..simple_chat() };
    let error = check(&mut with(Some(Attention::Sparse)), &dense_model).unwrap_err();
    assert!(error.message.starts_with("deepseek-chat has no sparse attention"), "{error}");
    for attention in [None, Some(Attention::Dense)] {
        check(&mut with(attention), &dense_model).unwrap();
    }
    check(&mut with(Some(Attention::Sparse)), &rules(Profile::DeepSeek)).unwrap();
}
