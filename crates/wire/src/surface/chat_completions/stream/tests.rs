use std::slice;

use chat::{Reply, TopLogprob, fold};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::sse::{SseFrame, SseParser};

fn envelope(thinking: bool) -> Envelope {
    Envelope {
        id: "i".into(),
        created: 1,
        model: "m".into(),
        system_fingerprint: "fp".into(),
        thinking,
        logprobs: false,
    }
}

fn text(text: &str) -> Delta {
    Delta::Text { text: text.into(), logprobs: vec![] }
}

fn reasoning(text: &str) -> Delta {
    Delta::Reasoning { text: text.into(), logprobs: vec![] }
}

const USAGE: Usage =
    Usage { prompt_tokens: 17, cached_tokens: 5, completion_tokens: 12, reasoning_tokens: Some(6), ..Usage::ZERO };

/// The data of each event of a stream of deltas.
fn rendered_events(mut renderer: ChatChunkRenderer, deltas: &[Delta]) -> Vec<String> {
    let mut out = String::new();
    deltas.iter().for_each(|delta| renderer.push(delta, &mut out));
    renderer.finish(&mut out);
    let mut frames = Vec::new();
    SseParser::default().feed(out.as_bytes(), &mut frames).unwrap();
    frames
        .into_iter()
        .map(|frame| if let SseFrame::Event { data, .. } = frame { data } else { unreachable!() })
        .collect()
}

/// The choices and usage of each event, without the envelope.
fn events_without_envelope(renderer: ChatChunkRenderer, deltas: &[Delta]) -> Vec<String> {
    let envelope = r#"{"id":"i","object":"chat.completion.chunk","created":1,"model":"m","system_fingerprint":"fp","#;
    rendered_events(renderer, deltas)
        .iter()
        .map(|data| data.strip_prefix(envelope).unwrap_or(data).to_owned())
        .collect()
}

/// The first delta of each event that has this field.
fn fields_of_deltas(events: &[String], name: &str) -> Vec<Value> {
    let deltas = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    deltas.filter_map(|event| event["choices"][0]["delta"].get(name).cloned()).collect()
}

#[test]
fn a_signature_is_a_detail_of_the_reasoning_that_comes_back_in_histories() {
    let signed = |text: &str, signature: &str| {
        let (format, provider) = (chat::SignatureFormat::Anthropic, String::new());
        chat::SignedReasoning { format, provider, text: text.into(), call: None, signature: signature.into() }
    };
    let signatures = [signed("hm", "s1"), signed("", "hidden")];
    let deltas = [
        reasoning("hm"),
        Delta::Signature(signatures[0].clone()),
        Delta::Signature(signatures[1].clone()),
        text("a"),
        Delta::Finish(FinishReason::Stop),
        Delta::Usage(USAGE),
    ];
    let events = rendered_events(ChatChunkRenderer::new(envelope(true), true), &deltas);
    let details: Vec<Value> = fields_of_deltas(&events, "reasoning_details")
        .into_iter()
        .flat_map(|list| list.as_array().unwrap().clone())
        .collect();
    let reply = fold(deltas.into_iter().map(Ok)).unwrap();
    let body: Value = serde_json::from_str(&envelope(true).body(slice::from_ref(&reply)).unwrap()).unwrap();
    let message = &body["choices"][0]["message"];
    assert_eq!(message["reasoning_details"], Value::from(details));
    let history = json!({"model": "m", "messages": [message]});
    let chat = crate::surface::chat_completions::request_from_json(history).unwrap().chat;
    let chat::Input::Messages(messages) = chat.input else { unreachable!() };
    assert_eq!((messages[0].reasoning.as_deref(), messages[0].signatures.as_slice()), (Some("hm"), &signatures[..]));
    let plain = fold([Ok(reasoning("hm")), Ok(Delta::Finish(FinishReason::Stop))]).unwrap();
    assert!(!envelope(true).body(slice::from_ref(&plain)).unwrap().contains("reasoning_details"));
}

#[test]
fn samples_of_audio_are_passed_on_in_pieces_and_every_choice_has_one_sound() {
    let media = |media_type: &str, data: &str| Delta::Media(Media::from_data(media_type, data).unwrap());
    let mut renderer = ChatChunkRenderer::new(envelope(false), true);
    let mut out = String::new();
    for (choice, delta, is_dropped) in [
        (0, media("audio/pcm;rate=24000", "AAE="), false),
        (0, media("audio/pcm;rate=24000", "AgM="), false),
        (0, media("audio/wav", "UklGRg=="), true),
        (1, media("audio/wav", "UklGRg=="), false),
        (1, media("audio/wav", "UklGRg=="), true),
        (1, media("image/png", "iVBOR"), false),
    ] {
        renderer.set_choice(choice);
        assert_eq!(renderer.dropped(&delta).is_some(), is_dropped, "{choice} {delta:?}");
        renderer.push(&delta, &mut out);
    }
    let events: Vec<String> = out.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect();
    let data: Vec<_> = fields_of_deltas(&events, "audio").into_iter().map(|audio| audio["data"].clone()).collect();
    assert_eq!(data, ["AAE=", "AgM=", "UklGRg=="]);
}

#[test]
fn a_plain_answer_with_usage_asked_for_ends_with_a_chunk_of_its_own() {
    let usage = Usage { prompt_tokens: 9, completion_tokens: 3, ..Usage::default() };
    let deltas = [
        Delta::Start(Usage::default()),
        text("Hello"),
        text("!"),
        Delta::Finish(FinishReason::Stop),
        Delta::Usage(usage),
    ];
    assert_eq!(
        events_without_envelope(ChatChunkRenderer::new(envelope(false), true), &deltas),
        [
            r#""choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
            r#""choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
            r#""choices":[{"index":0,"delta":{"content":"!"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
            r#""choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#,
            r#""choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0},"prompt_cache_hit_tokens":0,"prompt_cache_miss_tokens":9}}"#,
            "[DONE]",
        ]
    );
}

#[test]
fn a_thinking_answer_carries_its_usage_in_the_finish_chunk() {
    let deltas = [
        Delta::Start(Usage::default()),
        reasoning("Compare"),
        text("9.8"),
        Delta::Finish(FinishReason::Stop),
        Delta::Usage(USAGE),
    ];
    assert_eq!(
        events_without_envelope(ChatChunkRenderer::new(envelope(true), false), &deltas),
        [
            r#""choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":""},"logprobs":null,"finish_reason":null}]}"#,
            r#""choices":[{"index":0,"delta":{"content":null,"reasoning_content":"Compare"},"logprobs":null,"finish_reason":null}]}"#,
            r#""choices":[{"index":0,"delta":{"content":"9.8","reasoning_content":null},"logprobs":null,"finish_reason":null}]}"#,
            r#""choices":[{"index":0,"delta":{"content":"","reasoning_content":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":17,"completion_tokens":12,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":6},"prompt_cache_hit_tokens":5,"prompt_cache_miss_tokens":12}}"#,
            "[DONE]",
        ]
    );
}

#[test]
fn tool_calls_come_one_after_the_other_and_leave_the_reasoning_alone() {
    let call = |index, id: &str| Delta::ToolCall { index, id: id.into(), name: "f".into() };
    let arguments = |index, text: &str| Delta::Arguments { index, text: text.into() };
    let deltas = [
        Delta::Start(Usage::default()),
        call(0, "call_00_a"),
        arguments(0, "{"),
        arguments(0, "}"),
        call(1, "call_01_b"),
        Delta::Finish(FinishReason::ToolCalls),
    ];
    assert_eq!(
        events_without_envelope(ChatChunkRenderer::new(envelope(true), false), &deltas)[1..],
        [
            r#""choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_00_a","type":"function","function":{"name":"f","arguments":""}}]},"logprobs":null,"finish_reason":null}]}"#,
            r#""choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]},"logprobs":null,"finish_reason":null}]}"#,
            r#""choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]},"logprobs":null,"finish_reason":null}]}"#,
            r#""choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_01_b","type":"function","function":{"name":"f","arguments":""}}]},"logprobs":null,"finish_reason":null}]}"#,
            r#""choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"tool_calls"}]}"#,
            "[DONE]",
        ]
    );
}

#[test]
fn log_probabilities_stand_beside_their_tokens() {
    let token = TokenLogprob {
        token: "He".into(),
        logprob: -0.02,
        bytes: Some(b"He".to_vec()),
        top: vec![TopLogprob { token: "<x>".into(), logprob: f32::NEG_INFINITY, bytes: None }],
    };
    let expected = json!([{"token":"He","logprob":-0.02,"bytes":[72,101],
        "top_logprobs":[{"token":"<x>","logprob":-9999.0,"bytes":null}]}]);
    let with_logprobs = Envelope { logprobs: true, ..envelope(false) };
    let deltas = [Delta::Text { text: "He".into(), logprobs: vec![token] }, Delta::Finish(FinishReason::Stop)];
    let chunk: Value =
        serde_json::from_str(&rendered_events(ChatChunkRenderer::new(with_logprobs.clone(), false), &deltas)[1])
            .unwrap();
    assert_eq!(chunk["choices"][0]["logprobs"], json!({ "content": expected }));
    let reply = fold(deltas.into_iter().map(Ok)).unwrap();
    let whole: Value = serde_json::from_str(&with_logprobs.body(slice::from_ref(&reply)).unwrap()).unwrap();
    assert_eq!(whole["choices"][0]["logprobs"], json!({ "content": expected, "reasoning_content": null }));
}

#[test]
fn a_whole_answer_has_the_keys_of_its_mode_in_the_documented_order() {
    let mut reply =
        Reply { text: "9.8".into(), reasoning: "hm".into(), finish: Some(FinishReason::Stop), ..Reply::default() };
    reply.usage = Some(USAGE);
    assert_eq!(
        envelope(true).body(slice::from_ref(&reply)).unwrap(),
        r#"{"id":"i","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"9.8","reasoning_content":"hm"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":17,"completion_tokens":12,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":6},"prompt_cache_hit_tokens":5,"prompt_cache_miss_tokens":12},"system_fingerprint":"fp"}"#
    );
    // A remote provider may send reasoning that was not requested; it is not lost.
    assert!(envelope(false).body(slice::from_ref(&reply)).unwrap().contains(r#""reasoning_content":"hm""#));
    reply.tool_calls.push(chat::ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into() });
    (reply.reasoning, reply.usage) = (String::new(), Some(Usage { reasoning_tokens: None, ..USAGE }));
    let whole = envelope(false).body(slice::from_ref(&reply)).unwrap();
    assert!(whole.contains(
        r#""message":{"role":"assistant","content":"9.8","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#
    ));
    assert!(!whole.contains("completion_tokens_details"));
    assert!(envelope(false).body(&[Reply::default()]).is_err());
}

#[test]
fn a_failure_in_the_middle_is_an_event_and_the_end() {
    let (mut renderer, mut out) = (ChatChunkRenderer::new(envelope(false), false), String::new());
    renderer.fail(&Error::internal("Inference backend failed"), &mut out);
    assert_eq!(
        out,
        "data: {\"error\":{\"message\":\"Inference backend failed\",\"type\":\"server_error\",\"param\":null,\
         \"code\":\"server_error\"}}\n\ndata: [DONE]\n\n"
    );
}

fn any_delta() -> impl Strategy<Value = Delta> {
    prop_oneof![
        "[^\\x00]{1,8}".prop_map(|text| Delta::Reasoning { text, logprobs: vec![] }),
        "[^\\x00]{1,8}".prop_map(|text| Delta::Text { text, logprobs: vec![] }),
    ]
}

proptest! {
    #[test]
    fn the_chunks_of_an_answer_spell_the_whole_answer(
        mut deltas in prop::collection::vec(any_delta(), 0..12),
        thinking: bool,
        include_usage: bool,
    ) {
        deltas.retain(|delta| thinking || !matches!(delta, Delta::Reasoning { .. }));
        deltas.extend([Delta::Finish(FinishReason::Length), Delta::Usage(USAGE)]);
        let reply = fold(deltas.iter().cloned().map(Ok)).unwrap();
        let whole: Value = serde_json::from_str(&envelope(thinking).body(slice::from_ref(&reply)).unwrap()).unwrap();

        let mut events = rendered_events(ChatChunkRenderer::new(envelope(thinking), include_usage), &deltas);
        prop_assert_eq!(events.pop().unwrap(), "[DONE]");
        let (mut content, mut reasoning, mut usages, mut finishes) = (String::new(), String::new(), vec![], vec![]);
        for event in events {
            let chunk: Value = serde_json::from_str(&event).unwrap();
            let choice = &chunk["choices"][0];
            content.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            reasoning.push_str(choice["delta"]["reasoning_content"].as_str().unwrap_or_default());
            finishes.extend(choice["finish_reason"].as_str().map(str::to_owned));
            usages.extend(chunk["usage"].as_object().cloned());
        }
        let message = &whole["choices"][0]["message"];
        prop_assert_eq!(&message["content"], &json!(content));
        prop_assert_eq!(message.get("reasoning_content").cloned(), thinking.then(|| json!(reasoning)));
        prop_assert_eq!(finishes, ["length"]);
        prop_assert_eq!(usages.len(), 1);
        prop_assert_eq!(&whole["usage"], &Value::Object(usages.remove(0)));
    }
}

#[test]
fn choices_are_interleaved_and_the_last_to_finish_has_the_usage() {
    let mut renderer = ChatChunkRenderer::new(envelope(false), false);
    let mut out = String::new();
    let mut push = |choice, delta: Delta| {
        renderer.set_choice(choice);
        renderer.push(&delta, &mut out);
    };
    push(1, text("b"));
    push(0, text("a"));
    push(1, Delta::Finish(FinishReason::Length));
    push(0, Delta::Finish(FinishReason::Stop));
    push(0, Delta::Usage(USAGE));
    renderer.finish(&mut out);
    let chunks: Vec<Value> = out
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let seen: Vec<_> = chunks
        .iter()
        .map(|chunk| {
            let choice = &chunk["choices"][0];
            let has_role = choice["delta"]["role"] == "assistant";
            (
                choice["index"].as_u64().unwrap(),
                has_role,
                choice["finish_reason"].as_str(),
                chunk.get("usage").is_some(),
            )
        })
        .collect();
    let expected = [
        (1, true, None, false),
        (1, false, None, false),
        (0, true, None, false),
        (0, false, None, false),
        (1, false, Some("length"), false),
        (0, false, Some("stop"), true),
    ];
    assert_eq!(seen, expected);
    let replies = [("a", Some(USAGE)), ("b", None)].map(|(text, usage)| Reply {
        text: text.into(),
        usage,
        finish: Some(FinishReason::Stop),
        ..Reply::default()
    });
    let whole: Value = serde_json::from_str(&envelope(false).body(&replies).unwrap()).unwrap();
    assert_eq!(
        (whole["choices"][1]["index"].as_u64(), &whole["choices"][1]["message"]["content"]),
        (Some(1), &json!("b"))
    );
    assert_eq!(whole["usage"]["prompt_tokens"], 17);
}
