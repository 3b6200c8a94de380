//! Rendering of conversations.

use chat::{Chat, Input, Message, Part, Role};
use serde_json::{Value, json};
use text::{EncodingName, ResponseStart};

use crate::data::{self, encoding, ids, sha256, text};

const BOS: &str = "<｜begin▁of▁sentence｜>";
const EOS: &str = "<｜end▁of▁sentence｜>";

/// Compares text and ids. If contents contain markers, the vectors have control tokens for them and
/// our prompts must not: their control tokens must be those of the conversation without markers in
/// its contents.
fn check(name: EncodingName, chat: &Chat, generate: bool, prompt: &str, expected: &[u32], what: &Value) {
    let tokenizer = encoding(name).tokenizer();
    let (text, tokens) = encoding(name).transcript(chat, generate).unwrap();
    assert_eq!(text, prompt, "{name}: {what}");
    assert_eq!(tokenizer.encode_with_added_tokens(prompt), expected, "the vector itself: {what}");
    let unmarked = without_markers(chat);
    if unmarked == *chat {
        return assert_eq!(tokens, expected, "{name}: {what}");
    }
    let control =
        |tokens: &[u32]| tokens.iter().copied().filter(|&id| tokenizer.is_added_token(id)).collect::<Vec<_>>();
    let (_, harmless) = encoding(name).transcript(&unmarked, generate).unwrap();
    assert_eq!(control(&tokens), control(&harmless), "{name}: {what}");
    assert_eq!(tokenizer.decode(&tokens), prompt, "{name}: {what}");
}

/// The chat without markers in its contents.
fn without_markers(chat: &Chat) -> Chat {
    let clean = |text: &str| {
        let replaced = text.replace("<｜", "(").replace("｜>", ")").replace("<think>", "").replace("｜DSML｜", "");
        // Earlier answers lose the text before this marker, so it must stay.
        if text.contains("<think>") && text.contains("</think>") { replaced } else { replaced.replace("</think>", "") }
    };
    let mut chat = chat.clone();
    let Input::Messages(messages) = &mut chat.input else { return chat };
    for message in messages {
        for part in message.content.iter_mut().flatten() {
            if let Part::Text(text) = part {
                *text = clean(text);
            }
        }
        for call in message.tool_calls.iter_mut().flatten() {
            call.arguments = clean(&call.arguments);
        }
    }
    chat
}

#[test]
fn the_templates_of_the_releases_are_reproduced() {
    for (file, name, faults) in [
        ("v3", EncodingName::V3, 4),
        ("r1", EncodingName::R1, 1),
        ("v3.1", EncodingName::V31, 0),
        ("v3.2-exp", EncodingName::V32Exp, 0),
    ] {
        let golden = data::json(&format!("tests/golden/chat/template_deepseek-{file}.json.gz"));
        let cases = golden["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 17);
        // The template writes invalid text there: see `the_templates_defects_are_not_copied`.
        let (faulty, sound): (Vec<&Value>, Vec<&Value>) = cases.iter().partition(|case| case["template_fault"] == true);
        assert_eq!(faulty.len(), faults, "{name}");
        for case in sound {
            let chat = data::chat(&case["messages"], case["thinking"] == true);
            let (mut prompt, mut tokens) = (text(&case["prompt"]), ids(&case["ids"]));
            if case["messages"].as_array().unwrap().last().unwrap()["prefix"] == true {
                // The templates end a prefix; a server leaves it open.
                prompt = prompt.strip_suffix(EOS).unwrap();
                tokens.pop();
            }
            check(name, &chat, case["add_generation_prompt"] == true, prompt, &tokens, case);
        }
    }
}

#[test]
fn the_chat_vectors_are_reproduced() {
    let vectors = data::json("tests/golden/chat/chat_vectors.json.gz");
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 74);
    let mut left_out = 0;
    for case in vectors {
        if case["messages"][0]["response_format"]["type"] == "json_object" {
            // JSON mode does not add text in the public service; a unit test of `deepseek_v32.rs`
            // covers the encoder's text.
            left_out += 1;
            continue;
        }
        let name: EncodingName = text(&case["encoding"]).parse().unwrap();
        let chat = data::chat(&case["messages"], case["thinking"] == true);
        let (mut prompt, mut tokens) = (text(&case["text"]), ids(&case["ids"]));
        if text(&case["case"]).starts_with("assistant prefix last") {
            // The templates end a prefix, and some begin another answer; a server leaves the prefix
            // open.
            if let Some(rest) = prompt.strip_suffix("<｜Assistant｜>") {
                prompt = rest;
                tokens.pop();
            }
            prompt = prompt.strip_suffix(EOS).unwrap();
            tokens.pop();
        }
        check(name, &chat, true, prompt, &tokens, case);
    }
    assert_eq!(left_out, 2);
}

#[test]
fn the_dsml_encoder_of_the_authors_is_reproduced() {
    let golden = data::json("tests/golden/chat/dsml_v3.2.json.gz");
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 20);
    for case in cases {
        let messages = case["messages"].as_array().unwrap();
        if messages[0]["role"] == "system" && messages[1].get("response_format").is_some() {
            // A request cannot put a response format on a developer message beside a system
            // message; a unit test of `deepseek_v32.rs` covers the text.
            continue;
        }
        let chat = data::chat(&case["messages"], case["thinking_mode"] == "thinking");
        let (mut prompt, mut tokens) = (text(&case["prompt"]).to_owned(), ids(&case["ids"]));
        if case["add_default_bos_token"] == false {
            // A server always begins a prompt with this token.
            prompt.insert_str(0, BOS);
            tokens.insert(0, 0);
        }
        check(EncodingName::V32, &chat, true, &prompt, &tokens, case);
    }
}

#[test]
fn the_authors_own_golden_test_passes() {
    let input = data::json("tests/golden/chat/encoding-v3.2/test_input.json");
    let mut messages = input["messages"].clone();
    messages[0]["tools"] = input["tools"].clone();
    let chat = data::chat(&messages, true);
    let (prompt, tokens) = encoding(EncodingName::V32).transcript(&chat, true).unwrap();
    let golden = String::from_utf8(data::file("tests/golden/chat/encoding-v3.2/test_output.txt")).unwrap();
    assert_eq!(prompt, golden.strip_suffix('\n').unwrap());
    assert_eq!(tokens.len(), 1272);
    let joined = tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(sha256(joined.as_bytes()), "c46508f0b0291f8dee5794c1263f08f1b2a70a4a7022f63a083578140c8a8be8");
}

fn rendered(name: EncodingName, messages: Value, thinking: bool) -> (String, ResponseStart) {
    let rendered = encoding(name).render(&data::chat(&messages, thinking)).unwrap();
    (rendered.text, rendered.start)
}

#[test]
fn the_first_worked_example_holds_in_all_thinking_encodings() {
    let messages = json!([
        { "role": "user", "content": "hello" },
        { "role": "assistant", "content": "Hello! I am DeepSeek.", "reasoning_content": "thinking..." },
        { "role": "user", "content": "1+1=?" },
    ]);
    for name in [EncodingName::V31, EncodingName::V32Exp, EncodingName::V32] {
        let rendered = encoding(name).render(&data::chat(&messages, true)).unwrap();
        let ids = [
            0, 128803, 33310, 128804, 128799, 19923, 3, 342, 1030, 22651, 4374, 1465, 16, 1, 128803, 19, 13, 19,
            127252, 128804, 128798,
        ];
        assert_eq!((rendered.tokens.as_slice(), rendered.start), (&ids[..], ResponseStart::Reasoning), "{name}");
    }
}

#[test]
fn the_templates_defects_are_not_copied() {
    let call = |id: &str| json!([{ "id": id, "function": { "name": "f", "arguments": "{}" } }]);
    let messages = json!([
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": null, "tool_calls": call("1") },
        { "role": "tool", "content": "r1", "tool_call_id": "1" },
        { "role": "assistant", "content": "", "tool_calls": call("2") },
        { "role": "tool", "content": "r2", "tool_call_id": "2" },
    ]);
    let called = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>";
    let result = |text| {
        format!("<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>{text}<｜tool▁output▁end｜><｜tool▁outputs▁end｜>")
    };
    let prompt = format!("{BOS}<｜User｜>a<｜Assistant｜>{called}{}{called}{}", result("r1"), result("r2"));
    for name in [EncodingName::V3, EncodingName::R1] {
        assert_eq!(rendered(name, messages.clone(), false), (prompt.clone(), ResponseStart::Content), "{name}");
    }
}

#[test]
fn a_prefix_stays_open_and_says_where_the_answer_goes_on() {
    let prompt = |name, thinking, reasoning: Option<&str>, content: &str| {
        let messages = json!([
            { "role": "user", "content": "q" },
            { "role": "assistant", "content": content, "reasoning_content": reasoning, "prefix": true },
        ]);
        let (text, start) = rendered(name, messages, thinking);
        (text.strip_prefix(&format!("{BOS}<｜User｜>q<｜Assistant｜>")).unwrap().to_owned(), start)
    };
    for name in [EncodingName::V31, EncodingName::V32Exp, EncodingName::V32] {
        let prompt = |thinking, reasoning, content| prompt(name, thinking, reasoning, content);
        assert_eq!(prompt(false, None, "pre"), ("</think>pre".into(), ResponseStart::Content), "{name}");
        assert_eq!(prompt(true, None, "pre"), ("<think>pre".into(), ResponseStart::Reasoning), "{name}");
        assert_eq!(prompt(true, Some("r"), ""), ("<think>r".into(), ResponseStart::Reasoning), "{name}");
        assert_eq!(prompt(true, Some("r"), "pre"), ("<think>r</think>pre".into(), ResponseStart::Content), "{name}");
    }
    assert_eq!(prompt(EncodingName::V3, false, None, "pre"), ("pre".into(), ResponseStart::Content));
    assert_eq!(prompt(EncodingName::R1, true, None, "pre"), ("pre".into(), ResponseStart::Content));
    assert_eq!(prompt(EncodingName::R1, true, Some("r"), ""), ("<think>\nr".into(), ResponseStart::Reasoning));
    assert_eq!(
        prompt(EncodingName::R1, true, Some("r"), "a"),
        ("<think>\nr\n</think>\n\na".into(), ResponseStart::Content)
    );
}

#[test]
fn tools_stand_behind_the_system_text() {
    let tool = json!({ "function": {
        "name": "f", "description": "Dö <｜User｜>", "parameters": { "type": "object", "properties": { "x": { "minimum": 1e5 } } }
    } });
    let mut chat = data::chat(&json!([{ "role": "user", "content": "u" }]), false);
    chat.tools = vec![data::tool(&tool["function"]), data::tool(&json!({ "name": "g" }))];
    let block = |call: &str| {
        format!(
            "{BOS}\n\n## Tools\nYou have access to the following tools:\n\n### f\nDescription: Dö <｜User｜>\n\nParameters: \
             {{\"type\": \"object\", \"properties\": {{\"x\": {{\"minimum\": 100000.0}}}}}}\n\n### g\nDescription: \n\n\
             Parameters: {{}}\n\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n\
             <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜>{{additional_tool_calls}}<｜tool▁calls▁end｜>\n\n\
             Where:\n- `tool_call_name` must be an exact match to one of the available tools\n\
             - `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n\
             - For multiple tool calls, chain them directly without separators or spaces<｜User｜>u<｜Assistant｜>"
        )
    };
    let v31 = encoding(EncodingName::V31);
    let prompt = v31.render(&chat).unwrap();
    assert_eq!(prompt.text, block("tool_call_name<｜tool▁sep｜>tool_call_arguments") + "</think>");
    let user = v31.tokenizer().token_id("<｜User｜>").unwrap();
    assert_eq!(prompt.tokens.iter().filter(|&&id| id == user).count(), 1, "a description is not a control token");
    let v3 = encoding(EncodingName::V3).render(&chat).unwrap();
    assert_eq!(v3.text, block("function<｜tool▁sep｜>tool_call_name\n```json\ntool_call_arguments\n```"));
    let v32 = encoding(EncodingName::V32).render(&chat).unwrap().text;
    assert!(v32.starts_with(&format!("{BOS}\n\n## Tools\n\nYou have access to a set of tools")), "{v32}");
    assert!(v32.ends_with("\n{\"name\": \"g\"}\n</functions>\n<｜User｜>u<｜Assistant｜></think>"), "{v32}");
}

#[test]
fn arguments_that_are_no_object_become_one_parameter() {
    let call = json!([{ "id": "1", "function": { "name": "f", "arguments": "{\"a\": " } }]);
    let messages =
        json!([{ "role": "user", "content": "u" }, { "role": "assistant", "content": "", "tool_calls": call }]);
    let (text, _) = encoding(EncodingName::V32).transcript(&data::chat(&messages, false), true).unwrap();
    let parameter = "<｜DSML｜parameter name=\"arguments\" string=\"true\">{\"a\": </｜DSML｜parameter>\n";
    assert!(text.contains(parameter), "{text}");
}

#[test]
fn raw_and_fill_in_the_middle_completions_have_no_chat_markers() {
    let v31 = encoding(EncodingName::V31);
    let render = |suffix: Option<&str>| {
        let input = Input::Text { prefix: "def f(".into(), suffix: suffix.map(Into::into) };
        v31.render(&Chat { input, ..Chat::default() }).unwrap()
    };
    assert_eq!(render(None).tokens, [0, 3465, 285, 10]);
    let filled = render(Some("\n    return x"));
    assert_eq!(filled.tokens, [0, 128801, 3465, 285, 10, 128800, 201, 361, 1354, 1527, 128802]);
    assert_eq!(filled.text, format!("{BOS}<｜fim▁begin｜>def f(<｜fim▁hole｜>\n    return x<｜fim▁end｜>"));
    assert_eq!(filled.start, ResponseStart::Content);
    let input = Input::Text { prefix: "<｜User｜>".into(), suffix: Some("<｜fim▁end｜>".into()) };
    let tokens = v31.render(&Chat { input, ..Chat::default() }).unwrap().tokens;
    assert_eq!(tokens.iter().filter(|&&id| v31.tokenizer().is_added_token(id)).count(), 4);
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let refusal = |name, messages: Value| encoding(name).render(&data::chat(&messages, false)).unwrap_err().message;
    let answered = json!([{ "role": "user", "content": "q" }, { "role": "assistant", "content": "a" }]);
    for name in [EncodingName::V31, EncodingName::V32] {
        assert!(refusal(name, answered.clone()).starts_with("The last message of m must be a user message"), "{name}");
        assert!(refusal(name, json!([{ "role": "system", "content": "s" }])).starts_with("The last message"), "{name}");
        let tool = json!([{ "role": "tool", "content": "r", "tool_call_id": "1" }]);
        assert!(refusal(name, tool).contains("role 'tool'"), "{name}");
    }
    assert!(refusal(EncodingName::V32, json!([{ "role": "developer", "content": "" }])).contains("developer"));
    let image = Message {
        content: Some(vec![Part::Other { kind: "image_url".into(), value: json!({}) }]),
        ..Message::new(Role::User, "")
    };
    let chat = Chat { input: Input::Messages(vec![image]), ..Chat::default() };
    let error = encoding(EncodingName::V32).render(&chat).unwrap_err();
    assert!(error.message.contains("messages[0]: unknown variant image_url"), "{error}");
}
