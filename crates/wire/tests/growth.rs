//! Inputs that once took minutes: parsing takes time proportional to the bytes, not to their
//! square. `benches/growth.rs` measures all parsers.
#![forbid(unsafe_code)]

use std::time::Duration;

use chat::{Chat, Delta, Input, Message, Role, ToolCall};
use serde_json::json;
use testkit::growth::cpu_time;
use wire::upstream::Dialect;

/// Many times the time of a debug build, and a fraction of the time of a quadratic parser.
const TIME_LIMIT: Duration = Duration::from_secs(8);

fn run_within_time_limit<T>(work: impl FnOnce() -> T) -> T {
    let began = cpu_time();
    let result = work();
    let took = cpu_time() - began;
    assert!(took < TIME_LIMIT, "{took:?}");
    result
}

fn comma_separated(piece: impl Fn(usize) -> String, pieces: usize) -> String {
    (0..pieces).map(piece).collect::<Vec<_>>().join(",")
}

#[test]
fn a_message_may_think_in_many_blocks() {
    let blocks = comma_separated(|_| r#"{"type":"thinking","thinking":"0123456789"}"#.into(), 100_000);
    let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"assistant","content":[{blocks}]}}]}}"#);
    let read = run_within_time_limit(|| wire::surface::anthropic::parse_request(body.as_bytes(), false)).unwrap();
    let Input::Messages(messages) = read.chat.input else { panic!("a chat") };
    assert_eq!(messages[0].reasoning.as_ref().unwrap().len(), 12 * 100_000 - 2);
}

#[test]
fn responses_without_ids_find_their_calls_in_order() {
    let calls = comma_separated(|n| format!(r#"{{"functionCall":{{"name":"f","id":"{n}"}}}}"#), 20_000);
    let responses = comma_separated(|_| r#"{"functionResponse":{"name":"f"}}"#.into(), 20_000);
    let body = format!(r#"{{"contents":[{{"role":"model","parts":[{calls}]}},{{"parts":[{responses}]}}]}}"#);
    let read = run_within_time_limit(|| wire::surface::gemini::parse_request(body.as_bytes(), "m")).unwrap();
    let Input::Messages(messages) = read.chat.input else { panic!("a chat") };
    let ids: Vec<_> = messages[1..].iter().map(|message| message.tool_call_id.clone().unwrap()).collect();
    assert_eq!(ids, (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn many_functions_may_be_allowed() {
    let functions = comma_separated(|n| format!(r#"{{"name":"f{n}"}}"#), 30_000);
    let names = comma_separated(|n| format!("\"f{}\"", 2 * n), 30_000);
    let config = format!(r#"{{"functionCallingConfig":{{"mode":"ANY","allowedFunctionNames":[{names}]}}}}"#);
    let body = format!(r#"{{"contents":[],"tools":[{{"functionDeclarations":[{functions}]}}],"toolConfig":{config}}}"#);
    let read = run_within_time_limit(|| wire::surface::gemini::parse_request(body.as_bytes(), "m")).unwrap();
    assert_eq!(read.chat.tools.len(), 15_000);
}

#[test]
fn results_of_many_calls_are_named_for_gemini() {
    let mut messages = Vec::new();
    for turn in 0..20_000 {
        let id = format!("call_{turn}");
        let call = ToolCall { id: id.clone(), name: format!("f{turn}"), arguments: "{}".into() };
        messages.push(Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, "") });
    }
    messages.extend(
        (0..20_000).map(|turn| Message { tool_call_id: Some(format!("call_{turn}")), ..Message::new(Role::Tool, "x") }),
    );
    let chat = Chat { model: "m".into(), input: Input::Messages(messages), ..Chat::default() };
    let body = run_within_time_limit(|| Dialect::Gemini.write_request(&chat, "m", &())).unwrap();
    let body: serde_json::Value = serde_json::from_str(&body.body).unwrap();
    let last = body["contents"].as_array().unwrap().last().unwrap()["parts"].as_array().unwrap().last().unwrap();
    assert_eq!(last["functionResponse"]["name"], "f19999");
}

#[test]
fn a_provider_may_use_many_call_indices() {
    let mut reader = Dialect::OpenAi.event_reader(&Chat::default());
    let mut deltas = Vec::new();
    run_within_time_limit(|| {
        for index in (0..50_000u64).map(|index| u64::MAX - index) {
            let call = json!({"index": index, "id": "c", "function": {"name": "f", "arguments": "{}"}});
            let event = json!({"choices": [{"delta": {"tool_calls": [call]}}]});
            reader.read_event(&event.to_string(), &mut deltas).unwrap();
        }
        // A call without an index follows the last one, whatever its index is.
        let call = json!({"id": "d", "function": {"name": "g", "arguments": "{}"}});
        let event = json!({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]});
        reader.read_event(&event.to_string(), &mut deltas).unwrap();
        reader.finish(&mut deltas).unwrap();
    });
    assert!(chat::fold(deltas.into_iter().map(Ok)).unwrap().tool_calls.len() >= 50_000);
}

#[test]
fn a_thought_is_signed_once() {
    let mut reader = Dialect::Anthropic.event_reader(&Chat::default());
    let mut deltas = Vec::new();
    run_within_time_limit(|| {
        let thought = json!({"type": "thinking_delta", "thinking": "x".repeat(100_000)});
        let signature = json!({"type": "signature_delta", "signature": "s"});
        for delta in std::iter::once(thought).chain(std::iter::repeat_n(signature, 50_000)) {
            let event = json!({"type": "content_block_delta", "index": 0, "delta": delta});
            reader.read_event(&event.to_string(), &mut deltas).unwrap();
        }
    });
    let signed =
        deltas.iter().filter_map(|delta| if let Delta::Signature(signed) = delta { Some(signed) } else { None });
    assert_eq!(signed.map(|signed| signed.text.len()).sum::<usize>(), 100_000);
}

#[test]
fn an_unreadable_event_is_not_quoted_whole() {
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini] {
        let event = json!({"type": "message_start", "message": "x".repeat(1 << 20), "choices": "x".repeat(1 << 20),
                           "candidates": "x".repeat(1 << 20)});
        let error = dialect.event_reader(&Chat::default()).read_event(&event.to_string(), &mut Vec::new()).unwrap_err();
        assert!(error.message.len() < 1000, "{}", error.message.len());
    }
}
