//! Decoding of generated tokens.

use std::sync::Arc;

use chat::{Chat, Delta, FinishReason, Input, Message, Reply, Role, TokenLogprob, Tool, fold};
use text::{Encoding, EncodingName, ResponseStart, parse_completion};

use crate::data::{self, encoding, text};

/// Reasoning, content, calls as `name arguments`, finish reason.
pub(crate) type Answer = (String, String, Vec<String>, Option<FinishReason>);

pub(crate) fn answer(reply: Reply) -> Answer {
    let calls = reply.tool_calls.into_iter().map(|call| format!("{} {}", call.name, call.arguments)).collect();
    (reply.reasoning, reply.text, calls, reply.finish)
}

fn parse_completion_text(name: EncodingName, thinking: bool, completion: &str) -> Answer {
    answer(parse_completion(encoding(name), thinking, completion, &[]).unwrap())
}

fn expected_answer(reasoning: &str, content: &str, calls: &[&str], finish: FinishReason) -> Answer {
    (reasoning.into(), content.into(), calls.iter().map(|call| call.to_string()).collect(), Some(finish))
}

fn user(text: &str) -> Chat {
    Chat { input: Input::Messages(vec![Message::new(Role::User, text)]), ..Chat::default() }
}

/// Decodes tokens one by one. With `cut` the answer then ends at the token limit.
pub(crate) fn streamed(encoding: &Arc<Encoding>, chat: &Chat, tokens: &[u32], cut: bool) -> Answer {
    let rendered = encoding.render(chat).unwrap();
    let mut decoder = encoding.decoder_with_seed(chat, &rendered, 1);
    let mut deltas = Vec::new();
    let ended = tokens.iter().find_map(|&token| decoder.push(token, None, &mut deltas));
    let reason = if cut { FinishReason::Length } else { FinishReason::Stop };
    let finish = ended.unwrap_or_else(|| decoder.finish(reason, &mut deltas));
    let mut reply = fold(deltas.into_iter().map(Ok)).unwrap();
    reply.finish = Some(finish);
    answer(reply)
}

#[test]
fn the_golden_completions_parse_as_the_authors_parse_them() {
    let golden = data::json("tests/golden/chat/dsml_v3.2.json.gz");
    let cases = golden["parse"].as_array().unwrap();
    let (refused, accepted): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.get("error").is_some());
    for case in &accepted {
        let (reasoning, content, calls, _) =
            parse_completion_text(EncodingName::V32, case["thinking_mode"] == "thinking", text(&case["text"]));
        let expected = &case["parsed"];
        assert_eq!(reasoning, text(&expected["reasoning_content"]), "{case}");
        assert_eq!(content, text(&expected["content"]), "{case}");
        let expected = expected["tool_calls"].as_array().unwrap().iter().map(|call| &call["function"]);
        let expected = expected.map(|call| format!("{} {}", text(&call["name"]), text(&call["arguments"])));
        assert_eq!(calls, expected.collect::<Vec<_>>(), "{case}");
    }
    // The authors' parser, which is "not for production", refuses these two; a server must accept
    // them.
    assert_eq!((accepted.len(), refused.len()), (5, 2));
    let parse_refused = |case: usize| parse_completion_text(EncodingName::V32, false, text(&refused[case]["text"]));
    assert_eq!(parse_refused(0), expected_answer("", "answer without eos", &[], FinishReason::Stop));
    assert_eq!(parse_refused(1), expected_answer("", "x", &["f {}"], FinishReason::ToolCalls));
}

/// Example 12.5 of the specification.
const WEATHER: &str = "I need the weather.</think>\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">Paris</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls><｜end▁of▁sentence｜>";

#[test]
fn a_dsml_call_is_streamed_header_first_and_in_fragments() {
    let v32 = encoding(EncodingName::V32);
    let tokens = v32.tokenizer().encode_with_added_tokens(WEATHER);
    let call = [
        271, 30, 128793, 8701, 4941, 12548, 1018, 30, 128793, 40148, 5406, 2329, 1281, 1133, 65, 50219, 3816, 30,
        128793, 41523, 2329, 1281, 37399, 4, 3418, 1281, 11476, 3320, 51119, 1718, 128793, 41523, 1018, 1718, 128793,
        40148, 5406, 1018, 1718, 128793, 8701, 4941, 12548, 32, 1,
    ];
    assert!(tokens.ends_with(&call));
    let chat = Chat { thinking: Some(true), ..user("q") };
    let rendered = v32.render(&chat).unwrap();
    let mut decoder = v32.decoder_with_seed(&chat, &rendered, 1);
    let mut deltas = Vec::new();
    let mut ended = None;
    for &token in &tokens {
        assert_eq!(ended, None);
        let mut new = Vec::new();
        ended = decoder.push(token, None, &mut new);
        deltas.extend(new);
    }
    assert_eq!(ended, Some(FinishReason::ToolCalls));
    let reasoning = tokens.len() - call.len() - 1;
    assert_eq!(decoder.reasoning_tokens(), reasoning as u64);
    let (before, after) = deltas.split_at(reasoning);
    assert!(before.iter().all(|delta| matches!(delta, Delta::Reasoning { .. })), "{deltas:?}");
    let [Delta::ToolCall { index: 0, id, name }, arguments @ ..] = after else { panic!("{deltas:?}") };
    assert!(id.starts_with("call_00_") && id.len() == 32 && name == "get_weather");
    let fragment = |delta: &Delta| match delta {
        Delta::Arguments { index: 0, text } => text.clone(),
        other => panic!("{other:?}"),
    };
    let fragments: Vec<String> = arguments.iter().map(fragment).collect();
    assert_eq!(fragments, ["{\"city\": \"", "Paris", "\"", "}"]);
}

#[test]
fn two_calls_have_ids_that_name_their_place() {
    let call = "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>";
    let completion = format!("ok<｜tool▁calls▁begin｜>{call}{call}<｜tool▁calls▁end｜>");
    let reply = parse_completion(encoding(EncodingName::V31), false, &completion, &[]).unwrap();
    let ids: Vec<&str> = reply.tool_calls.iter().map(|call| call.id.as_str()).collect();
    assert!(ids[0].starts_with("call_00_") && ids[1].starts_with("call_01_") && ids[0][8..] != ids[1][8..], "{ids:?}");
    let again = parse_completion(encoding(EncodingName::V31), false, &completion, &[]).unwrap();
    assert_ne!(again.tool_calls[0].id, reply.tool_calls[0].id);
}

#[test]
fn calls_of_v31_pass_their_json_on_unchanged() {
    let v31 = |completion: &str| parse_completion_text(EncodingName::V31, false, completion);
    let arguments = "{\n  \"a\":1, \"b\" : \"`x` ``` </think>\"\n}";
    let call = format!(
        "Let me look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜> f <｜tool▁sep｜>{arguments}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{{}}<｜tool▁call▁end｜><｜tool▁calls▁end｜>tail<｜end▁of▁sentence｜>"
    );
    let calls = [&*format!("f {arguments}"), "g {}"];
    assert_eq!(v31(&call), expected_answer("", "Let me look.", &calls, FinishReason::ToolCalls));
    // Without end markers, complete JSON is a call, and incomplete JSON an answer that was cut off.
    let open = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}";
    assert_eq!(v31(open), expected_answer("", "", &["f {\"a\": 1}"], FinishReason::ToolCalls));
    assert_eq!(v31(&open[..open.len() - 1]), expected_answer("", "", &["f {\"a\": 1"], FinishReason::Length));
    // Without a name it is not a call.
    let nameless = "a<｜tool▁calls▁begin｜>\n<｜tool▁call▁begin｜><｜tool▁sep｜>{}";
    assert_eq!(v31(nameless), expected_answer("", nameless, &[], FinishReason::Stop));
    let empty = "a<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>b";
    assert_eq!(v31(empty), expected_answer("", empty, &[], FinishReason::Stop));
    assert_eq!(
        v31("a<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>na"),
        expected_answer("", "a", &[], FinishReason::Stop)
    );
}

#[test]
fn calls_of_v3_and_r1_lose_their_fence() {
    let call = |name: &str, arguments: &str| {
        format!("<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>")
    };
    let pretty = "{\n  \"a\": \"``` x\"\n}";
    let (first, second) = (call("f", pretty), call(" g ", "{}"));
    let completion = format!("text<｜tool▁calls▁begin｜>{first}\n{second}<｜tool▁calls▁end｜><｜end▁of▁sentence｜>");
    for name in [EncodingName::V3, EncodingName::R1] {
        let expected = expected_answer("", "text", &[&format!("f {pretty}"), "g {}"], FinishReason::ToolCalls);
        assert_eq!(parse_completion_text(name, false, &completion), expected);
        let bare = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n{\"a\": 1}<｜tool▁call▁end｜>";
        assert_eq!(
            parse_completion_text(name, false, bare),
            expected_answer("", "", &["f {\"a\": 1}"], FinishReason::ToolCalls)
        );
        let cut = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": 1}\n``";
        assert_eq!(
            parse_completion_text(name, false, cut),
            expected_answer("", "", &["f {\"a\": 1}"], FinishReason::ToolCalls)
        );
    }
}

#[test]
fn reasoning_ends_at_its_marker_and_nowhere_else() {
    use FinishReason::Stop;
    let v32 = |thinking, completion| parse_completion_text(EncodingName::V32, thinking, completion);
    assert_eq!(v32(true, "r\n</think>\n\na"), expected_answer("r\n", "\n\na", &[], Stop));
    assert_eq!(v32(true, "r"), expected_answer("r", "", &[], Stop));
    assert_eq!(v32(true, "<think>\nr</think>a</think>b"), expected_answer("r", "a</think>b", &[], Stop));
    assert_eq!(
        v32(true, "r<｜DSML｜invoke name=\"f\"></think>a"),
        expected_answer("r<｜DSML｜invoke name=\"f\">", "a", &[], Stop)
    );
    assert_eq!(v32(false, "</think>a"), expected_answer("", "a", &[], Stop));
    let r1 = |thinking, completion| parse_completion_text(EncodingName::R1, thinking, completion);
    assert_eq!(r1(true, "<think>\n\nr\n\ns\n\n</think>\n\n\na\n"), expected_answer("r\n\ns", "\na\n", &[], Stop));
    assert_eq!(r1(true, "r\n</think>a"), expected_answer("r", "a", &[], Stop));
    assert_eq!(r1(false, "<think>\nr\n</think>\n\na"), expected_answer("r", "a", &[], Stop));
    // In V3 these are ordinary text.
    assert_eq!(
        parse_completion_text(EncodingName::V3, false, "<think>x</think>y"),
        expected_answer("", "<think>x</think>y", &[], Stop)
    );
    // Spelled character by character they are ordinary text in every encoding.
    let v31 = encoding(EncodingName::V31);
    let chat = Chat { thinking: Some(true), ..user("q") };
    let typed = v31.tokenizer().encode("a</think>b");
    assert_eq!(streamed(v31, &chat, &typed, false), expected_answer("a</think>b", "", &[], Stop));
}

#[test]
fn a_prefix_of_reasoning_goes_on_as_reasoning() {
    let v31 = encoding(EncodingName::V31);
    let mut prefix = Message::new(Role::Assistant, "");
    prefix.prefix = true;
    prefix.reasoning = Some("Let me".into());
    let chat = Chat {
        thinking: Some(true),
        input: Input::Messages(vec![Message::new(Role::User, "q"), prefix]),
        ..Chat::default()
    };
    let tokens = v31.tokenizer().encode_with_added_tokens(" think</think>yes<｜end▁of▁sentence｜>");
    assert_eq!(streamed(v31, &chat, &tokens, false), expected_answer(" think", "yes", &[], FinishReason::Stop));
}

#[test]
fn a_cut_answer_keeps_what_was_said() {
    let v32 = encoding(EncodingName::V32);
    let all = v32.tokenizer().encode_with_added_tokens(WEATHER);
    let chat = Chat { thinking: Some(true), ..user("q") };
    let mut seen = Vec::new();
    for end in 0..all.len() {
        let (reasoning, content, calls, finish) = streamed(v32, &chat, &all[..end], true);
        assert_eq!(finish, Some(FinishReason::Length));
        assert!("I need the weather.".starts_with(&reasoning));
        assert!(!content.contains('｜'), "{content}");
        seen.extend(calls.into_iter().next());
    }
    seen.dedup();
    let call = "get_weather {\"city\": \"Paris\"}";
    assert_eq!(seen, ["get_weather ", &call[..call.len() - 7], &call[..call.len() - 2], &call[..call.len() - 1], call]);
}

#[test]
fn stop_strings_apply_to_content_only() {
    let v32 = encoding(EncodingName::V32);
    let stop = |strings: &[&str], thinking, completion: &str| {
        let stop = strings.iter().map(|string| string.to_string()).collect();
        let chat = Chat { thinking: Some(thinking), stop, ..user("q") };
        streamed(v32, &chat, &v32.tokenizer().encode_with_added_tokens(completion), false)
    };
    assert_eq!(stop(&["Paris", "weather", "\n"], true, WEATHER).2, ["get_weather {\"city\": \"Paris\"}"]);
    assert_eq!(
        stop(&["wor", "xyz"], false, "Hello world"),
        expected_answer("", "Hello ", &[], FinishReason::StopString(0))
    );
    assert_eq!(stop(&["b"], true, "abc</think>abc"), expected_answer("abc", "a", &[], FinishReason::StopString(0)));
    // Text that only looks like one is emitted before the call.
    let call = "see\n\n\n<｜DSML｜invoke name=\"f\"></｜DSML｜invoke>";
    assert_eq!(stop(&["\n\n"], false, call), expected_answer("", "see\n", &["f {}"], FinishReason::ToolCalls));
}

#[test]
fn log_probabilities_travel_with_the_text_they_belong_to() {
    let v32 = encoding(EncodingName::V32);
    let chat = Chat { stop: vec!["END".into()], ..user("q") };
    let rendered = v32.render(&chat).unwrap();
    assert_eq!(rendered.start, ResponseStart::Content);
    let mut decoder = v32.decoder(&chat, &rendered);
    let mut deltas = Vec::new();
    let tokens = v32.tokenizer().encode_with_added_tokens("Hi 😀\n\nyou END");
    for &token in &tokens {
        let bytes = v32.tokenizer().bytes(token).to_vec();
        let token_text = String::from_utf8_lossy(&bytes).into_owned();
        let logprob = TokenLogprob { token: token_text, logprob: -0.5, bytes: Some(bytes), top: vec![] };
        let mut new = Vec::new();
        let ended = decoder.push(token, Some(logprob), &mut new);
        deltas.extend(new);
        if ended.is_some() {
            break;
        }
    }
    let reply = fold(deltas.into_iter().map(Ok)).unwrap();
    assert_eq!(reply.text, "Hi 😀\n\nyou ");
    let bytes: Vec<u8> = reply.logprobs.iter().flat_map(|token| token.bytes.clone().unwrap()).collect();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "Hi 😀\n\nyou END",
        "the last token holds the space and the stop string"
    );
}

#[test]
fn raw_completions_are_text_and_nothing_else() {
    let v32 = encoding(EncodingName::V32);
    let chat = Chat { input: Input::Text { prefix: "p".into(), suffix: None }, ..Chat::default() };
    let text = "</think>a\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">";
    let tokens = v32.tokenizer().encode_with_added_tokens(text);
    assert_eq!(streamed(v32, &chat, &tokens, false), expected_answer("", text, &[], FinishReason::Stop));
}

#[test]
fn after_the_end_nothing_is_taken() {
    let v32 = encoding(EncodingName::V32);
    let chat = user("q");
    let mut decoder = v32.decoder(&chat, &v32.render(&chat).unwrap());
    let mut deltas = Vec::new();
    assert_eq!(decoder.push(v32.eos(), None, &mut deltas), Some(FinishReason::Stop));
    assert_eq!(decoder.push(19923, None, &mut deltas), Some(FinishReason::Stop));
    assert_eq!(decoder.finish(FinishReason::Length, &mut deltas), FinishReason::Stop);
    assert!(deltas.is_empty());
}

#[test]
fn a_call_in_open_reasoning_ends_it() {
    let tools = [Tool { name: "get_weather".into(), strict: false, function: serde_json::Map::new() }];
    let answered = |name, tools: &[Tool], completion: &str| {
        answer(parse_completion(encoding(name), true, completion, tools).unwrap())
    };
    let marked =
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    let fenced = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    let dsml = WEATHER.replace("</think>", "");
    for (name, completion, arguments) in [
        (EncodingName::V32, dsml.as_str(), "{\"city\": \"Paris\"}"),
        (EncodingName::V31, &format!("I need the weather.{marked}"), "{}"),
        (EncodingName::R1, &format!("I need the weather.\n{fenced}"), "{}"),
    ] {
        let call = format!("get_weather {arguments}");
        let expected = expected_answer("I need the weather.", "", &[&call], FinishReason::ToolCalls);
        assert_eq!(answered(name, &tools, completion), expected);
        // Where there is nothing to call, the marker is text of the reasoning.
        assert!(answered(name, &[], completion).0.contains("｜"));
    }
    // A marker without the rest of a tag begins nothing, and what might begin a call is not lost.
    let lone = "r｜DSML｜ a < b\n\n";
    assert_eq!(answered(EncodingName::V32, &tools, lone).0, lone);
    assert_eq!(answered(EncodingName::V32, &tools, "r\n\n</think>a").0, "r\n\n");
}
