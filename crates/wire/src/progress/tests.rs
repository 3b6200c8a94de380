use chat::{Chat, ErrorKind, fold};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::upstream::Dialect;

const FORMATS: [AnswerFormat; 4] =
    [AnswerFormat::ChatCompletions, AnswerFormat::Messages, AnswerFormat::GenerateContent, AnswerFormat::Responses];

fn read(format: AnswerFormat, events: &[Value]) -> AnswerProgress {
    let mut reader = ProgressReader::new(format);
    events.iter().for_each(|event| _ = reader.read_event(event.to_string().as_bytes()));
    let _ = reader.finish();
    reader.into_progress()
}

fn read_chat(events: &[Value]) -> AnswerProgress {
    read(AnswerFormat::ChatCompletions, events)
}

fn read_whole(format: AnswerFormat, body: &Value) -> AnswerProgress {
    let mut reader = ProgressReader::new(format);
    reader.read_body(body.to_string().as_bytes());
    reader.into_progress()
}

fn chunk(delta: Value, reason: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
}

#[test]
fn content_is_what_a_caller_reads() {
    let has_content = |delta: Value| read_chat(&[chunk(delta, Value::Null)]).has_started();
    for delta in [
        json!({"role": "assistant", "content": "word "}),
        json!({"role": "", "content": [{"type": "text", "text": "a"}]}),
        json!({"role": "assistant", "content": "", "reasoning_content": "hm"}),
        json!({"reasoning": "hm"}),
        json!({"content": null, "tool_calls": [{"index": 0, "function": {"arguments": ""}}]}),
        json!({"audio": {"data": "AAAA"}}),
        json!({"images": [{"image_url": {}}]}),
    ] {
        assert!(has_content(delta.clone()), "{delta}");
    }
    for delta in [
        json!({"role": "assistant", "content": ""}),
        json!({"role": "assistant", "name": "a service", "content": null, "tool_calls": [], "refusal": null}),
        json!({"content": null, "token": 7, "is_last": true}),
        json!({}),
        Value::Null,
    ] {
        assert!(!has_content(delta.clone()), "{delta}");
    }
    let has_content = |event: Value| read(AnswerFormat::Messages, &[event]).has_started();
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let start = |block: Value| json!({"type": "content_block_start", "index": 0, "content_block": block});
    for event in [
        delta(json!({"type": "text_delta", "text": "a"})),
        delta(json!({"type": "thinking_delta", "thinking": "a"})),
        delta(json!({"type": "input_json_delta", "partial_json": "{"})),
        start(json!({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
        start(json!({"type": "redacted_thinking", "data": "x"})),
    ] {
        assert!(has_content(event.clone()), "{event}");
    }
    for event in [
        start(json!({"type": "text", "text": ""})),
        start(json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(json!({"type": "signature_delta", "signature": "x"})),
        delta(json!({"type": "text_delta", "text": ""})),
        json!({"type": "ping"}),
        json!({"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 9}}}),
        json!({"type": "a_later_kind_of_event", "delta": {"text": "a"}}),
    ] {
        assert!(!has_content(event.clone()), "{event}");
    }
    let has_content = |part: Value| {
        read(AnswerFormat::GenerateContent, &[json!({"candidates": [{"content": {"parts": [part]}}]})]).has_started()
    };
    for part in [json!({"text": "a"}), json!({"functionCall": {"name": "f"}}), json!({"inlineData": {"data": "A"}})] {
        assert!(has_content(part.clone()), "{part}");
    }
    for part in [json!({"text": ""}), json!({"thought": true, "thoughtSignature": "x"}), json!({})] {
        assert!(!has_content(part.clone()), "{part}");
    }
}

#[test]
fn content_of_a_response_is_counted_once() {
    let pieces = |events: &[Value]| read(AnswerFormat::Responses, events).pieces;
    let item = |event: &str, index: u64, item: Value| json!({"type": format!("response.output_item.{event}"), "output_index": index, "item": item});
    let delta = |kind: &str| json!({"type": format!("response.{kind}.delta"), "output_index": 0, "delta": "a"});
    for kind in ["output_text", "refusal", "reasoning_text", "reasoning_summary_text", "function_call_arguments"] {
        assert_eq!(pieces(&[delta(kind)]), 1, "{kind}");
    }
    let message = json!({"type": "message", "content": [{"type": "output_text", "text": "a"}]});
    for event in [
        json!({"type": "response.created", "response": {"output": [message]}}),
        json!({"type": "response.output_text.delta", "output_index": 0, "delta": ""}),
        json!({"type": "response.output_text.done", "output_index": 0, "text": "a"}),
        item("added", 0, json!({"type": "message", "content": []})),
        item("done", 0, json!({"type": "reasoning", "summary": [], "encrypted_content": "x"})),
        item("done", 0, json!({"type": "a_later_kind", "content": {"odd": 1}})),
    ] {
        assert_eq!(pieces(std::slice::from_ref(&event)), 0, "{event}");
    }
    assert_eq!(pieces(&[item("added", 0, json!({"type": "web_search_call"}))]), 1);
    let streamed = [delta("output_text"), delta("output_text"), item("done", 0, message.clone())];
    assert_eq!((pieces(&streamed), pieces(&[item("done", 0, message.clone())])), (2, 1));
    let end = json!({"type": "response.completed", "response": {"status": "completed", "output": [message]}});
    assert_eq!((pieces(std::slice::from_ref(&end)), pieces(&[delta("output_text"), end])), (1, 1));
}

#[test]
fn a_reason_that_means_a_failure_is_no_stop() {
    for reason in ["error", "abort", "cancelled"] {
        assert!(read_chat(&[chunk(json!({"content": "a"}), reason.into())]).failure.is_some(), "{reason}");
    }
    let reasons = [json!("stop"), json!("eos"), json!("length"), json!(""), json!("null"), Value::Null, json!(false)];
    let ends: Vec<_> = reasons.map(|reason| read_chat(&[chunk(json!({}), reason)]).finish_reason).to_vec();
    let (stop, length) = (Some(FinishReason::Stop), Some(FinishReason::Length));
    assert_eq!(ends, [stop, stop, length, None, None, None, None]);
    let gemini =
        |reason: &str| read(AnswerFormat::GenerateContent, &[json!({"candidates": [{"finishReason": reason}]})]);
    for reason in ["MALFORMED_FUNCTION_CALL", "OTHER", "UNEXPECTED_TOOL_CALL"] {
        let failure = gemini(reason).failure.unwrap();
        assert!(failure.message.contains(reason), "{failure}");
    }
    assert_eq!(gemini("SAFETY").finish_reason, Some(FinishReason::ContentFilter));
    // An engine that gives up before the first content has failed; after it, the answer is cut.
    let gave_up = chunk(json!({}), "insufficient_system_resource".into());
    assert_eq!(read_chat(std::slice::from_ref(&gave_up)).end().unwrap_err().kind, ErrorKind::Overloaded);
    let cut = read_chat(&[chunk(json!({"content": "a"}), Value::Null), gave_up]);
    assert_eq!(cut.end(), Ok(FinishReason::InsufficientSystemResource));
}

#[test]
fn a_reported_error_means_what_its_status_would() {
    for (event, kind, message) in [
        (json!({"error": {"message": "out of memory", "code": 500}}), ErrorKind::Upstream(502), "out of memory"),
        (json!({"error": {"message": "busy", "code": 429}}), ErrorKind::RateLimited, "busy"),
        (
            json!({"error": {"message": "too long", "code": "context_length_exceeded"}}),
            ErrorKind::InvalidRequest,
            "too long",
        ),
        (json!({"error": {"message": "busy", "status": "UNAVAILABLE"}}), ErrorKind::Overloaded, "busy"),
        (
            json!({"error": {"message": "busy", "type": "overloaded_error"}, "type": "error"}),
            ErrorKind::Overloaded,
            "busy",
        ),
        (
            json!({"error": {"message": "sk-1 is wrong", "code": 401}}),
            ErrorKind::Upstream(502),
            "The provider refused this server's credentials",
        ),
        (json!({"error": "gone"}), ErrorKind::Upstream(502), "gone"),
        (json!({"object": "error", "message": "bad", "code": 400}), ErrorKind::InvalidRequest, "bad"),
        (
            json!({"error": {"message": "gone"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}),
            ErrorKind::Upstream(502),
            "gone",
        ),
        (
            json!({"choices": [{"error": {"message": "busy", "code": 503}, "finish_reason": "error"}]}),
            ErrorKind::Overloaded,
            "busy",
        ),
        (json!({"error": {"message": "x".repeat(9000)}}), ErrorKind::Upstream(502), &"x".repeat(1000)),
    ] {
        for failure in
            [read_chat(std::slice::from_ref(&event)).failure, read_whole(AnswerFormat::ChatCompletions, &event).failure]
        {
            let failure = failure.unwrap();
            assert_eq!((failure.kind, failure.message.as_str()), (kind, message), "{event}");
        }
    }
    let limit = json!({"error": {"code": 429, "message": "no", "details": [{"retryDelay": "34s"}]}});
    let failure = read(AnswerFormat::GenerateContent, &[limit]).failure.unwrap();
    assert_eq!(failure.retry_after.unwrap().as_secs(), 34);
    assert_eq!(
        read_chat(&[json!({"error": null, "choices": []}), json!({"error": ""}), json!({"error": {}})]).failure,
        None
    );
    // Nothing counts after a failure, nor after the end.
    let after = [json!({"error": "gone"}), chunk(json!({"content": "a"}), Value::Null)];
    assert_eq!(read_chat(&after).pieces, 0);
}

#[test]
fn data_that_is_no_event_is_a_failure() {
    for format in FORMATS {
        for data in ["nonsense", "[1]", "<html>", "", "7", "{\"choices\"", "{\"choices\":1,\"candidates\":1}"] {
            let mut reader = ProgressReader::new(format);
            reader.read_event(data.as_bytes());
            let failure = reader.progress().failure.clone().unwrap_or_else(|| panic!("{format:?} {data}"));
            assert_eq!(failure.kind, ErrorKind::Upstream(502));
            assert!(!reader.progress().is_failure_reported());
            let mut reader = ProgressReader::new(format);
            reader.read_body(data.as_bytes());
            assert!(reader.progress().failure.is_some(), "{format:?} {data}");
        }
        for body in [json!({}), json!({"choices": []}), json!({"content": null}), json!({"candidates": []})] {
            let failure = read_whole(format, &body).failure.expect("nothing in it");
            assert_eq!(failure.kind, ErrorKind::Upstream(502), "{body}");
        }
    }
}

#[test]
fn usage_counts_the_whole_answer_if_it_comes_with_the_end() {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 1});
    let mut early = chunk(json!({"content": "a"}), Value::Null);
    early["usage"] = usage.clone();
    let progress = read_chat(&[early, chunk(json!({}), "stop".into())]);
    assert!(progress.usage.is_some() && !progress.is_usage_final());
    let late = json!({"choices": [], "usage": usage});
    assert!(read_chat(&[chunk(json!({"content": "a"}), "stop".into()), late]).is_usage_final());
    for empty in [Value::Null, json!({}), json!({"total_tokens": 9})] {
        assert_eq!(read_chat(&[json!({"choices": [], "usage": empty})]).usage, None);
        let event = json!({"type": "message_delta", "delta": {}, "usage": empty});
        assert_eq!(read(AnswerFormat::Messages, &[event]).usage, None);
        assert_eq!(read(AnswerFormat::GenerateContent, &[json!({"usageMetadata": empty})]).usage, None);
    }
}

#[test]
fn an_answer_ends_with_a_reason_or_with_the_last_event() {
    let word = chunk(json!({"content": "a"}), Value::Null);
    assert!(read_chat(std::slice::from_ref(&word)).end().unwrap_err().message.contains("broke off"));
    let mut reader = ProgressReader::new(AnswerFormat::ChatCompletions);
    reader.read_event(b"[DONE]");
    assert!(reader.finish().is_err(), "there was no answer");
    let mut reader = ProgressReader::new(AnswerFormat::ChatCompletions);
    reader.read_event(word.to_string().as_bytes());
    reader.read_event(b" [DONE]");
    assert_eq!(reader.finish(), Ok(FinishReason::Stop));
    let call = chunk(json!({"tool_calls": [{"function": {"name": "f"}}]}), Value::Null);
    let mut reader = ProgressReader::new(AnswerFormat::ChatCompletions);
    reader.read_event(call.to_string().as_bytes());
    reader.read_event(b"[DONE]");
    assert_eq!(reader.finish(), Ok(FinishReason::ToolCalls));
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}});
    assert_eq!(read(AnswerFormat::Messages, &[end]).end(), Ok(FinishReason::Stop));
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}});
    assert_eq!(read(AnswerFormat::GenerateContent, &[blocked]).end(), Ok(FinishReason::ContentFilter));
}

#[test]
fn a_whole_answer_is_read_as_its_stream() {
    let chat = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "a", "reasoning_content": "hm",
        "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}, {"id": "y", "function": {"name": "g", "arguments": "{}"}}]},
        "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 9, "completion_tokens": 4}});
    let message = json!({"type": "message", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "a"}, {"type": "tool_use", "id": "x", "name": "f", "input": {}}, {"type": "tool_use", "id": "y", "name": "g", "input": {}}],
        "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 4}});
    let content = json!({"candidates": [{"content": {"parts": [{"text": "hm", "thought": true}, {"text": "a"},
        {"functionCall": {"id": "x", "name": "f"}}, {"functionCall": {"id": "y", "name": "g"}}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4}});
    let response = json!({"object": "response", "status": "completed", "error": null, "incomplete_details": null, "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "s"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "function_call", "call_id": "x", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "y", "name": "g", "arguments": "{}"}],
        "usage": {"input_tokens": 9, "output_tokens": 4}});
    let bodies = [
        (Dialect::OpenAi, chat),
        (Dialect::Anthropic, message),
        (Dialect::Gemini, content),
        (Dialect::Responses, response),
    ];
    for (dialect, body) in bodies {
        let (mut reader, mut deltas) = (dialect.event_reader(&Chat::default()), Vec::new());
        reader.read_body(&body.to_string(), &mut deltas).unwrap();
        reader.finish(&mut deltas).unwrap();
        let reply = fold(deltas.into_iter().map(Ok)).unwrap();
        assert_eq!((reply.reasoning.as_str(), reply.text.as_str()), ("hm", "a"), "{dialect:?}");
        let calls: Vec<_> = reply.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("x", "f", "{}"), ("y", "g", "{}")], "{dialect:?}");
        assert_eq!(reply.finish, Some(FinishReason::ToolCalls), "{dialect:?}");
        assert_eq!(reply.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens)), Some((9, 4)));
        let signed = usize::from(matches!(dialect, Dialect::Anthropic | Dialect::Responses));
        assert_eq!(reply.signatures.len(), signed);
    }
}

#[test]
fn an_answer_of_many_choices_takes_no_memory() {
    let body = format!("{{\"candidates\":[{}{{\"finishReason\":\"STOP\"}}]}}", "{},".repeat(200_000));
    let mut reader = ProgressReader::new(AnswerFormat::GenerateContent);
    reader.read_body(body.as_bytes());
    assert_eq!(reader.progress().finish_reason, Some(FinishReason::Stop));
}

proptest! {
    #[test]
    fn no_data_makes_the_reader_panic(data in "[\\[\\]{}:,\"a-z0-9]{0,60}", format in prop::sample::select(&FORMATS[..])) {
        let mut reader = ProgressReader::new(format);
        reader.read_event(data.as_bytes());
        reader.read_body(data.as_bytes());
    }
}
