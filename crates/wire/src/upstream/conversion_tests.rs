//! Tests of requests of one API in the dialect of another.

use chat::Chat;
use serde_json::{Value, json};

use super::{Dialect, SignatureStore};
use crate::surface::{anthropic, chat_completions, gemini, responses};

const PNG: &str = "data:image/png;base64,iVBOR";
const PDF: &str = "data:application/pdf;base64,JVBERi0=";

fn of_chat_completions(body: Value) -> Chat {
    chat_completions::parse_request(with_model(body).to_string().as_bytes()).unwrap().chat
}

fn of_messages(body: Value) -> Chat {
    let mut body = with_model(body);
    body["max_tokens"] = json!(8000);
    anthropic::parse_request(body.to_string().as_bytes(), false).unwrap().chat
}

fn of_responses(body: Value) -> Chat {
    responses::parse_request(with_model(body).to_string().as_bytes()).unwrap().chat
}

fn of_gemini(body: Value) -> Chat {
    gemini::parse_request(body.to_string().as_bytes(), "m").unwrap().chat
}

fn with_model(mut body: Value) -> Value {
    body["model"] = json!("m");
    body
}

fn converted(dialect: Dialect, chat: &Chat) -> Value {
    serde_json::from_str(&dialect.write_request(chat, "m", &()).unwrap().body).unwrap()
}

fn dropped(dialect: Dialect, chat: &Chat) -> Vec<&'static str> {
    dialect.write_request(chat, "m", &()).unwrap().dropped
}

/// The same tool result, a text and an image, in every API.
fn results_with_an_image() -> [Chat; 4] {
    let completions = of_chat_completions(json!({"messages": [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": null,
         "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "read", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1",
         "content": [{"type": "text", "text": "a.png"}, {"type": "image_url", "image_url": {"url": PNG}}]}]}));
    let messages = of_messages(json!({"messages": [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": [
            {"type": "text", "text": "a.png"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBOR"}}]}]}]}));
    let responses = of_responses(json!({"input": [
        {"type": "message", "role": "user", "content": "look"},
        {"type": "function_call", "call_id": "call_1", "name": "read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1",
         "output": [{"type": "input_text", "text": "a.png"}, {"type": "input_image", "image_url": PNG}]}]}));
    let gemini = of_gemini(json!({"contents": [
        {"role": "user", "parts": [{"text": "look"}]},
        {"role": "model", "parts": [{"functionCall": {"id": "call_1", "name": "read", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "call_1", "name": "read", "response": {"result": "a.png"},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}]}}]}]}));
    [completions, messages, responses, gemini]
}

#[test]
fn an_image_in_a_tool_result_reaches_every_dialect_from_every_api() {
    for chat in results_with_an_image() {
        let body = converted(Dialect::Anthropic, &chat);
        assert_eq!(
            body["messages"][2]["content"],
            json!([{"type": "tool_result", "tool_use_id": "call_1", "content": [
                {"type": "text", "text": "a.png"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBOR"}}]}])
        );
        let body = converted(Dialect::Gemini, &chat);
        assert_eq!(
            body["contents"][2]["parts"],
            json!([{"functionResponse": {"id": "call_1", "name": "read", "response": {"result": "a.png"}}},
                {"inlineData": {"mimeType": "image/png", "data": "iVBOR"}}])
        );
        let body = converted(Dialect::Responses, &chat);
        assert_eq!(
            body["input"][2],
            json!({"type": "function_call_output", "call_id": "call_1",
                "output": [{"type": "input_text", "text": "a.png"}, {"type": "input_image", "image_url": PNG}]})
        );
        for dialect in [Dialect::OpenAi, Dialect::DeepSeek] {
            let body = converted(dialect, &chat);
            assert_eq!(body["messages"][2]["content"], "a.png");
            assert_eq!(
                body["messages"][3],
                json!({"role": "user", "content": [{"type": "text", "text": "The result of the call call_1:"},
                    {"type": "image_url", "image_url": {"url": PNG}}]})
            );
        }
    }
}

#[test]
fn results_of_one_run_stay_together_before_their_images() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let image = json!({"type": "image_url", "image_url": {"url": PNG}});
    let chat = of_chat_completions(json!({"messages": [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": null, "tool_calls": [call("1"), call("2")]},
        {"role": "tool", "tool_call_id": "1", "content": [image]},
        {"role": "tool", "tool_call_id": "2", "content": "two"},
        {"role": "user", "content": "and?"}]}));
    let body = converted(Dialect::OpenAi, &chat);
    let roles: Vec<&str> = body["messages"].as_array().unwrap().iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user", "user"]);
    assert_eq!(body["messages"][2]["content"], "The result follows.");
}

#[test]
fn marks_for_the_cache_reach_anthropic_and_nobody_else() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let text = |text: &str| json!({"type": "text", "text": text, "cache_control": mark});
    let parameters = json!({"type": "object", "properties": {}});
    let completions = of_chat_completions(json!({
        "messages": [{"role": "system", "content": [text("s")]}, {"role": "user", "content": [text("u")]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}, "cache_control": mark}]}));
    let messages = of_messages(json!({
        "system": [text("s")], "messages": [{"role": "user", "content": [text("u")]}],
        "tools": [{"name": "f", "input_schema": parameters, "cache_control": mark}]}));
    for chat in [completions, messages] {
        let body = converted(Dialect::Anthropic, &chat);
        assert_eq!(body["system"], json!([text("s")]));
        assert_eq!(body["messages"][0]["content"], json!([text("u")]));
        assert_eq!(body["tools"][0]["cache_control"], mark);
        for dialect in [Dialect::OpenAi, Dialect::DeepSeek, Dialect::Responses, Dialect::Gemini] {
            assert!(!converted(dialect, &chat).to_string().contains("cache_control"));
        }
    }
    // Without a mark the system prompt is one text.
    let plain =
        of_messages(json!({"system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": "u"}]}));
    assert_eq!(converted(Dialect::Anthropic, &plain)["system"], "s");
}

#[test]
fn effort_is_translated_between_all_spellings() {
    let user = json!([{"role": "user", "content": "hi"}]);
    let chats = |effort: &str, budget: i64| {
        [
            of_chat_completions(json!({"messages": user, "reasoning_effort": effort, "max_tokens": 8000})),
            of_responses(json!({"input": "hi", "reasoning": {"effort": effort}, "max_output_tokens": 8000})),
            of_messages(
                json!({"messages": user, "output_config": {"effort": effort}, "thinking": {"type": "adaptive"}}),
            ),
            of_messages(json!({"messages": user, "thinking": {"type": "enabled", "budget_tokens": budget}})),
            of_gemini(json!({"contents": [{"parts": [{"text": "hi"}]}],
                "generationConfig": {"maxOutputTokens": 8000, "thinkingConfig": {"thinkingLevel": effort.to_uppercase()}}})),
        ]
    };
    for (effort, budget, anthropic, google) in
        [("low", 2000, 1600, 1024), ("medium", 7000, 4000, 8192), ("high", 30_000, 6400, 24576)]
    {
        for chat in chats(effort, budget) {
            assert_eq!(converted(Dialect::OpenAi, &chat)["reasoning_effort"], effort);
            assert!(dropped(Dialect::OpenAi, &chat).is_empty());
            let reasoning = json!({"effort": effort, "summary": "auto"});
            assert_eq!(converted(Dialect::Responses, &chat)["reasoning"], reasoning);
            let thinking = json!({"type": "enabled", "budget_tokens": anthropic});
            assert_eq!(converted(Dialect::Anthropic, &chat)["thinking"], thinking);
            let config = &converted(Dialect::Gemini, &chat)["generationConfig"]["thinkingConfig"];
            assert_eq!(*config, json!({"includeThoughts": true, "thinkingBudget": google}));
        }
    }
    let none = of_responses(json!({"input": "hi", "reasoning": {"effort": "none"}}));
    assert_eq!(converted(Dialect::OpenAi, &none)["reasoning_effort"], "none");
    assert_eq!(converted(Dialect::Anthropic, &none).get("thinking"), None);
    let config = &converted(Dialect::Gemini, &none)["generationConfig"]["thinkingConfig"];
    assert_eq!(*config, json!({"thinkingBudget": 0}));
}

#[test]
fn thinking_that_anthropic_refuses_is_left_out_with_a_note() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let forced = of_chat_completions(json!({"messages": [{"role": "user", "content": "hi"}], "tools": tools,
        "tool_choice": "required", "thinking": {"type": "enabled"}, "max_tokens": 8000}));
    let unsigned = of_chat_completions(json!({"tools": tools, "thinking": {"type": "enabled"}, "max_tokens": 8000,
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "ok"}]}));
    for chat in [forced, unsigned] {
        assert_eq!(converted(Dialect::Anthropic, &chat).get("thinking"), None);
        assert_eq!(dropped(Dialect::Anthropic, &chat), ["thinking"]);
    }
    // The calls of earlier turns do not matter.
    let earlier = of_chat_completions(json!({"tools": tools, "thinking": {"type": "enabled"}, "max_tokens": 8000,
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "ok"}, {"role": "user", "content": "go on"}]}));
    assert_eq!(converted(Dialect::Anthropic, &earlier)["thinking"]["type"], "enabled");
    assert!(dropped(Dialect::Anthropic, &earlier).is_empty());
}

#[test]
fn notes_say_what_was_sent_whatever_signatures_are_known() {
    struct Known;
    impl SignatureStore for Known {
        fn find(&self, key: &str) -> Option<String> {
            (key == "known").then(|| "kept".into())
        }
    }
    let turn = |more: Value| {
        let mut called = json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        called.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of_chat_completions(json!({"tools": [{"type": "function", "function": {"name": "f"}}],
            "thinking": {"type": "enabled"}, "max_tokens": 8000, "messages": [{"role": "user", "content": "hi"}, called,
                {"role": "tool", "tool_call_id": "1", "content": "ok"}]}))
    };
    let detail =
        |format: &str| json!([{"type": "reasoning.text", "text": "unknown", "signature": "own", "format": format}]);
    for (more, thinks, signature, notes) in [
        (json!({"reasoning_content": "known"}), true, json!("kept"), vec![]),
        (json!({"reasoning_content": "unknown"}), false, Value::Null, vec!["reasoning_content", "thinking"]),
        // A signature that the client returns needs no store.
        (json!({"reasoning_details": detail("anthropic-claude-v1")}), true, json!("own"), vec![]),
        (
            json!({"reasoning_details": detail("another-v1")}),
            false,
            Value::Null,
            vec!["reasoning_content", "signatures of reasoning", "thinking"],
        ),
    ] {
        for dialect in [Dialect::Anthropic, Dialect::Bedrock] {
            let request = dialect.write_request(&turn(more.clone()), "claude", &Known).unwrap();
            let body: Value = serde_json::from_str(&request.body).unwrap();
            let (thinking, first) = match dialect {
                Dialect::Anthropic => (&body["thinking"], body["messages"][1]["content"][0]["signature"].clone()),
                _ => (
                    &body["additionalModelRequestFields"]["thinking"],
                    body["messages"][1]["content"][0]["reasoningContent"]["reasoningText"]["signature"].clone(),
                ),
            };
            assert_eq!((thinking.is_object(), &first), (thinks, &signature), "{more}: {body}");
            assert_eq!(request.dropped, notes, "{more}");
        }
    }
}

#[test]
fn encrypted_reasoning_is_for_its_provider_alone() {
    struct Of(&'static str);
    impl SignatureStore for Of {
        fn find(&self, _key: &str) -> Option<String> {
            None
        }

        fn provider(&self) -> &str {
            self.0
        }
    }
    for (dialect, format) in [(Dialect::Gemini, "google-gemini-v1"), (Dialect::Responses, "openai-responses-v1")] {
        let chat = of_chat_completions(json!({"messages": [{"role": "user", "content": "hi"},
            {"role": "assistant", "content": null,
             "reasoning_details": [{"type": "reasoning.encrypted", "data": "aa.secret", "id": "1", "format": format}],
             "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "ok"}]}));
        let own = dialect.write_request(&chat, "m", &Of("aa")).unwrap();
        assert!(own.body.contains("\"secret\"") && own.dropped.is_empty(), "{own:?}");
        let other = dialect.write_request(&chat, "m", &Of("bb")).unwrap();
        assert!(!other.body.contains("secret"), "{other:?}");
        assert_eq!(other.dropped, ["signatures of reasoning"]);
    }
}

#[test]
fn documents_are_files_in_every_dialect_that_has_them() {
    let completions = of_chat_completions(json!({"messages": [{"role": "user", "content": [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}]}]}));
    let messages = of_messages(json!({"messages": [{"role": "user", "content": [{"type": "document", "title": "a.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}]}]}));
    let responses = of_responses(json!({"input": [{"role": "user", "content": [
        {"type": "input_file", "filename": "a.pdf", "file_data": PDF}]}]}));
    for chat in [completions, messages, responses] {
        assert_eq!(
            converted(Dialect::Anthropic, &chat)["messages"][0]["content"],
            json!([{"type": "document", "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}])
        );
        assert_eq!(
            converted(Dialect::Gemini, &chat)["contents"][0]["parts"],
            json!([{"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}}])
        );
        let file = json!({"file_data": PDF, "filename": "a.pdf"});
        assert_eq!(converted(Dialect::OpenAi, &chat)["messages"][0]["content"][0]["file"], file);
        let part = json!({"type": "input_file", "filename": "a.pdf", "file_data": PDF});
        assert_eq!(converted(Dialect::Responses, &chat)["input"][0]["content"], json!([part]));
    }
    let address = "https://example.com/a.pdf";
    let by_address = of_messages(json!({"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "url", "url": address}}]}]}));
    let refused = Dialect::OpenAi.write_request(&by_address, "m", &()).unwrap_err().message;
    assert!(refused.contains("not by their address"), "{refused}");
    let part = &converted(Dialect::Gemini, &by_address)["contents"][0]["parts"][0];
    assert_eq!(*part, json!({"fileData": {"fileUri": address, "mimeType": "application/pdf"}}));
    let part = &converted(Dialect::Responses, &by_address)["input"][0]["content"][0];
    assert_eq!(*part, json!({"type": "input_file", "file_url": address}));
    let text = of_messages(json!({"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a text"}}]}]}));
    assert_eq!(converted(Dialect::OpenAi, &text)["messages"][0]["content"], "a text");
}

#[test]
fn the_end_user_reaches_every_dialect_that_has_a_field_for_it() {
    let user = json!([{"role": "user", "content": "hi"}]);
    let long = "u".repeat(150);
    let named = of_messages(json!({"messages": user, "metadata": {"user_id": "ann"}}));
    let agent = of_messages(json!({"messages": user, "metadata": {"user_id": long}}));
    let both = of_chat_completions(json!({"messages": user, "user": "ann", "user_id": "bob"}));
    for dialect in [Dialect::OpenAi, Dialect::DeepSeek] {
        assert_eq!(converted(dialect, &named)["user"], "ann");
        let hashed = converted(dialect, &agent)["user"].as_str().unwrap().to_owned();
        assert!(hashed.starts_with("user_") && hashed.len() == 21, "{hashed}");
    }
    assert_eq!(converted(Dialect::OpenAi, &both)["user"], "bob");
    let deepseek = converted(Dialect::DeepSeek, &both);
    assert_eq!((&deepseek["user"], &deepseek["user_id"]), (&json!("ann"), &json!("bob")));
    assert_eq!(converted(Dialect::Anthropic, &both)["metadata"]["user_id"], "bob");
    assert_eq!(dropped(Dialect::Gemini, &both), ["user"]);
}

#[test]
fn an_answer_of_a_converted_request_has_one_choice() {
    let chat = of_gemini(json!({"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"candidateCount": 3}}));
    for dialect in [Dialect::OpenAi, Dialect::DeepSeek, Dialect::Anthropic, Dialect::Gemini] {
        let body = converted(dialect, &chat).to_string();
        assert!(!body.contains("\"n\"") && !body.contains("candidateCount"), "{body}");
        assert_eq!(dropped(dialect, &chat), ["n"]);
    }
}

#[test]
fn audio_reaches_gemini_and_is_refused_elsewhere_by_name() {
    let audio =
        of_gemini(json!({"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}]}]}));
    let part = &converted(Dialect::Gemini, &audio)["contents"][0]["parts"][0];
    assert_eq!(*part, json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}));
    let part = &converted(Dialect::OpenAi, &audio)["messages"][0]["content"][0];
    assert_eq!(part["input_audio"], json!({"data": "UklGRg==", "format": "wav"}));
    let refused = Dialect::Anthropic.write_request(&audio, "m", &()).unwrap_err().message;
    assert_eq!(refused, "This model's provider takes no content of type `input_audio`");
}

#[test]
fn a_tool_that_the_service_runs_is_dropped_with_its_choice() {
    let search = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 8});
    let own = json!({"name": "f", "input_schema": {"type": "object", "properties": {}}});
    let user = json!([{"role": "user", "content": "hi"}]);
    let ask =
        |tools: Value, choice: Value| of_messages(json!({"messages": user, "tools": tools, "tool_choice": choice}));
    let named = json!({"type": "tool", "name": "web_search"});
    for (tools, choice) in
        [(json!([search]), named.clone()), (json!([search]), json!({"type": "any"})), (json!([search, own]), named)]
    {
        let chat = ask(tools, choice);
        assert_eq!(chat.tool_choice, None);
        assert_eq!(chat.notes, ["dropped: the tools web_search, which Anthropic's service runs"]);
    }
    let kept = ask(json!([search, own]), json!({"type": "any"}));
    assert_eq!((kept.tool_choice, kept.tools.len()), (Some(chat::ToolChoice::Required), 1));
}
