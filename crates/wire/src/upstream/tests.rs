use std::sync::Arc;
use std::time::Duration;

use chat::{Chat, Delta, Error, ErrorKind, FinishReason, Reply, SignatureFormat, SignedReasoning, Usage, fold};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::sse;
use crate::surface::Renderer;
use crate::surface::anthropic::{self, MessageRenderer};
use crate::surface::chat_completions::{self, ChatChunkRenderer, Envelope};
use crate::surface::responses::{RequestEcho, ResponseRenderer};

fn read_events(events: &[Value]) -> Result<Vec<Delta>, Error> {
    let (mut reader, mut out) = (Dialect::DeepSeek.event_reader(&Chat::default()), Vec::new());
    for event in events {
        reader.read_event(&event.to_string(), &mut out)?;
    }
    reader.read_event("[DONE]", &mut out)?;
    reader.finish(&mut out)?;
    Ok(out)
}

fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// The chat of a request body with the fields `rest`.
fn parse_chat(rest: Value) -> Chat {
    let mut body = json!({"model": "alias", "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in rest.as_object().unwrap() {
        body[key] = value.clone();
    }
    chat_completions::parse_request(body.to_string().as_bytes()).unwrap().chat
}

#[test]
fn what_we_render_we_read_back_the_same() {
    let chat = parse_chat(json!({
        "messages": [
            {"role": "system", "content": "s", "name": "n"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]},
            {"role": "assistant", "content": null, "reasoning_content": "r",
             "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "not json"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "24"},
            {"role": "assistant", "content": "pre", "prefix": true}],
        "thinking": {"type": "enabled"}, "reasoning_effort": "low", "max_tokens": 5, "temperature": 0.5, "top_p": 0.25,
        "frequency_penalty": 1.0, "presence_penalty": -1.0, "stop": ["a", "b"], "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "z": 1, "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false, "logprobs": true,
        "top_logprobs": 3, "seed": -4, "logit_bias": {"17": -2.5}
    }));
    let body = Dialect::DeepSeek.write_request(&chat, "alias", &()).unwrap().body;
    let read = chat_completions::parse_request(body.as_bytes()).unwrap();
    assert!(read.stream && read.include_usage);
    assert_eq!(read.chat, chat);
}

#[test]
fn openai_gets_no_field_that_it_refuses() {
    let chat = parse_chat(json!({"thinking": {"type": "enabled"}, "max_tokens": 5, "messages": [
        {"role": "assistant", "content": "x", "reasoning_content": "r", "prefix": true}, {"role": "user", "content": "y"}]}));
    let body: Value = serde_json::from_str(&Dialect::OpenAi.write_request(&chat, "gpt", &()).unwrap().body).unwrap();
    assert_eq!(
        body,
        json!({"model": "gpt", "messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],
               "stream": true, "stream_options": {"include_usage": true}, "max_completion_tokens": 5})
    );
}

#[test]
fn reasoning_text_calls_and_usage_are_heard_in_order() {
    let call = |body: Value| chunk(json!({"tool_calls": [body]}), None);
    let deltas = read_events(&[
        chunk(json!({"role": "assistant", "content": "", "reasoning_content": null}), None),
        chunk(json!({"reasoning_content": "hm"}), None),
        chunk(json!({"reasoning": "!"}), None),
        chunk(json!({"content": "a"}), None),
        call(json!({"index": 3, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}})),
        call(json!({"index": 3, "function": {"arguments": "{\"a\""}})),
        call(json!({"index": 7, "id": "y", "function": {"name": "g", "arguments": "{}"}})),
        call(json!({"index": 3, "function": {"arguments": ":1}"}})),
        chunk(json!({}), Some("tool_calls")),
        json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
               "prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 2}}}),
    ]);
    let reply = fold(deltas.unwrap().into_iter().map(Ok)).unwrap();
    assert_eq!((reply.reasoning.as_str(), reply.text.as_str()), ("hm!", "a"));
    let calls: Vec<_> = reply.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("x", "f", "{\"a\":1}"), ("y", "g", "{}")]);
    assert_eq!(reply.finish, Some(FinishReason::ToolCalls));
    let usage = Usage {
        prompt_tokens: 9,
        cached_tokens: 5,
        completion_tokens: 4,
        reasoning_tokens: Some(2),
        ..Usage::default()
    };
    assert_eq!(reply.usage, Some(usage));
}

#[test]
fn audio_of_a_stream_is_samples_and_its_transcript_text() {
    let audio = |audio: Value| chunk(json!({ "audio": audio }), None);
    let deltas = read_events(&[
        audio(json!({"id": "audio_1"})),
        audio(json!({"transcript": "Hi"})),
        audio(json!({"data": "AAE="})),
        audio(json!({"data": "AgM="})),
        audio(json!({"expires_at": 5})),
        chunk(json!({}), Some("stop")),
    ]);
    let reply = fold(deltas.unwrap().into_iter().map(Ok)).unwrap();
    let media: Vec<_> = reply.media.iter().filter_map(chat::Media::samples).collect();
    assert_eq!(media, [("audio/pcm;rate=24000", "AAE="), ("audio/pcm;rate=24000", "AgM=")]);
    assert_eq!(reply.text, "Hi");
}

#[test]
fn calls_without_a_place_are_told_apart_by_their_ids() {
    let call = |body: Value| chunk(json!({"tool_calls": [body]}), None);
    let reply = fold(
        read_events(&[
            call(json!({"id": "x", "function": {"name": "f", "arguments": "{"}})),
            call(json!({"function": {"arguments": "}"}})),
            call(json!({"id": "y", "function": {"name": "f", "arguments": "[]"}})),
            chunk(json!({}), Some("function_call")),
        ])
        .unwrap()
        .into_iter()
        .map(Ok),
    );
    let calls: Vec<_> = reply.unwrap().tool_calls.into_iter().map(|call| (call.id, call.arguments)).collect();
    assert_eq!(calls, [("x".into(), "{}".into()), ("y".into(), "[]".into())]);
}

#[test]
fn usage_in_every_chunk_is_said_once() {
    let with_usage = |tokens: u64| {
        let mut event = chunk(json!({"content": "a"}), (tokens == 3).then_some("stop"));
        event["usage"] = json!({"prompt_tokens": 1, "completion_tokens": tokens, "prompt_cache_hit_tokens": 1});
        event
    };
    let deltas = read_events(&[with_usage(1), with_usage(2), with_usage(3)]).unwrap();
    let usages: Vec<_> = deltas.iter().filter(|delta| matches!(delta, Delta::Usage(_))).collect();
    let usage = Usage { prompt_tokens: 1, cached_tokens: 1, completion_tokens: 3, ..Usage::default() };
    assert_eq!(usages, [&Delta::Usage(usage)]);
}

#[test]
fn an_answer_that_breaks_off_is_no_answer() {
    let (mut reader, mut out) = (Dialect::DeepSeek.event_reader(&Chat::default()), Vec::new());
    reader.read_event(&chunk(json!({"content": "a"}), None).to_string(), &mut out).unwrap();
    assert!(reader.finish(&mut out).unwrap_err().message.contains("broke off"));
    let error = read_events(&[chunk(json!({"content": "a"}), None), json!({"error": {"message": "out of memory"}})]);
    assert_eq!(error.unwrap_err().message, "out of memory");
    assert_eq!(read_events(&[json!("nonsense")]).unwrap_err().kind, ErrorKind::Upstream(502));
}

/// The signature of a text is its length.
struct LengthSignatures;

impl SignatureStore for LengthSignatures {
    fn find(&self, text: &str) -> Option<String> {
        (text != "unsigned").then(|| text.len().to_string())
    }
}

#[test]
fn a_chat_is_asked_as_messages() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let chat = parse_chat(json!({
        "messages": [
            {"role": "system", "content": "s1"}, {"role": "developer", "content": "s2"},
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                                         {"type": "image_url", "image_url": {"url": "https://x.example/a.jpg"}}]},
            {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call("a", "{\"x\":1}"), call("b c", "nonsense"), call("d", "")]},
            {"role": "tool", "tool_call_id": "a", "content": "1"}, {"role": "tool", "tool_call_id": "b c", "content": "2"},
            {"role": "system", "content": "later"}, {"role": "user", "content": "go on"},
            {"role": "assistant", "content": "pre", "prefix": true, "reasoning_content": "unsigned"}],
        "thinking": {"type": "enabled"}, "max_tokens": 5000, "temperature": 1.5, "stop": ["a", " "], "user": "u",
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": true}}],
        "tool_choice": "auto", "parallel_tool_calls": false
    }));
    let body: Value =
        serde_json::from_str(&Dialect::Anthropic.write_request(&chat, "claude", &LengthSignatures).unwrap().body)
            .unwrap();
    let other = body["messages"][1]["content"][2]["id"].as_str().unwrap();
    assert!(other.starts_with("call_") && other.len() == 21, "{other}");
    assert_eq!(
        body,
        json!({
            "model": "claude", "max_tokens": 5000, "system": "s1\n\ns2", "stream": true,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://x.example/a.jpg"}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "2"},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                    {"type": "tool_use", "id": other, "name": "f", "input": {"_raw": "nonsense"}},
                    {"type": "tool_use", "id": "d", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"},
                    {"type": "tool_result", "tool_use_id": other, "content": "2"},
                    {"type": "text", "text": "<system>later</system>"}, {"type": "text", "text": "go on"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "pre"}]}],
            "thinking": {"type": "enabled", "budget_tokens": 3976}, "temperature": 1.0, "stop_sequences": ["a"], "metadata": {"user_id": "u"},
            "tools": [{"name": "f", "description": "d", "strict": true, "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}
        })
    );
}

#[test]
fn messages_we_render_are_read_back_the_same() {
    let text = r#"{"model":"claude","max_tokens":900,"system":"s","temperature":0.5,"top_p":0.25,"stop_sequences":["x"],
        "messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"text","text":"a"},
        {"type":"tool_use","id":"t","name":"f","input":{"k":[1,2]}}]},{"role":"user","content":[
        {"type":"tool_result","tool_use_id":"t","content":"7"},{"type":"text","text":"and?"}]}],
        "tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f"},
        "metadata":{"user_id":"u"},"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}"#;
    let chat = anthropic::parse_request(text.as_bytes(), false).unwrap().chat;
    let body = Dialect::Anthropic.write_request(&chat, "claude", &()).unwrap().body;
    let read = anthropic::parse_request(body.as_bytes(), false).unwrap();
    assert!(read.stream);
    assert_eq!(read.chat, chat);
}

#[test]
fn without_room_for_thinking_the_answer_goes_before() {
    let chat = parse_chat(json!({"thinking": {"type": "enabled"}, "max_tokens": 800, "temperature": 1.5}));
    let body: Value = serde_json::from_str(&Dialect::Anthropic.write_request(&chat, "c", &()).unwrap().body).unwrap();
    assert_eq!(
        (&body["thinking"], &body["temperature"], &body["max_tokens"]),
        (&Value::Null, &json!(1.0), &json!(800))
    );
    let chat =
        parse_chat(json!({"thinking": {"type": "enabled"}, "messages": [{"role": "assistant", "content": null}]}));
    let body: Value = serde_json::from_str(&Dialect::Anthropic.write_request(&chat, "c", &()).unwrap().body).unwrap();
    assert_eq!((&body["thinking"]["budget_tokens"], &body["max_tokens"]), (&json!(3072), &json!(4096)));
    let turn = |role: &str| json!({"role": role, "content": [{"type": "text", "text": "."}]});
    assert_eq!(body["messages"], json!([turn("user"), turn("assistant")]));
}

#[test]
fn what_anthropic_counts_and_signs_is_heard() {
    let chat = parse_chat(json!({"stop": ["no", "END"]}));
    let (mut reader, mut out) = (Dialect::Anthropic.event_reader(&chat), Vec::new());
    let mut read_event = |event: Value| {
        reader.read_event(&event.to_string(), &mut out).unwrap();
        out.last().cloned()
    };
    read_event(json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 3, "output_tokens": 1}}}));
    read_event(
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
    );
    read_event(
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "h"}}),
    );
    read_event(
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m"}}),
    );
    let signed = read_event(
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}}),
    );
    let expected = SignedReasoning {
        format: SignatureFormat::Anthropic,
        provider: String::new(),
        text: "hm".into(),
        call: None,
        signature: "sig".into(),
    };
    assert_eq!(signed, Some(Delta::Signature(expected)));
    read_event(json!({"type": "content_block_stop", "index": 0}));
    read_event(json!({"type": "a_later_kind_of_event"}));
    read_event(
        json!({"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}, "usage": {"output_tokens": 9}}),
    );
    let mut uncut = Vec::new();
    reader.finish(&mut uncut).unwrap();
    assert_eq!(uncut[0], Delta::Finish(FinishReason::StopString(1)), "the end is the reason, without message_stop");
    let (mut reader, mut out) = (Dialect::Anthropic.event_reader(&chat), Vec::new());
    for event in [
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3,
               "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}}}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ] {
        reader.read_event(&event.to_string(), &mut out).unwrap();
    }
    reader.finish(&mut out).unwrap();
    let usage = Usage {
        prompt_tokens: 18,
        cached_tokens: 5,
        cache_write_tokens: 3,
        cache_write_1h_tokens: 2,
        completion_tokens: 9,
        reasoning_tokens: None,
        ..Usage::ZERO
    };
    assert_eq!(out[1..], [Delta::Finish(FinishReason::StopString(1)), Delta::Usage(usage)]);
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let error = Dialect::Anthropic.event_reader(&chat).read_event(&error.to_string(), &mut out).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Overloaded, "Overloaded"));
}

#[test]
fn a_refusal_means_what_the_api_document_says() {
    let body = br#"{"error":{"message":"the key sk-operator is wrong","type":"x"}}"#;
    for (status, kind, own) in [
        (400, ErrorKind::InvalidRequest, false),
        (401, ErrorKind::Upstream(502), true),
        (402, ErrorKind::Overloaded, true),
        (403, ErrorKind::Upstream(502), true),
        (404, ErrorKind::NotFound, false),
        (408, ErrorKind::Timeout, false),
        (413, ErrorKind::TooLarge, false),
        (422, ErrorKind::Upstream(422), false),
        (429, ErrorKind::RateLimited, false),
        (500, ErrorKind::Upstream(502), false),
        (503, ErrorKind::Overloaded, false),
        (504, ErrorKind::Timeout, false),
        (529, ErrorKind::Overloaded, false),
    ] {
        let error = map_error("p", status, Some(Duration::from_secs(7)), body);
        assert_eq!((error.kind, error.retry_after), (kind, Some(Duration::from_secs(7))), "{status}");
        assert_eq!(error.message.contains("sk-operator"), !own, "{status}: {}", error.message);
    }
    for (body, words) in [
        (r#"{"detail":"no"}"#, "no"),
        (r#"{"error":"bad"}"#, "bad"),
        ("plain", "plain"),
        ("<html>x", "The provider `p` answered with status 400"),
        ("", "The provider `p` answered with status 400"),
    ] {
        assert_eq!(map_error("p", 400, None, body.as_bytes()).message, words);
    }
}

/// Deltas in the order of a provider.
fn any_answer() -> impl Strategy<Value = Vec<Delta>> {
    let text = || prop::collection::vec("[a-zé\"\\\\\n]{1,6}", 0..4);
    let calls = prop::collection::vec(("[a-z]{1,4}", text()), 0..3);
    (text(), text(), calls, 0u64..50, 0u64..50).prop_map(|(reasoning, words, calls, prompt, completion)| {
        let mut deltas = vec![Delta::Start(Usage::default())];
        deltas.extend(reasoning.into_iter().map(|text| Delta::Reasoning { text, logprobs: vec![] }));
        deltas.extend(words.into_iter().map(|text| Delta::Text { text, logprobs: vec![] }));
        let finish = if calls.is_empty() { FinishReason::Length } else { FinishReason::ToolCalls };
        for (index, (name, arguments)) in calls.into_iter().enumerate() {
            deltas.push(Delta::ToolCall { index, id: format!("call_{index}_x"), name });
            deltas.extend(arguments.into_iter().map(|text| Delta::Arguments { index, text }));
        }
        deltas.push(Delta::Finish(finish));
        let usage = Usage {
            prompt_tokens: prompt,
            cached_tokens: prompt / 2,
            completion_tokens: completion,
            ..Usage::default()
        };
        deltas.push(Delta::Usage(Usage { reasoning_tokens: Some(completion / 3), ..usage }));
        deltas
    })
}

fn rendered_and_read_back(deltas: &[Delta], mut render: Box<dyn Renderer>, dialect: Dialect, cut: usize) -> Reply {
    let mut text = String::new();
    for delta in deltas {
        render.push(delta, &mut text);
        render.keep_alive(&mut text);
    }
    render.finish(&mut text);
    let (mut parser, mut frames) = (sse::SseParser::default(), Vec::new());
    text.as_bytes().chunks(cut).for_each(|bytes| parser.feed(bytes, &mut frames).unwrap());
    let (mut reader, mut read) = (dialect.event_reader(&Chat::default()), Vec::new());
    for frame in frames {
        if let sse::SseFrame::Event { data, .. } = frame {
            reader.read_event(&data, &mut read).unwrap();
        }
    }
    reader.finish(&mut read).unwrap();
    fold(read.into_iter().map(Ok)).unwrap()
}

#[test]
fn odd_fields_of_an_event_do_not_fail_the_answer() {
    let read = |events: &[&str]| {
        let (mut reader, mut out) = (Dialect::OpenAi.event_reader(&Chat::default()), Vec::new());
        events.iter().for_each(|event| reader.read_event(event, &mut out).unwrap());
        reader.finish(&mut out).unwrap();
        fold(out.into_iter().map(Ok)).unwrap()
    };
    let thought = r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Let me see."}]}]}}]}"#;
    let text =
        r#"{"choices":[{"index":null,"delta":{"content":[{"type":"text","text":"Four"},{"type":"reference"},"."]}}]}"#;
    let odd = r#"{"choices":[{"delta":{"reasoning":{},"refusal":5},"logprobs":{"content":[{"token":"a","logprob":"x"}]},"finish_reason":false}],"usage":{"prompt_tokens":9,"completion_tokens":null}}"#;
    let end = r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}]}"#;
    let reply = read(&[thought, text, odd, r#"{"choices":null}"#, end]);
    assert_eq!((reply.reasoning.as_str(), reply.text.as_str()), ("Let me see.", "Four."));
    assert_eq!(reply.usage.unwrap().prompt_tokens, 9);
    let call = r#"{"choices":[{"delta":{"tool_calls":[{"index":"0","id":"c","function":{"name":"f","arguments":{"x":1}}}]},"finish_reason":"tool_calls"}]}"#;
    assert_eq!(read(&[call]).tool_calls[0].arguments, r#"{"x":1}"#);
    let null = r#"{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":null}]},"finish_reason":"stop"}]}"#;
    assert_eq!(read(&[null]).logprobs[0].logprob, f32::NEG_INFINITY);
}

proptest! {
    /// Event readers restore the deltas that the surfaces render, however the bytes are split.
    #[test]
    fn what_is_said_is_heard(deltas in any_answer(), include_usage: bool, cut in 1usize..20) {
        let want = fold(deltas.iter().cloned().map(Ok)).unwrap();
        let messages = MessageRenderer::new("id".into(), "m".into(), vec![], Arc::new(|text| format!("signed {}", text.len())));
        let mut read = rendered_and_read_back(&deltas, Box::new(messages), Dialect::Anthropic, cut);
        // The renderer adds signatures of its own, which the written answer lacks.
        read.signatures.clear();
        // Anthropic does not count reasoning, and the arguments of a call are an object.
        let mut anthropic = want.clone();
        anthropic.usage = anthropic.usage.map(|usage| Usage { reasoning_tokens: None, ..usage });
        for call in anthropic.tool_calls.iter_mut().filter(|call| call.arguments.is_empty()) {
            call.arguments = "{}".into();
        }
        prop_assert_eq!(read, anthropic);
        let envelope = Envelope {
            id: "01234567-89ab-4def-8000-0123456789ab".into(), created: 0, model: "m".into(), system_fingerprint: "fp".into(), thinking: true, logprobs: false,
        };
        let events = Box::new(ResponseRenderer::new(envelope.clone(), RequestEcho::default(), || 0));
        prop_assert_eq!(rendered_and_read_back(&deltas, events, Dialect::Responses, cut), want.clone());
        let chunks = Box::new(ChatChunkRenderer::new(envelope, include_usage));
        prop_assert_eq!(rendered_and_read_back(&deltas, chunks, Dialect::DeepSeek, cut), want);
    }

    #[test]
    fn no_event_makes_the_reader_panic(data in "[\\[\\]{}:,\"a-z0-9]{0,60}") {
        let (mut reader, mut out) = (Dialect::OpenAi.event_reader(&Chat::default()), Vec::new());
        if let Err(error) = reader.read_event(&data, &mut out) {
            prop_assert_eq!(error.kind, ErrorKind::Upstream(502));
        }
    }
}
