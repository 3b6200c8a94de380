//! The conformance cases of the lenient profile (docs/api.md 0.8 and section 5).

use chat::{Chat, Delta, FinishReason, Input, ResponseFormat, Role};
use serde_json::{Value, json};

use crate::app::{KEY, TestApp, TestAppBuilder, chat_request};
use crate::check::ReasoningRules;
use crate::client::{Request, Response};
use crate::scripted_provider::{ScriptStep, ScriptedProvider, finish_and_usage};

async fn app_with_context(context: u32) -> TestApp {
    TestAppBuilder::lenient_profile().provider(|provider| provider.limits.context = context).start().await
}

fn note(response: &Response) -> &str {
    response.header("x-compat-note").unwrap_or_default()
}

/// The last chat that the provider received.
fn received(app: &TestApp) -> Chat {
    app.provider.received.lock().unwrap().last().expect("the provider was asked").clone()
}

/// The same question with `max_tokens` on every surface that has chats.
fn questions(text: &str, max_tokens: u32) -> [(&'static str, Value); 4] {
    let messages = json!([{"role": "user", "content": text}]);
    [
        ("/v1/chat/completions", json!({"model": "deepseek-chat", "messages": messages, "max_tokens": max_tokens})),
        ("/v1/messages", json!({"model": "claude-sonnet-4-5", "messages": messages, "max_tokens": max_tokens})),
        ("/v1/responses", json!({"model": "deepseek-chat", "input": text, "max_output_tokens": max_tokens})),
        (
            "/v1beta/models/deepseek-chat:generateContent",
            json!({"contents": [{"parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": max_tokens}}),
        ),
    ]
}

#[tokio::test]
async fn case_48_an_explicit_maximum_is_cut_to_what_the_prompt_leaves() {
    let app = app_with_context(8192).await;
    for (path, body) in questions("Say hi", 32_000) {
        let answer = app.request("POST", path).json(body).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(note(&answer), "`max_tokens` is cut to 8186, what the prompt leaves of the context", "{path}");
    }
    for (path, body) in questions("Say hi", 8186) {
        let answer = app.request("POST", path).json(body).send().await;
        assert_eq!((answer.status, note(&answer)), (200, ""), "{path}");
    }
    for (path, body) in questions(&"x".repeat(8192), 32_000) {
        let answer = app.request("POST", path).json(body).send().await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.message().starts_with("This model's maximum context length is 8192 tokens."), "{path}");
        let code = answer.json()["error"]["code"].clone();
        assert!(code == "context_length_exceeded" || path.starts_with("/v1beta"), "{path}: {code}");
    }
    let strict = TestAppBuilder::deepseek_profile().provider(|provider| provider.limits.context = 8192).start().await;
    for (path, body) in questions("Say hi", 32_000) {
        assert_eq!(strict.request("POST", path).json(body).send().await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn case_49_system_messages_go_where_an_answer_can_follow() {
    let lenient = TestAppBuilder::lenient_profile().start().await;
    let strict = TestAppBuilder::deepseek_profile().start().await;
    let user = json!({"role": "user", "content": "a"});
    let system = json!({"role": "system", "content": "b"});
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "x", "content": "24"});
    for (messages, last) in [
        (json!([user, system]), (Role::User, "a\n\nb")),
        (json!([user, {"role": "developer", "content": "b"}]), (Role::User, "a\n\nb")),
        (json!([user, calls, result, system]), (Role::Tool, "24\n\nb")),
        (json!([system]), (Role::User, "b")),
        (json!([user, calls, system, result]), (Role::Tool, "24\n\nb")),
    ] {
        let body = chat_request(json!({ "messages": messages }));
        let answer = lenient.assert_answered(body.clone()).await;
        assert!(note(&answer).contains("system message"), "{messages}: {}", note(&answer));
        let Input::Messages(seen) = received(&lenient).input else { unreachable!() };
        let seen = seen.last().unwrap();
        assert_eq!((seen.role, seen.text().as_str()), last, "{messages}");
        assert_eq!(strict.post(body).send().await.status, 400, "{messages}");
    }
    // The first request of Claude Code: its `system` stands behind the user's message.
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 32_000, "system": [{"type": "text", "text": "s"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "system", "content": "b"}]});
    let answer = lenient.request("POST", "/v1/messages?beta=true").json(body).send().await;
    assert_eq!((answer.status, answer.json()["stop_reason"].as_str()), (200, Some("end_turn")), "{}", answer.text());
}

#[tokio::test]
async fn case_50_several_choices_are_requests_of_their_own() {
    let app = TestAppBuilder::lenient_profile().start().await;
    let answer = app.assert_answered(chat_request(json!({"n": 3, "seed": 7}))).await;
    let body = answer.json();
    let indexes: Vec<_> = body["choices"].as_array().unwrap().iter().map(|choice| choice["index"].as_u64()).collect();
    assert_eq!(indexes, [Some(0), Some(1), Some(2)]);
    assert_eq!(body["usage"]["completion_tokens"], 9);
    let choices: Vec<_> = app.provider.received.lock().unwrap().iter().map(|chat| chat.choice).collect();
    assert_eq!(choices, [Some(0), Some(1), Some(2)]);
    let events = app.assert_answered(chat_request(json!({"n": 2, "stream": true}))).await.events();
    let chunks: Vec<Value> =
        events.iter().filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect();
    for index in 0..2 {
        let of = |chunk: &&Value| chunk["choices"][0]["index"] == index;
        let text: String =
            chunks.iter().filter(of).filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "Hello!");
        assert_eq!(chunks.iter().filter(of).filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop").count(), 1);
    }
    assert_eq!(chunks.iter().filter(|chunk| chunk["usage"].is_object()).count(), 1);
    app.assert_refused(chat_request(json!({"n": 9})), "Invalid n value, the valid range of n is [1, 8]").await;
    app.assert_refused(chat_request(json!({"n": 0})), "Invalid n value, the valid range of n is [1, 8]").await;
    let strict = TestAppBuilder::deepseek_profile().start().await;
    strict.assert_refused(chat_request(json!({"n": 3})), "Invalid n value (currently only n = 1 is supported)").await;
}

#[tokio::test]
async fn case_51_strict_schemas_are_enforced_as_far_as_a_grammar_can() {
    let app = TestAppBuilder::lenient_profile().start().await;
    let schema = json!({"type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": "string", "minLength": 2, "not": {"const": "no"}}}});
    let function = json!({"name": "f", "strict": true, "parameters": schema});
    let tool = json!({"tools": [{"type": "function", "function": function}]});
    let format = json!({"response_format": {"type": "json_schema",
        "json_schema": {"name": "p", "strict": true, "schema": schema}}});
    for (more, subject) in [(tool, "the tool f"), (format, "response_format")] {
        let answer = app.assert_answered(chat_request(more)).await;
        assert_eq!(note(&answer), format!("the schema of {subject} is not enforced at properties.a.not"));
        assert!(received(&app).tools.iter().all(|tool| !tool.strict));
    }
    // The same from every other surface.
    let user = json!([{"role": "user", "content": "a"}]);
    for (path, body) in [
        (
            "/v1/messages",
            json!({"model": "claude-x", "max_tokens": 9, "messages": user,
                "tools": [{"name": "f", "input_schema": schema, "strict": true}]}),
        ),
        (
            "/v1/messages",
            json!({"model": "claude-x", "max_tokens": 9, "messages": user,
                "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        ),
        (
            "/v1/responses",
            json!({"model": "deepseek-chat", "input": "a",
                "text": {"format": {"type": "json_schema", "name": "p", "strict": true, "schema": schema}}}),
        ),
        (
            "/v1beta/models/deepseek-chat:generateContent",
            json!({"contents": [{"parts": [{"text": "a"}]}],
                "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}}),
        ),
    ] {
        let answer = app.request("POST", path).json(body).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(note(&answer).ends_with("is not enforced at properties.a.not"), "{path}: {}", note(&answer));
    }
    // A note is a valid header whatever the request names.
    let strange = json!({"type": "object", "properties": {"größe\n": {"not": {}}}});
    let tool = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": strange}}]});
    let answer = app.assert_answered(chat_request(tool)).await;
    assert!(note(&answer).ends_with("properties.gr??e?.not"), "{}", note(&answer));
}

#[tokio::test]
async fn case_52_geminis_api_also_has_the_version_v1() {
    let app = TestAppBuilder::deepseek_profile().start().await;
    let gemini = |method, path| Request::new(app.addr, method, path).header("x-goog-api-key", KEY);
    for path in [
        "/v1/models/deepseek-chat:generateContent",
        "/v1beta/models/deepseek-chat:generateContent",
        "/v1alpha/models/deepseek-chat:generateContent",
        "/v1/models/deepseek-chat:streamGenerateContent?alt=sse",
        "/v1/models/deepseek-chat:countTokens",
    ] {
        let answer = gemini("POST", path).json(json!({"contents": [{"parts": [{"text": "hi"}]}]})).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let listed = gemini("GET", "/v1/models").send().await.json();
    assert!(listed["models"][0]["name"].as_str().is_some_and(|name| name.starts_with("models/")), "{listed}");
    let shown = gemini("GET", "/v1/models/deepseek-chat").send().await.json();
    assert_eq!(shown["name"], "models/deepseek-chat");
    // Clients of OpenAI's API see theirs.
    assert_eq!(app.request("GET", "/v1/models").send().await.json()["object"], "list");
    let unknown = gemini("POST", "/v1/models/deepseek-chat:sing").json(json!({})).send().await;
    assert_eq!((unknown.status, unknown.json()["error"]["status"].as_str()), (404, Some("NOT_FOUND")));
    let in_query = format!("/v1/models/deepseek-chat:countTokens?key={KEY}");
    let counted = Request::new(app.addr, "POST", &in_query).json(json!({"contents": [{"parts": [{"text": "hi"}]}]}));
    assert_eq!(counted.send().await.status, 200);
}

#[tokio::test]
async fn case_53_a_custom_tool_is_called_with_text() {
    let call = [
        ScriptStep::Delta(Delta::ToolCall { index: 0, id: "call_1".into(), name: "apply_patch".into() }),
        ScriptStep::Delta(Delta::Arguments { index: 0, text: "{\"input\":\"*** End\"}".into() }),
    ];
    let script = call.into_iter().chain(finish_and_usage(FinishReason::ToolCalls, Default::default()));
    let app = TestAppBuilder::lenient_profile().script(script).start().await;
    let body = json!({"model": "deepseek-chat", "instructions": "You are a coding agent", "store": false,
        "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "custom", "name": "apply_patch", "description": "Edit files",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/s"}}, {"type": "web_search"}],
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "*** Begin"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": "done"}]});
    let answer = app.request("POST", "/v1/responses").json(body).send().await;
    assert_eq!((answer.status, note(&answer)), (200, "dropped: tools of type web_search; ignored: include"));
    let item = &answer.json()["output"][0];
    assert_eq!((item["type"].as_str(), item["input"].as_str()), (Some("custom_tool_call"), Some("*** End")));
    let Input::Messages(seen) = received(&app).input else { unreachable!() };
    assert_eq!(seen[2].calls()[0].arguments, "{\"input\":\"*** Begin\"}");
}

#[tokio::test]
async fn what_the_model_has_no_place_for_is_named() {
    let app = TestAppBuilder::lenient_profile().start().await;
    let fields = json!({"functions": [{"name": "f"}], "web_search_options": {}, "modalities": ["text", "audio"],
        "store": false});
    let answer = app.post(chat_request(fields.clone())).send().await;
    assert_eq!(
        (answer.status, note(&answer)),
        (200, "ignored: functions, modalities, web_search_options"),
        "{}",
        answer.text()
    );
    let body = json!({"contents": {"parts": {"text": "Hi"}}, "generationConfig": {"responseModalities": ["AUDIO"]}});
    let answer = app.request("POST", "/v1beta/models/deepseek-chat:generateContent").json(body).send().await;
    assert_eq!((answer.status, note(&answer)), (200, "ignored: responseModalities"), "{}", answer.text());
    let silent = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null},
        {"role": "user", "content": "b"}]});
    let answer = app.post(chat_request(silent)).send().await;
    assert_eq!((answer.status, note(&answer)), (200, "an assistant message without content is empty"));
    let strict = TestAppBuilder::deepseek_profile().start().await;
    assert_eq!(note(&strict.post(chat_request(fields)).send().await), "");
}

#[tokio::test]
async fn case_54_instructions_alone_are_answered() {
    let app = TestAppBuilder::lenient_profile().start().await;
    let body = json!({"model": "deepseek-chat", "instructions": "Write a haiku"});
    let answer = app.request("POST", "/v1/responses").json(body.clone()).send().await;
    assert_eq!(
        (answer.status, answer.json()["instructions"].as_str()),
        (200, Some("Write a haiku")),
        "{}",
        answer.text()
    );
    let strict = TestAppBuilder::deepseek_profile().start().await;
    assert_eq!(strict.request("POST", "/v1/responses").json(body).send().await.status, 400);
}

#[tokio::test]
async fn case_55_a_conversation_is_compacted_and_counted() {
    let app = TestAppBuilder::lenient_profile().start().await;
    let input = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let post = async |path, body: Value| app.request("POST", path).json(body).send().await;
    let body = json!({"model": "deepseek-chat", "instructions": "s", "input": input});
    let compacted = post("/v1/responses/compact", body.clone()).await;
    assert_eq!(compacted.status, 200, "{}", compacted.text());
    let compacted = compacted.json();
    assert_eq!(compacted["object"], "response.compaction");
    let kinds: Vec<_> =
        compacted["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "compaction"]);
    assert!(compacted["usage"]["total_tokens"].as_u64().unwrap() > 0);
    let again = post("/v1/responses", json!({"model": "deepseek-chat", "input": compacted["output"]})).await;
    assert_eq!((again.status, note(&again)), (200, ""), "{}", again.text());
    let Input::Messages(seen) = received(&app).input else { unreachable!() };
    assert!(seen[1].text().ends_with("Hello!"), "{seen:?}");
    let counted = post("/v1/responses/input_tokens", body).await;
    assert_eq!(counted.json(), json!({"object": "response.input_tokens", "input_tokens": 3}));
}

#[tokio::test]
async fn case_56_fields_of_other_engines_have_their_effect_or_are_named() {
    let app = TestAppBuilder::lenient_profile().start().await;
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let fields = json!({"chat_template_kwargs": {"enable_thinking": true}, "structured_outputs": {"json": schema},
        "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.2, "stop_token_ids": [5], "guided_regex": "a+"});
    let body = chat_request(fields);
    let answer = app.post(body.clone()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for named in
        ["fields of other APIs: chat_template_kwargs, structured_outputs, top_k, min_p", "ignored: guided_regex"]
    {
        assert!(note(&answer).contains(named), "{}", note(&answer));
    }
    let seen = received(&app);
    assert_eq!((seen.thinking, seen.end_tokens.as_slice()), (Some(true), [5].as_slice()));
    assert_eq!(
        (seen.sampling.top_k, seen.sampling.min_p, seen.sampling.repetition_penalty),
        (Some(20), Some(0.1), Some(1.2))
    );
    assert!(matches!(seen.response_format, ResponseFormat::JsonSchema(_)));
    for (field, value) in [("min_p", json!(1.5)), ("top_k", json!(-2)), ("repetition_penalty", json!(0))] {
        let refused = app.post(chat_request(json!({field: value}))).send().await;
        assert_eq!(refused.status, 400, "{field}");
        assert!(
            refused.message().starts_with(&format!("Invalid {field} value, the valid range")),
            "{}",
            refused.message()
        );
    }
    // DeepSeek's own service ignores them.
    let service = TestAppBuilder::deepseek_profile().start().await;
    assert_eq!(note(&service.post(body).send().await), "");
    let seen = received(&service);
    assert_eq!((seen.thinking, seen.sampling.top_k, seen.response_format), (Some(false), None, ResponseFormat::Text));
}

#[tokio::test]
async fn case_57_an_image_in_a_tool_result_is_left_out() {
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "text", "text": "a.png"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBOR"}}]}]}]});
    let app = TestAppBuilder::lenient_profile().start().await;
    let answer = app.request("POST", "/v1/messages").json(body.clone()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(note(&answer), "images and files in results of tools are left out");
    let Input::Messages(seen) = received(&app).input else { unreachable!() };
    assert!(seen[2].text().starts_with("a.png["), "{}", seen[2].text());
    let service = TestAppBuilder::deepseek_profile().start().await;
    assert_eq!(service.request("POST", "/v1/messages").json(body).send().await.status, 400);
}

#[tokio::test]
async fn case_58_a_model_that_always_thinks_answers_every_id_and_takes_tools() {
    let r1 = |provider: &mut ScriptedProvider| {
        provider.limits.supports_non_thinking = false;
        provider.limits.reasoning_rules = ReasoningRules::R1;
    };
    let app = TestAppBuilder::lenient_profile().provider(r1).start().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": messages, "tools": tools});
    let answer = app.request("POST", "/v1/messages").json(body.clone()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(note(&answer).contains("this model always thinks"), "{}", note(&answer));
    assert_eq!((received(&app).thinking, received(&app).tools.len()), (Some(true), 1));
    let service = TestAppBuilder::deepseek_profile().provider(r1).start().await;
    assert_eq!(service.request("POST", "/v1/messages").json(body).send().await.status, 400);
}

#[tokio::test]
async fn case_59_a_completion_may_be_asked_for_its_prompt_alone() {
    let body = json!({"model": "deepseek-chat", "prompt": "<think>", "max_tokens": 0, "echo": true, "logprobs": 1,
        "add_special_tokens": false});
    let app = TestAppBuilder::lenient_profile().start().await;
    let answer = app.request("POST", "/v1/completions").json(body.clone()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for named in ["fields of other APIs: add_special_tokens", "`max_tokens` of 0"] {
        assert!(note(&answer).contains(named), "{}", note(&answer));
    }
    let seen = received(&app);
    assert_eq!((seen.max_tokens, seen.echo_prompt, seen.parse_special), (Some(0), true, true));
    let service = TestAppBuilder::deepseek_profile().start().await;
    let refused = service.request("POST", "/v1/completions").json(body).send().await;
    let text = "Invalid max_tokens value, the valid range of max_tokens is [1, 4096]";
    assert_eq!((refused.status, refused.message().as_str()), (400, text));
}

#[tokio::test]
async fn case_60_a_line_that_changes_with_every_request_is_left_out_of_the_prompt() {
    let line = "x-anthropic-billing-header: cc_version=2.1.37.0d9; cch=1f2e3;";
    let system = json!([{"type": "text", "text": line}, {"type": "text", "text": "You are an agent."}]);
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 10, "system": system,
        "messages": [{"role": "user", "content": "hi"}]});
    for (app, prompt, notes) in [
        (
            TestAppBuilder::lenient_profile().start().await,
            "You are an agent.".to_owned(),
            "`x-anthropic-billing-header` is left out of the prompt",
        ),
        (TestAppBuilder::deepseek_profile().start().await, format!("{line}\n\nYou are an agent."), ""),
    ] {
        let answer = app.request("POST", "/v1/messages").json(body.clone()).send().await;
        assert_eq!((answer.status, answer.header("x-compat-note").unwrap_or_default()), (200, notes));
        let Input::Messages(seen) = received(&app).input else { unreachable!() };
        assert_eq!(seen[0].text(), prompt);
    }
}
