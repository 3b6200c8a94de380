use chat::{Chat, Delta, Error, ErrorKind, FinishReason, Reply, Usage, fold};
use serde_json::{Value, json};

use crate::surface::chat_completions;
use crate::upstream::{Dialect, SignatureStore};

const MODEL: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn parse_chat(rest: Value) -> Chat {
    let mut body = json!({"model": "alias", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    chat_completions::parse_request(body.to_string().as_bytes()).unwrap().chat
}

struct AllSigned;

impl SignatureStore for AllSigned {
    fn find(&self, text: &str) -> Option<String> {
        Some(format!("of {text}"))
    }
}

fn body(chat: &Chat, model: &str) -> Value {
    serde_json::from_str(&Dialect::Bedrock.write_request(chat, model, &AllSigned).unwrap().body).unwrap()
}

fn read(events: &[Value]) -> Result<Reply, Error> {
    let (mut reader, mut out) = (Dialect::Bedrock.event_reader(&Chat::default()), Vec::<Delta>::new());
    for event in events {
        reader.read_event(&event.to_string(), &mut out)?;
    }
    reader.finish(&mut out)?;
    fold(out.into_iter().map(Ok))
}

#[test]
fn the_path_has_the_encoded_model() {
    let path = |model: &str, stream: bool| Dialect::Bedrock.chat_path(model, stream).0;
    assert_eq!(path(MODEL, true), "model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream");
    assert_eq!(
        path("arn:aws:bedrock:us-east-1:1:inference-profile/p", false),
        "model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fp/converse"
    );
}

#[test]
fn every_part_of_a_chat_is_sent() {
    let mark = json!({"type": "ephemeral"});
    let chat = parse_chat(json!({
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": mark}]},
            {"role": "user", "content": [{"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "file", "file": {"filename": "my report.pdf", "file_data": "data:application/pdf;base64,BBBB"}}]},
            {"role": "assistant", "content": "so", "reasoning_content": "hm", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": ""}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}, "cache_control": mark}],
        "tool_choice": "auto", "thinking": {"type": "enabled"}, "max_tokens": 5000, "stop": ["a"], "top_k": 5,
    }));
    assert_eq!(
        body(&chat, MODEL),
        json!({
            "messages": [
                {"role": "user", "content": [{"text": "look"},
                    {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                    {"document": {"format": "pdf", "name": "my-report-pdf", "source": {"bytes": "BBBB"}}}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "of hm"}}}, {"text": "so"},
                    {"toolUse": {"toolUseId": "c", "name": "f", "input": {"x": 1}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "c", "content": [{"text": "."}]}}]}],
            "system": [{"text": "s"}, {"cachePoint": {"type": "default"}}],
            "inferenceConfig": {"maxTokens": 5000, "stopSequences": ["a"]},
            "toolConfig": {"tools": [
                {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}, "description": "d"}},
                {"cachePoint": {"type": "default"}}], "toolChoice": {"auto": {}}},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 3976}},
        })
    );
    let plain = body(
        &parse_chat(json!({"temperature": 0.5, "thinking": {"type": "enabled"}, "max_tokens": 9})),
        "amazon.nova-pro-v1:0",
    );
    assert_eq!(
        plain,
        json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 9, "temperature": 0.5}})
    );
    let forced = parse_chat(json!({"tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}}));
    assert_eq!(body(&forced, MODEL)["toolConfig"]["toolChoice"], json!({"tool": {"name": "f"}}));
    let none = parse_chat(json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}));
    assert_eq!(body(&none, MODEL).get("toolConfig"), None);
}

#[test]
fn what_the_service_does_not_fetch_is_refused() {
    let chat = parse_chat(json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]}));
    let refused = Dialect::Bedrock.write_request(&chat, MODEL, &()).unwrap_err();
    assert_eq!(refused.message, "This model's provider takes images as data, not by their address");
}

#[test]
fn events_become_deltas_with_signatures_calls_and_usage() {
    let delta = |index: u64, delta: Value| json!({"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}});
    let stop = |index: u64| json!({"contentBlockStop": {"contentBlockIndex": index}});
    let start = |index: u64, id: &str| json!({"contentBlockStart": {"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": id, "name": "f"}}}});
    let reply = read(&[
        json!({"messageStart": {"role": "assistant"}}),
        delta(0, json!({"reasoningContent": {"text": "h"}})),
        delta(0, json!({"reasoningContent": {"text": "m"}})),
        delta(0, json!({"reasoningContent": {"signature": "sig"}})),
        stop(0),
        delta(1, json!({"text": "so"})),
        stop(1),
        start(2, "a"),
        delta(2, json!({"toolUse": {"input": "{\"x\""}})),
        delta(2, json!({"toolUse": {"input": ":1}"}})),
        stop(2),
        start(3, "b"),
        stop(3),
        json!({"a_later_kind": {"x": 1}}),
        json!({"messageStop": {"stopReason": "tool_use"}}),
        json!({"metadata": {"usage": {"inputTokens": 10, "outputTokens": 7, "totalTokens": 25, "cacheReadInputTokens": 5,
            "cacheWriteInputTokens": 3,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 1}, {"ttl": "1h", "inputTokens": 2}]}, "metrics": {"latencyMs": 1}}}),
    ])
    .unwrap();
    assert_eq!((reply.reasoning.as_str(), reply.text.as_str()), ("hm", "so"));
    let calls: Vec<_> = reply.tool_calls.iter().map(|call| (&*call.id, &*call.arguments)).collect();
    assert_eq!(calls, [("a", "{\"x\":1}"), ("b", "{}")]);
    let signed: Vec<_> = reply.signatures.iter().map(|signed| (&*signed.text, &*signed.signature)).collect();
    assert_eq!(signed, [("hm", "sig")]);
    let usage = Usage {
        prompt_tokens: 18,
        cached_tokens: 5,
        cache_write_tokens: 3,
        cache_write_1h_tokens: 2,
        completion_tokens: 7,
        reasoning_tokens: None,
        ..Usage::ZERO
    };
    assert_eq!((reply.finish, reply.usage), (Some(FinishReason::ToolCalls), Some(usage)));
}

#[test]
fn reasons_and_exceptions_have_their_meaning() {
    let text = json!({"contentBlockDelta": {"delta": {"text": "a"}}});
    let end = |reason: &str| read(&[text.clone(), json!({"messageStop": {"stopReason": reason}})]);
    for (reason, meaning) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("guardrail_intervened", FinishReason::ContentFilter),
        ("model_context_window_exceeded", FinishReason::ContextFull),
    ] {
        assert_eq!(end(reason).unwrap().finish, Some(meaning));
    }
    assert!(end("malformed_tool_use").unwrap_err().message.contains("malformed_tool_use"));
    for (kind, expected) in [
        ("throttlingException", ErrorKind::RateLimited),
        ("validationException", ErrorKind::InvalidRequest),
        ("serviceUnavailableException", ErrorKind::Overloaded),
        ("modelTimeoutException", ErrorKind::Timeout),
        ("internalServerException", ErrorKind::Upstream(502)),
        ("modelStreamErrorException", ErrorKind::Upstream(502)),
    ] {
        let error = read(&[text.clone(), json!({"exception": {"type": kind, "message": "no"}})]).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (expected, "no"), "{kind}");
    }
    assert!(read(std::slice::from_ref(&text)).unwrap_err().message.contains("broke off"));
}
