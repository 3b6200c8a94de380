use std::sync::Arc;

use chat::{
    Chat, Delta, ErrorKind, FinishReason, Input, Message, Part, Reply, ResponseFormat, Role, ToolCall, ToolChoice,
    Usage, fold,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::sse::{SseFrame, SseParser};
use crate::surface::Renderer;
use crate::upstream::Dialect;

fn parse(body: Value) -> GenerateContentRequest {
    parse_request(body.to_string().as_bytes(), "m").unwrap()
}

fn messages(request: &GenerateContentRequest) -> &[Message] {
    let Input::Messages(messages) = &request.chat.input else { unreachable!() };
    messages
}

#[test]
fn every_part_finds_its_place_in_either_case() {
    let request = parse(json!({
        "system_instruction": {"role": "user", "parts": [{"text": "s"}]},
        "contents": [
            {"parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"text": "hm", "thought": true}, {"text": "a"},
                {"functionCall": {"name": "f", "args": {"x": 1}}}, {"functionCall": {"id": "c", "name": "f"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "1"}}},
                {"function_response": {"id": "c", "name": "f", "response": {"error": "no"}}}, {"text": "and?"}]}],
        "generation_config": {"max_output_tokens": 5, "topP": 0.5, "stop_sequences": ["x"], "seed": 3, "temperature": 1,
            "responseMimeType": "application/json",
            "thinking_config": {"include_thoughts": true}},
        "tools": [{"function_declarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT",
            "properties": {"x": {"type": "INTEGER", "nullable": true}, "type": {"type": "STRING"}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
    }));
    let chat = &request.chat;
    assert!(request.include_thoughts && chat.thinking == Some(true));
    assert_eq!((chat.max_tokens, chat.sampling.top_p, chat.sampling.seed), (Some(5), Some(0.5), Some(3)));
    assert_eq!(
        (chat.stop.as_slice(), &chat.response_format),
        (["x".to_owned()].as_slice(), &ResponseFormat::JsonObject)
    );
    assert_eq!(chat.tool_choice, Some(ToolChoice::Named("f".into())));
    let parameters = json!({"type": "object", "properties": {"x": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                            "type": {"type": "string"}}});
    assert_eq!(chat.tools[0].function["parameters"], parameters);
    let messages = messages(&request);
    let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::User]);
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    assert_eq!(messages[1].content.as_ref().unwrap()[1], Part::Other { kind: "image_url".into(), value: image });
    assert_eq!((messages[2].reasoning.as_deref(), messages[2].text().as_str()), (Some("hm"), "a"));
    let ids: Vec<_> = messages[2].calls().iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
    assert_eq!(ids, [("call_00_f_0", "{\"x\":1}"), ("c", "{}")]);
    let answers: Vec<_> = messages[3..5].iter().map(|m| (m.tool_call_id.as_deref().unwrap(), m.text())).collect();
    assert_eq!(answers, [("call_00_f_0", "1".into()), ("c", "Error: no".into())]);
}

#[test]
fn thinking_is_asked_for_or_switched_off() {
    for (config, thinking, include) in [
        (json!({"thinkingBudget": 0}), Some(false), false),
        (json!({"thinkingBudget": 0, "includeThoughts": true}), Some(false), true),
        (json!({"thinkingBudget": -1}), Some(true), false),
        (json!({"thinkingLevel": "minimal"}), Some(false), false),
        (json!({"thinkingLevel": "high"}), None, false),
        (json!({"includeThoughts": true}), Some(true), true),
        (json!({"includeThoughts": false}), None, false),
    ] {
        let request = parse(json!({"contents": [], "generationConfig": {"thinkingConfig": config}}));
        assert_eq!((request.chat.thinking, request.include_thoughts), (thinking, include), "{config}");
    }
}

#[test]
fn one_element_stands_for_its_list_and_text_for_a_number() {
    let lists = json!({
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [{"role": "user", "parts": [{"text": "a"}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {
            "min_items": {"type": "ARRAY", "minItems": 1, "maxItems": 3, "items": {"type": "STRING", "maxLength": 5}}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"stopSequences": ["x"], "temperature": 0.5, "topK": 4, "maxOutputTokens": 16, "seed": 7},
    });
    let elements = json!({
        "system_instruction": {"parts": {"text": "s"}},
        "contents": {"role": "user", "parts": {"text": "a"}},
        "tools": {"function_declarations": {"name": "f", "parameters": {"type": "object", "properties": {
            "min_items": {"type": "array", "min_items": "1", "maxItems": "3", "items": {"type": "string", "max_length": "5"}}}}}},
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": "f"}},
        "generation_config": {"stop_sequences": "x", "temperature": "0.5", "top_k": "4", "max_output_tokens": "16", "seed": "7"},
    });
    assert_eq!(parse(elements), parse(lists));
    let refused = |config: Value| {
        let body = json!({"contents": [], "generationConfig": config}).to_string();
        parse_request(body.as_bytes(), "m").unwrap_err().message
    };
    assert!(refused(json!({"temperature": "NaN"})).contains("expected a number"));
    assert!(refused(json!({"maxOutputTokens": "1e9"})).contains("expected i64"));
    assert!(refused(json!({"stopSequences": 5})).contains("stopSequences: invalid type"));
}

#[test]
fn a_fault_names_its_place() {
    for (body, text) in [
        (json!({}), "missing field `contents`"),
        (json!({"contents": [{"parts": [{"video": 1}]}]}), "contents[0].parts[0]: a part of a kind"),
        (json!({"contents": [{"role": "wizard", "parts": []}]}), "contents[0].role: unknown variant"),
        (json!({"contents": [], "generationConfig": {"topP": "x"}}), "generationConfig.topP: invalid type"),
    ] {
        let error = parse_request(body.to_string().as_bytes(), "m").unwrap_err();
        assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains(text), "{}", error.message);
    }
    let counts = parse(json!({"generateContentRequest": {"contents": [{"parts": [{"text": "x"}]}]}}));
    assert_eq!(messages(&counts)[0].text(), "x");
}

fn renderer(include_thoughts: bool, format: StreamFormat) -> GenerateContentRenderer {
    GenerateContentRenderer::new(
        "id".into(),
        "m".into(),
        include_thoughts,
        format,
        Arc::new(|text| format!("signed {text}")),
    )
}

fn deltas() -> Vec<Delta> {
    let logprobs = Vec::new;
    vec![
        Delta::Start(Usage::default()),
        Delta::Reasoning { text: "hm".into(), logprobs: logprobs() },
        Delta::Text { text: "a".into(), logprobs: logprobs() },
        Delta::ToolCall { index: 0, id: "c".into(), name: "f".into() },
        Delta::Arguments { index: 0, text: "{\"x\"".into() },
        Delta::Arguments { index: 0, text: ":1}".into() },
        Delta::Finish(FinishReason::ToolCalls),
        Delta::Usage(Usage {
            prompt_tokens: 9,
            cached_tokens: 4,
            completion_tokens: 5,
            reasoning_tokens: Some(2),
            ..Usage::default()
        }),
    ]
}

fn rendered_stream(mut renderer: GenerateContentRenderer, deltas: &[Delta]) -> String {
    let mut out = String::new();
    deltas.iter().for_each(|delta| renderer.push(delta, &mut out));
    renderer.finish(&mut out);
    out
}

#[test]
fn an_array_and_events_say_the_same_and_calls_come_whole() {
    let want = json!([
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "hm", "thought": true}]}, "index": 0}], "modelVersion": "m", "responseId": "id"},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}, "index": 0}], "modelVersion": "m", "responseId": "id"},
        {"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"id": "c", "name": "f", "args": {"x": 1}},
            "thoughtSignature": "signed hm"}]}, "index": 0}], "modelVersion": "m", "responseId": "id"},
        {"candidates": [{"content": {"role": "model", "parts": []}, "index": 0, "finishReason": "STOP"}], "modelVersion": "m", "responseId": "id",
         "usageMetadata": {"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 14}}
    ]);
    let array: Value =
        serde_json::from_str(&rendered_stream(renderer(true, StreamFormat::JsonArray), &deltas())).unwrap();
    assert_eq!(array, want);
    let events = rendered_stream(renderer(true, StreamFormat::Sse), &deltas());
    let read: Vec<Value> = events
        .split_terminator("\r\n\r\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!(json!(read), want);
    assert_eq!(rendered_stream(renderer(true, StreamFormat::JsonArray), &[]), "[]");
}

#[test]
fn a_whole_answer_hides_thoughts_that_nobody_asked_for() {
    let reply = fold(deltas().into_iter().map(Ok)).unwrap();
    let whole = |include| {
        serde_json::from_str::<Value>(&renderer(include, StreamFormat::Sse).body(std::slice::from_ref(&reply)).unwrap())
            .unwrap()
    };
    let hidden = whole(false);
    let call = json!({"functionCall": {"id": "c", "name": "f", "args": {"x": 1}}, "thoughtSignature": "signed hm"});
    assert_eq!(hidden["candidates"][0]["content"]["parts"], json!([{"text": "a"}, call]));
    assert_eq!(hidden["usageMetadata"]["thoughtsTokenCount"], 2);
    assert_eq!(whole(true)["candidates"][0]["content"]["parts"][0], json!({"text": "hm", "thought": true}));
    assert!(renderer(true, StreamFormat::Sse).body(&[Reply::default()]).is_err());
}

#[test]
fn refusals_have_its_shape() {
    for (kind, status, word) in [
        (ErrorKind::InvalidRequest, 400, "INVALID_ARGUMENT"),
        (ErrorKind::Unauthorized, 401, "UNAUTHENTICATED"),
        (ErrorKind::InsufficientBalance, 402, "PERMISSION_DENIED"),
        (ErrorKind::RateLimited, 429, "RESOURCE_EXHAUSTED"),
        (ErrorKind::Internal, 500, "INTERNAL"),
        (ErrorKind::Upstream(502), 502, "INTERNAL"),
        (ErrorKind::Overloaded, 503, "UNAVAILABLE"),
        (ErrorKind::Timeout, 504, "DEADLINE_EXCEEDED"),
    ] {
        let (got, body) = error_response(&chat::Error::new(kind, "x"));
        assert_eq!(
            (got, body),
            (status, json!({"error": {"code": status, "message": "x", "status": word}}).to_string())
        );
    }
}

#[test]
fn what_goes_out_is_read_back_the_same() {
    let call = ToolCall { id: "c".into(), name: "f".into(), arguments: "{\"x\":1}".into() };
    let assistant = Message { tool_calls: Some(vec![call]), ..Message::new(Role::Assistant, "a") };
    let result = Message { tool_call_id: Some("c".into()), name: Some("f".into()), ..Message::new(Role::Tool, "1") };
    let request = parse(json!({
        "contents": [], "generationConfig": {"maxOutputTokens": 5, "topP": 0.5, "temperature": 1.0, "stopSequences": ["x"], "seed": 3,
            "responseJsonSchema": {"type": "object"}, "thinkingConfig": {"includeThoughts": true}},
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}
    }));
    let messages = vec![
        Message::new(Role::System, "s"),
        Message::new(Role::User, "hi"),
        assistant,
        result,
        Message::new(Role::User, "so?"),
    ];
    let chat = Chat { input: Input::Messages(messages), ..request.chat };
    let body = Dialect::Gemini.write_request(&chat, "m", &()).unwrap().body;
    assert_eq!(parse_request(body.as_bytes(), "m").unwrap().chat, chat);
}

proptest! {
    #[test]
    fn what_is_said_is_heard(
        reasoning in "[a-z\"]{0,6}", words in prop::collection::vec("[a-zé\n]{1,5}", 0..4), calls in 0usize..3, cut in 1usize..30,
    ) {
        let mut deltas = vec![Delta::Start(Usage::default())];
        let logprobs = Vec::new;
        if !reasoning.is_empty() {
            deltas.push(Delta::Reasoning { text: reasoning, logprobs: logprobs() });
        }
        deltas.extend(words.into_iter().map(|text| Delta::Text { text, logprobs: logprobs() }));
        for index in 0..calls {
            deltas.push(Delta::ToolCall { index, id: format!("c{index}"), name: "f".into() });
            deltas.push(Delta::Arguments { index, text: "{\"x\":[1]}".into() });
        }
        deltas.push(Delta::Finish(if calls > 0 { FinishReason::ToolCalls } else { FinishReason::Length }));
        deltas.push(Delta::Usage(Usage { prompt_tokens: 7, completion_tokens: 5, reasoning_tokens: Some(2), ..Usage::default() }));
        let text = rendered_stream(renderer(true, StreamFormat::Sse), &deltas);
        let (mut parser, mut frames) = (SseParser::default(), Vec::new());
        text.as_bytes().chunks(cut).for_each(|bytes| parser.feed(bytes, &mut frames).unwrap());
        let (mut reader, mut read) = (Dialect::Gemini.event_reader(&Chat::default()), Vec::new());
        for frame in frames {
            if let SseFrame::Event { data, .. } = frame {
                reader.read_event(&data, &mut read).unwrap();
            }
        }
        reader.finish(&mut read).unwrap();
        let (mut read, written) = (fold(read.into_iter().map(Ok)).unwrap(), fold(deltas.into_iter().map(Ok)).unwrap());
        // The renderer adds signatures of its own, which the written answer lacks.
        read.signatures.clear();
        prop_assert_eq!(read, written);
    }
}

#[test]
fn a_choice_among_tools_of_googles_service_is_dropped_with_them() {
    let ask = |tools: Value, mode: &str| {
        let choice = json!({"functionCallingConfig": {"mode": mode}});
        parse(json!({"contents": [{"parts": [{"text": "hi"}]}], "tools": tools, "toolConfig": choice})).chat
    };
    let chat = ask(json!([{"googleSearch": {}}, {"codeExecution": {}}]), "ANY");
    assert_eq!((chat.tools.len(), chat.tool_choice), (0, None));
    assert_eq!(chat.notes, ["dropped: the tools codeExecution, googleSearch, which Google's service runs"]);
    let kept = ask(json!([{"googleSearch": {}}, {"functionDeclarations": [{"name": "f"}]}]), "ANY");
    assert_eq!((kept.tools.len(), kept.tool_choice, kept.notes.len()), (1, Some(ToolChoice::Required), 1));
}
